#!/usr/bin/env python3
"""Horn clauses of the Countersign handshake (protocol-spec.md, sections 6 to 11) for E, SPASS and prove.py.

usage: horn.py GOAL [NAME=VALUE ...] [FAULT ...]     writes a problem in TPTP form to standard output
       horn.py help                                  lists goals, switches and faults

Unbounded agents and sessions; a Dolev-Yao attacker who owns the agents e(N) and whatever a switch gives away.
att(t): the attacker can have t. late(t): he can have it after the sessions, when more has leaked. Fresh values are
functions of agent and session, so one nonce or share serves with whatever the session is given, any number of times.
That adds behaviour and takes none away: a goal that is not reachable is proved for every number of sessions; one
that is reachable may be a false attack, and counts as not proved.

goals: reach_iauth, reach_iaccepted, reach_irefused, reach_idata, reach_raccepted, reach_rdata
                                    the initiator has accepted AUTH_R, an accepting VERDICT, a refusing one, DATA;
                                    the responder has accepted AUTH_I, DATA
       secret_i, secret_r           DATA of initiator a for b, of responder b for a, is known to the attacker
       secret_i_self, secret_r_self the same, an agent talking to itself
       hide_i, hide_r, hide_r_passive    the public key of the initiator, the responder, is known to the attacker
       for prove.py only:
       agree_r, agree_i_auth, agree_i_verdict, agree_i_data, agree_hello
                                    one side has done a step with t and the other has not been at t before
       same_ir, same_ii, same_rr    two sides hold one traffic key and believe different things
"""
import re
import sys

# Public constants. Labels of section 10, roles of section 9, record kinds of section 6.5, one constant each.
ROLES = ['responder', 'initiator']
# l_exporter is here to be known: nothing that is modelled uses the exporter.
LABELS = ['l_ntag', 'l_derived', 'l_hs_r', 'l_hs_i', 'l_conf_r', 'l_conf_i', 'l_traf_r', 'l_traf_i', 'l_cb', 'l_sid',
          'l_exporter', 'l_key']
OTHER = ['zero', 'none', 'data', 'verdict', 'accept', 'refuse', 'weakdh', 'classic', 'hybrid', 'weak',
         'o_strong', 'o_both', 'o_weak', 'v1', 'v2']
# h(t, item): the running hash (section 9). pub, dh: X25519(k, 9), X25519(k, u). expand: ExpandLabel.
# cred(kind, key): a credential block; two kinds stand for two certificates of one key. enc: Seal, with no nonce and no
# header. ek, kemct, kemss, kemrej: ML-KEM's encapsulation key, ciphertext, shared secret, secret of implicit rejection.
CONSTRUCTORS = {'pair': 2, 'h': 2, 'pub': 1, 'dh': 2, 'extract': 2, 'expand': 3, 'sign': 2, 'pk': 1, 'mac': 2,
                'cred': 2, 'enc': 2, 'ek': 1, 'kemct': 2, 'kemss': 2, 'kemrej': 2}

SWITCHES = {
    'suite': ('classic', 'classic | hybrid: the strong suite that all sides offer'),
    'weak': ('no', 'yes: a second suite on offer, whose shared secret the attacker knows'),
    'net': ('none', 'none | secret | leaked (from the start) | late (leaked after the sessions): the network key'),
    'leak': ('none', 'own | peer | both | all: long-term keys known from the start (own: of whom the goal is about)'),
    'late': ('no', 'yes: every long-term key is published after the sessions'),
    'dh': ('ok', 'ok | broken (from the start) | late: X25519'),
    'kem': ('ok', 'ok | broken (from the start) | late: ML-KEM'),
}
FAULTS = {
    'sigr_offer': 'the offer is left out of what the responder signs',
    'sigr_nonce': 'nonce_i and the offer are left out of what the responder signs',
    'sigr_share': 'share_i is left out of what the responder signs',
    'sigi_authr': "the responder's credential, signature and AUTH_R are left out of what the initiator signs",
    'no_creds': 'credentials are left out of both signatures (keys stay)',
    'keys_transcript': 'TH_final is left out of the session keys',
    'hs_transcript': 'TH_hello is left out of the handshake keys',
    'no_roles': 'one role label for both signatures',
    'same_shape': "the initiator signs what has the shape of what the responder signs (to go with no_roles)",
    'noverify_r': "the initiator doesn't check signature_r",
    'noverify_i': "the responder doesn't check signature_i",
    'one_key': 'one traffic key for both directions',
    'early_data': 'the responder sends data before it has checked AUTH_I',
    'clear_verdict': 'VERDICT is not sealed',
    'no_confirm': 'confirm_r and confirm_i are left out',
    'net_unmixed': 'the network key is only in the tag, not in the key schedule',
    'net_unchecked': "the responder doesn't check network_tag",
    'only_dh': 'a hybrid suite uses X25519 alone',
    'only_kem': 'a hybrid suite uses ML-KEM alone',
    'clear_auth': 'AUTH_R and AUTH_I are not sealed',
    'static_share': "the initiator's X25519 share is derived from its long-term key",
}


