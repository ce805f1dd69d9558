#!/usr/bin/env python3
"""The handshake of protocol-spec.md for verifpal: one session, active attacker.

usage: vp.py [SWITCH ...]     writes the model to standard output
switches: net             a network key, secret; 'net_leak': known to the attacker from the start
          weak            X25519 is broken after the session
          leak_i, leak_r           long-term keys known from the start (otherwise they leak after the session)
          noverify_i, noverify_r, static_share, same_nonce     planted faults

The hash is flat where the specification has a running one; HEADER items are constant and left out. ExpandLabel(secret,
label, context) is the first output of HKDF(context, secret, label); Extract is HASH; MAC is HMAC.
"""
import sys

on = set(sys.argv[1:])
net = bool(on & {'net', 'net_leak'})
weak = '[weak from phase 1]' if 'weak' in on else ''
n1 = 'n0' if 'same_nonce' in on else 'n1'        # the nonce of the responder's second record
check = lambda side: '' if f'noverify_{side}' in on else '?'
LABELS = ('suites, suite, ctx, service, accept, zero, no, n0, n1, l_resp, l_init, l_derived, l_hs_r, l_hs_i, '
          'l_conf_r, l_conf_i, l_traf_r, l_traf_i, l_ntag, l_key')


def schedule(v, dh):
    """Sections 9 and 10 up to AUTH_R for the side with the suffix v."""
    hello = 'suites, ni, gx' + ', tag' * net
    return f'''
	th{v} = HASH(ctx, CONCAT({hello}), CONCAT(suite, nr, gy))
	early{v} = HASH(zero, {'nk' if net else 'zero'})
	salt{v} = HKDF(no, early{v}, l_derived)
	hs{v} = HASH(salt{v}, {dh})
	hsr{v} = HKDF(th{v}, hs{v}, l_hs_r)
	hsi{v} = HKDF(th{v}, hs{v}, l_hs_i)
	cr{v} = HKDF(th{v}, hs{v}, l_conf_r)
	ci{v} = HKDF(th{v}, hs{v}, l_conf_i)
	msalt{v} = HKDF(no, hs{v}, l_derived)
	ms{v} = HASH(msalt{v}, zero)'''


print(f'''// Ivy: initiator, Rex: responder. Their long-term keys leak at the end, unless they are known from the start.
attacker[active]

principal Ivy[
	knows private ski
	{'knows private nk' if net else ''}
	knows public {LABELS}
	pki = PUBKEY(ski)
	{'leaks ski' if 'leak_i' in on else ''}
	{'leaks nk' if 'net_leak' in on else ''}
]
principal Rex[
	knows private skr{', y' if 'static_share' in on else ''}
	{'knows private nk' if net else ''}
	knows public {LABELS}
	pkr = PUBKEY(skr)
	{'leaks skr' if 'leak_r' in on else ''}
]
// whom each trusts
Rex -> Ivy: [pkr]
Ivy -> Rex: [pki]

// 8.1 HELLO
principal Ivy[
	generates ni, x
	gx = PUBKEY{weak}(x)''')
if net:
    print(f'''	earlyt = HASH(zero, nk)
	tkey = HKDF(no, earlyt, l_ntag)
	tag = MAC(tkey, CONCAT(suites, ni, gx))''')
print(f''']
Ivy -> Rex: ni, gx{', tag' * net}

// 8.2 HELLO_REPLY and AUTH_R
principal Rex[
	{'' if 'static_share' in on else 'generates y'}
	generates nr
	gy = PUBKEY{weak}(y)''')
if net:
    print(f'''	earlyu = HASH(zero, nk)
	ukey = HKDF(no, earlyu, l_ntag)
	_ = ASSERT(MAC(ukey, CONCAT(suites, ni, gx)), tag)?''')
print(schedule('b', 'DH_KEX(gx, y)') + f'''
	sigr = SIGN(skr, CONCAT(l_resp, HASH(thb, pkr)))
	confr = MAC(crb, HASH(thb, pkr, sigr))
	authr = AEAD_ENC(hsrb, no, CONCAT(pkr, sigr, confr), l_hs_r)
]
Rex -> Ivy: nr, gy, authr

// 8.3 AUTH_I, and eager data
principal Ivy[''')
print(schedule('a', 'DH_KEX(gy, x)') + f'''
	plainr = AEAD_DEC(hsra, no, authr, l_hs_r)?
	idr, sr, cfr = SPLIT(plainr)?
	_ = ASSERT(idr, pkr)?
	_ = ASSERT(MAC(cra, HASH(tha, idr, sr)), cfr)?
	_ = SIGNVERIF(pkr, CONCAT(l_resp, HASH(tha, idr)), sr){check('r')}
	thia = HASH(HASH(tha, idr, sr, authr), service, pki)
	sigi = SIGN(ski, CONCAT(l_init, thia))
	confi = MAC(cia, HASH(thia, sigi))
	authi = AEAD_ENC(hsia, no, CONCAT(service, pki, sigi, confi), l_hs_i)
	thfa = HASH(thia, sigi, authi)
	tia = HKDF(thfa, msa, l_traf_i)
	tra = HKDF(thfa, msa, l_traf_r)
	kia = HKDF(no, tia, l_key)
	kra = HKDF(no, tra, l_key)
	generates mi
	di = AEAD_ENC(kia, n0, mi, no)
]
Ivy -> Rex: authi, di

// 8.3, 8.5 VERDICT, and data
principal Rex[
	plaini = AEAD_DEC(hsib, no, authi, l_hs_i)?
	sv, idi, si, cfi = SPLIT(plaini)?
	_ = ASSERT(idi, pki)?
	thib = HASH(HASH(thb, pkr, sigr, authr), sv, idi)
	_ = ASSERT(MAC(cib, HASH(thib, si)), cfi)?
	_ = SIGNVERIF(pki, CONCAT(l_init, thib), si){check('i')}
	thfb = HASH(thib, si, authi)
	tib = HKDF(thfb, msb, l_traf_i)
	trb = HKDF(thfb, msb, l_traf_r)
	kib = HKDF(no, tib, l_key)
	krb = HKDF(no, trb, l_key)
	verdict = AEAD_ENC(krb, n0, accept, no)
	mib = AEAD_DEC(kib, n0, di, no)?
	generates mr
	dr = AEAD_ENC(krb, {n1}, mr, no)
]
Rex -> Ivy: verdict, dr

principal Ivy[
	code = AEAD_DEC(kra, n0, verdict, no)?
	_ = ASSERT(code, accept)?
	mra = AEAD_DEC(kra, {n1}, dr, no)?
]

phase[1]
principal Ivy[
	leaks ski
]
principal Rex[
	leaks skr{', y' if 'static_share' in on else ''}
]

queries[
	confidentiality? mi
	confidentiality? mr
	authentication? Rex -> Ivy: authr
	authentication? Ivy -> Rex: authi
	authentication? Ivy -> Rex: di
	authentication? Rex -> Ivy: verdict
	authentication? Rex -> Ivy: dr
	freshness? authr
	freshness? authi
	equivalence? mi, mib
	equivalence? thfa, thfb
]''')
