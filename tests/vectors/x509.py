"""Decisions about chains: `--out DIR` writes x509.json, `--check DIR` compares it. generate.py does both as well. Each case is decided by
../interop/python/authority.py before it is written, and most of those by CAs by the command `openssl verify` too if `--openssl` is given."""
import argparse
import base64
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop" / "python"))
import authority
import certs
import chains
import countersign as cs
from certs import (CA, CLIENT_AUTH, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, KEY_ENCIPHERMENT, LEAF, SERVER_AUTH, SUCCESSION,
                   Ecdsa, Ed25519, Party, Rsa, alt_names, basic, constraints, extended, extension, key_usage)

START = datetime.datetime(2026, 1, 1)
SECOND, DAY = datetime.timedelta(seconds=1), datetime.timedelta(days=1)
PAST, FUTURE = (certs.FROM, START - DAY), (START + DAY, certs.UNTIL)
NOW = int(START.replace(tzinfo=datetime.timezone.utc).timestamp())
L = cs.L


def flip(signature): return bytes([signature[0] ^ 1]) + signature[1:]
def flip_last(signature): return signature[:-1] + bytes([signature[-1] ^ 1])
def beyond(signature): return signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")  # S + L


class Cofactored(Ed25519):
    """Its signatures are valid only when multiplied by the cofactor."""

    def sign(self, data):
        import generate
        return generate.sign_cofactored(self.seed)(data)


class Cases:
    def __init__(self): self.cases = []

    def _add(self, tag, comment, chain, names, role, time, reason, **fields):
        parsed = chains.parse(chains.join(certs.chain(*chain)))
        case = {"comment": f"{tag}: {comment}", "tag": tag, "role": role, "time": time, "chain": certs.chain(*chain), **fields,
                "names": chains.names(parsed[0]), "wanted": dict(names), "expect": "refuse" if reason else "accept", "reason": reason}
        got = decide(case)
        assert got == reason, (case["comment"], got, reason)
        for wanted, right in case["wanted"].items():
            assert any(chains.covers(own, wanted) for own in case["names"]) == right, wanted
        self.cases.append(case)

    def by_ca(self, comment, chain, cas, reason=None, *, role="initiator", time=NOW, crls=(), stale=False, names=(), tag="ID-9"):
        self._add(tag, comment, chain, names, role, time, reason, by="authority", cas=certs.chain(*cas), crls=list(crls), stale_crl=stale, pinned=[])

    def by_key(self, comment, chain, pinned, reason=None, *, role="initiator", time=NOW, tag="ID-11"):
        self._add(tag, comment, chain, (), role, time, reason, by="pinned", cas=[], crls=[], stale_crl=False, pinned=[k.public() for k in pinned])


def decide(case):
    parsed = chains.parse(chains.join(case["chain"]))
    if case["by"] == "pinned":
        return authority.succession_refusal(parsed, case["pinned"], case["time"])
    try:
        side = authority.Authority(case["cas"], case["crls"], case["stale_crl"])
    except authority.Refused as e:  # a list that is not to be loaded
        return str(e)
    return side.refusal(parsed, case["role"], case["time"])


def leaf(issuer, *names, key=None, subject="Leaf", extensions=LEAF, **options):
    return Party(subject, key or Ed25519("Leaf"), issuer, extensions=(*extensions, *([alt_names(*names)] if names else [])), **options)


