#!/usr/bin/env python3
"""Rekeying, protocol-spec.md section 11.2, with a passive thief: every interleaving of a bounded number of REKEYs.

usage: rekey.py QUERY [FAULT] [BOUND]     prints PROVED or FOUND (with a shortest way), and the number of states
       BOUND: REKEY records of each side's own schedule (default 3), beside the recommended second ones

Breadth-first search over two sides and the two channels between them. A traffic secret is a term: ('first', side), or
('next', secret, peer_number, number, own half, peer's half or 0), which stands for
Extract(ExpandLabel(secret, "rekey", content, 32), dh). The thief takes at one moment, once, all that A, B or both hold;
he sees every record, before and after, and sends nothing. He has a 'next' if he has the secret in it and, unless the
peer's half is 0, one of the two private halves.

queries: sync      both ends of a direction always derive the same secret
         past      a thief never has a secret that both ends had replaced before the theft
         sender    where only a direction's sender was robbed, it is healed with its next REKEY that names a share
         newer     whoever was robbed: a direction is healed with its first REKEY that names a share which the receiver
                   drew since the theft
         quiet     whoever was robbed, with no REKEY on its way at the theft: both directions are healed once each side
                   has rekeyed since, and has sent again (with the recommended second rekey) after receiving a numbered
                   share that the other drew since
         numbered  'quiet', with REKEY records on their way at the theft
         words     'quiet', with "the other's REKEY" for "a numbered share": the words of section 15
         chain     whoever breaks X25519 and has no traffic secret never gets one: all goes through the chain of secrets
         ends      reachable: both directions rekeyed with two private halves, and received
faults:  static    the share is not fresh (one private half for all)
         no_dh     dh is left out: a ratchet
         no_old    the old secret is left out of the new one
         kept      the old secret is not replaced
         unerased  old secrets are not erased
         unnamed   content is left out: the secrets of the two ends don't depend on peer_number and number
         single    no second rekey
"""
import sys
from collections import deque, namedtuple

Side = namedtuple('Side', 'number named halves peer_number peer secret receive drawn mixed_with old')
# since the theft: rekeyed (own schedule), got (a REKEY that was sent since), again (sent a record after both)
Watch = namedtuple('Watch', 'number rekeyed got again')
State = namedtuple('State', 'sides wires thief robbed watch gone')
Rekey = namedtuple('Rekey', 'peer_number number share secret since')      # secret: what the sender now has, to compare


PUBLIC = ('first', '-')


def has(known, s, broken=False):
    """broken: X25519 is, so every private half is known."""
    while s not in known and s != PUBLIC:
        if s[0] == 'first':
            return False
        _, s, _, _, own, peer = s
        if peer and not broken and own not in known and peer not in known:
            return False
    return True


