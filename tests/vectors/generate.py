"""Deterministic test vectors: `--out DIR` writes them, `--check DIR` compares them byte for byte with what is there.
Every case is run through countersign.py again, from the values in the case alone, before it is written or compared."""
import argparse
import hashlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop" / "python"))
import countersign as cs
from countersign import P, L, D, Direction, Fail, Initiator, Responder, frame, u8, u16

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

def handshake_case(comment, *, flags=(), context=b"", service=b"", suites=(cs.SUITE,), extra_shares=(), padding=(0, 0),
                   refused=None, eager=(), records=()):
    """eager: records of the initiator before the VERDICT; records: (side, kind, content, padding) after it."""
    label = "handshake " + comment
    seeds = {s: derive(f"{label} {s} seed") for s in "ir"}
    draws = {s: (derive(f"{label} {s} nonce"), derive(f"{label} {s} x25519")) for s in "ir"}
    keys = {s: cs.ed25519_public(seeds[s]) for s in "ir"}
    ti, tr = {}, {}
    i = Initiator(seeds["i"], queue(*draws["i"]), expected=keys["r"], trusted=[keys["r"]], service=service, context=context,
                  suites=suites, extra_shares=extra_shares, auth_padding=padding[0], trace=ti)
    r = Responder(seeds["r"], queue(*draws["r"]), trusted=[] if refused else [keys["i"]], context=context,
                  auth_padding=padding[1], refusal_text=refused or b"", trace=tr)
    wire, listed, received = {}, [], {"i": [], "r": []}
    tx = {}

    def send(end, side, kind, content, pad):
        plaintext = cs.record_plaintext(kind, content, pad)
        listed.append({"from": end.role, "kind": cs.KIND_NAMES[kind], "content": content, "padding": pad or 0,
                       "counter": end.tx.counter, "nonce": end.tx.nonce(), "plaintext": plaintext})
        if kind == cs.REC_ALERT:
            end.out.append(end.tx.seal_plaintext(plaintext))
        else:
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
    case = {"comment": comment, "flags": list(flags), "context": context, "service": service.decode(),
            "offer": {"suites": list(suites), "shares": [{"kind": k, "share": s} for k, s in t["shares"]]}}
    for s, name, pad in (("i", "initiator", padding[0]), ("r", "responder", padding[1])):
        case[name] = {"seed": seeds[s], "public_key": keys[s], "randomness": list(draws[s]), "auth_padding": pad}
    names = ("shared early_secret handshake_secret hs_secret_r hs_secret_i hs_key_r hs_iv_r hs_key_i hs_iv_i confirm_key_r "
             "confirm_key_i master_secret traffic_secret_r traffic_secret_i traffic_key_r traffic_iv_r traffic_key_i "
             "traffic_iv_i exporter_secret session_id").split()
    case |= {"wire": wire, "transcript": {k: t[k] for k in ("TH_hello", "TH_sign_r", "TH_confirm_r", "TH_sign_i",
                                                            "TH_confirm_i", "TH_final")},
             "secrets": {k: t[k] for k in names}}
    for k in ("auth_r_plaintext", "auth_i_plaintext", "signature_input_r", "signature_input_i", "signature_r", "signature_i",
              "confirm_r", "confirm_i", "verdict_plaintext"):
        case[k] = t[k]
    return case | {"records": listed, "expect": "refused" if refused else "valid"}


def handshakes():
    data, end, alert = cs.REC_DATA, cs.REC_END, cs.REC_ALERT
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
                       suites=(0x7F01, cs.SUITE, 0xFFFE), extra_shares=((0, b"\0"), (200, derive("share 200", 77))),
                       records=both),
        handshake_case("the longest offer: 16 suites, 8 shares, 2,048 bytes", flags=["unknown_offer"],
                       suites=(*range(0x7001, 0x7010), cs.SUITE),
                       extra_shares=(*((k, derive(f"share {k}", 100)) for k in range(101, 107)),
                                     (255, derive("share 255", 2048 - 36 - 32 - 8 * 3 - 32 - 6 * 100)))),
        handshake_case("reserved suites and share kind, unknown to this version", flags=["unknown_offer", "reserved_numbers"],
                       suites=(2, 4, 3, 1), extra_shares=((2, derive("share 2", 1184)),)),
        handshake_case("eager data before the verdict", flags=["eager"],
                       eager=[(data, b"early", None), (data, b"birds", 11)], records=both),
        handshake_case("records with padding", flags=["record_padding"],
                       records=[("i", data, b"ping", 7), ("r", data, b"pong\0\0", 250), ("r", data, b"\0", 1000),
                                ("i", end, b"", 16), ("r", end, b"", 1)]),
        handshake_case("a session that ends with an alert", flags=["alert"],
                       records=[("i", data, b"ping", None), ("r", data, b"pong", None),
                                ("r", alert, b"\x0a" + "zu spät".encode(), None)]),
    ]