def by_authorities(c):
    root, other = Party("Root", Ed25519("Root")), Party("Other", Ed25519("Other"))
    between = Party("Between", Ed25519("Between"), root)
    second = Party("Second", Ed25519("Second"), between)
    rsa, ecdsa = Party("RSA root", Rsa("RSA root")), Party("ECDSA root", Ecdsa("ECDSA root"))
    one, two = leaf(root), leaf(between)

    # paths
    c.by_ca("a leaf of a known CA", [one], [root])
    c.by_ca("the same of a responder", [one], [root], role="responder")
    c.by_ca("an intermediate", [two, between], [root])
    c.by_ca("the root is in the chain", [two, between, root], [root])
    c.by_ca("the leaf and the root", [one, root], [root])
    c.by_ca("the second of two known CAs", [one], [other, root])
    c.by_ca("only the intermediate is known", [two], [between])
    c.by_ca("only the intermediate is known, and the chain has it", [two, between], [between])
    c.by_ca("only the intermediate is known, and the chain goes on to the root", [two, between, root], [between])
    steps = [root]
    for n in range(7):
        steps.append(Party(f"Step {n}", Ed25519(f"Step {n}"), steps[-1]))
    c.by_ca("8 certificates, and the last is the root: six CAs between", [leaf(steps[-2]), *steps[-2::-1]], [root])
    c.by_ca("7 certificates: six CAs between", [leaf(steps[-2]), *steps[-2:0:-1]], [root])
    c.by_ca("8 certificates: seven CAs between", [leaf(steps[-1]), *steps[:0:-1]], [root], "path length")
    c.by_ca("8 certificates, and the issuer of the last but one is known", [leaf(steps[-1]), *steps[:0:-1]], [steps[1]])
    c.by_ca("an RSA root", [leaf(rsa)], [rsa])
    c.by_ca("an ECDSA root", [leaf(ecdsa)], [ecdsa])
    mixed = Party("ECDSA between", Ecdsa("ECDSA between"), rsa)
    c.by_ca("an ECDSA intermediate of an RSA root", [leaf(mixed), mixed], [rsa])
    c.by_ca("an unknown CA", [one], [other], "no known CA")
    c.by_ca("an unknown CA, and the chain has it", [one, root], [other], "no known CA")
    c.by_ca("a leaf of an intermediate that is not in the chain", [two], [root], "no known CA")
    c.by_ca("signed by itself, and unknown", [leaf(None)], [root], "no known CA")
    c.by_ca("another CA has the name", [one], [Party("Root", Ed25519("Other"))], "bad signature")
    c.by_ca("another CA has the name, and the chain has the right one", [one, root], [Party("Root", Ed25519("Other"))], "bad signature")
    c.by_ca("two known CAs have the name, and the second is right", [one], [Party("Root", Ed25519("Other")), root])
    ordinary = dict(subject="Between", key=Ed25519("Between"))
    c.by_ca("the intermediate is known by a certificate that has expired, and the root is known", [two, between],
            [Party(**ordinary, issuer=root, valid=PAST), root])
    strange = extension("1.3.6.1.4.1.99999.1", b"\5\0", True)
    for what, how in (("has expired", dict(valid=PAST)), ("has a wrong signature", dict(edit=flip)), ("is no CA", dict(extensions=LEAF)),
                      ("has another purpose", dict(extensions=(*CA, extended(CODE_SIGNING)))), ("has no keyCertSign", dict(extensions=(CA[0], LEAF[0]))),
                      ("has an unknown critical extension", dict(extensions=(*CA, strange))), ("has another key", dict(key=Ed25519("Other"))),
                      ("excludes the leaf's name", dict(extensions=(*CA, constraints(excluded=["dns:example.org"]))))):
        above = Party(**ordinary | how, issuer=root)
        c.by_ca(f"the intermediate is known; its certificate in the chain {what}", [leaf(between, "dns:a.example.org"), above], [between])
        above = Party(**dict(subject="Root", key=Ed25519("Root")) | how)
        c.by_ca(f"the root is known; its certificate in the chain {what}", [leaf(between, "dns:a.example.org"), between, above], [root])

    # signatures
    c.by_ca("the leaf's signature is wrong", [leaf(root, edit=flip)], [root], "bad signature")
    c.by_ca("the leaf is signed by its own key", [leaf(root, signer=Party("X", Ed25519("Leaf")))], [root], "bad signature")
    wrong = Party("Between", Ed25519("Between"), root, edit=flip_last)
    c.by_ca("the intermediate's signature is wrong", [leaf(wrong), wrong], [root], "bad signature")
    c.by_ca("S + L", [leaf(root, edit=beyond)], [root], "bad signature")
    loose = Party("Loose", Cofactored("Loose"), root)
    c.by_ca("valid only when multiplied by the cofactor", [leaf(loose), loose], [root], "bad signature")
    c.by_ca("an RSA signature is wrong", [leaf(rsa, edit=flip_last)], [rsa], "bad signature")
    c.by_ca("beside the signature stands another algorithm", [leaf(root, outside=certs.seq(certs.oid("1.3.101.113")))], [root], "bad signature")
    c.by_ca("beside the signature the algorithm has parameters", [leaf(root, outside=certs.seq(certs.oid("1.3.101.112"), certs.tlv(5)))], [root], "bad signature")
    c.by_ca("an ECDSA signature is wrong", [leaf(ecdsa, edit=flip_last)], [ecdsa], "bad signature")

    # time
    for what, valid, reason in (("has expired", PAST, "expired"), ("is not valid yet", FUTURE, "not yet valid")):
        c.by_ca(f"the leaf {what}", [leaf(root, valid=valid)], [root], reason)
        p = Party("Between", Ed25519("Between"), root, valid=valid)
        c.by_ca(f"the intermediate {what}", [leaf(p), p], [root], reason)
        p = Party("Root", Ed25519("Root"), valid=valid)
        c.by_ca(f"the root {what}", [one], [p], reason)
    c.by_ca("the first second", [leaf(root, valid=(START, certs.UNTIL))], [root])
    c.by_ca("a second too early", [leaf(root, valid=(START + SECOND, certs.UNTIL))], [root], "not yet valid")
    c.by_ca("the last second", [leaf(root, valid=(certs.FROM, START))], [root])
    c.by_ca("a second too late", [leaf(root, valid=(certs.FROM, START - SECOND))], [root], "expired")
    c.by_ca("the intermediate's first second", [leaf(p := Party("Between", Ed25519("Between"), root, valid=(START, certs.UNTIL))), p], [root])
    c.by_ca("the intermediate's last second", [leaf(p := Party("Between", Ed25519("Between"), root, valid=(certs.FROM, START))), p], [root])
    c.by_ca("the root's first second", [one], [Party("Root", Ed25519("Root"), valid=(START, certs.UNTIL))])
    c.by_ca("the root's last second", [one], [Party("Root", Ed25519("Root"), valid=(certs.FROM, START))])
    c.by_ca("the root's last second is past", [one], [Party("Root", Ed25519("Root"), valid=(certs.FROM, START - SECOND))], "expired")
    c.by_ca("in the year 2119", [one], [root], time=NOW + 93 * 365 * 86400)
    c.by_ca("in the year 2121", [one], [root], "expired", time=NOW + 95 * 366 * 86400)

    # CAs
    for what, extensions in (("no basic constraints", CA[1:]), ("CA is false", (basic(False), CA[1])),
                             ("no keyCertSign", (basic(), key_usage(DIGITAL_SIGNATURE, CRL_SIGN))), ("no extensions", ())):
        p = Party("Between", Ed25519("Between"), root, extensions=extensions)
        c.by_ca(f"an intermediate that is no CA: {what}", [leaf(p), p], [root], "not a CA")
        p = Party("Root", Ed25519("Root"), extensions=extensions)
        c.by_ca(f"the root is no CA: {what}", [one], [p], "not a CA")
    p = Party("Between", Ed25519("Between"), root, extensions=(basic(),))
    c.by_ca("an intermediate without a key usage", [leaf(p), p], [root])
    c.by_ca("the leaf is known as a CA, and is none", [leaf(None)], [leaf(None)], "not a CA")
    for length, reason in ((0, "path length"), (1, None)):
        p = Party("Between", Ed25519("Between"), root, extensions=(basic(True, length), CA[1]))
        q = Party("Second", Ed25519("Second"), p)
        c.by_ca(f"an intermediate below one whose path length is {length}", [leaf(q), q, p], [root], reason)
        p = Party("Root", Ed25519("Root"), extensions=(basic(True, length), CA[1]))
        q = Party("Between", Ed25519("Between"), p)
        c.by_ca(f"an intermediate below a root whose path length is {length}", [leaf(q), q], [p], reason)
    p = Party("Between", Ed25519("Between"), root, extensions=(basic(True, 0), CA[1]))
    c.by_ca("a leaf below an intermediate whose path length is 0", [leaf(p), p], [root])
    c.by_ca("a path length of 1 in the chain's third certificate is passed by the fourth", [leaf(x := Party("Third", Ed25519("Third"), y := Party(
        "Second", Ed25519("Second"), z := Party("Between", Ed25519("Between"), root, extensions=(basic(True, 1), CA[1]))))), x, y, z], [root], "path length")

    # versions
    c.by_ca("the leaf is of version 1", [leaf(root, extensions=(), version=1)], [root], "version")
    c.by_ca("the leaf is of version 2", [leaf(root, extensions=(), version=2)], [root], "version")

    # the leaf
    c.by_ca("the leaf is a CA", [leaf(root, extensions=(*CA, extended(CLIENT_AUTH)))], [root], "the leaf is a CA")
    c.by_ca("the leaf is a CA by its basic constraints only", [leaf(root, extensions=(basic(), *LEAF))], [root], "the leaf is a CA")
    c.by_ca("the leaf's basic constraints say no CA", [leaf(root, extensions=(basic(False), *LEAF))], [root])
    c.by_ca("no key usage, no extended key usage", [leaf(root, "dns:a.example", extensions=())], [root])
    c.by_ca("no subject, and names in a critical extension", [leaf(
        root, subject="", extensions=(*LEAF, extension("2.5.29.17", certs.seq(certs.alt("dns:a.example")), True)))], [root])
    c.by_ca("no extensions", [leaf(root, extensions=())], [root], role="responder")
    c.by_ca("key usage without digitalSignature", [leaf(root, extensions=(key_usage(KEY_ENCIPHERMENT), LEAF[1]))], [root], "key usage")
    c.by_ca("key usage with digitalSignature and more", [leaf(root, extensions=(key_usage(DIGITAL_SIGNATURE, KEY_ENCIPHERMENT), LEAF[1]))], [root])
    for role, right, wrong in (("initiator", CLIENT_AUTH, SERVER_AUTH), ("responder", SERVER_AUTH, CLIENT_AUTH)):
        use = lambda *purposes, **kw: [leaf(root, extensions=(LEAF[0], extended(*purposes, **kw)))]
        c.by_ca(f"just the purpose of the role, {role}", use(right), [root], role=role)
        c.by_ca(f"the purpose among others, critical, {role}", use(CODE_SIGNING, right, critical=True), [root], role=role)
        c.by_ca(f"the purpose of the other role, {role}", use(wrong), [root], "extended key usage", role=role)
        c.by_ca(f"any purpose, {role}", use("2.5.29.37.0"), [root], "extended key usage", role=role)
        c.by_ca(f"another purpose, {role}", use(CODE_SIGNING), [root], "extended key usage", role=role)
    c.by_ca("the purpose of successions is for predecessors", [leaf(root, extensions=(LEAF[0], extended(SUCCESSION)))], [root], "extended key usage")

    # extensions
    c.by_ca("an unknown critical extension of the leaf", [leaf(root, extensions=(*LEAF, strange))], [root], "unknown critical extension")
    p = Party("Between", Ed25519("Between"), root, extensions=(*CA, strange))
    c.by_ca("an unknown critical extension of the intermediate", [leaf(p), p], [root], "unknown critical extension")
    calm = extension("1.3.6.1.4.1.99999.1", b"\5\0")
    p = Party("Between", Ed25519("Between"), root, extensions=(*CA, calm))
    c.by_ca("unknown extensions that are not critical", [leaf(p, extensions=(*LEAF, calm)), p], [root])
    for what, identifier, value in (
            ("certificatePolicies", "2.5.29.32", certs.seq(certs.seq(certs.oid("1.3.6.1.4.1.99999.2")))),
            ("cRLDistributionPoints", "2.5.29.31", certs.seq(certs.seq(certs.tlv(0xA0, certs.tlv(0xA0, certs.alt("uri:http://crl.example/x")))))),
            ("policyConstraints", "2.5.29.36", certs.seq(certs.tlv(0x80, b"\0"))), ("inhibitAnyPolicy", "2.5.29.54", certs.integer(0)),
            ("authorityInfoAccess", "1.3.6.1.5.5.7.1.1", certs.seq(certs.seq(certs.oid("1.3.6.1.5.5.7.48.1"), certs.alt("uri:http://a.example")))),
            ("signedCertificateTimestampList", "1.3.6.1.4.1.11129.2.4.2", certs.octets(b"\0\0"))):
        p = Party("Between", Ed25519("Between"), root, extensions=(*CA, extension(identifier, value)))
        c.by_ca(f"{what} that is not critical", [leaf(p, extensions=(*LEAF, extension(identifier, value))), p], [root])
        c.by_ca(f"{what} that is critical", [leaf(root, extensions=(*LEAF, extension(identifier, value, True)))], [root], "unknown critical extension")
        p = Party("Between", Ed25519("Between"), root, extensions=(*CA, extension(identifier, value, True)))
        c.by_ca(f"{what} that is critical, of the intermediate", [leaf(p), p], [root], "unknown critical extension")
    c.by_ca("an extended key usage that can't be parsed", [leaf(root, extensions=(LEAF[0], extension("2.5.29.37", b"\5\0")))], [root], "damaged extension")
    p = Party("Between", Ed25519("Between"), root, extensions=(*CA, extension("2.5.29.30", b"\5\0", True)))
    c.by_ca("name constraints that can't be parsed", [leaf(p, "dns:example.org"), p], [root], "damaged extension")
    c.by_ca("all the known extensions are critical", [leaf(
        q := Party("Between", Ed25519("Between"), root, extensions=(
            *CA, constraints(permitted=["dns:example.org"]), extended(CLIENT_AUTH, critical=True), extension("2.5.29.17", certs.seq(certs.alt("dns:example.org")), True))),
        extensions=(basic(False), LEAF[0], extended(CLIENT_AUTH, critical=True), constraints(permitted=["dns:example.net"]),
                    extension("2.5.29.17", certs.seq(certs.alt("dns:a.example.org")), True))), q], [root])
    p = Party("Between", Ed25519("Between"), root, extensions=(extension("2.5.29.19", certs.seq(certs.true())), CA[1]))
    c.by_ca("basic constraints that are not critical", [leaf(p), p], [root])
    for role, right, wrong in (("initiator", CLIENT_AUTH, SERVER_AUTH), ("responder", SERVER_AUTH, CLIENT_AUTH)):
        for what, purposes, reason in (("the purpose of the role", [right], None), ("the purpose among others", [CODE_SIGNING, right], None),
                                       ("the purpose of the other role", [wrong], 1), ("any purpose", ["2.5.29.37.0"], 1), ("another purpose", [CODE_SIGNING], 1)):
            p = Party("Between", Ed25519("Between"), root, extensions=(*CA, extended(*purposes)))
            c.by_ca(f"the intermediate has {what}, {role}", [leaf(p), p], [root], reason and "extended key usage", role=role)
    q = Party("Between", Ed25519("Between"), root, extensions=(*CA, extended(SERVER_AUTH)))
    p = Party("Second", Ed25519("Second"), q)
    c.by_ca("the third certificate has the purpose of the other role", [leaf(p), p, q], [root], "extended key usage")
    p = Party("Root", Ed25519("Root"), extensions=(*CA, extended(CODE_SIGNING)))
    c.by_ca("the root has another purpose, which does not count", [one], [p])
    p = Party("Between", Ed25519("Between"), root, extensions=(*CA, extended(CODE_SIGNING)))
    c.by_ca("the intermediate has another purpose, and is the CA that is known", [leaf(p), p], [p])
    p = Party("Root", Ed25519("Root"), extensions=(*CA, extended(CODE_SIGNING)))
    c.by_ca("the root has another purpose and is in the chain", [one, p], [p])

    # name constraints
    limits = {
        "DNS permitted": (dict(permitted=["dns:example.org"]), ["dns:db.example.org"], ["dns:example.net"]),
        "DNS permitted, the name itself": (dict(permitted=["dns:example.org"]), ["dns:example.org"], ["dns:notexample.org"]),
        "DNS excluded": (dict(excluded=["dns:secret.example.org"]), ["dns:db.example.org"], ["dns:a.secret.example.org"]),
        "one of two DNS names": (dict(permitted=["dns:example.org"]), ["dns:a.example.org", "dns:b.example.org"], ["dns:a.example.org", "dns:b.example.net"]),
        "IPv4 permitted": (dict(permitted=["ip:192.0.2.0/24"]), ["ip:192.0.2.9"], ["ip:198.51.100.9"]),
        "IPv4 permitted, an IPv6 address": (dict(permitted=["ip:192.0.2.0/24"]), ["dns:example.org"], ["ip:2001:db8::9"]),
        "DNS permitted, in another case": (dict(permitted=["dns:Example.ORG"]), ["dns:DB.example.org"], ["dns:DB.example.NET"]),
        "IPv6 excluded": (dict(excluded=["ip:2001:db8:1::/48"]), ["ip:2001:db8::9"], ["ip:2001:db8:1::9"]),
        "permitted and excluded": (dict(permitted=["dns:example.org"], excluded=["dns:x.example.org"]), ["dns:y.example.org"], ["dns:x.example.org"]),
    }
    for what, (how, good, bad) in limits.items():
        p = Party("Between", Ed25519("Between"), root, extensions=(*CA, constraints(**how)))
        c.by_ca(f"name constraints: {what}, kept", [leaf(p, *good), p], [root])
        c.by_ca(f"name constraints: {what}, broken", [leaf(p, *bad), p], [root], "name constraint")
    p = Party("Between", Ed25519("Between"), root, extensions=(*CA, constraints(permitted=["dns:example.org"])))
    q = Party("Second", Ed25519("Second"), p)
    c.by_ca("name constraints: a name of another kind", [leaf(p, "uri:spiffe://example.net/x"), p], [root])
    other_kinds = {"URI": "uri:example.net", "email": "email:example.net"}
    own = {"URI": "uri:spiffe://example.net/x", "email": "email:x@example.net"}
    for kind, base in other_kinds.items():
        for side in ("permitted", "excluded"):
            r = Party("Between", Ed25519("Between"), root, extensions=(*CA, constraints(**{side: [base]})))
            c.by_ca(f"name constraints of another kind: {kind} {side}, and the leaf has such a name", [leaf(r, own[kind]), r], [root], "name constraint")
            c.by_ca(f"name constraints of another kind: {kind} {side}, and the leaf has none", [leaf(r, "dns:example.org"), r], [root])
    for side in ("permitted", "excluded"):
        r = Party("Between", Ed25519("Between"), root, extensions=(*CA, constraints(**{side: ["dn:Leaf"]})))
        c.by_ca(f"name constraints of another kind: a directory name {side}, and the leaf has a subject", [leaf(r), r], [root], "name constraint")
    r = Party("Between", Ed25519("Between"), root, extensions=(
        *CA, extension("2.5.29.30", certs.seq(certs.tlv(0xA0, certs.seq(certs.alt("dns:example.org")))))))
    c.by_ca("name constraints that are not critical, kept", [leaf(r, "dns:example.org"), r], [root])
    c.by_ca("name constraints that are not critical, broken", [leaf(r, "dns:example.net"), r], [root], "name constraint")
    r = Party("Second", Ed25519("Second"), p, extensions=(*CA, alt_names("dns:example.net")))
    c.by_ca("name constraints that the name of an intermediate breaks", [leaf(r, "dns:example.org"), r, p], [root], "name constraint")
    c.by_ca("name constraints of an intermediate two above the leaf, broken", [leaf(q, "dns:example.net"), q, p], [root], "name constraint")
    p = Party("Root", Ed25519("Root"), extensions=(*CA, constraints(permitted=["dns:example.org"])))
    c.by_ca("name constraints of the root, kept", [leaf(p, "dns:db.example.org")], [p])
    c.by_ca("name constraints of the root, broken", [leaf(p, "dns:db.example.net")], [p], "name constraint")

    # revocation lists
    stranger = leaf(root, subject="Stranger")
    lists = [root.revoke(stranger), between.revoke(leaf(between, subject="Stranger"))]
    c.by_ca("on no list", [one], [root], crls=lists[:1])
    c.by_ca("on no list, an intermediate", [two, between], [root], crls=lists)
    c.by_ca("an empty list", [one], [root], crls=[root.revoke()])
    c.by_ca("the root is in the chain, and lists only what it issued", [one, root], [root], crls=lists[:1])
    c.by_ca("another issuer has revoked the same serial number", [one], [root, other], crls=[*lists[:1], other.revoke(one)])
    c.by_ca("the leaf is revoked", [one], [root], "revoked", crls=[root.revoke(stranger, one)])
    c.by_ca("two lists of the root, and the leaf is on the first", [one], [root], "revoked", crls=[root.revoke(one), root.revoke(stranger)])
    c.by_ca("two lists of the root, and the leaf is on the second", [one], [root], "revoked", crls=[root.revoke(stranger), root.revoke(one)])
    stale = (certs.FROM, START - SECOND)
    two_lists = {"one is out of date": [root.revoke(stranger, valid=stale), root.revoke(stranger)],
                 "one has a next update that is to come, the other is empty and out of date": [root.revoke(stranger), root.revoke(valid=stale)]}
    for what, both in two_lists.items():
        c.by_ca(f"two lists of the root, and {what}", [one], [root], crls=both)
        c.by_ca(f"two lists of the root, and {what}, the other way round", [one], [root], crls=both[::-1])
    both = [root.revoke(one, valid=stale), root.revoke(stranger)]
    c.by_ca("two lists of the root, and the leaf is on the one that is out of date", [one], [root], "revoked", crls=both)
    c.by_ca("the same, the other way round", [one], [root], "revoked", crls=both[::-1])
    both = [root.revoke(stranger, valid=stale), root.revoke(valid=stale)]
    c.by_ca("two lists of the root, and both are out of date", [one], [root], "revocation list out of date", crls=both)
    both = [between.revoke(two, valid=stale), between.revoke()]
    c.by_ca("two lists of an intermediate, and the leaf is on the one that is out of date", [two, between], [root], "revoked", crls=[lists[0], *both])
    both = [between.revoke(valid=stale), between.revoke()]
    c.by_ca("two lists of an intermediate, and one is out of date", [two, between], [root], crls=[lists[0], *both])
    c.by_ca("two lists of an intermediate, and one is out of date, the other way round", [two, between], [root], crls=[*both[::-1], lists[0]])
    c.by_ca("three lists of the root, and the leaf is on the last", [one], [root], "revoked", crls=[root.revoke(), root.revoke(stranger), root.revoke(one)])
    c.by_ca("the leaf of an intermediate is revoked", [two, between], [root], "revoked", crls=[lists[0], between.revoke(two)])
    c.by_ca("the intermediate is revoked", [two, between], [root], "revoked", crls=[root.revoke(between), lists[1]])
    c.by_ca("no list of the intermediate", [two, between], [root], "no revocation list", crls=lists[:1])
    c.by_ca("no list of the root", [two, between], [root], "no revocation list", crls=lists[1:])
    c.by_ca("no list of the root, but the intermediate is known", [two, between, root], [between], crls=lists[1:])
    c.by_ca("no list of the root, but the intermediate is known as well", [two, between], [root, between], crls=lists[1:])
    c.by_ca("the intermediate is revoked, and is the CA that is known", [two, between], [between], crls=[root.revoke(between), lists[1]])
    c.by_ca("a list of another CA only", [one], [root, other], "no revocation list", crls=[other.revoke()])
    old = (certs.FROM, START - SECOND)
    c.by_ca("the list is out of date", [one], [root], "revocation list out of date", crls=[root.revoke(stranger, valid=old)])
    c.by_ca("the list of the intermediate is out of date", [two, between], [root], "revocation list out of date",
            crls=[lists[0], between.revoke(valid=old)])
    c.by_ca("the list is out of date, and may be", [one], [root], crls=[root.revoke(stranger, valid=old)], stale=True)
    c.by_ca("on a list that is out of date, and may be", [one], [root], "revoked", crls=[root.revoke(one, valid=old)], stale=True)
    c.by_ca("the list is valid for one more second", [one], [root], crls=[root.revoke(stranger, valid=(certs.FROM, START + SECOND))])
    c.by_ca("the list's next update is now", [one], [root], "revocation list out of date", crls=[root.revoke(stranger, valid=(certs.FROM, START))])
    c.by_ca("the list's next update is now, and may be past", [one], [root], crls=[root.revoke(stranger, valid=(certs.FROM, START))], stale=True)
    c.by_ca("the list's this update is to come", [one], [root], crls=[root.revoke(stranger, valid=FUTURE)])
    bad = "bad revocation list"
    c.by_ca("a list of version 1", [one], [root], bad, crls=[root.revoke(stranger, version=1)])
    c.by_ca("a delta list", [one], [root], bad, crls=[root.revoke(stranger, extensions=[extension("2.5.29.27", certs.integer(1), True)])])
    c.by_ca("a delta list that does not say so critically", [one], [root], bad, crls=[root.revoke(stranger, extensions=[extension("2.5.29.27", certs.integer(1))])])
    c.by_ca("a list with an unknown critical extension", [one], [root], bad, crls=[root.revoke(stranger, extensions=[strange])])
    c.by_ca("an indirect list", [one], [root], bad, crls=[root.revoke(stranger, extensions=[extension("2.5.29.28", certs.seq(certs.tlv(0x84, b"\xff")), True)])])
    c.by_ca("the list's signature is wrong", [one], [root], "bad revocation list", crls=[root.revoke(stranger, edit=flip_last)])
    c.by_ca("the list is signed by another key", [one], [root], "bad revocation list", crls=[root.revoke(stranger, key=Ed25519("Other"))])
    c.by_ca("the list's signature is S + L", [one], [root], "bad revocation list", crls=[root.revoke(stranger, edit=beyond)])
    q = Party("Between", Ed25519("Between"), root, extensions=(basic(), key_usage(KEY_CERT_SIGN)))
    c.by_ca("the intermediate's key usage has no cRLSign", [leaf(q), q], [root], "bad revocation list", crls=lists)
    for what, extensions, reason in (("without a key usage", CA[:1], None), ("whose key usage has no cRLSign", (CA[0], key_usage(KEY_CERT_SIGN)), bad)):
        p = Party("Root", Ed25519("Root"), extensions=extensions)
        c.by_ca(f"the list of a root {what}", [one], [p], reason, crls=[p.revoke(stranger)])
        p = Party("Between", Ed25519("Between"), root, extensions=extensions)
        if not reason:
            c.by_ca(f"the list of an intermediate {what}", [leaf(p), p], [root], crls=[lists[0], p.revoke(stranger)])
    c.by_ca("an RSA root's list", [leaf(rsa)], [rsa], crls=[rsa.revoke(stranger)])
    c.by_ca("an ECDSA root's list has the leaf", [x := leaf(ecdsa)], [ecdsa], "revoked", crls=[ecdsa.revoke(x)])

    # names
    many = leaf(root, "dns:db.example.org", "dns:*.cluster.example.org", "dns:*.org", "dns:DB2.Example.ORG", "ip:192.0.2.7",
                "ip:2001:db8::7", "uri:spiffe://example.org/db", "email:db@example.net", "dn:db.example.info")
    c.by_ca("which names are the peer's", [many], [root], role="responder", tag="ID-10", names={
        "dns:db.example.org": True, "dns:DB.EXAMPLE.ORG": True, "dns:db.example.org.": True, "dns:db2.example.org": True, "dns:db3.example.org": False,
        "dns:a.cluster.example.org": True, "dns:A.Cluster.Example.org.": True, "dns:a.b.cluster.example.org": False, "dns:cluster.example.org": False,
        "dns:cluster.org": False, "dns:example.org": False, "dns:org": False, "dns:db.example.com": False, "dns:example.net": False,
        "dns:db.example.info": False, "dns:Leaf": False, "ip:192.0.2.7": True, "ip:192.0.2.8": False, "ip:2001:db8::7": True, "ip:2001:db8::8": False,
        "uri:spiffe://example.org/db": True, "uri:spiffe://example.org/DB": False, "uri:spiffe://example.org/db/": False, "uri:spiffe://EXAMPLE.org/db": False,
        "uri:spiffe://example.org": False})
    c.by_ca("no names: the subject is none", [leaf(root, subject="db.example.org")], [root], role="responder", tag="ID-10",
            names={"dns:db.example.org": False})
    passed = leaf(root, "dns:a b.example.org", "dns:d*.example.org", "dns:a.*.example.org", "dns:*d.example.org", "dns:a/b.example.org", "ip:#c000020700",
                  "ip:#c0000207ffffff00", "ip:#", "uri:/etc/passwd", "uri:spiffe://example.org/a b", "uri:1a:b", "id:1.2.3", "dns:_db.example.org",
                  "dns:db-1.example.org.", "uri:urn:uuid:00000000-0000-4000-8000-000000000001", "ip:::ffff:192.0.2.9", "dns:localhost")
    c.by_ca("entries that are no names are passed over", [passed], [root], role="responder", tag="ID-10", names={
        "dns:ab.example.org": False, "dns:db.example.org": False, "dns:a.b.example.org": False, "dns:d*.example.org": False, "dns:dd.example.org": False,
        "ip:192.0.2.7": False, "uri:spiffe://example.org/a": False, "dns:_db.example.org": True, "dns:db-1.example.org": True,
        "dns:DB-1.Example.Org.": True, "uri:urn:uuid:00000000-0000-4000-8000-000000000001": True, "uri:URN:uuid:00000000-0000-4000-8000-000000000001": False,
        "ip:::ffff:192.0.2.9": True, "ip:192.0.2.9": False, "dns:localhost": True, "dns:LOCALHOST.": True})
    other = lambda kind: certs.tlv(0xA0, certs.oid(kind), certs.tlv(0xA0, certs.tlv(0x0C, b"x")))
    for what, entry in {"an otherName": other("1.2.3"),
                        "a registeredID": certs.alt("id:1.2.3"),
                        "an ediPartyName": certs.tlv(0xA5, certs.tlv(0xA1, certs.tlv(0x0C, b"x")))}.items():
        mixed = leaf(root, extensions=(*LEAF, extension("2.5.29.17", certs.seq(entry, certs.alt("dns:a.example")))))
        c.by_ca(f"{what} is passed over", [mixed], [root], role="responder", tag="ID-10", names={"dns:a.example": True})
    stars = leaf(root, "dns:*.cluster.example.org", "dns:*.example.org.", "dns:*.net")
    c.by_ca("a star is one label, and none of the expected name", [stars], [root], role="responder", tag="ID-10", names={
        "dns:*.cluster.example.org": False, "dns:*.example.org": False, "dns:a.example.org": True, "dns:a.example.org.": True, "dns:cluster.example.org": True,
        "dns:a.cluster.example.org": True, "dns:a.b.cluster.example.org": False, "dns:example.org": False, "dns:example.net": False})


