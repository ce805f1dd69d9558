#!/usr/bin/env python3
"""A small prover for agreement: saturation of Horn clauses as in ProVerif (B. Blanchet, "Automatic verification of
security protocols in the symbolic model"), on the clauses of horn.py.

usage: prove.py GOAL [NAME=VALUE ...] [FAULT ...]     prints PROVED or FOUND (a way to the goal), and how many clauses

A clause is  conclusion <- hypotheses. A hypothesis att(t) with t no variable is selected and resolved with the
conclusions of clauses that have none selected; att(X) and began(t) are never resolved: the attacker always has some X,
and began(t) stands for a step of an honest side that the conclusion needs. When nothing new comes, every derivable fact
is derivable by the clauses without selection alone. So done(t) always has began(t) before it exactly if each such
clause for done(t) has the hypothesis began(t).

There is no equation here: a shared secret of two public keys is s(X,Y), and each clause that makes or takes one comes
for both orders (a run is covered by fixing one order for each pair); dh(P,X) is left for a P that is no public key.
"""
import heapq
import re
import sys
import time
from itertools import product

import horn

# --- terms: interned, so that equal terms are one object ---

TABLE = {}
BITS = {}           # one bit a function symbol; a term's mask has those in it, to see soon that nothing matches


class Term:
    __slots__ = ('f', 'args', 'ground', 'size', 'vars', 'mask')


def mk(f, *args):
    key = (f, *map(id, args))
    t = TABLE.get(key)
    if t is None:
        t = Term()
        t.f, t.args = f, args
        t.vars = frozenset().union(*(a.vars for a in args)) if args else frozenset()
        t.ground = not t.vars
        t.size = 1 + sum(a.size for a in args)
        t.mask = BITS.setdefault(f, 1 << len(BITS))
        for a in args:
            t.mask |= a.mask
        TABLE[key] = t
    return t


def var(name):
    t = TABLE.get(name)
    if t is None:
        t = Term()
        t.f, t.args, t.ground, t.size, t.mask = None, (), False, 1, 0
        t.vars = frozenset([t])
        TABLE[name] = t
    return t


def parse(text):
    tokens = re.findall(r'\w+|[(),]', text)
    pos = 0

    def term():
        nonlocal pos
        name = tokens[pos]
        pos += 1
        args = []
        if pos < len(tokens) and tokens[pos] == '(':
            while tokens[pos] != ')':
                pos += 1
                args.append(term())
            pos += 1
        return var(name) if name[0].isupper() else mk(name, *args)
    return term()


def subst(t, s, memo):
    """t under the triangular substitution s."""
    if t.ground:
        return t
    r = memo.get(t)
    if r is None:
        if t.f is None:
            r = subst(s[t], s, memo) if t in s else t
        else:
            r = mk(t.f, *[subst(a, s, memo) for a in t.args])
        memo[t] = r
    return r


def unify(a, b):
    s, todo, seen = {}, [(a, b)], set()
    while todo:
        a, b = todo.pop()
        while a in s:
            a = s[a]
        while b in s:
            b = s[b]
        if a is b or (a, b) in seen:
            continue
        seen.add((a, b))
        if a.f is None or b.f is None:
            if a.f is not None:
                a, b = b, a
            s[a] = b
        elif a.f != b.f or (a.ground and b.ground):
            return None
        else:
            todo += zip(a.args, b.args)
    return s if acyclic(s) else None


def acyclic(s):
    state = {}

    def visit(v):
        if state.get(v) == 1:
            return False
        if v not in state:
            state[v] = 1
            if not all(visit(w) for w in s[v].vars if w in s):
                return False
            state[v] = 2
        return True
    return all(visit(v) for v in s)


def match(a, b, s):
    """Extends s so that a under s is b; undo by the returned list of variables, or None."""
    todo, bound, seen = [(a, b)], [], set()
    while todo:
        a, b = todo.pop()
        if a.f is None:
            have = s.get(a)
            if have is None:
                s[a] = b
                bound.append(a)
                continue
            if have is b:
                continue
        elif a is b and a.ground or (a, b) in seen:
            continue
        elif a.f == b.f and a.size <= b.size and not a.mask & ~b.mask:
            seen.add((a, b))
            todo += zip(a.args, b.args)
            continue
        for v in bound:
            del s[v]
        return None
    return bound


# --- clauses ---

KNOW = ('att', 'late')
GOALS = ('done', 'same', 'bad')
DATA = ('pair', 'cred')         # what the attacker can always build and take apart: decided at once