class Model:
    def __init__(self, query, fault, bound):
        self.query, self.fault, self.bound = query, fault, bound

    def start(self):
        side = lambda me, you: Side(0, 0, (), 0, 0, ('first', me), ('first', you), 0, None, ())
        return State((side('A', 'B'), side('B', 'A')), ((), ()), None, (), None, frozenset())

    def next_secret(self, s, peer_number, number, own, peer):
        f = self.fault
        if f == 'kept':
            return s
        if f == 'unnamed':
            peer_number = number = 0
        return ('next', PUBLIC if f == 'no_old' else s, peer_number, number, own, 0 if f == 'no_dh' else peer)

    def rekey(self, st, me, scheduled):
        """Steps 1 to 5 of the sender. Returns the state and whether a promise is broken."""
        s = st.sides[me]
        k = ('half', me, 0 if self.fault == 'static' else s.drawn + 1)
        numbered = s.named == s.number
        number = s.number + 1 if numbered else 0
        secret = self.next_secret(s.secret, s.peer_number, number, k, s.peer if s.peer_number else 0)
        new = s._replace(secret=secret, drawn=s.drawn + 1, mixed_with=s.peer_number if scheduled else None,
                         old=s.old + (s.secret,) if self.fault == 'unerased' else ())
        if numbered:
            new = new._replace(number=number, halves=s.halves + ((number, k),))
        assert len(new.halves) <= 2
        record = Rekey(s.peer_number, number, k, secret, st.thief is not None)
        watch = st.watch
        broken = self.query == 'chain' and has((), secret, True)
        if st.thief is not None:
            if scheduled:
                watch = self.put(watch, me, watch[me]._replace(rekeyed=True))
            you = 1 - me
            if self.query == 'sender' and st.robbed == (me,) and s.peer_number:
                broken = has(st.thief, secret)
            if self.query == 'newer' and s.peer_number > st.watch[you].number:
                broken = has(st.thief, secret)
        wires = self.put(st.wires, me, st.wires[me] + (record,))
        return st._replace(sides=self.put(st.sides, me, new), wires=wires, watch=watch), broken

    def receive(self, st, me):
        """Steps 1 to 5 of the receiver."""
        you = 1 - me
        record, rest = st.wires[you][0], st.wires[you][1:]
        s = st.sides[me]
        assert s.named <= record.peer_number <= s.number <= s.named + 1                               # [RK-3]
        own = dict(s.halves)[record.peer_number] if record.peer_number else 0
        secret = self.next_secret(s.receive, record.peer_number, record.number, record.share, own)
        gone = st.gone | {s.receive} if st.thief is None and secret != s.receive else st.gone
        new = s._replace(receive=secret, named=record.peer_number,
                         halves=tuple((n, k) for n, k in s.halves if n >= record.peer_number))
        if record.number:
            assert record.number == s.peer_number + 1                                                 # [RK-4]
            new = new._replace(peer_number=record.number, peer=record.share)
        watch = st.watch
        if record.since:
            got = watch[me].got or self.query == 'words' or record.number > 0
            watch = self.put(watch, me, watch[me]._replace(got=got))
        st = st._replace(sides=self.put(st.sides, me, new), wires=self.put(st.wires, you, rest), watch=watch, gone=gone)
        return st, self.query == 'sync' and secret != record.secret

    def send(self, st, me):
        """A record of another kind, with the recommended second rekey before it. Only what changes something."""
        s = st.sides[me]
        if s.mixed_with is not None and s.peer_number > s.mixed_with and self.fault != 'single':
            st, broken = self.rekey(st, me, False)
            if broken:
                return st, True
        if st.watch and st.watch[me].rekeyed and st.watch[me].got:
            st = st._replace(watch=self.put(st.watch, me, st.watch[me]._replace(again=True)))
        broken = (self.query in ('quiet', 'numbered', 'words')
                  and st.watch is not None and all(w.again for w in st.watch)
                  and any(has(st.thief, s.secret) for s in st.sides))
        return st, broken

    def steal(self, st, robbed):
        known = set()
        for i in robbed:
            s = st.sides[i]
            known |= {s.secret, s.receive, *s.old, *(k for _, k in s.halves)}
        watch = tuple(Watch(s.number, False, False, False) for s in st.sides)
        st = st._replace(thief=frozenset(known), robbed=robbed, watch=watch)
        return st, self.query == 'past' and any(has(st.thief, s) for s in st.gone)

    def put(self, pair, i, x):
        return (x, pair[1]) if i == 0 else (pair[0], x)

    def steps(self, st):
        for me in (0, 1):
            name = 'AB'[me]
            if st.sides[me].drawn < self.bound:
                yield f'{name} rekeys', self.rekey(st, me, True)
            if st.wires[1 - me]:
                yield f'{name} receives', self.receive(st, me)
            yield f'{name} sends', self.send(st, me)
        if st.thief is None and not (self.query in ('quiet', 'words') and any(st.wires)):
            for robbed in ((0,), (1,), (0, 1)):
                yield f'theft of {"AB"[robbed[0]:robbed[-1] + 1]}', self.steal(st, robbed)

    def search(self):
        first = self.start()
        came, todo = {first: None}, deque([first])
        while todo:
            st = todo.popleft()
            for name, (new, broken) in self.steps(st):
                if self.query == 'ends':
                    broken = all(s.receive[0] == 'next' and s.receive[-1] for s in new.sides) and not any(new.wires)
                if broken:
                    way = [name]
                    while came[st]:
                        st, name = came[st]
                        way.append(name)
                    return 'FOUND', len(came), way[::-1]
                if new not in came:
                    came[new] = (st, name)
                    todo.append(new)
        return 'PROVED', len(came), []


if __name__ == '__main__':
    args = sys.argv[1:]
    if not args or args == ['help']:
        sys.exit(print(__doc__))
    fault = next((a for a in args[1:] if not a.isdigit()), None)
    bound = next((int(a) for a in args[1:] if a.isdigit()), 3)
    verdict, states, way = Model(args[0], fault, bound).search()
    print(verdict, states, 'states', '; '.join(way))