HANDSHAKE_NOTES = {
    "auth_padding": "zero bytes follow confirm in the plaintext of AUTH_R or AUTH_I",
    "refused": "the VERDICT is a refusal; see verdict_plaintext for its code and text; the initiator's key is not trusted",
    "eager": "records of the initiator that precede all others were sent before the VERDICT",
    "unknown_offer": "suites and share kinds that version 1 does not know are passed over",
    "reserved_numbers": "uses numbers that section 16 reserves; an implementation of a later draft may know them",
    "record_padding": "records have the padding flag; everywhere, padding 0 means that the flag is not set",
    "alert": "the last record is an ALERT, which ends the session",
}


# ---- key schedule and records ----

def schedules():
    cases = []
    for label, ctx, n in (("derived", b"", 32), ("handshake responder", derive("th"), 32), ("session id", derive("th"), 16),
                          ("key", b"", 32), ("iv", b"", 12), ("x", bytes(range(255)), 255)):
        secret = derive("expand " + label)
        cases.append({"comment": f"ExpandLabel with label {label}", "flags": ["expand_label"], "secret": secret, "label": label,
                      "ctx": ctx, "length": n, "info": cs.label_info(label, ctx, n),
                      "output": cs.expand_label(secret, label, ctx, n)})
    for n, name in enumerate(("random inputs", "other random inputs", "shared secret with leading zero bytes")):
        shared = bytes(4 if n == 2 else 0) + derive(f"shared {n}", 28 if n == 2 else 32)
        th_hello, th_final = derive(f"TH_hello {n}"), derive(f"TH_final {n}")
        k = cs.handshake_schedule(shared, th_hello)
        k |= cs.session_schedule(k["handshake_secret"], th_final)
        cases.append({"comment": name, "flags": ["schedule"], "shared": k.pop("shared"), "TH_hello": th_hello,
                      "TH_final": th_final, "secrets": k})
    return cases