def successions(c):
    old, new, stranger = Ed25519("Old"), Ed25519("New"), Ed25519("Stranger")
    root = Party("Root", Ed25519("Root"))
    use = (key_usage(DIGITAL_SIGNATURE), extended(SUCCESSION))
    half = 180 * DAY
    year = dict(valid=(START - half, START + half))
    before = Party("Before", old, extensions=())
    after = lambda issuer=before, key=new, **options: Party("After", key, issuer, **year | {"extensions": use} | options)
    c.by_key("a key vouches for the next one", [after(), before], [old])
    c.by_key("the same of a responder", [after(), before], [old], role="responder")
    c.by_key("one of two known keys", [after(), before], [stranger, old])
    for what, purposes in (("another", [CODE_SIGNING, SUCCESSION]), ("clientAuth", [SUCCESSION, CLIENT_AUTH]),
                           ("clientAuth and serverAuth", [CLIENT_AUTH, SERVER_AUTH, SUCCESSION]), ("any", [SUCCESSION, "2.5.29.37.0"]),
                           ("itself once more", [SUCCESSION, SUCCESSION])):
        c.by_key(f"the purpose and {what}", [after(extensions=(use[0], extended(*purposes))), before], [old], "not a succession")
    c.by_key("367 days", [after(valid=(START - half, START - half + 367 * DAY)), before], [old])
    c.by_key("367 days and a second", [after(valid=(START - half, START - half + 367 * DAY + SECOND)), before], [old], "not a succession")
    c.by_key("100 years", [after(valid=(certs.FROM, certs.UNTIL)), before], [old], "not a succession")
    c.by_key("the leaf is a CA", [after(extensions=(*CA, use[1])), before], [old], "the leaf is a CA")
    c.by_key("the leaf is a CA by its basic constraints only", [after(extensions=(basic(), *use)), before], [old], "the leaf is a CA")
    c.by_key("the leaf's basic constraints say no CA", [after(extensions=(basic(False), *use)), before], [old])
    c.by_key("the leaf's key usage has no digitalSignature", [after(extensions=(key_usage(KEY_ENCIPHERMENT), use[1])), before], [old], "key usage")
    c.by_key("an unknown critical extension of the leaf", [after(extensions=(*use, extension("1.3.6.1.4.1.99999.1", b"\5\0", True))), before],
             [old], "unknown critical extension")
    c.by_key("an unknown extension of the leaf that is not critical", [after(extensions=(*use, extension("1.3.6.1.4.1.99999.1", b"\5\0"))), before], [old])
    c.by_key("beside the signature stands another algorithm", [after(outside=certs.seq(certs.oid("1.3.101.113"))), before], [old], "bad signature")
    c.by_key("the purpose is the only extension", [after(extensions=(use[1],)), before], [old])
    c.by_key("the purpose, critical", [after(extensions=(use[0], extended(SUCCESSION, critical=True))), before], [old])
    c.by_key("the second certificate is a CA", [after(x := Party("Before", old)), x], [old])
    c.by_key("the second certificate has expired", [after(x := Party("Before", old, valid=PAST)), x], [old])
    c.by_key("the second certificate is not valid yet", [after(x := Party("Before", old, valid=FUTURE)), x], [old])
    c.by_key("the second certificate's signature is wrong", [after(x := Party("Before", old, edit=flip)), x], [old])
    c.by_key("the second certificate is signed by another key", [after(x := Party("Before", old, root, extensions=LEAF)), x], [old])
    for what, extensions in (("has a key usage without keyCertSign", (basic(), key_usage(DIGITAL_SIGNATURE))),
                             ("has an unknown critical extension", (extension("1.3.6.1.4.1.99999.1", b"\5\0", True),)),
                             ("has a path length and no CA's key usage", (basic(True, 0), key_usage(KEY_ENCIPHERMENT))),
                             ("is for successions", use), ("says that it is no CA", (basic(False),)), ("has another purpose", (extended(CODE_SIGNING, critical=True),)),
                             ("has name constraints that the leaf breaks", (*CA, constraints(permitted=["dns:example.org"])))):
        x = Party("Before", old, extensions=extensions)
        c.by_key(f"the second certificate {what}", [after(x, extensions=(*use, alt_names("dns:example.net"))), x], [old])
    c.by_key("the first second", [after(valid=(START, START + DAY)), before], [old])
    c.by_key("the last second", [after(valid=(START - DAY, START)), before], [old])
    c.by_key("a second too early", [after(valid=(START + SECOND, START + DAY)), before], [old], "not yet valid")
    c.by_key("a second too late", [after(valid=(START - DAY, START - SECOND)), before], [old], "expired")
    c.by_key("the predecessor is unknown", [after(), before], [stranger], "unknown predecessor")
    c.by_key("no key is known", [after(), before], [], "unknown predecessor")
    c.by_key("the leaf's signature is wrong", [after(edit=flip), before], [old], "bad signature")
    c.by_key("the leaf's signature is S + L", [after(edit=beyond), before], [old], "bad signature")
    c.by_key("the leaf's signature is valid only when multiplied by the cofactor", [after(x := Party("Before", Cofactored("Old"), extensions=())), x],
             [old], "bad signature")
    c.by_key("the leaf is signed by itself", [after(signer=Party("X", new)), before], [old], "bad signature")
    c.by_key("a stranger's certificate, and the predecessor's", [after(signer=Party("X", stranger)), before], [old], "bad signature")
    three = Party("Before", old, root, extensions=LEAF)
    c.by_key("three certificates", [after(three), three, root], [old], "not a succession")
    c.by_key("the predecessor signed for itself, and three certificates", [after(three), three, Party("Root", old)], [old], "not a succession")
    first = Party("Before", old, extensions=(), version=1)
    c.by_key("the second certificate is of version 1", [after(first), first], [old])
    middle = Party("Middle", Ed25519("Middle"), before, extensions=use, **year)
    c.by_key("a successor of a successor", [after(middle), middle, before], [old], "not a succession")
    c.by_key("a successor of a successor, and the first key is left out", [after(middle), middle], [old], "unknown predecessor")
    c.by_key("one certificate", [after()], [old], "not a succession")
    foreign = Party("Before", Ecdsa("Before"))
    c.by_key("the predecessor has a key for ECDSA", [after(foreign), foreign], [old], "not a succession")
    for what, extensions in (("no extended key usage", use[:1]), ("clientAuth and serverAuth", LEAF), ("no extensions", ()),
                             ("the purpose is the certificate's policy", (use[0], extension("2.5.29.32", certs.seq(certs.seq(certs.oid(SUCCESSION))))))):
        c.by_key(f"without the purpose: {what}", [after(extensions=extensions), before], [old], "not a succession", tag="ID-12")
    c.by_key("without the purpose, and the predecessor's certificate is a CA", [leaf(x := Party("Before", old)), x], [old], "not a succession", tag="ID-12")
    c.by_ca("a CA that is known does not make its successor one", [after(x := Party("Before", old)), x], [x], "extended key usage", tag="ID-12")