class Clause:
    __slots__ = ('head', 'hyps', 'sel', 'alive', 'keys', 'mask', 'copy')


def rename(terms, letter):
    memo = {}
    for t in terms:
        for v in t.vars:
            if v not in memo:
                memo[v] = var(f'{letter}{len(memo)}')
    return [subst(t, {}, memo) for t in terms]


def split(fact):
    """att(pair(x,y)) is att(x) and att(y)."""
    if fact.f in KNOW and fact.args[0].f in DATA:
        return [g for a in fact.args[0].args for g in split(mk(fact.f, a))]
    return [fact]


class Prover:
    def __init__(self, clauses, later):
        self.units = {}             # facts without hypotheses, by predicate and outermost symbol
        self.by_head = {}           # all clauses that are not subsumed
        self.solved, self.unsolved = {}, {}
        self.queue, self.count = [], 0
        self.later = later
        for head, hyps in clauses:
            self.add(head, hyps)

    def key(self, fact):
        return fact.f, fact.args[0].f if fact.f in KNOW else ''

    def add(self, head, hyps):
        for h in split(head):
            c = self.simplify(h, hyps)
            if c and not self.subsumed(c):
                self.drop_subsumed(c)
                self.keep(c)

    def simplify(self, head, hyps):
        out = {}
        for h in hyps:
            for g in split(h):
                if g is head:
                    return None
                if g.f in KNOW and g.args[0].f is not None and any(
                        match(u, g, {}) is not None for u in self.units.get(self.key(g), ())):
                    continue
                out[g] = None
        if head.f == 'done' and mk('began', *head.args) in out:
            return None                                     # it agrees: nothing more to see
        if head.f == 'late' and mk('att', *head.args) in out:
            return None
        if head.f == 'same' and head.args[0] is head.args[1]:
            return None
        # the attacker has some term: att(X) says nothing if X is nowhere else
        for g in list(out):
            if g.f in KNOW and g.args[0].f is None:
                v = g.args[0]
                if v not in head.vars and not any(v in o.vars for o in out if o is not g):
                    del out[g]
        # variables are named anew: one set of names for all clauses, one for all their copies in resolve
        head, *out = rename([head, *out], '_')
        c = Clause()
        c.head, c.hyps, c.copy = head, tuple(out), None
        todo = [g for g in out if g.f != 'began' and not (g.f in KNOW and g.args[0].f is None)]
        c.sel = max(todo, key=lambda g: g.args[0].size) if todo else None
        if c.sel is None and head.f in KNOW and head.args[0].f is None:
            raise ValueError('the attacker has everything')
        c.alive = True
        c.mask = head.mask
        for g in out:
            c.mask |= g.mask
        c.keys = frozenset(self.key(g) for g in out if g.f not in KNOW or g.args[0].f is not None)
        return c

    def covers(self, c, d):
        """c subsumes d."""
        if len(c.hyps) > len(d.hyps) or c.mask & ~d.mask or not c.keys <= d.keys:
            return False
        s = {}
        if match(c.head, d.head, s) is None:
            return False
        hyps = sorted(c.hyps, key=lambda g: -g.size)

        def rest(i):
            if i == len(hyps):
                return True
            for h in d.hyps:
                bound = match(hyps[i], h, s)
                if bound is not None:
                    if rest(i + 1):
                        return True
                    for v in bound:
                        del s[v]
            return False
        return rest(0)

    def subsumed(self, d):
        return any(self.covers(c, d) for c in self.by_head.get(self.key(d.head), ()))

    def drop_subsumed(self, c):
        bucket = self.by_head.get(self.key(c.head), [])
        gone = [d for d in bucket if len(c.hyps) <= len(d.hyps) and self.covers(c, d)]
        for d in gone:
            bucket.remove(d)
            d.alive = False
        for d in gone:
            where = self.solved if d.sel is None else self.unsolved
            k = self.key(d.head if d.sel is None else d.sel)
            if d in where.get(k, ()):
                where[k].remove(d)

    def keep(self, c):
        self.by_head.setdefault(self.key(c.head), []).append(c)
        if not c.hyps:
            self.units.setdefault(self.key(c.head), []).append(c.head)
        self.count += 1
        heapq.heappush(self.queue, (len(c.hyps), c.head.size, self.count, c))

    def resolve(self, c, d):
        """c has nothing selected; its conclusion is resolved with the selected hypothesis of d."""
        if c.copy is None:
            c.copy = rename([c.head, *c.hyps], "'")
        head, *hyps = c.copy
        s = unify(head, d.sel)
        if s is None:
            return
        memo = {}
        go = lambda t: subst(t, s, memo)
        self.add(go(d.head), [go(h) for h in hyps] + [go(h) for h in d.hyps if h is not d.sel])

    def run(self, limit):
        end = time.time() + limit
        while self.queue:
            if time.time() > end:
                return 'TIMEOUT'
            c = heapq.heappop(self.queue)[-1]
            if not c.alive:
                continue
            if c.sel is None:
                if c.head.f in GOALS:
                    self.found = c
                    return 'FOUND'
                if self.later and c.head.f == 'att':        # what was known before is known later
                    self.add(mk('late', *c.head.args), c.hyps)
                k = self.key(c.head)
                self.solved.setdefault(k, []).append(c)
                for d in list(self.unsolved.get(k, ())):
                    if c.alive and d.alive:
                        self.resolve(c, d)
            else:
                k = self.key(c.sel)
                self.unsolved.setdefault(k, []).append(c)
                for d in list(self.solved.get(k, ())):
                    if c.alive and d.alive:
                        self.resolve(d, c)
        return 'PROVED'