def records():
    cases = []
    for counter, kind, content, padding, flags in (
            (0, 1, b"a", None, []), (1, 1, b"hello, world", None, []), (2, 1, b"\0\0\0", 5, []), (3, 1, b"x", 0, ["zero_padding"]),
            (255, 1, derive("content", 1000), 24, []), (2 ** 32, 1, b"after 2^32", None, []), (2 ** 32 + 1, 2, b"", None, []),
            (7, 2, b"", 300, []), (8, 3, b"\x09", None, []), (9, 3, b"\x0a" + "Grüße".encode(), 2, []),
            (10, 3, b"\xc8text of an unknown alert", None, []), (0, 4, b"\0", None, []), (0, 4, b"\0", 64, []),
            (0, 4, b"\x05" + b"t" * 255, None, []), (0, 4, b"\xfe" + "\u00a0\U0001f511".encode(), None, []),
            (2 ** 48 - 2, 1, derive("content", 65536), None, []), (2 ** 48 - 1, 1, b"last", 65532, []),
            (2 ** 48 - 1, 2, b"", None, [])):
        secret = derive(f"record secret {len(cases)}")
        key, iv = cs.key_iv(secret)
        d, back = Direction(key, iv, counter), Direction(key, iv, counter)
        plaintext, nonce = cs.record_plaintext(kind, content, padding), d.nonce()
        whole = d.seal_plaintext(plaintext)
        assert cs.parse_record(back.open(whole), {kind}) == (kind, content)
        cases.append({"comment": f"{cs.KIND_NAMES[kind]}, {len(content)} bytes, padding {padding}", "flags": flags,
                      "secret": secret, "key": key, "iv": iv, "counter": counter, "kind": cs.KIND_NAMES[kind],
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


class BadInitiator(Forger, Initiator): pass
class BadResponder(Forger, Responder): pass


def block(key, kind=1): return u8(kind) + u16(len(key)) + key


def make_victim(case):
    seed, random = bytes.fromhex(case["seed"]), queue(*map(bytes.fromhex, case["randomness"]))
    options = {"context": bytes.fromhex(case["context"]), "trusted": [bytes.fromhex(k) for k in case["trusted"]]}
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
            expected="peer", context=b"", peer_context=None, services=None, service=b"", same_seed=False, eager=(), **peer):
        """stage: number of correct frames before the last one; last(next correct frame, peer, victim) makes the last one."""
        label = f"negative {len(self.cases)}"
        seed, draws = derive(label + " seed"), [derive(label + " nonce"), derive(label + " x25519")]
        peer_seed = seed if same_seed else derive(label + " peer seed")
        peer_draws = [derive(label + " peer nonce"), derive(label + " peer x25519")]
        forge = forge(peer_seed) if callable(forge) else forge
        peer_key = peer_key or cs.ed25519_public(peer_seed)
        trusted = [] if untrusted else [peer_key]
        if expected == "other":
            expected = derive(label + " other")
            expected = cs.ed25519_public(expected)
            trusted.append(expected)
        elif expected == "peer":
            expected = peer_key if victim == "initiator" and not untrusted else None
        case = hexed({"comment": f"{tag}: {comment}", "tag": tag, "victim": victim, "context": context,
                      "service": service.decode() if victim == "initiator" else "", "seed": seed, "randomness": draws,
                      "expected_peer": expected, "trusted": trusted, "services": services})
        v = make_victim(case)
        options = {"context": context if peer_context is None else peer_context, "trusted": [v.public], "forge": forge,
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
        replay(case)
        replay(case, 1)
        self.cases.append(case)


def const(data): return lambda *_: data
def flip(at, bit=1): return lambda f, *_: f[:at] + u8(f[at] ^ bit) + f[at + 1:] if at >= 0 else f[:at] + u8(f[at] ^ bit) + f[len(f) + at + 1:]
def record(plaintext): return lambda f, peer, v: peer.tx.seal_plaintext(plaintext)


def verdict(plaintext):
    """The peer's first record, in place of its VERDICT."""
    def last(f, peer, v):
        return Direction(peer.tx.key, peer.tx.iv, 0).seal_plaintext(plaintext)
    return last


def body_edit(edit):
    """Edit the body of a frame, with a right header for the result."""
    return lambda f, peer, v: frame(f[0], edit(f[4:], v))


def hello_of(suites, shares, version=1):
    """shares: (kind, share); None stands for the share in the HELLO that is replaced."""
    def edit(b, v):
        own = b[-32:]
        return (u16(version) + b[2:34] + u8(len(suites)) + b"".join(map(u16, suites)) + u8(len(shares))
                + b"".join(u8(k) + u16(len(own if s is None else s)) + (own if s is None else s) for k, s in shares))
    return body_edit(edit)


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
    for victim, stage, code in ((i, 0, 5), (i, 1, 8), (i, 2, 5), (r, 0, 10), (r, 1, 5)):
        add_("AL-3", f"ALERT {ALERT_NAMES[code]} is not answered", victim, stage, f"peer_alert:{code}", "session",
             const(frame(cs.ALERT, u8(code))))
    for victim, code in ((i, 0), (r, 11), (i, 255)):
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
    add_("HS-3", "32 surplus bytes (the place of the reserved tag)", r, 0, mal, "message", body_edit(lambda b, v: b + bytes(32)))
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
    add_("HS-8", "a suite that was not offered", i, 0, mal, "message", body_edit(lambda b, v: b[:2] + b"\0\2" + b[4:]))
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
        seals = {"sealed without the header": lambda k, kind, p: cs.seal(k["hs_key_" + side], k["hs_iv_" + side], b"", p),
                 "sealed under the keys of the other side": lambda k, kind, p: cs.seal(
                     k["hs_key_" + other], k["hs_iv_" + other], cs.header(kind, len(p) + 16), p),
                 "sealed under the header of the other role's message": lambda k, kind, p: cs.seal(
                     k["hs_key_" + side], k["hs_iv_" + side], cs.header(cs.AUTH_R + cs.AUTH_I - kind, len(p) + 16), p)}
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
        for kind in (0, 2, 255):
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
            tamper(t_conf, "confirmation: " + what, "refused", "confirmation", forge={"confirm": change})

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
    add_("HS-20", "the initiator is not trusted", r, 1, "verdict:1", "policy", untrusted=True)
    add_("HS-20", "a service that is not offered", r, 1, "verdict:2", "policy", services=["a", "b"], service=b"c")
    add_("HS-20", "the empty service is not offered", r, 1, "verdict:2", "policy", services=["a"])

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
    add_("RE-1", "the VERDICT is changed", i, 2, "bad_record", "aead", flip(-1))
    add_("RE-1", "the first record has counter 1", i, 2, "bad_record", "aead",
         lambda f, peer, v: Direction(peer.tx.key, peer.tx.iv, 1).seal(cs.REC_VERDICT, b"\0"))
    add_("RE-1", "the VERDICT is sealed under the initiator's key", i, 2, "bad_record", "aead",
         lambda f, peer, v: Direction(v.tx.key, v.tx.iv, 0).seal(cs.REC_VERDICT, b"\0"))

    # an established session: the answer is an ALERT record
    for victim, stage in ((i, 3), (r, 2)):
        last = lambda tag, what, expect, layer, plaintext: add_(tag, what, victim, stage, expect, layer, record(plaintext))
        last("HS-21", f"VERDICT to an established {victim}", unx, "session", b"\4\0")
        last("RE-5", f"unknown kind to an established {victim}", mal, "message", b"\7")
        add_("AL-4", f"ALERT frame to an established {victim}", victim, stage, unx, "session", const(frame(cs.ALERT, b"\5")))
        add_("FR-3", f"AUTH_R to an established {victim}", victim, stage, unx, "session", const(u8(cs.AUTH_R)))
        add_("FR-3", f"unknown type to an established {victim}", victim, stage, mal, "frame", const(b"\0"))
        add_("RE-1", f"a record that does not open, to an established {victim}", victim, stage, "bad_record", "aead",
             lambda f, peer, v: flip(-1)(peer.tx.seal(cs.REC_DATA, b"x")))
        last("RE-9", f"an ALERT record to an established {victim} is not answered", "peer_alert:10", "session", b"\3\x0abye")
    return n.cases


BAD_TEXTS = [("256 bytes of text", b"t" * 256), ("a line feed", b"a\nb"), ("U+0000", b"\0"), ("U+001F", b"\x1f"), ("U+007F", b"\x7f"),
             ("U+0080", "\x80".encode()), ("U+009F", "\x9f".encode()), ("a lone continuation byte", b"\x80"),
             ("an overlong encoding", b"\xc0\xaf"), ("a surrogate", b"\xed\xa0\x80"), ("a truncated sequence", b"a\xe2\x82"),
             ("a code point above U+10FFFF", b"\xf4\x90\x80\x80")]


# ---- negative records ----

def receiver(case):
    """A receiver in the state of the case; its handshake is not run."""
    end = Initiator(bytes(32), queue())
    end.rx = Direction(bytes.fromhex(case["key"]), bytes.fromhex(case["iv"]), case["counter"])
    end.tx = Direction(bytes(32), bytes(12))
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

    def case(tag, comment, expect, layer, *items, state="established", counter=None):
        """items: plaintexts to seal in order, or functions of (direction) that give a frame."""
        key, iv = cs.key_iv(derive(f"negative record {len(cases)}"))
        counter = (0 if state == "awaiting_verdict" else 5) if counter is None else counter
        d = Direction(key, iv, counter)
        frames = [item(d) if callable(item) else d.seal_plaintext(item) for item in items]
        c = {"comment": f"{tag}: {comment}", "tag": tag, "state": state, "key": key, "iv": iv, "counter": counter, "frames": frames,
             "delivered": [x[1:] for x in items[:-1] if not callable(x) and x[0] == 1], "expect": expect, "layer": layer}
        cases.append(hexed(c))
        check_record_case(cases[-1])

    mal, unx, ok = "malformed", "unexpected_message", b"\1ok"
    other = lambda d, n, p=ok: Direction(d.key, d.iv, d.counter + n).seal_plaintext(p)
    case("RE-1", "the tag is changed", "bad_record", "aead", lambda d: flip(-1)(d.seal_plaintext(ok)))
    case("RE-1", "the ciphertext is changed", "bad_record", "aead", lambda d: flip(4)(d.seal_plaintext(ok)))
    case("RE-1", "the second record is changed; the first is delivered [RE-10]", "bad_record", "aead", ok,
         lambda d: flip(-1)(d.seal_plaintext(ok)))
    case("RE-1", "a record twice", "bad_record", "aead", ok, lambda d: other(d, -1))
    case("RE-1", "a record is left out", "bad_record", "aead", ok, lambda d: other(d, 1))
    case("RE-1", "the first record comes second", "bad_record", "aead", lambda d: other(d, 1))
    case("RE-1", "one byte cut off, with a right header", "bad_record", "aead",
         lambda d: (lambda f: frame(cs.RECORD, f[4:-1]))(d.seal_plaintext(ok)))
    case("RE-1", "sealed without the header", "bad_record", "aead", lambda d: frame(cs.RECORD, cs.seal(d.key, d.nonce(), b"", ok)))
    case("RE-1", "sealed under the bare iv", "bad_record", "aead",
         lambda d: frame(cs.RECORD, cs.seal(d.key, d.iv, cs.header(cs.RECORD, len(ok) + 16), ok)))
    case("RE-1", "counter in little-endian order", "bad_record", "aead", lambda d: frame(cs.RECORD, cs.seal(
        d.key, bytes(a ^ b for a, b in zip(d.iv, bytes(4) + d.counter.to_bytes(8, "little"))), cs.header(cs.RECORD, len(ok) + 16), ok)))
    case("RE-1", "counter cut to 32 bits", "bad_record", "aead", lambda d: Direction(d.key, d.iv, 7).seal_plaintext(ok),
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
    for kind in (0, 5, 6, 7, 8, 0x7F, 0x80, 0x85, 0xFF):
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
    for code in (0, 11, 200, 255):
        case("AL-2", f"ALERT record with the unknown code {code} ends the session", f"peer_alert:{code}", "session", ok, b"\3" + u8(code))
    case("RE-9", "ALERT record with a known code", "peer_alert:10", "session", b"\3\x0abye")
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
    return cases


NEGATIVE_NOTES = {
    "expect": "an alert name of section 12: what the victim fails with, and sends; verdict:N: a responder refuses with this VERDICT; "
              "peer_verdict:N, peer_alert:N: what was received is a refusal or an alert, and nothing is sent",
    "alert_frame": "what the victim sends last: an ALERT frame, an ALERT record (in an established session, without text), a VERDICT "
                   "(without text), or null",
    "feed": "the last entry holds the fault; where the type or the length is at fault it stops there [FR-1]",
    "services": "null: any service is offered",
    "layer": "frame: type or length; message: what does not parse, and versions; credential: ID-1, ID-2; agreement: suites, echoes, "
             "zero secrets; aead; confirmation; signature; policy: own key, expected, trusted, services, refusals; session: wrong "
             "state, alerts received",
}
RECORD_NOTES = {
    "state": "established: DATA, END and ALERT are legal; awaiting_verdict: an initiator that awaits the VERDICT",
    "counter": "of the first frame",
    "delivered": "content of DATA that is delivered before the fault [RE-10]",
    **{k: NEGATIVE_NOTES[k] for k in ("expect", "layer")},
}


def files():
    def text(notes, cases):
        cases = [{"id": n, **c} for n, c in enumerate(cases, 1)]
        assert all(f in notes for c in cases for f in c.get("flags", ()))
        doc = {"schema": "countersign-vectors/1", "spec_version": 1, "notes": notes, "cases": hexed(cases)}
        return json.dumps(doc, indent=2, ensure_ascii=True) + "\n"

    torsion = {enc(mul(k, point(ORDER8)))[:31] + u8(enc(mul(k, point(ORDER8)))[31] & 0x7F) for k in range(8)}
    assert torsion == cs.SMALL_ORDER and mul(8, point(ORDER8)) == (0, 1)  # the list in countersign.py is complete
    return {"handshake.json": text(HANDSHAKE_NOTES, handshakes()),
            "schedule.json": text({"expand_label": "one call of ExpandLabel; info is the third argument of Expand before L",
                                   "schedule": "the whole schedule from shared, TH_hello and TH_final"}, schedules()),
            "records.json": text({"zero_padding": "the padding flag is set, with pad_len 0; elsewhere padding 0 means no flag"}, records()),
            "negative/handshake.json": text(NEGATIVE_NOTES, negative_handshakes()),
            "negative/records.json": text(RECORD_NOTES, negative_records())}


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
        print(f"{path}: {len(json.loads(content)['cases'])} cases, {'same' if same else 'DIFFERENT'}")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