NOTES = {
    "by": "authority: the side knows the CAs `cas` (DER) and has the lists `crls` (DER); pinned: it accepts the raw keys `pinned`",
    "role": "of the peer that presents the chain",
    "time": "of the decision, in seconds since 1970 in UTC",
    "stale_crl": "whether lists that are out of date may be used",
    "names": "of the peer, in the order of the certificate",
    "wanted": "names that an initiator could expect, and whether one of the peer's is it",
    "reason": "what is wrong, for people; null if the chain is accepted",
}


def cases():
    c = Cases()
    by_authorities(c)
    successions(c)
    return c.cases


def text():
    def hexed(v):
        return v.hex() if isinstance(v, bytes) else [hexed(x) for x in v] if isinstance(v, list) else v
    listed = [{"id": n, **{k: hexed(v) for k, v in case.items()}} for n, case in enumerate(cases(), 1)]
    return json.dumps({"schema": "countersign-vectors/1", "spec_version": 1, "notes": NOTES, "cases": listed}, indent=2) + "\n"


def openssl():
    """Another opinion; returns the cases of which it differs."""
    differs = []
    with tempfile.TemporaryDirectory() as folder:
        def pem(name, label, ders):
            file = pathlib.Path(folder) / name
            file.write_text("".join(f"-----BEGIN {label}-----\n{base64.encodebytes(d).decode()}-----END {label}-----\n" for d in ders))
            return str(file)
        for n, case in enumerate(cases(), 1):
            if case["by"] != "authority" or case["stale_crl"]:
                continue
            args = ["openssl", "verify", "-attime", str(case["time"]), "-partial_chain", "-check_ss_sig", "-purpose",
                    {"initiator": "sslclient", "responder": "sslserver"}[case["role"]], "-trusted", pem("ca", "CERTIFICATE", case["cas"]),
                    "-untrusted", pem("chain", "CERTIFICATE", case["chain"])]
            if case["crls"]:
                args += ["-crl_check_all", "-CRLfile", pem("crl", "X509 CRL", case["crls"])]
            done = subprocess.run([*args, pem("leaf", "CERTIFICATE", case["chain"][:1])], capture_output=True, text=True)
            if (done.returncode == 0) != (case["expect"] == "accept"):
                differs.append((n, case["comment"], case["expect"], case["reason"], done.stderr.split("\n")[1:2]))
    return differs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--out", type=pathlib.Path)
    group.add_argument("--check", type=pathlib.Path)
    group.add_argument("--openssl", action="store_true", help="list the cases that `openssl verify` decides otherwise")
    args = parser.parse_args()
    if args.openssl:
        for item in openssl():
            print(*item)
        return 0
    content, path = text().encode(), (args.out or args.check) / "x509.json"
    if args.out:
        path.write_bytes(content)
    same = path.exists() and path.read_bytes() == content
    print(f"{path}: {len(json.loads(content)['cases'])} cases, {'same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