# --- from horn.py ---

def both_orders(literals):
    """A clause with dh(V,x), V a variable: V is a public key, in either order, or is none."""
    assert 'dh(pub(' not in ' '.join(literals)          # hide_r_passive: for E only
    found = re.search(r'\bdh\(([A-Z]+),', ' '.join(literals))
    if not found:
        return [literals]
    v = found.group(1)
    out = [literals]
    exponent = r'(\w+\([A-Z]\w*,\w+\)|pair\(sk\(\w+\),zero\))'
    for order in (rf's(Z{v},\1)', rf's(\1,Z{v})'):
        one = [re.sub(rf'\bdh\({v},{exponent}\)', order, l) for l in literals]
        out.append([re.sub(rf'\b{v}\b', f'pub(Z{v})', l) for l in one])
    return out


def clauses(problem):
    offers = {}
    for _, heads, hyps in problem:
        if heads and heads[0].startswith('offered'):
            o, s = re.findall(r'\w+', heads[0])[1:]
            offers.setdefault(s, []).append(o)
    for name, heads, hyps in problem:
        if name.startswith(('dh_', 'later')) or (heads and heads[0].startswith('offered')):
            continue
        if name.startswith('take_') or name.startswith('make_'):
            if name.startswith(('make_pair', 'make_cred', 'take_first', 'take_second', 'take_cred')):
                continue                                # built in: DATA
            yield parse(heads[0]), [parse(h) for h in hyps]
            if name.startswith('make_dh'):
                p = heads[0].split('(')[0]
                for s in ('s(X,Y)', 's(Y,X)'):
                    yield parse(f'{p}({s})'), [parse(f'{p}(X)'), parse(f'{p}(pub(Y))')]
            continue
        began = [l for l in heads if l.startswith('began')]
        head = [l for l in heads if l not in began] or ['bad(none)']
        for lits in both_orders(head + began + [h for h in hyps]):
            offered = [re.findall(r'\w+', l)[1:] for l in lits if l.startswith('offered')]
            lits = [l for l in lits if not l.startswith('offered')]
            for choice in product(*(offers[s] for _, s in offered)):
                ls = lits
                for (o, _), value in zip(offered, choice):
                    ls = [re.sub(rf'\b{o}\b', value, l) for l in ls]
                facts = [parse(l) for l in ls]
                yield facts[0], facts[1:]


def prove(goal, words, limit=300):
    problem = horn.problem(goal, words)
    p = Prover(clauses(problem), any(name.startswith('later') for name, *_ in problem))
    return p.run(limit), p


def show(t):
    if t.f is None:
        return f'V{id(t) % 1000}'
    return t.f + (f'({",".join(map(show, t.args))})' if t.args else '')


if __name__ == '__main__':
    start = time.time()
    sys.setrecursionlimit(100000)
    words = [w for w in sys.argv[2:] if w != '-v']
    verdict, p = prove(sys.argv[1], words)
    n = sum(map(len, p.by_head.values()))
    print(f'{verdict} {n} clauses {time.time() - start:.1f} s')
    if verdict == 'FOUND' and '-v' in sys.argv:
        print(show(p.found.head), '<-', *map(show, p.found.hyps), sep='\n  ')