def tup(*xs):
    term = xs[-1]
    for x in reversed(xs[:-1]):
        term = f'pair({x},{term})'
    return term


class Model:
    def __init__(self, goal, switches, faults):
        self.goal, self.sw, self.faults = goal, switches, faults
        self.clauses = []
        self.later = switches['late'] == 'yes' or 'late' in (switches['net'], switches['dh'], switches['kem'])

    def clause(self, name, heads, hyps=()):
        """heads: one fact, or none (a goal), and perhaps began(t): an event that the fact needs."""
        self.clauses.append((f'{name}_{len(self.clauses)}', list(heads), list(hyps)))

    def out(self, name, term, hyps=(), began=()):
        self.clause(name, [f'att({term})', *began], hyps)

    # --- the attacker ---

    def attacker(self, p, dh, kem):
        know = lambda t: f'{p}({t})'
        for f, n in CONSTRUCTORS.items():
            xs = ['X', 'Y', 'Z'][:n]
            self.clause(f'make_{f}', [know(f'{f}({",".join(xs)})')], [know(x) for x in xs])
        take = lambda name, got, *need: self.clause(f'take_{name}', [know(got)], [know(n) for n in need])
        take('first', 'X', 'pair(X,Y)')
        take('second', 'Y', 'pair(X,Y)')
        take('open', 'X', 'enc(K,X)', 'K')
        take('signed', 'X', 'sign(K,X)')            # a signature hides nothing that it signs, nor by whom
        take('signer', 'pk(K)', 'sign(K,X)')
        take('cred_key', 'Y', 'cred(X,Y)')           # X is known to the attacker in every credential that there is
        take('decaps', 'kemss(ek(D),M)', 'kemct(ek(D),M)', 'D')
        if dh:
            take('dlog', 'X', 'pub(X)')
        if kem:
            take('kembreak', 'D', 'ek(D)')

    def environment(self):
        sw = self.sw
        self.clause('dh', ['dh(pub(X),Y)=dh(pub(Y),X)'])
        self.attacker('att', sw['dh'] == 'broken', sw['kem'] == 'broken')
        for c in ROLES + LABELS + OTHER + ['a', 'b', 'c']:
            self.out('public', c)
        self.out('own_key', 'sk(e(N))')
        if self.goal.startswith('hide_'):           # every agent but anon is known
            for n in 'abc':
                self.out('public_key', f'pk(sk({n}))')
        else:
            self.out('public_key', 'pk(sk(N))')
        if sw['net'] == 'leaked':
            self.out('leak_net', 'nk')
        own, peer = ('a', 'b') if self.side() == 'i' else ('b', 'a')
        for who in {'none': [], 'own': [own], 'peer': [peer], 'both': 'ab', 'all': 'N'}[sw['leak']]:
            self.out('leak', f'sk({who})')
        if sw['weak'] == 'yes':
            strong = sw['suite']
            for pair in (f'o_strong,{strong}', f'o_both,{strong}', 'o_both,weak', 'o_weak,weak'):
                self.clause('offered', [f'offered({pair})'])
        if self.later:
            self.clause('later', ['late(X)'], ['att(X)'])
            self.attacker('late', sw['dh'] != 'ok', sw['kem'] != 'ok')
            if sw['late'] == 'yes':
                for who in 'abc' if self.goal.startswith('hide_') else 'N':
                    self.clause('late_keys', [f'late(sk({who}))'])
            if sw['net'] == 'late':
                self.clause('late_net', ['late(nk)'])

    def side(self):
        """Whose secret or agreement the goal is about."""
        return 'r' if re.match(r'(agree|secret)_r', self.goal) else 'i'

    # --- transcript and key schedule, sections 9 and 10 ---

    def hello_tag(self, hello):        # section 8.6, network_tag
        if self.sw['net'] == 'none':
            return 'none'
        return f'mac(expand(extract(zero,nk),l_ntag,none),{hello})'

    def run(self, v):
        """All values of one handshake from the view v of a side (a dict of terms); returns them in a dict."""
        f = self.faults
        net = 'zero' if self.sw['net'] == 'none' or 'net_unmixed' in f else 'nk'
        hybrid = v['suite'] == 'hybrid'
        share_i = tup(v['gx'], v['ek']) if self.sw['suite'] == 'hybrid' else v['gx']
        # 6.2, 6.3: HELLO and HELLO_REPLY
        hello0 = tup(v['ni'], v['offer'], share_i)
        tag = v.get('tag') or self.hello_tag(hello0)
        hello = tup(hello0, tag)
        share_r = tup(v['gy'], v['ct']) if hybrid else v['gy']
        reply = tup(v['suite'], v['nr'], share_r)
        # 6.7: the shared secret of the suite
        shared = v['dh']
        if v['suite'] == 'weak':
            shared = 'weakdh'
        if hybrid:
            shared = v['dh'] if 'only_dh' in f else v['ss'] if 'only_kem' in f else tup(v['ss'], v['dh'])
        # 9, items 1 to 4; 10: handshake keys
        th_hello = f'h(h({v["ctx"]},{hello}),{reply})'
        th0 = 'none' if 'hs_transcript' in f else th_hello
        early = f'extract(zero,{net})'
        hs = f'extract(expand({early},l_derived,none),{shared})'
        hs_key = lambda label: f'expand(expand({hs},{label},{th0}),l_key,none)'
        seal = lambda label, body: body if 'clear_auth' in f else f'enc({hs_key(label)},{body})'
        # 8.2, AUTH_R; 9, items 6 to 8
        cr, ci = v['cred_r'], v['cred_i']
        pub = lambda cred: re.sub(r'^cred\([^,]*,(.*)\)$', r'\1', cred)
        signed_hello = {'sigr_offer': tup(v['ni'], share_i), 'sigr_nonce': share_i,
                        'sigr_share': tup(v['ni'], v['offer'])}
        fault = next((x for x in signed_hello if x in f), None)
        th_r0 = f'h(h({v["ctx"]},{tup(signed_hello[fault], tag)}),{reply})' if fault else th_hello
        th_sign_r = f'h({th_r0},{pub(cr) if "no_creds" in f else cr})'
        sig_r = v.get('sig_r') or f'sign({v["sk_r"]},pair(responder,{th_sign_r}))'
        th_conf_r = f'h(h({th_hello},{cr}),{sig_r})'
        conf = lambda label, th: 'none' if 'no_confirm' in f else f'mac(expand({hs},{label},{th0}),{th})'
        auth_r = seal('l_hs_r', tup(cr, sig_r, conf('l_conf_r', th_conf_r)))
        # 8.3, AUTH_I; 9, items 10 to 13
        th_r = f'h({th_conf_r},{auth_r})'
        before = th_hello if 'sigi_authr' in f else th_r
        ci_signed = pub(ci) if 'no_creds' in f else ci
        th_sign_i = f'h({th_hello},{ci_signed})' if 'same_shape' in f else f'h(h({before},{v["service"]}),{ci_signed})'
        role_i = 'responder' if 'no_roles' in f else 'initiator'
        sig_i = v.get('sig_i') or f'sign({v["sk_i"]},pair({role_i},{th_sign_i}))'
        th_conf_i = f'h(h(h({th_r},{v["service"]}),{ci}),{sig_i})'
        auth_i = seal('l_hs_i', tup(v['service'], ci, sig_i, conf('l_conf_i', th_conf_i)))
        th_final = f'h({th_conf_i},{auth_i})'
        # 10: session keys; 11: records; 8.5: VERDICT
        master = f'extract(expand({hs},l_derived,none),zero)'
        th_keys = 'none' if 'keys_transcript' in f else th_final
        key = lambda label, th: f'expand(expand({master},{label},{th}),l_key,none)'
        k_i, k_r = key('l_traf_i', th_keys), key('l_traf_r', th_keys)
        if 'one_key' in f:
            k_r = k_i
        record = lambda k, kind, content: f'enc({k},pair({kind},{content}))'
        return {
            'tag': tag, 'auth_r': auth_r, 'auth_i': auth_i, 'k_i': k_i, 'k_r': k_r,
            'data_i': lambda m: record(k_i, 'data', m), 'data_r': lambda m: record(k_r, 'data', m),
            'verdict': lambda code: tup('verdict', code) if 'clear_verdict' in f else record(k_r, 'verdict', code),
            'early': lambda m: record(key('l_traf_r', 'none'), 'data', m),
            'public': [f'expand({master},{label},{th_keys})' for label in ('l_cb', 'l_sid')],
            # what both sides know, and have to agree on: at HELLO, after AUTH_R, after AUTH_I
            'hello': tup(v['ni'], v['offer'], share_i),
            'known_r': tup(cr, v['ctx'], v['offer'], v['suite'], v['ni'], v['nr'], share_i, share_r, hs),
            'known': tup(ci, cr, v['service'], v['ctx'], v['offer'], v['suite'], v['ni'], v['nr'], share_i, share_r,
                         k_i, k_r),
        }

    # --- the two sides, section 8 ---

    def suites(self):
        return [self.sw['suite']] + (['weak'] if self.sw['weak'] == 'yes' else [])

    def initiator(self, A, B):
        """Session S of agent A, who wants to reach B. Yields, for each suite: the sends of HELLO with their hypotheses,
        the hypotheses of having accepted AUTH_R, the values of the run, the name of the session."""
        weak, hybrid = self.sw['weak'] == 'yes', self.sw['suite'] == 'hybrid'
        offer = 'O' if weak else 'o_strong'
        J = f'S,{A}'
        x = f'pair(sk({A}),zero)' if 'static_share' in self.faults else f'x({J})'
        view = {'ni': f'ni({J})', 'offer': offer, 'gx': f'pub({x})', 'ek': f'ek(dk({J}))', 'ctx': 'CX',
                'service': 'SV', 'cred_i': f'cred(VA,pk(sk({A})))', 'cred_r': f'cred(VB,pk(sk({B})))',
                'sk_i': f'sk({A})', 'sk_r': f'sk({B})', 'nr': 'NR', 'gy': 'GY', 'ct': 'CT', 'dh': f'dh(GY,{x})'}
        if 'noverify_r' in self.faults:
            view['sig_r'] = 'SR'
        given = [f'att({t})' for t in ['SV', 'CX', 'VA', 'VB'] + ['O'] * weak]
        for suite in self.suites():
            ways = [{}]
            if suite == 'hybrid':               # decapsulation of a right ciphertext; implicit rejection of any other
                ways = [{'ct': f'kemct({view["ek"]},M)', 'ss': f'kemss({view["ek"]},M)'}, {'ss': f'kemrej(dk({J}),CT)'}]
            for way in ways:
                w = {**view, 'suite': suite, **way}
                r = self.run(w)
                hello = [w['ni'], w['gx']] + [w['ek']] * hybrid + [r['tag']] * (self.sw['net'] != 'none')
                hyps = given + ['att(NR)', 'att(GY)'] + [f'att({w["ct"]})'] * (suite == 'hybrid')
                hyps += [f'att({r["auth_r"]})'] + [f'offered(O,{suite})'] * weak
                yield (hello, given[4:]), hyps, r, J

    def responder(self, A, B):
        """Session T of agent B; A is whoever comes. Yields, for each suite: the sends of HELLO_REPLY, the hypotheses of
        having accepted HELLO, those of having accepted AUTH_I, the values of the run, the name of the session."""
        weak, hybrid, net = self.sw['weak'] == 'yes', self.sw['suite'] == 'hybrid', self.sw['net'] != 'none'
        offer = 'O' if weak else 'o_strong'
        for suite in self.suites():
            tag = ['TAG'] if net and 'net_unchecked' in self.faults else []
            seen = ['NI', 'GX'] + ['EK'] * hybrid + tag + ['O'] * weak
            J = f'T,{B}'
            w = {'ni': 'NI', 'offer': offer, 'gx': 'GX', 'ek': 'EK', 'ctx': 'CX', 'service': 'SV',
                 'cred_i': f'cred(VA,pk(sk({A})))', 'cred_r': f'cred(VB,pk(sk({B})))', 'sk_i': f'sk({A})',
                 'sk_r': f'sk({B})', 'nr': f'nr({J})', 'gy': f'pub(y({J}))', 'ct': f'kemct(EK,km({J}))',
                 'ss': f'kemss(EK,km({J}))', 'dh': f'dh(GX,y({J}))', 'suite': suite}
            if tag:
                w['tag'] = 'TAG'
            if 'noverify_i' in self.faults:
                w['sig_i'] = 'SI'
            r = self.run(w)
            first = [f'att({t})' for t in ['CX', 'VB'] + seen] + [f'offered(O,{suite})'] * weak
            first += [f'att({r["tag"]})'] * (net and not tag)
            then = first + ['att(SV)', 'att(VA)', f'att({r["auth_i"]})']
            yield [w['nr'], w['gy']] + [w['ct']] * (suite == 'hybrid'), first, then, r, J

    def begin(self, goal, *args):
        """The event of a step that the goal asks for."""
        return [f'began({",".join(args)})'] if self.goal.startswith(goal) else []

    def play(self, initiators, responders):
        """The clauses of all honest initiators and responders, given as pairs of agents."""
        for pair in initiators:
            for (hello, given), hyps, r, J in self.initiator(*pair):
                for term in hello:
                    self.out('hello', term, given, self.begin('agree_hello', r['hello']) if term == r['tag'] else [])
                self.out('auth_i', r['auth_i'], hyps, self.begin('agree_r', r['known']))
                for term in r['public']:
                    self.out('names', term, hyps)
                self.out('data_i', r['data_i'](f'mi({J},{pair[1]})'), hyps, self.begin('agree_r', r['known']))
        for pair in responders:
            for reply, first, then, r, J in self.responder(*pair):
                for term in reply:
                    self.out('reply', term, first)
                self.out('auth_r', r['auth_r'], first, self.begin('agree_i_auth', r['known_r']))
                if 'early_data' in self.faults:
                    self.out('early', r['early'](f'mr({J},{pair[0]})'), first)
                for code in ('accept', 'refuse'):
                    self.out(code, r['verdict'](code), then, self.begin('agree_i_verdict', code, r['known']))
                self.out('data_r', r['data_r'](f'mr({J},{pair[0]})'), then, self.begin('agree_i_data', r['known']))

    # --- goals ---

    def build(self):
        goal = self.goal
        self.environment()
        if goal.startswith('hide_i'):
            self.play([('anon', 'b'), ('b', 'B')], [('A', 'b')])
        elif goal == 'hide_r':
            self.play([('b', 'B')], [('A', 'b'), ('A', 'anon')])
        elif goal == 'hide_r_passive':
            self.play([('b', 'B')], [('A', 'b')])
            self.watched()
        else:
            self.play([('A', 'B')], [('A', 'B')])
        getattr(self, 'goal_' + goal.split('_')[0])(*goal.split('_')[1:])
        return self.clauses

    def refute(self, *hyps):
        self.clause('goal', [], hyps)

    def goal_reach(self, what):
        """Query 1. Every honest ending, between a and b, with nothing leaked."""
        for _, hyps, r, J in self.initiator('a', 'b'):
            ends = {'auth': hyps, 'accepted': hyps + [f'att({r["verdict"]("accept")})'],
                    'refused': hyps + [f'att({r["verdict"]("refuse")})'],
                    'data': hyps + [f'att({r["verdict"]("accept")})', f'att({r["data_r"]("D")})']}
            if what[0] == 'i':
                self.refute(*ends[what[1:]])
        for _, first, then, r, J in self.responder('a', 'b'):
            if what[0] == 'r':
                self.refute(*{'accepted': then, 'data': then + [f'att({r["data_i"]("D")})']}[what[1:]])

    def goal_secret(self, what, peer='b'):
        """Query 2. Data of the initiator a for b (i), of the responder b for a (r); 'self': an agent with itself."""
        p = 'late' if self.later else 'att'
        me, you = ('a', 'b') if what == 'i' else ('b', 'a')
        self.refute(f'{p}(m{what}(S,{me},{me if peer == "self" else you}))')

    def goal_hide(self, *what):
        """Query 7. The public key of anon (as a secret: weaker than indistinguishability)."""
        self.refute(f'{"late" if self.later else "att"}(pk(sk(anon)))')

    def watched(self):
        """What an eavesdropper has from sessions of a with the responder anon in which nobody interferes."""
        w = {'ni': 'ni(S,none)', 'offer': 'o_strong', 'gx': 'pub(x(S,none))', 'ek': 'ek(dk(S,none))', 'ctx': 'CX',
             'service': 'SV', 'cred_i': 'cred(v1,pk(sk(a)))', 'cred_r': 'cred(v1,pk(sk(anon)))', 'sk_i': 'sk(a)',
             'sk_r': 'sk(anon)', 'nr': 'nr(S,none)', 'gy': 'pub(y(S,none))', 'ct': 'kemct(ek(dk(S,none)),km(S,none))',
             'ss': 'kemss(ek(dk(S,none)),km(S,none))', 'dh': 'dh(pub(x(S,none)),y(S,none))', 'suite': self.sw['suite']}
        r = self.run(w)
        hybrid = self.sw['suite'] == 'hybrid'
        for term in ([w['ni'], w['gx'], r['tag'], w['nr'], w['gy'], r['auth_r'], r['auth_i'], r['verdict']('accept')]
                     + [w['ek'], w['ct']] * hybrid + r['public']
                     + [r['data_i']('mi(S,none,none)'), r['data_r']('mr(S,none,none)')]):
            self.out('watched', term, ['att(CX)', 'att(SV)'])

    def goal_agree(self, side, at=None):
        """Query 3. done(t): one side has finished with t; began(t): the other side had t before."""
        if side == 'hello':         # whoever answers a HELLO does so to a member's (it may be a replayed one, [NK-3])
            for _, first, then, r, J in self.responder('a', 'b'):
                self.clause('done', [f'done({r["hello"]})'], first)
            return
        if side == 'r':
            for _, _, then, r, J in self.responder('a', 'b'):
                self.clause('done', [f'done({r["known"]})'], then)
            return
        for _, hyps, r, J in self.initiator('a', 'b'):
            if at == 'auth':
                self.clause('done', [f'done({r["known_r"]})'], hyps)
            elif at == 'verdict':
                for code in ('accept', 'refuse'):
                    self.clause('done', [f'done({code},{r["known"]})'], hyps + [f'att({r["verdict"](code)})'])
            else:
                self.clause('done', [f'done({r["known"]})'], hyps + [f'att({r["data_r"]("D")})'])

    def goal_same(self, who):
        """Query 4. Two sides hold one traffic key: same(t,u), with t and u all that each believes."""
        for which in sorted(set(who)):
            for *_, hyps, r, J in self.initiator('A', 'B') if which == 'i' else self.responder('A', 'B'):
                for k in (r['k_i'], r['k_r']):
                    self.clause('holds', [f'holds{which}({k},{r["known"]})'], hyps)
        self.clause('same', ['same(T,U)'], [f'holds{who[0]}(K,T)', f'holds{who[1]}(K,U)'])


def tptp(clauses):
    for name, heads, hyps in clauses:
        # The kind of a credential can't be taken out of it here, so whether the attacker knows it makes no difference.
        hyps = [h for h in hyps if h not in ('att(VA)', 'att(VB)')]
        kind = 'axiom' if heads else 'negated_conjecture'
        yield f'cnf({name}, {kind}, ({" | ".join(heads + ["~" + h for h in hyps])})).'


def parse(words):
    switches, faults = {k: v[0] for k, v in SWITCHES.items()}, []
    for word in words:
        name, _, value = word.partition('=')
        if value and name in SWITCHES:
            switches[name] = value
        elif word in FAULTS:
            faults.append(word)
        else:
            sys.exit(f'horn.py: no such switch or fault: {word}')
    return switches, faults


def problem(goal, words):
    return Model(goal, *parse(words)).build()


if __name__ == '__main__':
    if sys.argv[1:] in ([], ['help']):
        switches = [f'  {k}: {v[1]}' for k, v in SWITCHES.items()]
        print(__doc__, 'switches:', *switches, 'faults:', *[f'  {k}: {v}' for k, v in FAULTS.items()], sep='\n')
    else:
        print(*tptp(problem(sys.argv[1], sys.argv[2:])), sep='\n')
