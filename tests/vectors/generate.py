"""Deterministic test vectors: `--out DIR` writes them, `--check DIR` compares them byte for byte with what is there.
Every case is run through countersign.py again, from the values in the case alone, before it is written or compared."""
import argparse
import base64
import datetime
import hashlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop" / "python"))
import certs
import chains
import conformance
import countersign as cs
import x509
from countersign import P, L, D, MLKEM, X25519, Direction, Fail, Initiator, Responder, frame, u8, u16, u32

ALERT_NAMES = {v: k for k, v in cs.ALERTS.items()}


def derive(label, n=32):
    """n bytes that depend on the label only."""
    return b"".join(hashlib.sha256(b"countersign vectors 1/%d/" % i + label.encode()).digest()
                    for i in range(-(-n // 32)))[:n]


def queue(*values):
    """A random(n) that gives out these values."""
    values = list(values)

    def random(n):
        assert len(values[0]) == n
        return values.pop(0)
    return random


def hexed(value):
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {k: hexed(v) for k, v in value.items()}
    return [hexed(v) for v in value] if isinstance(value, (list, tuple)) else value


def outcome(action):
    """The name of the Fail, or None, and its layer."""
    try:
        action()
    except Fail as f:
        return f.alert, f.layer
    return None, None


# ---- Edwards arithmetic, to build signatures and keys that break exactly one rule ----

def inv(a): return pow(a, P - 2, P)


def point(encoding):
    y = int.from_bytes(encoding, "little") & 2 ** 255 - 1
    square = (y * y - 1) * inv(D * y * y + 1) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (P - x if x & 1 != encoding[31] >> 7 else x) % P, y % P


def add(p, q):
    (a, b), (c, d) = p, q
    t = D * a * b * c * d % P
    return (a * d + b * c) * inv(1 + t) % P, (b * d + a * c) * inv(1 - t) % P


def mul(n, p):
    r = (0, 1)
    while n:
        r, p, n = add(r, p) if n & 1 else r, add(p, p), n >> 1
    return r


def enc(p): return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")
def num(b): return int.from_bytes(b, "little")
def le(n): return n.to_bytes(32, "little")


BASE = point(le(4 * inv(5) % P))
IDENTITY = le(1)
ORDER8, OTHER8 = sorted(cs.SMALL_ORDER)[2:4]  # 26e8..., c717...
SMALL_KEYS = {"1": IDENTITY, "2": le(P - 1), "4": bytes(32), "4, the other sign": bytes(31) + b"\x80",
              "8 (first y)": ORDER8, "8 (first y, the other sign)": ORDER8[:31] + b"\x85",
              "8 (second y)": OTHER8, "8 (second y, the other sign)": OTHER8[:31] + b"\xfa"}
NOT_A_POINT = next(le(y) for y in range(2, 99) if cs.point_fault(le(y)) == "not on the curve")


def challenge(r, a, m): return num(hashlib.sha512(r + a + m).digest())


def scalar(seed):
    h = bytearray(hashlib.sha512(seed).digest()[:32])
    h[0], h[31] = h[0] & 248, h[31] & 127 | 64
    return num(h)


def sign_small_key(key):
    """A signature that satisfies the equation for a key of order 1 to 8, whether or not the challenge is reduced mod L."""
    def sign(m):
        for s in range(1, 10000):
            r = enc(mul(s, BASE))
            h = challenge(r, key, m)
            if h % 8 == 0 and h % L % 8 == 0:
                return r + le(s)
    return sign


def sign_with_r(seed, r):
    """For R of order 1: the equation holds with S = h a."""
    return lambda m: r + le(challenge(r, cs.ed25519_public(seed), m) * scalar(seed) % L)


def sign_cofactored(seed):
    """R = kB + T with T of order 8: the equation holds only when multiplied by the cofactor."""
    def sign(m):
        r = enc(add(mul(12345, BASE), point(ORDER8)))
        return r + le((12345 + challenge(r, cs.ed25519_public(seed), m) * scalar(seed)) % L)
    return sign


# ---- positive handshakes ----

def draws_of(label, side, is_hybrid):
    """What a side draws, in order."""
    more = () if not is_hybrid else ("mlkem d", "mlkem z") if side == "i" else ("mlkem m",)
    return tuple(derive(f"{label} {what}") for what in ("nonce", "x25519", *more))


EXPORTS = ((b"\0", b"", 1), (b"EXPORTER-vectors", b"", 32), (b"EXPORTER-vectors", b"some context", 100))


def handshake_case(comment, *, flags=(), context=b"", service=b"", suites=(1,), prefers=None, network_key=None, extra_shares=(),
                   padding=(0, 0), refused=None, eager=(), records=(), chain=None):
    """prefers: the responder's list; eager: records of the initiator before the VERDICT; records: (side, kind, content, padding)
    after it; chain: for the sides that have one, a function from the key to certificates in DER."""
    label = "handshake " + comment
    prefers = prefers or tuple(s for s in suites if s in cs.KNOWN_SUITES)
    suite = next(s for s in prefers if s in suites)
    seeds = {s: derive(f"{label} {s} seed") for s in "ir"}
    draws = {"i": draws_of(label + " i", "i", any(map(cs.hybrid, suites))), "r": draws_of(label + " r", "r", cs.hybrid(suite))}
    keys = {s: cs.ed25519_public(seeds[s]) for s in "ir"}
    chain = {s: make(certs.Seeded(seeds[s])) for s, make in (chain or {}).items()}
    ti, tr = {}, {}
    i = Initiator(seeds["i"], queue(*draws["i"]), expected=keys["r"], trusted=[keys["r"]], service=service, context=context,
                  suites=suites, extra_shares=extra_shares, network_key=network_key, auth_padding=padding[0], chain=chain.get("i"),
                  trace=ti)
    r = Responder(seeds["r"], queue(*draws["r"]), suites=prefers, network_key=network_key, trusted=[] if refused else [keys["i"]], context=context,
                  auth_padding=padding[1], refusal_text=refused or b"", chain=chain.get("r"), trace=tr)
    wire, listed, received = {}, [], {"i": [], "r": []}
    tx = {}

    def send(end, side, kind, content, pad):
        plaintext = cs.record_plaintext(kind, content, pad)
        listed.append({"from": end.role, "kind": cs.KIND_NAMES[kind], "content": content, "padding": pad or 0,
                       "counter": end.tx.counter, "nonce": end.tx.nonce(), "plaintext": plaintext})
        if kind == cs.REC_ALERT:
            end.out.append(end.tx.seal_plaintext(plaintext))
        else:  # DATA, KEEPALIVE, END
            end.send(kind, content, pad)
        listed[-1]["frame"] = end.out.pop()

    i.start()
    wire["hello"] = i.out.pop()
    r.feed(wire["hello"])
    wire["hello_reply"], wire["auth_r"] = r.out
    r.out.clear()
    i.feed(wire["hello_reply"] + wire["auth_r"])
    wire["auth_i"] = i.out.pop()
    for rec in eager:
        send(i, "i", *rec)
    before = list(listed)
    got = outcome(lambda: r.feed(wire["auth_i"] + b"".join(x["frame"] for x in before)))
    wire["verdict"] = r.out.pop()
    assert got[0] == ("verdict:1" if refused else None)
    got = outcome(lambda: i.feed(wire["verdict"]))
    assert got[0] == ("peer_verdict:1" if refused else None)
    for side, kind, content, pad in records:
        end, peer = (i, r) if side == "i" else (r, i)
        send(end, side, kind, content, pad)
        got = outcome(lambda: peer.feed(listed[-1]["frame"]))
        assert got[0] == (f"peer_alert:{content[0]}" if kind == cs.REC_ALERT else None)
    for end, side in ((i, "responder"), (r, "initiator")):  # what was delivered is what was sent
        sent = [x["content"] for x in listed if x["from"] == side and x["kind"] == "data"]
        assert [d for k, d in end.events if k == "data"] == ([] if refused else sent)
    assert all(ti[k] == tr[k] for k in ti if k in tr)  # both sides derived the same values
    t = {**ti, **tr}
    assert i.suite == r.suite == suite and t["TH_hello"] == hashlib.sha256(
        b"".join(u8(n) + u32(len(x)) + x for n, x in ((0, cs.PROTOCOL), (1, context), (2, wire["hello"]), (2, wire["hello_reply"])))).digest()
    exports = [{"label": a, "context": c, "length": n, "output": cs.export(t["exporter_secret"], a, c, n)} for a, c, n in EXPORTS]
    case = {"comment": comment, "flags": list(flags), "suite": suite, "network_key": network_key, "context": context,
            "service": service.decode(),
            "offer": {"suites": list(suites), "shares": [{"kind": k, "share": s} for k, s in t["shares"]]}}
    for s, name, pad, own in (("i", "initiator", padding[0], suites), ("r", "responder", padding[1], prefers)):
        credential = {"kind": 2, "data": chains.join(chain[s])} if s in chain else {"kind": 1, "data": keys[s]}
        seen = (r if s == "i" else i).peer_names
        assert block(credential["data"], credential["kind"]) in t[f"auth_{s}_plaintext"] and seen == (chains.names(chains.parse(credential["data"])[0]) if s in chain else [])
        case[name] = {"seed": seeds[s], "public_key": keys[s], "credential": credential, "names": seen, "suites": list(own),
                      "randomness": list(draws[s]), "auth_padding": pad}
    names = ("shared early_secret network_tag_key handshake_secret hs_secret_r hs_secret_i hs_key_r hs_iv_r hs_key_i hs_iv_i confirm_key_r "
             "confirm_key_i master_secret traffic_secret_r traffic_secret_i traffic_key_r traffic_iv_r traffic_key_i "
             "traffic_iv_i exporter_secret channel_binding session_id").split()
    names += ["mlkem_secret", "dh"] if cs.hybrid(suite) else []
    case |= {"wire": wire, "transcript": {k: t[k] for k in ("TH_hello", "TH_sign_r", "TH_confirm_r", "TH_sign_i",
                                                            "TH_confirm_i", "TH_final")},
             "secrets": {k: t[k] for k in names}}
    for k in ("auth_r_plaintext", "auth_i_plaintext", "signature_input_r", "signature_input_i", "signature_r", "signature_i",
              "confirm_r", "confirm_i", "verdict_plaintext"):
        case[k] = t[k]
    return case | {"exports": exports, "records": listed, "expect": "refused" if refused else "valid"}


def handshakes():
    data, end, alert, keep = cs.REC_DATA, cs.REC_END, cs.REC_ALERT, cs.REC_KEEPALIVE
    both = [("i", data, b"ping", None), ("r", data, b"pong", None), ("i", end, b"", None), ("r", data, b"more", None),
            ("r", end, b"", None)]
    return [
        handshake_case("plain", records=both),
        handshake_case("service and context", context=b"example/7", service=b"git-upload", records=both),
        handshake_case("longest service and context", context=bytes(range(255)), service=bytes(33 + n % 94 for n in range(255)),
                       records=both),
        handshake_case("padding in AUTH_R and AUTH_I", flags=["auth_padding"], padding=(300, 1), service=b"x", records=both),
        handshake_case("AUTH_R and AUTH_I of the greatest length", flags=["auth_padding"],
                       padding=(17408 - 16 - 1 - 35 - 96, 17408 - 16 - 35 - 96)),
        handshake_case("refused as not trusted, with a text", flags=["refused"], refused="nicht erwünscht".encode()),
        handshake_case("refused, and eager data is not delivered", flags=["refused", "eager"], refused=b"no",
                       eager=[(data, b"for nobody", None)]),
        handshake_case("unknown suites and shares around the known ones", flags=["unknown_offer"],
                       suites=(0x7F01, 1, 0xFFFE), extra_shares=((0, b"\0"), (200, derive("share 200", 77))),
                       records=both),
        handshake_case("the longest offer: 16 suites, 8 shares, 2,048 bytes", flags=["unknown_offer"],
                       suites=(*range(0x7001, 0x7010), 1),
                       extra_shares=(*((k, derive(f"share {k}", 100)) for k in range(101, 107)),
                                     (255, derive("share 255", 2048 - 36 - 32 - 8 * 3 - 32 - 6 * 100)))),
        handshake_case("both share kinds are offered, the responder takes suite 1", suites=(2, 4, 3, 1), prefers=(1,), records=both),
        handshake_case("eager data before the verdict", flags=["eager"],
                       eager=[(data, b"early", None), (data, b"birds", 11)], records=both),
        handshake_case("records with padding", flags=["record_padding"],
                       records=[("i", data, b"ping", 7), ("r", data, b"pong\0\0", 250), ("r", data, b"\0", 1000),
                                ("i", end, b"", 16), ("r", end, b"", 1)]),
        handshake_case("a session that ends with an alert", flags=["alert"],
                       records=[("i", data, b"ping", None), ("r", data, b"pong", None),
                                ("r", alert, b"\x0a" + "zu spät".encode(), None)]),
        *(handshake_case(f"suite {n}: {cs.SUITE_NAMES[n]}", suites=(n,), records=both) for n in (2, 3, 4)),
        *(handshake_case("four suites are offered, the responder prefers " + ", ".join(map(str, prefers)), suites=offer,
                         prefers=prefers, records=both)
          for offer, prefers in (((4, 2, 3, 1), (2, 4, 1, 3)), ((2, 4, 1, 3), (4, 3)), ((1, 2, 3, 4), (3, 1)), ((2, 4, 1, 3), (1, 2, 3, 4)))),
        handshake_case("unknown suites and shares around hybrid ones", flags=["unknown_offer"], suites=(0x7F01, 4, 0xFFFE, 1),
                       extra_shares=((0, b"\0"), (3, derive("share 3", 77)), (255, b"s")), records=both),
        handshake_case("network key, suite 1", flags=["network_key"], network_key=derive("network key 1"), records=both),
        handshake_case("network key, suite 4", flags=["network_key"], network_key=derive("network key 2"), suites=(4, 1),
                       prefers=(4, 1), records=both),
        handshake_case("network key, context, service and eager data", flags=["network_key", "eager"], context=b"example/7",
                       service=b"db", network_key=derive("network key 3"), suites=(3, 1), eager=[(data, b"early", None)], records=both),
        handshake_case("network key and refused as not trusted", flags=["network_key", "refused"], refused=b"no",
                       network_key=derive("network key 4")),
        handshake_case("hybrid with service, and padding in AUTH_R and AUTH_I", flags=["auth_padding"], suites=(2,), service=b"git-upload",
                       padding=(1024 - 11 - 131, 1024 - 131), records=both),
        handshake_case("KEEPALIVE from both sides", flags=["keepalive"],
                       records=[("i", keep, b"", None), ("r", keep, b"", 9), ("i", data, b"ping", None), ("i", end, b"", None),
                                ("r", keep, b"", None), ("r", end, b"", None)]),
        *certified_handshakes(both),
    ]


YEAR = (datetime.datetime(2026, 1, 1), datetime.datetime(2027, 1, 1))


def leaf(key, issuer, subject="Leaf", *names, extensions=certs.LEAF, **options):
    return certs.Party(subject, key, issuer, extensions=(*extensions, *([certs.alt_names(*names)] if names else [])), **options)


def ladder(label, n, key=certs.Ed25519):
    """A root and n - 1 intermediates, each issued by the one before; the root first."""
    parties = []
    for k in range(n):
        parties.append(certs.Party(f"{label} {k}", key(f"{label} {k}"), parties[-1] if parties else None))
    return parties


def certified_handshakes(both):
    root, other = certs.Party("Root", certs.Ed25519("Root")), certs.Party("Other", certs.Ed25519("Other"))
    between = certs.Party("Between", certs.Ed25519("Between"), root)
    rsa = certs.Party("RSA root", certs.Rsa("RSA root"))
    ecdsa = certs.Party("ECDSA between", certs.Ecdsa("ECDSA between"), rsa)
    steps = ladder("Step", 8)
    names = ("dns:db.example.org", "dns:*.Cluster.Example.org", "ip:192.0.2.7", "ip:2001:db8::7", "uri:spiffe://example.org/db",
             "email:db@example.org", "dn:db")

    def filled(key):
        """One certificate that makes credential_data just MAX_CREDENTIAL_LEN bytes long."""
        size = lambda n: certs.chain(leaf(key, root, extensions=(*certs.LEAF, certs.extension("1.2.3.4", bytes(n)))))
        return size(16000 + 16384 - 2 - len(size(16000)[0]))
    return [
        handshake_case("X.509 on both sides, only the leaves", flags=["x509"], records=both, chain={
            "i": lambda k: certs.chain(leaf(k, root, "Client", "uri:spiffe://example.org/client")),
            "r": lambda k: certs.chain(leaf(k, root, "Server", "dns:db.example.org"))}),
        handshake_case("X.509 with an intermediate for the responder, a raw key for the initiator", flags=["x509"], records=both,
                       chain={"r": lambda k: certs.chain(leaf(k, between, "Server", *names), between)}),
        handshake_case("X.509 with the root in the chain, no names", flags=["x509"], records=both,
                       chain={"r": lambda k: certs.chain(leaf(k, between), between, root)}),
        handshake_case("X.509 both ways, hybrid, with a service and padding", flags=["x509", "auth_padding"], suites=(2,), service=b"git-upload",
                       context=b"example/7", padding=(100, 200), records=both, chain={
                           "i": lambda k: certs.chain(leaf(k, between, "Client", "dns:client.example.org"), between),
                           "r": lambda k: certs.chain(leaf(k, between, "Server", *names), between, root)}),
        handshake_case("X.509 under CAs with ECDSA and RSA, a raw key for the responder, network key", flags=["x509", "network_key"], suites=(4, 1),
                       network_key=derive("network key x509"), records=both,
                       chain={"i": lambda k: certs.chain(leaf(k, ecdsa, "Client", "ip:2001:db8::1"), ecdsa, rsa)}),
        handshake_case("X.509 with 8 certificates both ways, AES-256-GCM", flags=["x509"], suites=(3,), records=both, chain={
            "i": lambda k: certs.chain(leaf(k, steps[-1]), *steps[:0:-1]),
            "r": lambda k: certs.chain(leaf(k, steps[-2]), *steps[-2::-1])}),
        handshake_case("X.509 with the longest credential both ways, and AUTH_R and AUTH_I of the greatest length", flags=["x509", "auth_padding"],
                       padding=(17408 - 16 - 1 - 3 - 16384 - 96, 17408 - 16 - 3 - 16384 - 96), chain={"i": filled, "r": filled}),
        handshake_case("X.509, a certificate signed by its own key, which is no CA", flags=["x509"], records=both,
                       chain={"r": lambda k: certs.chain(leaf(k, None, "Alone", "dns:alone"))}),
        handshake_case("X.509, the succession of a key", flags=["x509"], records=both, chain={"i": lambda k: certs.chain(
            leaf(k, other, "New", extensions=(certs.key_usage(certs.DIGITAL_SIGNATURE), certs.extended(certs.SUCCESSION)), valid=YEAR), other)}),
        handshake_case("X.509, refused as not trusted, with a text", flags=["x509", "refused"], refused="certificate expired".encode(), chain={
            "i": lambda k: certs.chain(leaf(k, root, "Client", "uri:spiffe://example.org/client")),
            "r": lambda k: certs.chain(leaf(k, root, "Server", "dns:db.example.org"))}),
    ]


HANDSHAKE_NOTES = {
    "auth_padding": "zero bytes follow confirm in the plaintext of AUTH_R or AUTH_I",
    "refused": "the VERDICT is a refusal; see verdict_plaintext for its code and text; the initiator's key is not trusted",
    "eager": "records of the initiator that precede all others were sent before the VERDICT",
    "unknown_offer": "suites and share kinds that version 1 does not know are passed over",
    "network_key": "both sides have the network key of the case",
    "keepalive": "KEEPALIVE records are among the records",
    "record_padding": "records have the padding flag; everywhere, padding 0 means that the flag is not set",
    "alert": "the last record is an ALERT, which ends the session",
    "x509": "a side presents an X.509 chain; whether a chain is to be believed is not asked here",
    "credential": "kind and credential_data of AUTH_R or AUTH_I",
    "names": "of the side, as its peer reads them from the chain [ID-10]",
}


# ---- key schedule and records ----

def schedules():
    cases = []
    for label, ctx, n in (("derived", b"", 32), ("handshake responder", derive("th"), 32), ("session id", derive("th"), 16),
                          ("key", b"", 32), ("iv", b"", 12), ("x", bytes(range(255)), 255), ("network tag", b"", 32),
                          ("channel binding", derive("th"), 32), ("rekey", derive("rekey content", 40), 32),
                          ("export", derive("export context"), 8160)):
        secret = derive("expand " + label)
        cases.append({"comment": f"ExpandLabel with label {label}", "flags": ["expand_label"], "secret": secret, "label": label,
                      "ctx": ctx, "length": n, "info": cs.label_info(label, ctx, n),
                      "output": cs.expand_label(secret, label, ctx, n)})
    for n, name in enumerate(("random inputs", "other random inputs", "shared secret with leading zero bytes", "network key",
                              "shared secret of 64 bytes", "network key and shared secret of 64 bytes")):
        shared = bytes(4 if n == 2 else 0) + derive(f"shared {n}", 28 if n == 2 else 64 if n > 3 else 32)
        network_key = derive(f"schedule network key {n}") if name.startswith("network key") else None
        th_hello, th_final = derive(f"TH_hello {n}"), derive(f"TH_final {n}")
        k = cs.handshake_schedule(shared, th_hello, network_key)
        k |= cs.session_schedule(k["handshake_secret"], th_final)
        cases.append({"comment": name, "flags": ["schedule"], "network_key": network_key, "shared": k.pop("shared"), "TH_hello": th_hello,
                      "TH_final": th_final, "secrets": k})
    for label, context, n in ((b"EXPORTER-a", b"", 32), (b"EXPORTER-a", b"", 33), (b"EXPORTER-a", b"\0", 32), (b"EXPORTER-b", b"", 32),
                              (b"\0", b"", 1), (bytes(range(255)), derive("export", 1000), 8160), (b"x", derive("export", 65535), 16)):
        secret = derive("exporter secret")
        cases.append({"comment": f"export with a label of {len(label)}, a context of {len(context)}, L = {n}", "flags": ["export"],
                      "exporter_secret": secret, "label": label, "context": context, "length": n,
                      "output": cs.export(secret, label, context, n)})
    for n in range(3):
        secret, content, dh = derive(f"rekey secret {n}"), u32(n) + u32(1) + derive(f"rekey share {n}"), derive(f"dh {n}") if n else bytes(32)
        after = cs.next_secret(secret, content, dh)
        key, iv = cs.key_iv(after)
        cases.append({"comment": f"the secret after a REKEY, {'peer_number %d' % n if n else 'no share of the peer'}", "flags": ["rekey"],
                      "secret": secret, "content": content, "dh": dh, "secret_after": after, "key": key, "iv": iv})
    return cases


RECORDS = (  # counter, kind, content, padding, flags
    (0, 1, b"a", None, []), (1, 1, b"hello, world", None, []), (2, 1, b"\0\0\0", 5, []), (3, 1, b"x", 0, ["zero_padding"]),
    (255, 1, derive("content", 1000), 24, []), (2 ** 32, 1, b"after 2^32", None, []), (2 ** 32 + 1, 2, b"", None, []),
    (7, 2, b"", 300, []), (8, 3, b"\x09", None, []), (9, 3, b"\x0a" + "Grüße".encode(), 2, []),
    (10, 3, b"\xc8text of an unknown alert", None, []), (0, 4, b"\0", None, []), (0, 4, b"\0", 64, []),
    (0, 4, b"\x05" + b"t" * 255, None, []), (0, 4, b"\xfe" + "\u00a0\U0001f511".encode(), None, []),
    (2 ** 48 - 2, 1, derive("content", 65536), None, []), (2 ** 48 - 1, 1, b"last", 65532, []),
    (2 ** 48 - 1, 2, b"", None, []))


def records():
    cases = []
    rekey = u32(3) + u32(4) + derive("share")
    for suite, counter, kind, content, padding, flags in (
            *((1, *x) for x in RECORDS), (1, 3, 6, rekey, None, []), (1, 4, 6, rekey, 100, []), (1, 5, 7, b"", None, []), (2, 6, 7, b"", 33, []),
            (2, 0, 1, b"a", None, []), (3, 0, 1, b"a", None, []), (4, 1, 1, b"hello, world", None, []), (3, 2, 1, b"\0\0\0", 5, []),
            (3, 3, 1, b"x", 0, ["zero_padding"]), (3, 255, 1, derive("content", 1000), 24, []), (3, 7, 2, b"", 300, []), (3, 8, 3, b"\x0bout", None, []),
            (3, 0, 4, b"\0", None, []), (3, 9, 6, rekey, None, []), (4, 10, 6, rekey, 1, []), (3, 11, 7, b"", None, []), (3, 12, 7, b"", 500, []),
            (3, 2 ** 32 - 2, 1, derive("content", 65536), None, []), (3, 2 ** 32 - 1, 2, b"", None, []), (3, 2 ** 32 - 1, 6, rekey, None, [])):
        secret = derive(f"record secret {len(cases)}")
        key, iv = cs.key_iv(secret)
        d, back = Direction(suite, secret, counter), Direction(suite, secret, counter)
        plaintext, nonce = cs.record_plaintext(kind, content, padding), d.nonce()
        whole = d.seal_plaintext(plaintext)
        assert cs.parse_record(back.open(whole), {kind}) == (kind, content)
        cases.append({"comment": f"{cs.KIND_NAMES[kind]}, {len(content)} bytes, padding {padding}", "flags": flags,
                      "suite": suite, "secret": secret, "key": key, "iv": iv, "counter": counter, "kind": cs.KIND_NAMES[kind],
                      "content": content, "padding": padding or 0, "nonce": nonce, "plaintext": plaintext, "frame": whole,
                      "expect": "valid"})
    return cases


# ---- negative handshakes ----

class Forger:
    """Mixed into a role: replaces values of AUTH_R or AUTH_I; what is built after them is consistent with them."""
    forge = {}

    def __init__(self, *args, forge=None, **kw):
        super().__init__(*args, **kw)
        self.forge = forge or {}

    def _credential(self): return self.forge.get("credential", super()._credential())
    def _sign(self, data): return self.forge["sign"](data) if "sign" in self.forge else super()._sign(data)

    def _confirm(self, key, th):
        value = super()._confirm(key, th)
        return self.forge["confirm"](value, self.keys) if "confirm" in self.forge else value

    def _seal_auth(self, kind, plaintext):
        plaintext = self.forge.get("plaintext", lambda p: p)(plaintext)
        if "seal" in self.forge:
            return frame(kind, self.forge["seal"](self.keys, kind, plaintext))
        return super()._seal_auth(kind, plaintext)

    def _combine(self, mlkem_secret, dh): return self.forge.get("combine", super()._combine)(mlkem_secret, dh)

    def _encaps(self, ek, m):
        secret, ciphertext = super()._encaps(ek, m)
        return secret, self.forge.get("ciphertext", lambda c: c)(ciphertext)

    def feed(self, data):
        """forge no_tag: a responder that takes the tag off before it looks, and does not have the key."""
        if self.forge.get("no_tag") and data[0] == cs.HELLO:
            self.tagged, data = data, frame(cs.HELLO, data[4:-32])
        super().feed(data)


class BadInitiator(Forger, Initiator): pass
class BadResponder(Forger, Responder): pass


def block(key, kind=1): return u8(kind) + u16(len(key)) + key


def make_victim(case):
    seed, random = bytes.fromhex(case["seed"]), queue(*map(bytes.fromhex, case["randomness"]))
    options = {"context": bytes.fromhex(case["context"]), "trusted": [bytes.fromhex(k) for k in case["trusted"]],
               "suites": case["suites"], "network_key": case["network_key"] and bytes.fromhex(case["network_key"])}
    if case["victim"] == "initiator":
        expected = case["expected_peer"] and bytes.fromhex(case["expected_peer"])
        return Initiator(seed, random, expected=expected, service=case["service"].encode(), **options)
    services = case["services"] and [s.encode() for s in case["services"]]
    return Responder(seed, random, services=services, **options)


def replay(case, step=None):
    """Run a negative case from its hex alone; step: size of the pieces fed (None: frame by frame)."""
    victim, n = make_victim(case), len(case["feed"])
    if case["victim"] == "initiator":
        victim.start()
    got = None
    for at, item in enumerate(case["feed"]):
        assert got is None, "the fault came too early"
        data, size = bytes.fromhex(item), step or max(1, len(item))
        for k in range(0, len(data), size):
            if got is None:
                got, layer = outcome(lambda: victim.feed(data[k:k + size]))
    sent = [x.hex() for x in victim.out]
    assert got == case["expect"] and layer == case["layer"], (case["comment"], got, layer)
    assert sent == case["victim_sends"] + ([case["alert_frame"]] if case["alert_frame"] else []), case["comment"]


class Negatives:
    def __init__(self): self.cases = []

    def add(self, tag, comment, victim, stage, expect, layer, last=None, *, forge=None, peer_key=None, untrusted=False,
            expected="peer", context=b"", peer_context=None, services=None, service=b"", same_seed=False, suites=(1,),
            peer_suites=None, network_key=None, peer_network_key="same", flags=(), **peer):
        """stage: number of correct frames before the last one; last(next correct frame, peer, victim) makes the last one."""
        label = f"negative {len(self.cases)}"
        with_mlkem, peer_suites = any(map(cs.hybrid, suites)), peer_suites or suites
        seed, draws = derive(label + " seed"), draws_of(label, victim[0], with_mlkem)
        peer_seed = seed if same_seed else derive(label + " peer seed")
        peer_draws = draws_of(label + " peer", "r" if victim == "initiator" else "i", any(map(cs.hybrid, peer_suites)))
        forge = forge(peer_seed) if callable(forge) else forge
        peer_key = peer_key or cs.ed25519_public(peer_seed)
        trusted = [] if untrusted else [peer_key]
        if expected == "other":
            expected = derive(label + " other")
            expected = cs.ed25519_public(expected)
            trusted.append(expected)
        elif expected == "peer":
            expected = peer_key if victim == "initiator" and not untrusted else None
        case = hexed({"comment": f"{tag}: {comment}", "tag": tag, "flags": flags, "victim": victim, "suites": suites,
                      "network_key": network_key, "context": context,
                      "service": service.decode() if victim == "initiator" else "", "seed": seed, "randomness": draws,
                      "expected_peer": expected, "trusted": trusted, "services": services})
        v = make_victim(case)
        options = {"context": context if peer_context is None else peer_context, "trusted": [v.public], "forge": forge,
                   "suites": peer_suites, "network_key": network_key if peer_network_key == "same" else peer_network_key,
                   "allow_self": True, **peer}
        if victim == "initiator":
            peer = BadResponder(peer_seed, queue(*peer_draws), **options)
            v.start()
        else:
            peer = BadInitiator(peer_seed, queue(*peer_draws), service=service, **options)
            peer.start()
        feed, sends, ahead = [], [], []
        v.was_fed, v.has_sent = feed, sends

        def pump():
            new = v.out[:]
            v.out.clear()
            sends.extend(new)
            for x in new:
                outcome(lambda: peer.feed(x))
            ahead.extend(peer.out)
            peer.out.clear()

        pump()
        while len(feed) < stage:
            feed.append(ahead.pop(0))
            v.feed(feed[-1])
            pump()
        following = ahead[0] if ahead else None
        feed.append(last(following, peer, v) if last else following)
        got = outcome(lambda: v.feed(feed[-1]))
        assert got == (expect, layer), (tag, comment, got)
        assert len(v.out) <= 1
        case |= hexed({"victim_sends": sends, "feed": feed, "expect": expect, "alert_frame": v.out[0] if v.out else None,
                       "layer": layer})
        if expect in cs.ALERTS:
            assert case["alert_frame"] == "c6000001%02x" % cs.ALERTS[expect] or v.secured
        else:
            assert case["alert_frame"] is None or expect.startswith("verdict:")
        replay(case)
        replay(case, 1)
        self.cases.append(case)


def const(data): return lambda *_: data
def flip(at, bit=1): return lambda f, *_: f[:at] + u8(f[at] ^ bit) + f[at + 1:] if at >= 0 else f[:at] + u8(f[at] ^ bit) + f[len(f) + at + 1:]
def record(plaintext): return lambda f, peer, v: peer.tx.seal_plaintext(plaintext)


def verdict(plaintext):
    """The peer's first record, in place of its VERDICT."""
    def last(f, peer, v):
        return Direction(peer.suite, peer.tx.secret).seal_plaintext(plaintext)
    return last


def body_edit(edit):
    """Edit the body of a frame, with a right header for the result."""
    return lambda f, peer, v: frame(f[0], edit(f[4:], v))


def tagged(network_key, hello):
    """The frame HELLO with a right tag after its body."""
    hello = cs.header(cs.HELLO, len(hello) - 4 + 32) + hello[4:]
    return hello + cs.network_tag(network_key, hello)


def hello_of(suites, shares, version=1):
    """shares: (kind, share); None stands for the share in the HELLO that is replaced. With a network key the tag is right."""
    def edit(f, peer, v):
        own = dict(peer.shares)
        shared = [(k, own[k] if s is None else s) for k, s in shares]
        hello = frame(cs.HELLO, u16(version) + f[6:38] + u8(len(suites)) + b"".join(map(u16, suites)) + u8(len(shares))
                      + b"".join(u8(k) + u16(len(s)) + s for k, s in shared))
        return tagged(peer.network_key, hello) if peer.network_key else hello
    return edit


def coefficient(at, value):
    """The encapsulation key of a HELLO, with one coefficient of 12 bits replaced."""
    def edit(ek):
        n = int.from_bytes(ek[:1152], "little")
        return (n & ~(0xFFF << 12 * at) | value << 12 * at).to_bytes(1152, "little") + ek[1152:]
    return edit


def negative_handshakes():
    n = Negatives()
    add_, mal, unx = n.add, "malformed", "unexpected_message"
    i, r = "initiator", "responder"

    # frames
    for victim, stage, data, what in ((r, 0, b"\xc7", "unknown type, judged by its first byte"), (i, 0, b"\xc0", "unknown type"),
                                      (r, 0, b"GET / HTTP/1.1\r\n", "HTTP"), (r, 0, b"SSH-2.0-x\r\n", "SSH"),
                                      (r, 0, bytes.fromhex("16030100c8"), "TLS"), (i, 1, b"\0", "unknown type before AUTH_R"),
                                      (i, 2, b"\xff", "unknown type before the VERDICT"), (r, 1, b"\xc7", "unknown type before AUTH_I")):
        add_("FR-3", what, victim, stage, mal, "frame", const(data))
    for victim, stage, kind, length, what in (
            (r, 0, cs.HELLO, 41, "HELLO too short"), (r, 0, cs.HELLO, 2049, "HELLO too long"),
            (r, 0, cs.HELLO, 2 ** 24 - 1, "HELLO of the greatest length that the header can say"),
            (i, 0, cs.HELLO_REPLY, 36, "HELLO_REPLY too short"), (i, 0, cs.HELLO_REPLY, 2049, "HELLO_REPLY too long"),
            (i, 1, cs.AUTH_R, 115, "AUTH_R too short"), (i, 1, cs.AUTH_R, 17409, "AUTH_R too long"),
            (r, 1, cs.AUTH_I, 116, "AUTH_I too short"), (r, 1, cs.AUTH_I, 17409, "AUTH_I too long"),
            (i, 2, cs.RECORD, 16, "RECORD too short"), (i, 2, cs.RECORD, 65556, "RECORD too long"),
            (i, 0, cs.ALERT, 0, "ALERT without a body"), (r, 0, cs.ALERT, 2, "ALERT too long")):
        add_("FR-2", what + "; only its header is fed [FR-1]", victim, stage, mal, "frame", const(cs.header(kind, length)))
    names = {cs.HELLO: "HELLO", cs.HELLO_REPLY: "HELLO_REPLY", cs.AUTH_R: "AUTH_R", cs.AUTH_I: "AUTH_I", cs.RECORD: "RECORD"}
    for victim, stage, legal in ((i, 0, cs.HELLO_REPLY), (i, 1, cs.AUTH_R), (i, 2, cs.RECORD), (r, 0, cs.HELLO), (r, 1, cs.AUTH_I)):
        state = {(i, 0): "AwaitHelloReply", (i, 1): "AwaitAuthR", (i, 2): "AwaitVerdict", (r, 0): "AwaitHello",
                 (r, 1): "AwaitAuthI"}[victim, stage]
        for kind in names:
            if kind != legal:
                add_("FR-3", f"{names[kind]} in state {state}; only the first byte is fed", victim, stage, unx, "session",
                     const(u8(kind)))
    add_("FR-3", "HELLO twice", r, 1, unx, "session", lambda f, peer, v: v.was_fed[0])
    add_("FR-3", "the own AUTH_R comes back", r, 1, unx, "session", lambda f, peer, v: v.has_sent[1])
    add_("FR-3", "the own AUTH_I comes back", i, 2, unx, "session", lambda f, peer, v: v.has_sent[1])
    add_("FR-3", "the own HELLO comes back", i, 0, unx, "session", lambda f, peer, v: v.has_sent[0])
    add_("FR-3", "HELLO_REPLY twice", i, 1, unx, "session", lambda f, peer, v: v.was_fed[0])
    for victim, stage, code in ((i, 0, 5), (i, 1, 8), (i, 2, 5), (r, 0, 10), (r, 1, 5), (i, 0, 12)):
        add_("AL-3", f"ALERT {ALERT_NAMES[code]} is not answered", victim, stage, f"peer_alert:{code}", "session",
             const(frame(cs.ALERT, u8(code))))
    for victim, code in ((i, 0), (r, 13), (i, 255)):
        add_("AL-2", f"ALERT with the unknown code {code} ends the handshake all the same", victim, 1, f"peer_alert:{code}",
             "session", const(frame(cs.ALERT, u8(code))))

    # HELLO
    one = (1, None)
    for version in (0, 2, 0x0100, 0xFFFF):
        add_("HS-2", f"version 0x{version:04x}", r, 0, "unsupported_version", "message", hello_of([1], [one], version))
    add_("HS-2", "the version is judged before the rest, which does not parse", r, 0, "unsupported_version", "message",
         const(frame(cs.HELLO, b"\0\2" + b"\xff" * 100)))
    for suites, shares, what in (
            ([], [one], "no suite"), ([1, *range(0x7000, 0x7010)], [one], "17 suites"), ([1, 0x7000, 1], [one], "the known suite twice"),
            ([0x7000, 1, 0x7000], [one], "an unknown suite twice"), ([1] + list(range(0x7000, 0x7003)), [], "no share"),
            ([1], [one, *((k, b"s") for k in range(200, 208))], "9 shares"), ([1], [one, one], "a share kind twice"),
            ([1], [(200, b"s"), one], "share kinds not ascending"), ([1], [one, (200, b"s"), (200, b"t")], "an unknown share kind twice"),
            ([1], [one, (200, b"")], "a share of no bytes"), ([1], [(1, b"\x09" + bytes(30))], "an X25519 share of 31 bytes"),
            ([1], [(1, b"\x09" + bytes(32))], "an X25519 share of 33 bytes"),
            ([0x7000], [(1, b"\x09" + bytes(30))], "an X25519 share of 31 bytes, needed by no suite of the offer")):
        add_("HS-3", what, r, 0, mal, "message", hello_of(suites, shares))
    add_("HS-3", "one surplus byte", r, 0, mal, "message", body_edit(lambda b, v: b + b"\0"))
    for count in (31, 33, 64):
        add_("HS-3", f"{count} surplus bytes", r, 0, mal, "message", body_edit(lambda b, v, count=count: b + bytes(count)))
    add_("HS-3", "one byte is missing", r, 0, mal, "message", body_edit(lambda b, v: b[:-1]))
    add_("HS-3", "the body ends within the suites", r, 0, mal, "message",
         body_edit(lambda b, v: b[:34] + b"\x10" + b"".join(map(u16, range(1, 11)))))
    add_("HS-3", "the body ends before the number of shares", r, 0, mal, "message",
         body_edit(lambda b, v: b[:34] + b"\x04" + b"".join(map(u16, range(1, 5)))))
    add_("HS-4", "the known suite without its share", r, 0, mal, "message", hello_of([1], [(200, derive("s"))]))
    add_("HS-5", "unknown suites only", r, 0, "no_common_suite", "agreement", hello_of([0x7000, 0x7001], [one]))
    weak = {"zero": bytes(32), "1": le(1), "p - 1": le(P - 1), "p": le(P), "p + 1": le(P + 1),
            "of order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            "zero with the top bit set": bytes(31) + b"\x80"}
    for what, share in weak.items():
        add_("HS-6", "share_i " + what, r, 0, "refused", "agreement", hello_of([1], [(1, share)]))

    # HELLO_REPLY
    add_("HS-7", "version 2", i, 0, "unsupported_version", "message", body_edit(lambda b, v: b"\0\2" + b[2:]))
    add_("HS-7", "the version is judged before the length", i, 0, "unsupported_version", "message",
         body_edit(lambda b, v: b"\0\2" + bytes(50)))
    add_("HS-8", "a suite that was not offered", i, 0, mal, "message", body_edit(lambda b, v: b[:2] + b"\0\3" + b[4:]))
    add_("HS-8", "an unknown suite", i, 0, mal, "message", body_edit(lambda b, v: b[:2] + b"\x70\0" + b[4:]))
    add_("HS-8", "one byte is missing", i, 0, mal, "message", body_edit(lambda b, v: b[:-1]))
    add_("HS-8", "one surplus byte", i, 0, mal, "message", body_edit(lambda b, v: b + b"\0"))
    add_("HS-9", "the own nonce comes back", i, 0, "refused", "agreement", body_edit(lambda b, v: b[:4] + v.nonce + b[36:]))
    add_("HS-9", "the own share comes back", i, 0, "refused", "agreement", body_edit(lambda b, v: b[:36] + v.share))
    for what, share in weak.items():
        add_("HS-10", "share_r " + what, i, 0, "refused", "agreement",
             (lambda share: body_edit(lambda b, v: b[:36] + share))(share))

    # AUTH_R and AUTH_I
    for victim, name, t_open, t_parse, t_conf, t_sig in ((i, "AUTH_R", "HS-11", "HS-12", "HS-13", "HS-14"),
                                                         (r, "AUTH_I", "HS-16", "HS-17", "HS-18", "HS-20")):
        side, other = ("r", "i") if victim == i else ("i", "r")
        lead = 0 if victim == i else 1  # the credential block starts here (with no service)
        tamper = lambda tag, what, expect, layer, last=None, **kw: add_(tag, f"{name}, {what}", victim, 1, expect, layer, last, **kw)

        for what, at in (("last byte of the tag", -1), ("first byte of the ciphertext", 4), ("a byte in the middle", 100)):
            tamper(t_open, what + " changed", "bad_record", "aead", flip(at))
        tamper(t_open, "cut by one byte, with a right header", "bad_record", "aead", body_edit(lambda b, v: b[:-1]))
        seals = {"sealed without the header": lambda k, kind, p: cs.seal(1, k["hs_key_" + side], k["hs_iv_" + side], b"", p),
                 "sealed under the keys of the other side": lambda k, kind, p: cs.seal(
                     1, k["hs_key_" + other], k["hs_iv_" + other], cs.header(kind, len(p) + 16), p),
                 "sealed under the header of the other role's message": lambda k, kind, p: cs.seal(
                     1, k["hs_key_" + side], k["hs_iv_" + side], cs.header(cs.AUTH_R + cs.AUTH_I - kind, len(p) + 16), p),
                 "sealed with the AEAD of suite 3": lambda k, kind, p: cs.seal(
                     3, k["hs_key_" + side], k["hs_iv_" + side], cs.header(kind, len(p) + 16), p)}
        for what, s in seals.items():
            tamper(t_open, what, "bad_record", "aead", forge={"seal": s})
        if victim == i:
            tamper("TR-2", "the responder has another context", "bad_record", "aead", context=b"app/1", peer_context=b"app/2")

        def plain(tag, what, edit, layer="message", **kw):
            tamper(tag, what, mal, layer, forge={"plaintext": edit}, **kw)

        plain("FR-8", "one byte of the confirmation is missing", lambda p: p[:-1])
        plain(t_parse, "most of the confirmation is missing", lambda p: p[:-31])
        plain(t_parse, "credential_len reaches beyond the end", lambda p, a=lead: p[:a + 1] + u16(len(p) - a) + p[a + 3:])
        plain(t_parse, "credential_len 0", lambda p, a=lead: p[:a + 1] + u16(0) + p[a + 3:] + bytes(20))
        plain(t_parse, "credential_len above its limit", lambda p, a=lead: p[:a + 1] + u16(16385) + bytes(16385) + p[a + 35:])
        for at, what in ((0, "first"), (49, "last")):
            plain("FR-6", f"{what} byte of the padding is not zero", lambda p, at=at: p[:len(p) - 50 + at] + b"\1" + p[len(p) - 49 + at:],
                  auth_padding=50)
        for kind in (0, 3, 255):
            tamper("ID-1", f"credential kind {kind}", mal, "credential",
                   forge=lambda s, kind=kind: {"credential": block(cs.ed25519_public(s), kind)})
        for size in (1, 31, 33, 64):
            tamper("ID-1", f"a raw key of {size} bytes", mal, "credential",
                   forge=lambda s, size=size: {"credential": block((cs.ed25519_public(s) * 2)[:size])},
                   **({"auth_padding": 40} if size < 31 else {}))
        tamper("ID-1", "a raw key of 16,384 bytes", mal, "credential", forge={"credential": block(derive("long", 16384))})
        for order, key in SMALL_KEYS.items():
            tamper("ID-2", f"a key of order {order}; the signature satisfies the equation", "refused", "credential",
                   peer_key=key, forge={"credential": block(key), "sign": sign_small_key(key)})
        for what, key in (("y = p + 1, sign 0", le(P + 1)), ("y = p, sign 0", le(P)), ("y = p + 1, sign 1", le(P + 1 + 2 ** 255))):
            tamper("ID-2", f"a key that is not canonical ({what}); the signature satisfies the equation", "refused", "credential",
                   peer_key=key, forge={"credential": block(key), "sign": sign_small_key(key)})
        for what, key in (("y = 2^255 - 1", le(2 ** 255 - 1)), ("y = p + 3, a point of large order", le(P + 3))):
            tamper("ID-2", f"a key that is not canonical ({what})", "refused", "credential", peer_key=key, forge={"credential": block(key)})
        tamper("ID-2", "a key that is not on the curve", "refused", "credential", peer_key=NOT_A_POINT,
               forge={"credential": block(NOT_A_POINT)})
        for what, change in (("one bit changed", lambda c, k: c[:-1] + u8(c[-1] ^ 1)), ("zero", lambda c, k: bytes(32)),
                             ("the last byte only is wrong", lambda c, k: c[:-1] + u8(c[-1] ^ 0x80))):
            tamper(t_conf, "confirmation: " + what, "bad_record", "confirmation", forge={"confirm": change})

        def signed(tag, what, sign, **kw):
            tamper(tag, "signature: " + what, "refused", "signature", forge=lambda s: {"sign": sign(s)}, **kw)

        ed = lambda s: cs.Ed25519PrivateKey.from_private_bytes(s).sign
        swap = {"initiator": b"responder", "responder": b"initiator"}
        role = b"responder" if victim == i else b"initiator"
        signed(t_sig, "one bit of R changed", lambda s: lambda m: flip(0)(ed(s)(m)))
        signed(t_sig, "one bit of S changed", lambda s: lambda m: flip(40)(ed(s)(m)))
        signed(t_sig, "zero", lambda s: lambda m: bytes(64))
        signed(t_sig, "by another key", lambda s: ed(derive("another key")))
        signed(t_sig, "over the input of the other role", lambda s: lambda m: ed(s)(m.replace(role, swap[role.decode()])))
        signed(t_sig, "over the bare transcript hash", lambda s: lambda m: ed(s)(m[-32:]))
        signed(t_sig, "over another transcript hash", lambda s: lambda m: ed(s)(m[:-32] + bytes(32)))
        signed("HS-19", "S + L", lambda s: lambda m: (lambda g: g[:32] + le(num(g[32:]) + L))(ed(s)(m)))
        signed("HS-19", "R of order 1; the equation holds", lambda s: sign_with_r(s, IDENTITY))
        signed("HS-19", "R of order 1, not canonical; the equation holds", lambda s: sign_with_r(s, le(P + 1)))
        signed("HS-19", "valid only when multiplied by the cofactor", sign_cofactored)
    add_("ID-3", "the responder has the initiator's own key", i, 1, "refused", "policy", same_seed=True)
    add_("HS-15", "a trusted key, but not the expected one", i, 1, "refused", "policy", expected="other")
    add_("HS-15", "no key is expected, and this one is not trusted", i, 1, "refused", "policy", untrusted=True)
    for what, name in (("a space", b"a b"), ("0x7f", b"\x7f"), ("0x00", b"\0"), ("UTF-8", "ü".encode()), ("0x20 alone", b" ")):
        add_("FR-7", f"service with {what}", r, 1, mal, "message",
             forge={"plaintext": lambda p, name=name: u8(len(name)) + name + p[1:]})
    add_("FR-8", "service_len reaches beyond the end", r, 1, mal, "message", forge={"plaintext": lambda p: b"\xff" + b"s" * (len(p) - 1)})

    # the responder's answer to an authenticated initiator
    add_("ID-3", "the initiator has the responder's own key", r, 1, "verdict:4", "policy", same_seed=True)
    add_("HS-26", "the initiator is not trusted", r, 1, "verdict:1", "policy", untrusted=True)
    add_("HS-26", "a service that is not offered", r, 1, "verdict:2", "policy", services=["a", "b"], service=b"c")
    add_("HS-26", "the empty service is not offered", r, 1, "verdict:2", "policy", services=["a"])

    # the VERDICT
    end = lambda tag, what, expect, layer, plaintext: add_(tag, what, i, 2, expect, layer, verdict(plaintext))
    end("HS-21", "DATA before the VERDICT", unx, "session", b"\1data")
    end("HS-21", "END before the VERDICT", unx, "session", b"\2")
    end("HS-21", "an ALERT record before the VERDICT", unx, "session", b"\3\x09")
    end("HS-22", "accepted, with a text", mal, "message", b"\4\0welcome")
    end("HS-23", "the unknown code 6 is a refusal", "peer_verdict:6", "policy", b"\4\6")
    end("HS-23", "the unknown code 255 is a refusal", "peer_verdict:255", "policy", b"\4\xffwhy")
    end("HS-23", "refused with code 1", "peer_verdict:1", "policy", b"\4\1no")
    end("FR-9", "VERDICT without a code", mal, "message", b"\4")
    for what, text in BAD_TEXTS:
        end("FR-9", "VERDICT with " + what, mal, "message", b"\4\5" + text)
    end("RE-3", "VERDICT with padding that is not zero", mal, "message", b"\x84\0\1\0\1")
    end("RE-5", "an unknown kind of record before the VERDICT", mal, "message", b"\5\0")
    end("HS-21", "REKEY before the VERDICT", unx, "session", b"\6" + u32(0) + u32(1) + cs.x25519_public(derive("k")))
    end("HS-21", "KEEPALIVE before the VERDICT", unx, "session", b"\7")
    add_("RE-1", "the VERDICT is changed", i, 2, "bad_record", "aead", flip(-1))
    add_("RE-1", "the first record has counter 1", i, 2, "bad_record", "aead",
         lambda f, peer, v: Direction(1, peer.tx.secret, 1).seal(cs.REC_VERDICT, b"\0"))
    add_("RE-1", "the VERDICT is sealed under the initiator's key", i, 2, "bad_record", "aead",
         lambda f, peer, v: Direction(1, v.tx.secret).seal(cs.REC_VERDICT, b"\0"))

    # an established session: the answer is an ALERT record
    for victim, stage in ((i, 3), (r, 2)):
        last = lambda tag, what, expect, layer, plaintext: add_(tag, what, victim, stage, expect, layer, record(plaintext))
        last("HS-21", f"VERDICT to an established {victim}", unx, "session", b"\4\0")
        last("RE-5", f"unknown kind to an established {victim}", mal, "message", b"\x08")
        last("RE-3", f"KEEPALIVE with content to an established {victim}", mal, "message", b"\7\0")
        last("RK-3", f"REKEY names a share that an established {victim} never sent", mal, "rekey",
             b"\6" + u32(1) + u32(1) + cs.x25519_public(derive("k")))
        add_("AL-4", f"ALERT frame to an established {victim}", victim, stage, unx, "session", const(frame(cs.ALERT, b"\5")))
        add_("FR-3", f"AUTH_R to an established {victim}", victim, stage, unx, "session", const(u8(cs.AUTH_R)))
        add_("FR-3", f"unknown type to an established {victim}", victim, stage, mal, "frame", const(b"\0"))
        add_("RE-1", f"a record that does not open, to an established {victim}", victim, stage, "bad_record", "aead",
             lambda f, peer, v: flip(-1)(peer.tx.seal(cs.REC_DATA, b"x")))
        last("RE-9", f"an ALERT record to an established {victim} is not answered", "peer_alert:10", "session", b"\3\x0abye")
    negative_suites(add_, weak)
    negative_network_key(add_, weak)
    bad = coefficient(0, 3329)(cs.mlkem_keygen(derive("d"), derive("z")).public_key().public_bytes_raw())
    for suites in ((1,), (2, 1)):
        add_("HS-27", f"a bad encapsulation key of a suite that is not chosen is not looked at, responder {list(suites)}; AUTH_I is changed", r, 1,
             "bad_record", "aead", flip(-1), suites=suites, peer_suites=(1,), extra_shares=((MLKEM, bad),))
    negative_chains(add_)
    return n.cases


def negative_chains(add_):
    """Credentials of kind 2 with one fault. All else is right: who signs has the key of the first certificate, and is trusted."""
    mal, cred, root = "malformed", "credential", certs.Party("Root", certs.Ed25519("Root"))
    between = certs.Party("Between", certs.Ed25519("Between"), root)
    steps = ladder("Step", 9)
    field = lambda der: u16(len(der)) + der

    def recoded(der):
        """The same certificate with a length in one byte more than it needs."""
        assert der[:2] == b"\x30\x82"
        return b"\x30\x83\0" + der[2:]

    def algorithm(oid, *parameters, key=None, unused=0):
        return lambda k: certs.seq(certs.seq(certs.oid(oid), *parameters), certs.bits(k.public() if key is None else key(k), unused))

    def built(version=certs.tlv(0xA0, certs.integer(2)), serial=certs.integer(7), begin=certs.time(certs.FROM), extensions=certs.seq(*certs.LEAF),
              more=b"", signature=None, after=b"", subject=certs.name("Leaf"),
              algorithm=root.key.algorithm):
        """A leaf of the root, of these parts."""
        def make(k, c, d):
            tbs = certs.seq(version, serial, algorithm, certs.name("Root"), certs.seq(begin, certs.time(certs.UNTIL)), subject,
                            k.spki(), certs.tlv(0xA3, extensions), more)
            return field(certs.seq(tbs, algorithm, certs.bits(root.key.sign(tbs)) if signature is None else signature, after))
        return make

    rdn = lambda *parts: certs.seq(certs.tlv(0x31, certs.seq(*parts)))
    san = lambda value: built(extensions=certs.seq(*certs.LEAF, certs.extension("2.5.29.17", value)))
    shapes = {  # tag, what: from the key, a right leaf and its one issuer, to credential_data
        ("ID-4", "a raw key of 32 bytes as a chain"): lambda k, c, d: k.public(),
        ("ID-4", "one byte"): lambda k, c, d: b"\0",
        ("ID-4", "an empty certificate"): lambda k, c, d: b"\0\0",
        ("ID-4", "an empty certificate at the end"): lambda k, c, d: field(c) + b"\0\0",
        ("ID-4", "an empty certificate at the beginning"): lambda k, c, d: b"\0\0" + field(c),
        ("ID-4", "cert_len reaches one byte beyond the end"): lambda k, c, d: u16(len(c) + 1) + c,
        ("ID-4", "cert_len 65,535"): lambda k, c, d: b"\xff\xff" + c,
        ("ID-4", "the second cert_len reaches beyond the end"): lambda k, c, d: field(c) + u16(len(d) + 1) + d,
        ("ID-4", "cert_len one byte too short"): lambda k, c, d: u16(len(c) - 1) + c,
        ("ID-4", "one surplus byte at the end"): lambda k, c, d: field(c) + b"\0",
        ("ID-4", "one surplus byte after two certificates"): lambda k, c, d: field(c) + field(d) + b"\x30",
        ("ID-4", "the DER is cut by one byte"): lambda k, c, d: field(c[:-1]),
        ("ID-4", "the DER of the second certificate is cut by one byte"): lambda k, c, d: field(c) + field(d[:-1]),
        ("ID-4", "bytes that are no DER"): lambda k, c, d: field(derive("garbage", 300)),
        ("ID-4", "the second certificate is no DER"): lambda k, c, d: field(c) + field(derive("garbage", 300)),
        ("ID-4", "DER that is no certificate"): lambda k, c, d: field(certs.seq(certs.integer(1), certs.integer(2))),
        ("ID-4", "an empty SEQUENCE"): lambda k, c, d: field(certs.seq()),
        ("ID-4", "the part that is signed, alone"): lambda k, c, d: field(chains.Certificate(c).tbs),
        ("ID-4", "PEM"): lambda k, c, d: field(b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(c) + b"-----END CERTIFICATE-----\n"),
        ("ID-4", "a byte after the certificate, in its field"): lambda k, c, d: field(c + b"\0"),
        ("ID-4", "two certificates in one field"): lambda k, c, d: field(c + d),
        ("ID-4", "a length that is not the shortest"): lambda k, c, d: field(recoded(c)),
        ("ID-4", "a length that is not the shortest, in the second certificate"): lambda k, c, d: field(c) + field(recoded(d)),
        ("ID-4", "an indefinite length"): lambda k, c, d: field(b"\x30\x80" + c[4:] + b"\0\0"),
        ("ID-4", "a certificate list"): lambda k, c, d: field(root.revoke()),
        ("ID-4", "version 4"): built(version=certs.tlv(0xA0, certs.integer(3))),
        ("ID-4", "a serial number that is not the shortest"): built(serial=certs.tlv(2, b"\0\7")),
        ("ID-4", "a serial number without bytes"): built(serial=certs.tlv(2)),
        ("ID-4", "the beginning of the validity has no seconds"): built(begin=certs.tlv(0x17, b"2001010000Z")),
        ("ID-4", "the beginning of the validity has an offset"): built(begin=certs.tlv(0x17, b"200101000000+0000")),
        ("ID-4", "the beginning of the validity ends with a small letter"): built(begin=certs.tlv(0x17, b"200101000000z")),
        ("ID-4", "the beginning of the validity is no date"): built(begin=certs.tlv(0x17, b"200230000000Z")),
        ("ID-4", "the algorithm of the signature has a surplus element"): built(algorithm=certs.seq(certs.oid(chains.ED25519), certs.tlv(5), certs.tlv(5))),
        ("ID-4", "critical is 0x01"): built(extensions=certs.seq(certs.seq(certs.oid("1.2.3"), certs.tlv(1, b"\1"), certs.octets(b"\5\0")))),
        ("ID-4", "an extension has a surplus element"): built(extensions=certs.seq(certs.seq(certs.oid("1.2.3"), certs.octets(b"\5\0"), certs.octets()))),
        ("ID-4", "the part that is signed has a surplus element"): built(more=certs.integer(1)),
        ("ID-4", "an element after the signature"): built(after=certs.integer(1)),
        ("ID-4", "an attribute of the subject without a value"): built(subject=rdn(certs.oid("2.5.4.3"))),
        ("ID-4", "an attribute of the subject without a type"): built(subject=rdn(certs.tlv(0x0C, b"Leaf"))),
        ("ID-4", "an attribute of the subject with a surplus element"): built(subject=rdn(certs.oid("2.5.4.3"), certs.tlv(0x0C, b"Leaf"), certs.integer(1))),
        ("ID-4", "a directory name in the subjectAltName that is none"): san(certs.seq(certs.tlv(0xA4, certs.seq(certs.tlv(0x31, certs.seq(certs.integer(1))))))),
        ("ID-4", "a subjectAltName that is no SEQUENCE"): san(certs.octets(certs.alt("dns:a.example"))),
        ("ID-4", "a subjectAltName with a byte after it"): san(certs.seq(certs.alt("dns:a.example")) + b"\0"),
        ("ID-4", "a subjectAltName that is cut by one byte"): san(certs.seq(certs.alt("dns:a.example"))[:-1]),
        ("ID-4", "a name that reaches beyond the subjectAltName"): san(certs.tlv(0x30, b"\x82\x0aa.example")),
        ("ID-4", "an entry of the subjectAltName that is an OCTET STRING"): san(certs.seq(certs.octets(b"a.example"))),
        ("ID-4", "a dNSName with the tag of one that is constructed"): san(certs.seq(certs.tlv(0xA2, certs.tlv(0x16, b"a.example")))),
        ("ID-4", "no signature"): built(signature=b""),
        ("ID-4", "a signature that is no BIT STRING"): built(signature=certs.octets(bytes(64))),
        ("ID-5", "9 certificates"): lambda k, c, d: chains.join(certs.chain(leaf(k, steps[-1]), *steps[:0:-1])),
        ("ID-5", "9 certificates, and the last is the root"): lambda k, c, d: chains.join(certs.chain(leaf(k, steps[-2]), *steps[-2::-1])),
    }
    for what, spki in {
            "a key for ECDSA with P-256": lambda k: certs.Ecdsa("Leaf").spki(), "a key for RSA": lambda k: certs.Rsa("RSA root").spki(),
            "the parameters of Ed25519 are NULL": algorithm(chains.ED25519, certs.tlv(5)),
            "a key of 31 bytes": algorithm(chains.ED25519, key=lambda k: k.public()[:31]),
            "a key of 33 bytes": algorithm(chains.ED25519, key=lambda k: k.public() + b"\0"),
            "an empty key": algorithm(chains.ED25519, key=lambda k: b""),
            "a key in an OCTET STRING": algorithm(chains.ED25519, key=lambda k: certs.octets(k.public())),
            "a key for X25519": algorithm("1.3.101.110"), "a key for Ed448": algorithm("1.3.101.113", key=lambda k: derive("Ed448", 57)),
            "the algorithm of Ed448 with 32 bytes": algorithm("1.3.101.113")}.items():
        shapes["ID-6", what] = lambda k, c, d, spki=spki: field(leaf(k, root, spki=spki(k)).der)
    order = lambda make: lambda k, c, d: chains.join(certs.chain(*make(k)))
    shapes |= {
        ("ID-7", "the order is reversed"): order(lambda k: (certs.Party("Between", k, root), leaf(certs.Ed25519("Leaf"), certs.Party("Between", k, root)))),
        ("ID-7", "the second certificate is another's"): order(lambda k: (leaf(k, between), certs.Party("Stranger", certs.Ed25519("Stranger"), root))),
        ("ID-7", "the intermediate is missing"): order(lambda k: (leaf(k, between), root)),
        ("ID-7", "the third certificate is another's"): order(lambda k: (leaf(k, between), between, certs.Party("Stranger", certs.Ed25519("Stranger")))),
        ("ID-7", "another leaf of the same issuer follows"): order(lambda k: (leaf(k, root), leaf(certs.Ed25519("Two"), root, "Two"))),
        ("ID-7", "the names differ in a letter's case"): order(lambda k: (leaf(k, root, issuer_name="root"), root)),
        ("ID-7", "the leaf twice, signed by itself"): order(lambda k: (leaf(k, None), leaf(k, None))),
        ("ID-7", "the root twice"): order(lambda k: (leaf(k, root), root, root)),
        ("ID-7", "an intermediate with the root's name, and the root"): order(lambda k: (
            leaf(k, root), certs.Party("Root", certs.Ed25519("Between"), root), root)),
        ("ID-7", "the issuer of the last but one has the leaf's name"): order(lambda k: (
            leaf(k, between), certs.Party("Between", certs.Ed25519("Between"), issuer_name="Leaf"), certs.Party("Leaf", certs.Ed25519("Leaf"), root))),
    }
    for victim, message in (("initiator", "AUTH_R"), ("responder", "AUTH_I")):
        tamper = lambda tag, what, expect, layer, **kw: add_(tag, f"{message}, X.509: {what}", victim, 1, expect, layer, flags=["x509"], **kw)
        for (tag, what), make in shapes.items():
            def credential(seed, make=make):
                k = certs.Seeded(seed)
                return {"credential": block(make(k, leaf(k, between, "Leaf", "dns:leaf.example").der, between.der), 2)}
            tamper(tag, what, mal, cred, forge=credential, **({"auth_padding": 40} if what in ("one byte", "an empty certificate") else {}))
        weak = {f"a leaf key of order {order}; the signature satisfies the equation": SMALL_KEYS[order] for order in ("1", "4", "8 (second y)")}
        weak["a leaf key that is not canonical (y = p + 1, sign 0); the signature satisfies the equation"] = le(P + 1)
        for what, key in weak.items():
            data = chains.join(certs.chain(leaf(None, between, spki=certs.ed25519_spki(key)), between))
            tamper("ID-2", what, "refused", cred, peer_key=key, forge={"credential": block(data, 2), "sign": sign_small_key(key)})
        for what, key in (("not canonical (y = p + 3, a point of large order)", le(P + 3)), ("not on the curve", NOT_A_POINT)):
            tamper("ID-2", "a leaf key that is " + what, "refused", cred, peer_key=key,
                   forge={"credential": block(chains.join(certs.chain(leaf(None, root, spki=certs.ed25519_spki(key)))), 2)})
        right = lambda seed: block(chains.join(certs.chain(leaf(certs.Seeded(seed), between), between)), 2)
        tamper("HS-13" if victim == "initiator" else "HS-18", "confirmation: one bit changed", "bad_record", "confirmation",
               forge=lambda s: {"credential": right(s), "confirm": lambda c, k: c[:-1] + u8(c[-1] ^ 1)})
        for what, seed in (("the issuer's", between.key.seed), ("another", derive("another key"))):
            tamper("HS-14" if victim == "initiator" else "HS-20", f"signed with {what} key, not the leaf's", "refused", "signature",
                   forge=lambda s, seed=seed: {"credential": right(s), "sign": cs.Ed25519PrivateKey.from_private_bytes(seed).sign})
        tamper("ID-3", "the leaf has the own key of the other side", *(("refused", "policy") if victim == "initiator" else ("verdict:4", "policy")),
               same_seed=True, forge=lambda s: {"credential": right(s)})
        tamper("HS-15" if victim == "initiator" else "HS-26", "the leaf's key is not trusted", *(
            ("refused", "policy") if victim == "initiator" else ("verdict:1", "policy")), untrusted=True, forge=lambda s: {"credential": right(s)})
    add_("HS-15", "AUTH_R, X.509: a trusted key, but not the expected one", "initiator", 1, "refused", "policy", expected="other", flags=["x509"],
         forge=lambda s: {"credential": block(chains.join(certs.chain(leaf(certs.Seeded(s), between), between)), 2)})


def negative_suites(add_, weak):
    """The hybrid suites, and AES-256-GCM."""
    mal, i, r, one, two = "malformed", "initiator", "responder", (X25519, None), (MLKEM, None)
    for suites, shares, what in (([2], [one], "suite 2"), ([4], [one], "suite 4"), ([1, 4], [one], "suites 1 and 4"), ([2], [two], "suite 2 without share 1"),
                                 ([1], [two], "suite 1 with share 2 only"), ([0x7000, 1, 2], [one, (200, b"s")], "suites 1, 2 and an unknown one")):
        add_("HS-4", f"a share is missing: {what}", r, 0, mal, "message", hello_of(suites, shares), suites=(2, 4, 1, 3))
    add_("HS-4", "share 2 is missing for a suite that the responder knows but would not choose", r, 0, mal, "message", hello_of([1, 2], [one]))
    for length in (1183, 1185, 32, 1088):
        add_("HS-3", f"an ML-KEM-768 share of {length} bytes", r, 0, mal, "message", hello_of([2], [one, (MLKEM, derive("ek", length))]), suites=(2,))
    add_("HS-3", "an ML-KEM-768 share of 1,183 bytes, needed by no suite of the offer", r, 0, mal, "message",
         hello_of([1], [one, (MLKEM, derive("ek", 1183))]))
    add_("HS-3", "share 2 before share 1", r, 0, mal, "message", hello_of([2], [two, one]), suites=(2,))
    for suites, offer in (((1,), [3]), ((1, 3), [2, 4]), ((2, 4), [1, 3]), ((4,), [2, 1, 3, 0x7000])):
        add_("HS-5", f"the offer is {offer}, the responder is configured for {list(suites)}", r, 0, "no_common_suite", "agreement",
             hello_of(offer, [one, two]), suites=suites, peer_suites=(2,))
    for at, value, suite in ((0, 3329, 2), (767, 3329, 2), (1, 4095, 4), (400, 3500, 2)):
        add_("HS-27", f"coefficient {at} of the encapsulation key is {value}, suite {suite}", r, 0, mal, "agreement",
             lambda f, peer, v, at=at, value=value, suite=suite: hello_of(
                 [suite], [one, (MLKEM, coefficient(at, value)(dict(peer.shares)[MLKEM]))])(f, peer, v), suites=(suite,))
    for what, share in weak.items():
        if what in ("zero", "p", "of order 8"):
            add_("HS-6", f"hybrid, share_i {what}", r, 0, "refused", "agreement", hello_of([4], [(X25519, share), two]), suites=(4,))
            add_("HS-10", f"hybrid, share_r {what}", i, 0, "refused", "agreement",
                 body_edit(lambda b, v, share=share: b[:36] + share + b[68:]), suites=(2,))

    # HELLO_REPLY
    for suite, offered in ((2, (1, 3)), (4, (2, 3)), (3, (2, 1))):
        add_("HS-8", f"suite {suite} was not offered, but {offered}", i, 0, mal, "message",
             lambda f, peer, v, suite=suite: frame(cs.HELLO_REPLY, f[4:6] + u16(suite) + (f[8:72] + derive("c", 1088) if cs.hybrid(suite) else f[8:72])),
             suites=offered)
    for suite, length in ((2, 68), (4, 68), (1, 1156), (3, 1156), (2, 1155), (2, 1157), (4, 1124)):
        add_("HS-8", f"HELLO_REPLY of {length} bytes for suite {suite}", i, 0, mal, "message",
             lambda f, peer, v, suite=suite, length=length: frame(
                 cs.HELLO_REPLY, (f[4:6] + u16(suite) + f[8:72] + derive("c", 1100))[:length]), suites=(1, 2, 3, 4), peer_suites=(1,))
    add_("HS-9", "hybrid, the own X25519 share comes back", i, 0, "refused", "agreement",
         body_edit(lambda b, v: b[:36] + v.share + b[68:]), suites=(4,))
    for suite, what, change in ((2, "one bit changed", flip(0)), (4, "the last bit changed", flip(-1, 128)), (2, "zero", lambda c: bytes(1088))):
        add_("HS-10", f"suite {suite}, wrong ciphertext ({what}): AUTH_R does not open", i, 1, "bad_record", "aead", forge={"ciphertext": change}, suites=(suite,))
    for what, combine in (("dh || ss", lambda ss, dh: dh + ss), ("ss only", lambda ss, dh: ss), ("dh only", lambda ss, dh: dh)):
        add_("HS-10", f"hybrid, the responder takes {what} as the shared secret", i, 1, "bad_record", "aead", forge={"combine": combine}, suites=(2,))
    for suite in (2, 3, 4):
        other = {2: 4, 3: 1, 4: 2}[suite]
        for victim, tag, side in ((i, "HS-11", "r"), (r, "HS-16", "i")):
            add_(tag, f"suite {suite}, sealed with the AEAD of suite {other}", victim, 1, "bad_record", "aead", suites=(suite,), forge={
                "seal": lambda k, kind, p, other=other, side=side: cs.seal(
                    other, k["hs_key_" + side], k["hs_iv_" + side], cs.header(kind, len(p) + 16), p)})
            add_(tag, f"suite {suite}, last byte of the tag changed", victim, 1, "bad_record", "aead", flip(-1), suites=(suite,))
        add_("HS-13", f"suite {suite}, wrong confirmation", i, 1, "bad_record", "confirmation", forge={"confirm": lambda c, k: flip(0)(c)}, suites=(suite,))
        add_("HS-18", f"suite {suite}, wrong confirmation", r, 1, "bad_record", "confirmation", forge={"confirm": lambda c, k: flip(0)(c)}, suites=(suite,))
        add_("RE-1", f"suite {suite}, the VERDICT is sealed with the AEAD of suite {other}", i, 2, "bad_record", "aead",
             lambda f, peer, v, other=other: Direction(other, peer.tx.secret).seal(cs.REC_VERDICT, b"\0"), suites=(suite,))
        add_("HS-26", f"suite {suite}, the initiator is not trusted", r, 1, "verdict:1", "policy", suites=(suite,), untrusted=True)
        add_("HS-23", f"suite {suite}, refused with code 5", i, 2, "peer_verdict:5", "policy", verdict(b"\4\5no"), suites=(suite,))
        add_("RE-5", f"suite {suite}, an unknown kind in an established session", r, 2, mal, "message", record(b"\5"), suites=(suite,))


def negative_network_key(add_, weak):
    i, r, key, one, silent = "initiator", "responder", derive("the network key"), (X25519, None), ("silent", "network")

    def quiet(tag, what, last=None, stage=0, expect=silent, **kw):
        add_(tag, "network key, " + what, r, stage, *expect, last, **({"network_key": key} | kw))

    bare = lambda f: frame(cs.HELLO, f[4:-32])
    quiet("NK-2", "the last bit of the tag changed", flip(-1, 128))
    quiet("NK-2", "the first byte of the tag changed", flip(-32))
    quiet("NK-2", "the tag is zero", lambda f, peer, v: f[:-32] + bytes(32))
    quiet("NK-2", "the tag of another network key", peer_network_key=derive("another network key"))
    quiet("NK-2", "the tag of the network key zeros(32)", peer_network_key=bytes(32))
    quiet("NK-2", "no tag", peer_network_key=None)
    quiet("NK-2", "no tag, hybrid", peer_network_key=None, suites=(2, 1))
    quiet("NK-2", "hybrid, a bit of the encapsulation key changed after the tag was made", flip(200), suites=(4,))
    for what, over in (("without the header", lambda f: f[4:-32]), ("with the header of a HELLO without a tag", lambda f: bare(f)),
                       ("with 32 zero bytes in place of the tag", lambda f: f[:-32] + bytes(32))):
        quiet("NK-2", f"the tag is made over the frame {what}", lambda f, peer, v, over=over: f[:-32] + cs.network_tag(key, over(f)))
    quiet("NK-2", "the tag is made with the network key itself", lambda f, peer, v: f[:-32] + cs.hmac(key, f[:-32]))
    quiet("NK-2", "the tag is made with early_secret", lambda f, peer, v: f[:-32] + cs.hmac(cs.extract(bytes(32), key), f[:-32]))
    quiet("NK-2", "a bit of the nonce changed after the tag was made", flip(10))
    quiet("NK-2", "a byte is added after the tag", lambda f, peer, v: frame(cs.HELLO, f[4:] + b"\0"))
    quiet("NK-2", "a body of 73 bytes, its last 32 are a right tag", lambda f, peer, v: tagged(key, frame(cs.HELLO, f[4:45])))
    quiet("NK-2", "a body of 42 bytes, its last 32 are a right tag", lambda f, peer, v: tagged(key, frame(cs.HELLO, f[4:14])))
    quiet("NK-3", "HELLO too short", const(cs.header(cs.HELLO, 41)))
    quiet("NK-3", "HELLO too long", const(cs.header(cs.HELLO, 2049)))
    for data, what in ((b"\xc7", "unknown type"), (b"\0", "unknown type 0"), (b"GET / HTTP/1.1\r\n\r\n", "HTTP"), (b"SSH-2.0-x\r\n", "SSH"),
                       (u8(cs.HELLO_REPLY), "HELLO_REPLY"), (u8(cs.AUTH_I), "AUTH_I"), (u8(cs.RECORD), "RECORD"),
                       (frame(cs.ALERT, b"\5"), "ALERT"), (cs.header(cs.ALERT, 2), "ALERT too long")):
        quiet("NK-3", what, const(data))
    for what, edit in (("version 2, no tag", lambda b: b"\0\2" + b[2:-32]), ("version 2, wrong tag", lambda b: b"\0\2" + b[2:]),
                       ("unknown suites only, wrong tag", lambda b: b[:35] + b"\x70\0" + b[37:]), ("no suite, wrong tag", lambda b: b[:34] + b"\0" + b[35:])):
        quiet("NK-2", what, body_edit(lambda b, v, edit=edit: edit(b)))
    quiet("NK-4", "a wrong tag, then the right HELLO", lambda f, peer, v: flip(-1)(f) + f)
    quiet("NK-4", "HELLO without a tag, then the right HELLO", lambda f, peer, v: bare(f) + f)
    quiet("NK-4", "HELLO_REPLY, then the right HELLO", lambda f, peer, v: frame(cs.HELLO_REPLY, bytes(68)) + f)

    # after a right tag everything is as without a network key
    loud = lambda tag, what, expect, layer, last=None, stage=0, **kw: quiet(tag, what, last, stage, (expect, layer), **kw)
    loud("HS-2", "version 2 and a right tag", "unsupported_version", "message", hello_of([1], [one], 2))
    loud("HS-2", "version 2, a rest that does not parse and a right tag", "unsupported_version", "message",
         lambda f, peer, v: tagged(key, frame(cs.HELLO, b"\0\2" + b"\xff" * 100)))
    loud("HS-3", "no suite and a right tag", "malformed", "message", hello_of([], [one]))
    loud("HS-3", "one surplus byte before a right tag", "malformed", "message", lambda f, peer, v: tagged(key, bare(f) + b"\0"))
    loud("HS-3", "one byte is missing before a right tag", "malformed", "message", lambda f, peer, v: tagged(key, bare(f)[:-1]))
    loud("HS-3", "two right tags", "malformed", "message", lambda f, peer, v: tagged(key, f))
    loud("HS-4", "suite 2 without share 2 and a right tag", "malformed", "message", hello_of([2], [one]))
    loud("HS-5", "unknown suites only and a right tag", "no_common_suite", "agreement", hello_of([0x7000], [one]))
    loud("HS-6", "share_i zero and a right tag", "refused", "agreement", hello_of([1], [(X25519, weak["zero"])]))
    loud("FR-3", "HELLO twice", "unexpected_message", "session", lambda f, peer, v: v.was_fed[0], stage=1)
    loud("FR-3", "unknown type after HELLO", "malformed", "frame", const(b"\0"), stage=1)
    loud("AL-3", "ALERT after HELLO", "peer_alert:5", "session", const(frame(cs.ALERT, b"\5")), stage=1)
    loud("HS-16", "AUTH_I changed", "bad_record", "aead", flip(-1), stage=1)
    loud("HS-26", "the initiator is not trusted", "verdict:1", "policy", stage=1, untrusted=True)
    for suites in ((1,), (4,)):
        add_("KS-1", f"suites {list(suites)}, the responder leaves the network key out of the key schedule", i, 1, "bad_record", "aead",
             network_key=key, peer_network_key=None, suites=suites, forge={"no_tag": True})
    add_("AL-3", "the responder has no network key", i, 0, "peer_alert:12", "session", const(frame(cs.ALERT, b"\x0c")), network_key=key)

    # a responder without a network key
    nk5 = lambda what, last=None, **kw: add_("NK-5", what, r, 0, "network_key", "network", last, **kw)
    nk5("a HELLO with a tag", peer_network_key=key)
    nk5("a hybrid HELLO with a tag", peer_network_key=key, suites=(2, 1))
    nk5("32 zero bytes in the place of the tag", body_edit(lambda b, v: b + bytes(32)))
    nk5("a tag, and the share of suite 2 is missing: the tag is judged before", hello_of([2], [one]), peer_network_key=key)
    nk5("a tag and unknown suites only: the tag is judged before", hello_of([0x7000], [one]), peer_network_key=key)
    add_("HS-2", "a tag and version 2: the version is judged before", r, 0, "unsupported_version", "message", hello_of([1], [one], 2),
         peer_network_key=key)
    add_("HS-3", "a tag and no suite: the form is judged before", r, 0, "malformed", "message", hello_of([], [one]), peer_network_key=key)


BAD_TEXTS = [("256 bytes of text", b"t" * 256), ("a line feed", b"a\nb"), ("U+0000", b"\0"), ("U+001F", b"\x1f"), ("U+007F", b"\x7f"),
             ("U+0080", "\x80".encode()), ("U+009F", "\x9f".encode()), ("a lone continuation byte", b"\x80"),
             ("an overlong encoding", b"\xc0\xaf"), ("a surrogate", b"\xed\xa0\x80"), ("a truncated sequence", b"a\xe2\x82"),
             ("a code point above U+10FFFF", b"\xf4\x90\x80\x80")]


# ---- negative records ----

def receiver(case):
    """A receiver in the state of the case; its handshake is not run."""
    end = Initiator(bytes(32), queue())
    end.suite = case["suite"]
    end.rx = Direction(case["suite"], bytes.fromhex(case["secret"]), case["counter"], case["counter"])
    assert (end.rx.key.hex(), end.rx.iv.hex()) == (case["key"], case["iv"])
    end.tx = Direction(case["suite"], bytes(32))
    end.state = {"established": "Open", "awaiting_verdict": "AwaitVerdict"}[case["state"]]
    end.established = end.secured = case["state"] == "established"
    return end


def check_record_case(case):
    for step in (None, 1):
        end = receiver(case)
        got, layer = None, None
        for item in case["frames"]:
            assert got is None, "the fault came too early"
            data = bytes.fromhex(item)
            for k in range(0, len(data), step or len(data)):
                if got is None:
                    got, layer = outcome(lambda: end.feed(data[k:k + (step or len(data))]))
        assert (got, layer) == (case["expect"], case["layer"]), (case["comment"], got, layer)
        assert [d.hex() for k, d in end.events if k == "data"] == case["delivered"]
        if step is None and len(data) > 5000:
            break


def negative_records():
    cases = []

    def case(tag, comment, expect, layer, *items, state="established", counter=None, suite=1):
        """items: plaintexts to seal in order, or functions of (direction) that give a frame."""
        secret = derive(f"negative record {len(cases)}")
        key, iv = cs.key_iv(secret)
        counter = (0 if state == "awaiting_verdict" else 5) if counter is None else counter
        d, frames = Direction(suite, secret, counter), []
        for item in items:
            frames.append(item(d) if callable(item) else d.seal_plaintext(item))
            if not callable(item) and item[0] == cs.REC_REKEY and len(item) == 41:  # of a sender that knows no share
                d.rekey(item[1:], bytes(32))
        c = {"comment": f"{tag}: {comment}", "tag": tag, "suite": suite, "state": state, "secret": secret, "key": key, "iv": iv, "counter": counter, "frames": frames,
             "delivered": [x[1:] for x in items[:-1] if not callable(x) and x[0] == 1], "expect": expect, "layer": layer}
        cases.append(hexed(c))
        check_record_case(cases[-1])

    mal, unx, ok = "malformed", "unexpected_message", b"\1ok"
    other = lambda d, n, p=ok: Direction(d.suite, d.secret, d.counter + n).seal_plaintext(p)
    case("RE-1", "the tag is changed", "bad_record", "aead", lambda d: flip(-1)(d.seal_plaintext(ok)))
    case("RE-1", "the ciphertext is changed", "bad_record", "aead", lambda d: flip(4)(d.seal_plaintext(ok)))
    case("RE-1", "the second record is changed; the first is delivered [RE-10]", "bad_record", "aead", ok,
         lambda d: flip(-1)(d.seal_plaintext(ok)))
    case("RE-1", "a record twice", "bad_record", "aead", ok, lambda d: other(d, -1))
    case("RE-1", "a record is left out", "bad_record", "aead", ok, lambda d: other(d, 1))
    case("RE-1", "the first record comes second", "bad_record", "aead", lambda d: other(d, 1))
    case("RE-1", "one byte cut off, with a right header", "bad_record", "aead",
         lambda d: (lambda f: frame(cs.RECORD, f[4:-1]))(d.seal_plaintext(ok)))
    case("RE-1", "sealed without the header", "bad_record", "aead", lambda d: frame(cs.RECORD, cs.seal(1, d.key, d.nonce(), b"", ok)))
    case("RE-1", "sealed under the bare iv", "bad_record", "aead",
         lambda d: frame(cs.RECORD, cs.seal(1, d.key, d.iv, cs.header(cs.RECORD, len(ok) + 16), ok)))
    case("RE-1", "counter in little-endian order", "bad_record", "aead", lambda d: frame(cs.RECORD, cs.seal(
        1, d.key, bytes(a ^ b for a, b in zip(d.iv, bytes(4) + d.counter.to_bytes(8, "little"))), cs.header(cs.RECORD, len(ok) + 16), ok)))
    case("RE-1", "counter cut to 32 bits", "bad_record", "aead", lambda d: Direction(1, d.secret, 7).seal_plaintext(ok),
         counter=2 ** 32 + 7)
    for p, what in ((b"\1", "empty DATA"), (b"\x81\0\0\0\2", "empty DATA with padding"), (b"\2x", "END with content"),
                    (b"\2\0", "END with a zero byte"), (b"\x82x\0\0\1", "END with content and padding"),
                    (b"\3", "ALERT without a code"), (b"\x83\0\0\0\2", "ALERT without a code, with padding"),
                    (b"\x81ok\0\1\0\2", "last byte of the padding is not zero"), (b"\x81ok\1\0\0\2", "first byte of the padding is not zero"),
                    (b"\x81ok\0\3", "the padding reaches into the content"), (b"\x81ok\0\4", "padding longer than what is there"),
                    (b"\x81ok\xff\xff", "padding of 65,535 bytes claimed"), (b"\x81", "no pad_len"), (b"\x81\0", "half of pad_len"),
                    (b"\x81\0\0", "pad_len only: an empty DATA"), (b"\x82\0", "END with half of pad_len"),
                    (b"\1" + derive("c", 65537), "content one byte too long"), (b"\1" + derive("c", 65538), "content two bytes too long")):
        case("RE-3", what, mal, "message", p)
    case("RE-4", "content and padding one byte too long: only the length of the frame can say so", mal, "frame",
         const(cs.header(cs.RECORD, 65556)))
    for kind in (0, 5, 8, 9, 0x7F, 0x80, 0x85, 0x88, 0xFF):
        case("RE-5", f"unknown kind 0x{kind:02x}", mal, "message", u8(kind) + (bytes(4) if kind & 0x80 else b"x"))
    case("RE-5", "unknown kind without content", mal, "message", b"\5")
    case("RE-5", "VERDICT in an established session", unx, "session", b"\4\0")
    case("RE-5", "VERDICT after DATA", unx, "session", ok, b"\4\1no")
    for p, what in ((ok, "DATA"), (b"\2", "END"), (b"\3\x0a", "ALERT"), (b"\4\0", "VERDICT"), (b"\5", "an unknown kind")):
        case("RE-6", what + " after END", unx, "session", b"\2", p)
    case("RE-6", "a record that does not open, after END", unx, "session", b"\2", lambda d: flip(-1)(d.seal_plaintext(ok)))
    case("RE-6", "ALERT frame after END", unx, "session", ok, b"\2", const(frame(cs.ALERT, b"\5")))
    case("RE-6", "unknown frame type after END", unx, "session", b"\2", const(b"\0"))
    case("RE-6", "END with padding, then DATA", unx, "session", b"\x82\0\0\0\2", ok)
    for what, text in BAD_TEXTS:
        case("FR-9", "ALERT with " + what, mal, "message", b"\3\x0a" + text)
    for code in (0, 13, 200, 255):
        case("AL-2", f"ALERT record with the unknown code {code} ends the session", f"peer_alert:{code}", "session", ok, b"\3" + u8(code))
    for code in (7, 10, 11):
        case("RE-9", f"ALERT record with the known code {code}", f"peer_alert:{code}", "session", b"\3" + u8(code) + b"bye")
    case("AL-4", "ALERT frame in an established session", unx, "session", ok, const(frame(cs.ALERT, b"\5")))
    case("AL-4", "ALERT frame with an unknown code in an established session", unx, "session", const(frame(cs.ALERT, b"\xc8")))
    case("AL-4", "an ALERT frame is accepted before the VERDICT", "peer_alert:5", "session", const(frame(cs.ALERT, b"\5")),
         state="awaiting_verdict")
    case("AL-4", "an ALERT frame is not accepted after the VERDICT", unx, "session", b"\4\0", const(frame(cs.ALERT, b"\5")),
         state="awaiting_verdict")
    for p, what, e, layer in ((ok, "DATA first", unx, "session"), (b"\2", "END first", unx, "session"), (b"\3\x09", "ALERT record first", unx, "session"),
                              (b"\x81ok\0\0\2", "DATA with padding first", unx, "session"),
                              (b"\4", "VERDICT without a code", mal, "message"), (b"\4\0x", "VERDICT accept with text", mal, "message"),
                              (b"\4\2no", "refused", "peer_verdict:2", "policy"), (b"\5", "unknown kind first", mal, "message")):
        tag = {mal: "RE-3", unx: "HS-21"}.get(e, "HS-23")
        case({b"\5": "RE-5", b"\4\0x": "HS-22"}.get(p, tag), what + ", the VERDICT is awaited", e, layer, p, state="awaiting_verdict")
    case("HS-21", "a second VERDICT", unx, "session", b"\4\0", b"\4\0", state="awaiting_verdict")

    # AES-256-GCM
    for what, items in (("the tag is changed", [lambda d: flip(-1)(d.seal_plaintext(ok))]),
                        ("the ciphertext is changed", [lambda d: flip(4)(d.seal_plaintext(ok))]),
                        ("a record twice", [ok, lambda d: other(d, -1)]), ("a record is left out", [ok, lambda d: other(d, 1)]),
                        ("sealed without the header", [lambda d: frame(cs.RECORD, cs.seal(3, d.key, d.nonce(), b"", ok))]),
                        ("sealed with ChaCha20-Poly1305", [lambda d: Direction(1, d.secret, d.counter).seal_plaintext(ok)])):
        case("RE-1", "AES-256-GCM, " + what, "bad_record", "aead", *items, suite=3)
    case("RE-1", "sealed with AES-256-GCM", "bad_record", "aead", lambda d: Direction(3, d.secret, d.counter).seal_plaintext(ok))
    case("RE-3", "AES-256-GCM, empty DATA", mal, "message", b"\1", suite=4)
    case("RE-6", "AES-256-GCM, DATA after END", unx, "session", b"\2", ok, suite=4)
    beyond = lambda d: (lambda head: head + cs.seal(d.suite, d.key, d.nonce(), head, ok))(cs.header(cs.RECORD, len(ok) + 16))
    case("RE-2", "AES-256-GCM, a record after the last one", "limit", "session", ok, beyond, suite=3, counter=2 ** 32 - 1)
    case("RE-2", "ChaCha20-Poly1305, a record after the last one", "limit", "session", ok, beyond, counter=2 ** 48 - 1)

    # KEEPALIVE and REKEY
    share = cs.x25519_public(derive("a share"))
    rekey = lambda n=1, peer_number=0, share=share: b"\6" + u32(peer_number) + u32(n) + share
    for p, what in ((b"\7x", "KEEPALIVE with content"), (b"\7\0", "KEEPALIVE with a zero byte"), (b"\x87x\0\0\1", "KEEPALIVE with content and padding"),
                    (b"\x87\1\0\1", "KEEPALIVE with padding that is not zero"), (rekey()[:-1], "REKEY of 39 bytes"), (rekey() + b"\0", "REKEY of 41 bytes"),
                    (b"\6", "REKEY of no bytes"), (b"\x86" + rekey()[1:-1] + b"\0\0\1", "REKEY of 39 bytes and padding"),
                    (b"\x86" + rekey()[1:] + b"\1\0\1", "REKEY with padding that is not zero"), (rekey()[:9], "REKEY without a share")):
        case("RE-3", what, mal, "message", ok, p)
    case("RE-3", "REKEY of 41 bytes, AES-256-GCM", mal, "message", rekey() + b"\0", suite=3)
    for peer_number in (1, 2, 2 ** 32 - 1):
        case("RK-3", f"REKEY names share {peer_number}, and none was ever sent", mal, "rekey", ok, rekey(1, peer_number))
    for n in (2, 3, 2 ** 32 - 1):
        case("RK-4", f"the first REKEY has number {n}", mal, "rekey", ok, rekey(n))
    for n in (1, 3):
        case("RK-4", f"number {n} after number 1", mal, "rekey", rekey(1), rekey(n))
    case("RK-4", "number 3 after numbers 1 and 0", mal, "rekey", rekey(1), rekey(0), ok, rekey(3))
    case("RE-1", "the record after a REKEY is sealed under the old key", "bad_record", "aead", ok, rekey(),
         lambda d: Direction(1, derive(f"negative record {len(cases)}"), 7).seal_plaintext(ok))
    case("RE-1", "the record after a REKEY has not counter 0", "bad_record", "aead", ok, rekey(), lambda d: other(d, 7))
    for suite in (1, 3):
        case("RK-2", f"17 REKEY records in a row, none numbered, suite {suite}", unx, "rekey", *[rekey(0)] * 17, counter=1, suite=suite)
    case("RK-2", "17 REKEY records in a row, the first numbered", unx, "rekey", rekey(1), *[rekey(0)] * 16, counter=1)
    for p, what in ((rekey(), "REKEY"), (b"\7", "KEEPALIVE")):
        case("HS-21", what + " first, the VERDICT is awaited", unx, "session", p, state="awaiting_verdict")
        case("RE-6", what + " after END", unx, "session", b"\2", p)
    return cases


# ---- rekeying ----

class Script:
    """Two endpoints after a handshake, and what they do. In `replay` the values come from the case alone."""

    def __init__(self, suite, si, sr):
        self.drawn = []
        self.ends = {"initiator": Initiator(bytes(32), lambda n: self.drawn.pop(0)), "responder": Responder(bytes(32), lambda n: self.drawn.pop(0))}
        i, r = self.ends.values()
        for end, own, peers in ((i, (si, 0), (sr, 1)), (r, (sr, 1), (si, 0))):  # the VERDICT was sent
            end.suite, end.state, end.established, end.secured = suite, "Open", True, True
            end.tx, end.rx = (Direction(suite, secret, n, n) for secret, n in (own, peers))
        self.got = None, None

    def peer_of(self, name): return self.ends["responder" if name == "initiator" else "initiator"]

    def send(self, name, kind, content, padding, k=None):
        """The frame, as the endpoint makes it, and the numbers of it."""
        end = self.ends[name]
        place = {"counter": end.tx.counter, "nonce": end.tx.nonce()}
        if kind == "rekey":
            self.drawn.append(k)
            end.rekey(padding)
        else:
            end.send({"data": cs.REC_DATA, "end": cs.REC_END, "keepalive": cs.REC_KEEPALIVE}[kind], content, padding)
        return place, end.out.pop()

    def deliver(self, name, frame_, content, step=None):
        assert self.got == (None, None), "the fault came too early"
        end, step = self.peer_of(name), step or len(frame_)
        for k in range(0, len(frame_), step):
            if self.got == (None, None):
                self.got = outcome(lambda: end.feed(frame_[k:k + step]))
        if content is not None and self.got == (None, None):
            assert end.events.pop() == ("data", content)
        assert not end.events or end.events == [("end", b"")]


def replay_script(case, step=None):
    un = bytes.fromhex
    script = Script(case["suite"], un(case["traffic_secret_i"]), un(case["traffic_secret_r"]))
    for s in case["steps"]:
        if s["op"] == "deliver":
            sent = case["steps"][s["step"]]
            script.deliver(sent["from"], un(sent["frame"]), un(sent["content"]) if sent["kind"] == "data" else None, step)
            continue
        if s.get("forged"):
            continue
        if s.get("refused"):
            script.got = outcome(lambda: script.send(s["from"], s["kind"], un(s["content"]), s["padding"], un(s["randomness"])))
            continue
        place, whole = script.send(s["from"], s["kind"], un(s["content"]), s["padding"], un(s.get("randomness", "")))
        assert (place["counter"], place["nonce"].hex(), whole.hex()) == (s["counter"], s["nonce"], s["frame"])
        assert s["kind"] != "rekey" or script.ends[s["from"]].tx.secret.hex() == s["secret_after"]
    assert script.got == (case.get("expect"), case.get("layer")), (case["comment"], script.got)
    if "alert_frame" in case:
        sent = [x.hex() for x in script.ends[case["victim"]].out]
        assert sent == ([case["alert_frame"]] if case["alert_frame"] else [])
    return script


class Scenario:
    """Writes the steps of a case while it runs them."""

    def __init__(self, comment, suite=1, tag=None):
        self.label = f"rekey {comment}"
        si, sr = derive(self.label + " i"), derive(self.label + " r")
        self.script, self.steps = Script(suite, si, sr), []
        self.case = {"comment": f"{tag}: {comment}" if tag else comment, **({"tag": tag} if tag else {}), "suite": suite,
                     "traffic_secret_i": si, "traffic_secret_r": sr, "steps": self.steps}

    def name(self, side): return {"i": "initiator", "r": "responder"}[side]

    def send(self, side, kind="data", content=None, padding=None):
        """content: of DATA only. Returns the index of the step."""
        name, k = self.name(side), derive(f"{self.label} k {len(self.steps)}")
        content = (b"step %d" % len(self.steps) if kind == "data" else b"") if content is None else content
        end = self.script.ends[name]
        before = end.tx.secret
        place, whole = self.script.send(name, kind, content, padding, k)
        step = {"op": "send", "from": name, "kind": kind, "content": content, "padding": padding}
        if kind == "rekey":
            plain = Direction(end.suite, before, place["counter"]).open(whole)
            step |= {"content": plain[1:41], "randomness": k, "peer_number": num(plain[1:5][::-1]), "number": num(plain[5:9][::-1])}
        step |= {**place, "frame": whole} | ({"secret_after": end.tx.secret} if kind == "rekey" else {})
        self.steps.append(step)
        return len(self.steps) - 1

    def forge(self, side, kind, content, direction=None):
        """A record that the sender would not make, under its present key unless another direction is given."""
        d = direction or self.script.ends[self.name(side)].tx
        step = {"op": "send", "forged": True, "from": self.name(side), "kind": kind, "content": content, "padding": None}
        if kind == "rekey":
            step |= {"peer_number": num(content[:4][::-1]), "number": num(content[4:8][::-1])}
        code = {v: k for k, v in cs.KIND_NAMES.items()}[kind]
        self.steps.append(step | {"counter": d.counter, "nonce": d.nonce(), "frame": d.seal(code, content)})
        return len(self.steps) - 1

    def deliver(self, *indexes):
        for n in indexes:
            sent = self.steps[n]
            self.steps.append({"op": "deliver", "step": n})
            self.script.deliver(sent["from"], sent["frame"], sent["content"] if sent["kind"] == "data" else None)

    def go(self, side, *kinds, **kw):
        """Send and deliver at once."""
        for kind in kinds:
            self.deliver(self.send(side, kind, **kw))

    def done(self):
        assert self.script.got == (None, None)
        for step in (None, 1):
            replay_script(hexed(self.case), step)
        i, r = (end for end in self.script.ends.values())
        if not any(s["op"] == "send" and not any(t == {"op": "deliver", "step": n} for t in self.steps) for n, s in enumerate(self.steps)):
            assert i.tx.secret == r.rx.secret and r.tx.secret == i.rx.secret
        return self.case

    def fault(self, victim, expect, layer):
        victim = self.name(victim)
        sent = self.script.ends[victim].out
        assert self.script.got == (expect, layer), (self.case["comment"], self.script.got)
        self.case |= {"victim": victim, "expect": expect, "alert_frame": sent[0] if sent else None, "layer": layer}
        for step in (None, 1):
            replay_script(hexed(self.case), step)
        return self.case


def rekeys():
    cases = []

    def case(comment, run, suite=1):
        s = Scenario(comment, suite)
        run(s)
        cases.append(s.done())

    def silent_peer(s):
        s.go("i", "data", *["rekey", "data"] * 4)

    def silent_responder(s):
        s.go("r", "rekey", "rekey", "rekey", "data")

    def alternating(s):
        for _ in range(4):
            s.go("i", "rekey", "data")
            s.go("r", "rekey", "data")

    def crossing(s):
        for _ in range(3):
            sent = [s.send(side, kind) for side in "ir" for kind in ("data", "rekey", "data")]
            s.deliver(*sent[3:], *sent[:3])

    def previous(s):
        s.go("i", "rekey")
        s.go("r", "rekey")  # names share 1 of the initiator
        late = [s.send("i", "rekey"), s.send("i", "data")]  # its share 2
        s.go("r", "rekey", "data")  # still names share 1
        s.deliver(*late)
        s.go("r", "rekey", "data")  # names share 2
        s.go("i", "rekey", "data")

    def first_not_seen(s):
        late = [s.send("i", "rekey"), s.send("i", "data"), s.send("i", "rekey"), s.send("i", "data")]
        s.go("r", "rekey", "data")  # names none, although the initiator has sent share 1
        s.deliver(*late)
        s.go("r", "rekey", "data")
        s.go("i", "rekey", "data")

    def padded(s):
        for padding in (0, 1, 300):
            s.go("i", "rekey", padding=padding)
            s.go("r", "rekey", padding=padding)
        s.go("i", "data")
        s.go("r", "data")

    def before_end(s):
        s.go("i", "data", "rekey", "end")
        s.go("r", "data", "rekey", "data", "rekey", "end")

    def keepalives(s):
        s.go("i", "keepalive", "rekey", "keepalive")
        s.go("r", "keepalive", "rekey", "keepalive", "data", "end")
        s.go("i", "rekey", "keepalive", "end")

    def bound(s):  # [RK-2]
        s.go("i", *["rekey"] * 16, *["data"] * 4, "rekey", *["keepalive"] * 4, "rekey", "data")
        s.go("r", *["rekey"] * 16, *["data"] * 3, "rekey", "data")  # the VERDICT counts

    def second_rekey(s):  # the recommended one
        s.go("i", "rekey")
        s.go("r", "rekey", "data")
        s.go("i", "rekey", "data")
        s.go("r", "rekey", "data")

    for suite in (1, 3):
        note = ", AES-256-GCM" if suite == 3 else ""
        case("only the initiator rekeys: no number from the second on" + note, silent_peer, suite)
        case("only the responder rekeys: no number from the second on" + note, silent_responder, suite)
        case("in turn" + note, alternating, suite)
        case("crossing on the wire" + note, crossing, suite)
        case("the peer names the share before the newest" + note, previous, suite)
        case("the peer has not seen the first share yet" + note, first_not_seen, suite)
        case("with padding" + note, padded, suite)
        case("before END, and after the END of the peer" + note, before_end, suite)
    case("KEEPALIVE among them", keepalives, 2)
    case("as many as the bound allows", bound)
    case("the longest padding", lambda s: s.go("r", "rekey", padding=65496))
    case("the second rekey of each side heals both directions", second_rekey, 4)
    return cases


def negative_rekeys():
    cases = []
    mal, unx, ref, bad = "malformed", "unexpected_message", "refused", "bad_record"
    content = lambda peer_number, number, share=cs.x25519_public(derive("forged")): u32(peer_number) + u32(number) + share

    def case(tag, comment, expect, layer, run, suite=1, victim="i"):
        """The fault comes from the responder, unless the victim is the responder."""
        s = Scenario(comment, suite, tag)
        run(s)
        cases.append(s.fault(victim, expect, layer))

    def forged(before, *numbers, side="r", **kw):
        def run(s):
            before(s)
            s.deliver(s.forge(side, "rekey", content(*numbers), **kw))
        return run

    fresh = lambda s: s.go("r", "data")
    one = lambda s: s.go("i", "rekey", "data")  # the initiator has number 1, not named yet

    def two(s):  # the initiator has number 2, number 1 was named
        one(s)
        s.go("r", "rekey")
        s.go("i", "rekey")

    def two_named(s):
        two(s)
        s.go("r", "rekey", "data")

    for suite in (1, 3):
        case("RK-3", f"names none after share 1 was named, suite {suite}", mal, "rekey", forged(two, 0, 2), suite)
        case("RK-3", f"names the erased share 1 after share 2 was named, suite {suite}", mal, "rekey", forged(two_named, 1, 3), suite)
    case("RK-3", "names none after share 2 was named", mal, "rekey", forged(two_named, 0, 0))
    case("RK-3", "names share 1, and none was sent", mal, "rekey", forged(fresh, 1, 1))
    case("RK-3", "names share 2, and 1 is the newest", mal, "rekey", forged(one, 2, 1))
    case("RK-3", "names share 3, and 2 is the newest", mal, "rekey", forged(two, 3, 2))
    case("RK-3", "names share 2^32 - 1", mal, "rekey", forged(two, 2 ** 32 - 1, 2))
    case("RK-3", "an unnumbered share is named as the next one", mal, "rekey",
         forged(lambda s: s.go("i", "rekey", "rekey", "rekey"), 2, 1))
    case("RK-4", "the first has number 2", mal, "rekey", forged(fresh, 0, 2))
    case("RK-4", "number 3 after number 1", mal, "rekey", forged(two, 2, 3))
    case("RK-4", "number 1 twice", mal, "rekey", forged(two, 2, 1))
    case("RK-4", "number 1 after number 2", mal, "rekey", forged(two_named, 2, 1))
    case("RK-4", "number 3 after numbers 1 and 0", mal, "rekey",
         lambda s: (s.go("r", "rekey", "rekey", "data"), s.deliver(s.forge("r", "rekey", content(0, 3)))))
    case("RK-3", "to the responder: names share 1, and none was sent", mal, "rekey", forged(fresh, 1, 1, side="i"), victim="r")
    case("RK-4", "to the responder: the first has number 2", mal, "rekey", forged(fresh, 0, 2, side="i"), victim="r")
    small = {"zero": bytes(32), "1": le(1), "p - 1": le(P - 1), "p": le(P), "p + 1": le(P + 1), "zero with the top bit set": bytes(31) + b"\x80"}
    for what, share in small.items():
        case("RK-5", f"share {what}", ref, "rekey", forged(one, 1, 1, share))
    case("RK-5", "share zero, without a number", ref, "rekey", forged(two, 2, 0, bytes(32)))
    case("RK-5", "share zero, the share before the newest is named", ref, "rekey", forged(two, 1, 2, bytes(32)), 4)

    def weak_peer(s):
        s.deliver(s.forge("r", "rekey", content(0, 1, bytes(32))))  # accepted: there is nothing to mix it with
        s.send("i")
        name, k = "initiator", derive("k of RK-6")
        s.script.got = outcome(lambda: s.script.send(name, "rekey", b"", None, k))
        s.steps.append({"op": "send", "refused": True, "from": name, "kind": "rekey", "content": content(1, 1, cs.x25519_public(k)),
                        "padding": None, "randomness": k, "peer_number": 1, "number": 1})
    case("RK-6", "the sender has a peer's share of zero, and rekeys", ref, "rekey", weak_peer)

    def storm(side, others):
        def run(s):
            s.go(side, *["rekey"] * 16, *["data"] * others)
            if others:
                s.go(side, "rekey")
            s.deliver(s.forge(side, "rekey", content(0, 0)))
        return run
    case("RK-2", "17 in a row", unx, "rekey", storm("r", 0))
    case("RK-2", "17 in a row to the responder", unx, "rekey", storm("i", 0), victim="r")
    case("RK-2", "16, then three DATA (with the VERDICT four others), one more, and one too many", unx, "rekey", storm("r", 3))
    case("RK-2", "16, then four DATA, one more, and one too many", unx, "rekey", storm("i", 4), victim="r", suite=3)
    case("RK-2", "16, then three others from the initiator", unx, "rekey", lambda s: (
        s.go("i", *["rekey"] * 16, "data", "keepalive", "data"), s.deliver(s.forge("i", "rekey", content(0, 0)))), victim="r")

    def old_key(s, suite=1):
        d = s.script.ends["responder"].tx
        s.go("r", "data")
        old = Direction(d.suite, d.secret, d.counter + 1)
        s.go("r", "rekey")
        s.deliver(s.forge("r", "data", b"old key", old))
    old_counter = lambda s: (s.go("r", "data", "rekey"), s.deliver(s.forge("r", "data", b"counter", Direction(1, s.script.ends["responder"].tx.secret, 3))))

    def too_early(kind):
        def run(s):
            two(s)
            d, c = s.script.ends["responder"].tx, content(2, 2)
            new = Direction(d.suite, cs.next_secret(d.secret, c, cs.x25519(derive("forged"), s.script.ends["responder"].peer_share)))
            s.deliver(s.forge("r", kind, c if kind == "rekey" else b"early", new))
        return run

    def wrong_secret(dh):
        def run(s):
            two(s)
            d, c = s.script.ends["responder"].tx, content(2, 2)
            right = cs.x25519(derive("forged"), s.script.ends["responder"].peer_share)
            s.deliver(s.forge("r", "rekey", c))
            s.deliver(s.forge("r", "data", b"x", Direction(d.suite, dh(d.secret, c, right))))
        return run
    for suite in (1, 3):
        case("RK-1", f"the record after a REKEY is sealed under the old key, suite {suite}", bad, "aead", old_key, suite)
        case("RK-1", f"a REKEY is sealed under the key that it announces, suite {suite}", bad, "aead", too_early("rekey"), suite)
    case("RK-1", "DATA is sealed under a new key that was not announced", bad, "aead", too_early("data"))
    case("RK-1", "the counter goes on after a REKEY", bad, "aead", old_counter)
    case("RK-1", "the share of the peer is not mixed in", bad, "aead", wrong_secret(lambda s, c, dh: cs.next_secret(s, c, bytes(32))))
    case("RK-1", "the content is not mixed in", bad, "aead", wrong_secret(lambda s, c, dh: cs.next_secret(s, b"", dh)))
    case("RK-1", "the shared secret alone makes the new one", bad, "aead", wrong_secret(lambda s, c, dh: cs.next_secret(bytes(32), c, dh)))
    case("RK-1", "the secret before is taken without ExpandLabel", bad, "aead", wrong_secret(lambda s, c, dh: cs.extract(s, dh)))
    case("RK-1", "the initiator's direction was rekeyed, and the responder changes its own key", bad, "aead", lambda s: (
        s.go("i", "rekey"), s.deliver(s.forge("r", "data", b"x", Direction(1, s.script.ends["responder"].rx.secret)))))
    return cases


NEGATIVE_NOTES = {
    "expect": "an alert name of section 12: what the victim fails with, and sends; verdict:N: a responder refuses with this VERDICT; "
              "peer_verdict:N, peer_alert:N: what was received is a refusal or an alert, and nothing is sent",
    "alert_frame": "what the victim sends last: an ALERT frame, an ALERT record (in an established session, without text), a VERDICT "
                   "(without text), or null; in negative/rekey.json an ALERT record of the victim or null",
    "feed": "the last entry holds the fault; where the type or the length is at fault it stops there [FR-1]",
    "services": "null: any service is offered",
    "suites": "the victim's: of an initiator the offer, of a responder its preference",
    "network_key": "of the victim, or null",
    "x509": "the peer presents a credential of kind 2",
    "silent": "expect: a responder with a network key sends nothing at all, discards what follows and is never established",
    "layer": "frame: type or length; message: what does not parse, and versions; network: the tag of the network key, wrong or where none is "
             "known; credential: ID-1, ID-2, ID-4 to ID-7; agreement: suites, encapsulation keys, echoes, zero secrets; aead; rekey: RK-2 to RK-6; confirmation; signature; policy: own key, expected, trusted, services, refusals; session: wrong "
             "state, alerts received, limits",
}
RECORD_NOTES = {
    "state": "established: DATA, END and ALERT are legal; awaiting_verdict: an initiator that awaits the VERDICT",
    "secret": "the traffic secret that key and iv come from",
    "counter": "of the first frame; as many records other than REKEY came before",
    "delivered": "content of DATA that is delivered before the fault [RE-10]",
    "limit": "expect: the receiver ends the session and sends nothing [RE-2]",
    **{k: NEGATIVE_NOTES[k] for k in ("expect", "layer")},
}
REKEY_NOTES = {
    "state": "both sides are established and nothing was sent but the VERDICT: the responder's direction starts with counter 1 and one other "
             "record, the initiator's with counter 0 and none",
    "op": "send: the side makes this record now; deliver: the frame of that step, by its index in steps, reaches the other side",
    "content": "without the kind and the padding",
    "padding": "null: the padding flag is not set",
    "number": "0: not numbered",
    "counter, nonce": "those that the record is sealed under",
    "secret_after": "the traffic secret of the direction after this REKEY",
}
NEGATIVE_REKEY_NOTES = REKEY_NOTES | {
    "forged": "the side itself would not make this record: take the frame as it is",
    "refused": "the last step is no delivery: the side can't make this REKEY, and fails [RK-6]",
    **{k: NEGATIVE_NOTES[k] for k in ("expect", "layer")},
    "alert_frame": "the ALERT record that the victim sends last",
}


def frozen():
    doc = {"schema": "countersign-vectors/1", "spec_version": 1, **hexed(conformance.digests())}
    return json.dumps(doc, indent=2) + "\n"


def files():
    def text(notes, cases):
        cases = [{"id": n, **c} for n, c in enumerate(cases, 1)]
        assert all(f in notes for c in cases for f in c.get("flags", ()))
        doc = {"schema": "countersign-vectors/1", "spec_version": 1, "notes": notes, "cases": hexed(cases)}
        return json.dumps(doc, indent=2, ensure_ascii=True) + "\n"

    torsion = {enc(mul(k, point(ORDER8)))[:31] + u8(enc(mul(k, point(ORDER8)))[31] & 0x7F) for k in range(8)}
    assert torsion == cs.SMALL_ORDER and mul(8, point(ORDER8)) == (0, 1)  # the list in countersign.py is complete
    return {"handshake.json": text(HANDSHAKE_NOTES, handshakes()),
            "schedule.json": text({"expand_label": "one call of ExpandLabel; info is the second argument of Expand",
                                   "schedule": "the whole schedule from network_key, shared, TH_hello and TH_final",
                                   "export": "one call of export, from exporter_secret", "rekey": "the traffic secret after a REKEY [RK-1]"}, schedules()),
            "records.json": text({"zero_padding": "the padding flag is set, with pad_len 0; elsewhere padding 0 means no flag"}, records()),
            "rekey.json": text(REKEY_NOTES, rekeys()),
            "negative/handshake.json": text(NEGATIVE_NOTES, negative_handshakes()),
            "negative/records.json": text(RECORD_NOTES, negative_records()),
            "negative/rekey.json": text(NEGATIVE_REKEY_NOTES, negative_rekeys()),
            "x509.json": x509.text(),
            "conformance.json": frozen()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--out", type=pathlib.Path)
    group.add_argument("--check", type=pathlib.Path)
    args = parser.parse_args()
    differs = False
    for name, content in files().items():
        path = (args.out or args.check) / name
        if args.out:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode())
        same = path.exists() and path.read_bytes() == content.encode()
        differs |= not same
        cases = json.loads(content).get("cases", range(conformance.BLOCKS * conformance.SESSIONS))
        print(f"{path}: {len(cases)} cases, {'same' if same else 'DIFFERENT'}")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
