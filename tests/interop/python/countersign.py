"""The Countersign protocol, version 1: frames, transcript, key schedule, both roles, records. No input or output."""
import hashlib
import hmac as _hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

VERSION, SUITE, KIND_X25519, RAW_KEY = 1, 0x0001, 1, 0x01
PROTOCOL = b"countersign/1"
MAX_SUITES, MAX_SHARES, MAX_CREDENTIAL_LEN = 16, 8, 16384
MAX_TEXT_LEN, MAX_CONTEXT_LEN, MAX_CONTENT_LEN, MAX_RECORDS = 255, 255, 65536, 2 ** 48
KNOWN_SUITES = {SUITE: (KIND_X25519,)}
SHARE_LENGTHS = {KIND_X25519: 32}

HELLO, HELLO_REPLY, AUTH_R, AUTH_I, RECORD, ALERT = 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6
LIMITS = {HELLO: (42, 2048), HELLO_REPLY: (37, 2048), AUTH_R: (116, 17408), AUTH_I: (117, 17408),
          RECORD: (17, 65555), ALERT: (1, 1)}
REC_DATA, REC_END, REC_ALERT, REC_VERDICT = 1, 2, 3, 4
KIND_NAMES = {REC_DATA: "data", REC_END: "end", REC_ALERT: "alert", REC_VERDICT: "verdict"}
ALERTS = {"malformed": 1, "unexpected_message": 2, "unsupported_version": 3, "no_common_suite": 4, "refused": 5,
          "bad_record": 6, "timeout": 7, "busy": 8, "internal": 9, "shutting_down": 10}
ACCEPT, NOT_TRUSTED, SERVICE_UNAVAILABLE, BUSY, OWN_IDENTITY, DENIED = range(6)
T_PROTOCOL, T_CONTEXT, T_FRAME, T_HEADER, T_SERVICE, T_CREDENTIAL, T_SIGNATURE, T_SEALED = range(8)


class Fail(Exception):
    """alert: a name of ALERTS (it is sent), or one of: `verdict:N` (a refusing VERDICT was sent), `peer_verdict:N`,
    `peer_alert:N`, `truncated`, `limit` (nothing is sent)."""

    def __init__(self, alert, layer, reason):
        super().__init__(f"{alert} ({layer}): {reason}")
        self.alert, self.layer, self.reason = alert, layer, reason


def u8(n): return n.to_bytes(1, "big")
def u16(n): return n.to_bytes(2, "big")
def u32(n): return n.to_bytes(4, "big")
def header(kind, length): return u8(kind) + length.to_bytes(3, "big")
def frame(kind, body): return header(kind, len(body)) + body


class Reader:
    def __init__(self, data): self.data, self.at = data, 0
    def number(self, n): return int.from_bytes(self.take(n), "big")
    def rest(self): return self.take(len(self.data) - self.at)

    def take(self, n):
        if len(self.data) - self.at < n:
            raise Fail("malformed", "message", "bytes are missing")
        self.at += n
        return self.data[self.at - n:self.at]


# ---- primitives ----

def hmac(key, data): return _hmac.digest(key, data, "sha256")
def extract(salt, ikm): return hmac(salt, ikm)
def x25519_public(k): return X25519PrivateKey.from_private_bytes(k).public_key().public_bytes_raw()
def ed25519_public(seed): return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
def seal(key, nonce, ad, plaintext): return ChaCha20Poly1305(key).encrypt(nonce, plaintext, ad)


def open_sealed(key, nonce, ad, sealed):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        raise Fail("bad_record", "aead", "a sealed body does not open") from None


def x25519(k, u):
    try:
        return X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(u))
    except ValueError:  # the library refuses an all-zero result
        raise Fail("refused", "agreement", "the shared secret is all zero") from None


P = 2 ** 255 - 19
L = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
# The y of all points whose order divides 8, as canonical encodings without the sign bit: orders 4, 1, 2, 8, 8.
SMALL_ORDER = {bytes(32), bytes([1]) + bytes(31), (P - 1).to_bytes(32, "little"),
               bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
               bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}


def point_fault(encoding):
    """Why these 32 bytes are not an acceptable Ed25519 point, or None. [ID-2]"""
    bare = encoding[:31] + u8(encoding[31] & 0x7F)
    y = int.from_bytes(bare, "little")
    if y >= P:
        return "not canonical"
    if bare in SMALL_ORDER:
        return "of small order"
    if pow((y * y - 1) * (D * y * y + 1), (P - 1) // 2, P) != 1:  # x^2 = (y^2-1)/(dy^2+1) has to be a square
        return "not on the curve"
    return None


def verify_strict(key, message, signature):  # [HS-19]
    if point_fault(key) or int.from_bytes(signature[32:], "little") >= L or point_fault(signature[:32]):
        return False
    try:  # the library recomputes R without the cofactor and compares encodings
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


# ---- transcript and key schedule (sections 9 and 10) ----

class Transcript:
    def __init__(self, context):
        self.hash = hashlib.sha256()
        self.add(T_PROTOCOL, PROTOCOL)
        self.add(T_CONTEXT, context)

    def add(self, tag, data): self.hash.update(u8(tag) + u32(len(data)) + data)
    def value(self): return self.hash.digest()


def signature_input(role, th): return b" " * 64 + b"countersign/1 " + role.encode() + b" signature\0" + th


def label_info(label, ctx, length):
    full = b"countersign/1 " + label.encode()
    return u16(length) + u8(len(full)) + full + u8(len(ctx)) + ctx


def expand_label(secret, label, ctx, length):
    return HKDFExpand(SHA256(), length, label_info(label, ctx, length)).derive(secret)


def key_iv(secret): return expand_label(secret, "key", b"", 32), expand_label(secret, "iv", b"", 12)


def handshake_schedule(shared, th_hello):
    k = {"shared": shared, "early_secret": extract(bytes(32), bytes(32))}
    hs = extract(expand_label(k["early_secret"], "derived", b"", 32), shared)
    k["handshake_secret"] = hs
    for s, role in (("r", "responder"), ("i", "initiator")):
        k["hs_secret_" + s] = expand_label(hs, "handshake " + role, th_hello, 32)
        k["hs_key_" + s], k["hs_iv_" + s] = key_iv(k["hs_secret_" + s])
        k["confirm_key_" + s] = expand_label(hs, "confirm " + role, th_hello, 32)
    return k


def session_schedule(handshake_secret, th_final):
    ms = extract(expand_label(handshake_secret, "derived", b"", 32), bytes(32))
    k = {"master_secret": ms, "exporter_secret": expand_label(ms, "exporter", th_final, 32),
         "session_id": expand_label(ms, "session id", th_final, 16)}
    for s, role in (("r", "responder"), ("i", "initiator")):
        k["traffic_secret_" + s] = expand_label(ms, "traffic " + role, th_final, 32)
        k["traffic_key_" + s], k["traffic_iv_" + s] = key_iv(k["traffic_secret_" + s])
    return k


# ---- records (section 11) ----

def record_plaintext(kind, content=b"", padding=None):
    """padding: None for no padding flag, else the number of zero bytes."""
    if len(content) + (padding or 0) > MAX_CONTENT_LEN:  # [RE-4]
        raise ValueError("content and padding are too long")
    return u8(kind) + content if padding is None else u8(kind | 0x80) + content + bytes(padding) + u16(padding)


def check_text(data):
    if len(data) > MAX_TEXT_LEN:
        raise Fail("malformed", "message", "the text is too long")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fail("malformed", "message", "the text is not UTF-8") from None
    if any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in text):
        raise Fail("malformed", "message", "the text has control characters")
    return text


def parse_record(plaintext, legal):
    """The kind is judged first: unknown, then illegal now; then the padding, then the content."""
    kind, content = plaintext[0] & 0x7F, plaintext[1:]
    if kind not in KIND_NAMES:
        raise Fail("malformed", "message", f"unknown record kind {kind}")
    if kind not in legal:
        raise Fail("unexpected_message", "session", f"a record of kind {KIND_NAMES[kind]} is not legal now")
    if plaintext[0] & 0x80:
        if len(content) < 2:
            raise Fail("malformed", "message", "padding without its length")
        p, content = int.from_bytes(content[-2:], "big"), content[:-2]
        if p > len(content) or any(content[len(content) - p:]):
            raise Fail("malformed", "message", "padding too long or not zero")
        content = content[:len(content) - p]
    if len(content) > MAX_CONTENT_LEN:
        raise Fail("malformed", "message", "the content is too long")
    if kind == REC_DATA and not content or kind == REC_END and content:
        raise Fail("malformed", "message", "an empty DATA, or an END with content")
    if kind in (REC_ALERT, REC_VERDICT):
        if not content:
            raise Fail("malformed", "message", "no code")
        check_text(content[1:])
    return kind, content


class Direction:
    def __init__(self, key, iv, counter=0): self.key, self.iv, self.counter = key, iv, counter
    def nonce(self): return bytes(a ^ b for a, b in zip(self.iv, bytes(4) + self.counter.to_bytes(8, "big")))

    def _step(self):
        if self.counter >= MAX_RECORDS:  # [RE-2]
            raise Fail("limit", "session", "no further record under this key")
        nonce = self.nonce()
        self.counter += 1
        return nonce

    def seal_plaintext(self, plaintext):
        head = header(RECORD, len(plaintext) + 16)
        return head + seal(self.key, self._step(), head, plaintext)

    def seal(self, kind, content=b"", padding=None): return self.seal_plaintext(record_plaintext(kind, content, padding))
    def open(self, data): return open_sealed(self.key, self._step(), data[:4], data[4:])


# ---- both roles ----

LEGAL = {"AwaitHello": {HELLO, ALERT}, "AwaitAuthI": {AUTH_I, ALERT}, "AwaitHelloReply": {HELLO_REPLY, ALERT},
         "AwaitAuthR": {AUTH_R, ALERT}, "AwaitVerdict": {RECORD, ALERT}, "Open": {RECORD}, "Ended": set()}


class Endpoint:
    """feed() bytes, then write out what is in `out` (frames) and act on `events`; a Fail is final. `random(n)` is injected.
    States of the receiving direction: those of section 13, and Closed after a refusing VERDICT was sent."""
    role, side, other = "", "", ""

    def __init__(self, seed, random, *, context=b"", trusted=(), auth_padding=0, allow_self=False, trace=None):
        if len(context) > MAX_CONTEXT_LEN:
            raise ValueError("the context is too long")
        self.identity = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = ed25519_public(seed)
        self.random, self.trusted, self.auth_padding, self.allow_self = random, set(trusted), auth_padding, allow_self
        self.trace = trace  # a dict that collects every named value, for test vectors only
        self.transcript = Transcript(context)
        self.out, self.events, self.buffer = [], [], bytearray()
        self.first = True
        self.established = self.secured = self.sent_end = False  # secured: failures are answered with records
        self.tx = self.rx = self.keys = self.peer = self.session_id = None

    # receiving

    def feed(self, data):
        self.buffer += data
        try:
            while self.buffer and self.state in LEGAL:
                self._judge_type(self.buffer[0])
                self.first = False
                if len(self.buffer) < 4:
                    return
                length = int.from_bytes(self.buffer[1:4], "big")
                low, high = LIMITS[self.buffer[0]]
                if not low <= length <= high:
                    raise Fail("malformed", "frame", f"length {length} in a frame of type 0x{self.buffer[0]:02x}")
                if len(self.buffer) < 4 + length:
                    return
                whole = bytes(self.buffer[:4 + length])
                del self.buffer[:4 + length]
                self._on_frame(whole[0], whole)
        except Fail as failure:
            self._fail(failure)
            raise

    def end_of_transport(self):
        if self.state in LEGAL and self.state != "Ended":
            failure = Fail("truncated", "session", "the transport ended early")
            self._fail(failure)
            raise failure

    def abort(self, alert, reason):
        """An own reason to stop: timeout, busy, internal, shutting_down."""
        if self.state in LEGAL:
            self._fail(Fail(alert, "session", reason))

    def _judge_type(self, kind):
        if self.state == "Ended":
            raise Fail("unexpected_message", "session", "a frame after END")
        if kind not in LIMITS:
            hint = ""
            if self.first:
                hint = ("; it looks like TLS" if 0x14 <= kind <= 0x17 else "; it looks like SSH" if kind == 0x53
                        else "; it looks like HTTP" if 0x41 <= kind <= 0x5A else "")
            raise Fail("malformed", "frame", f"unknown frame type 0x{kind:02x}{hint}")
        if kind not in LEGAL[self.state]:
            raise Fail("unexpected_message", "session", f"a frame of type 0x{kind:02x} in state {self.state}")

    def _on_frame(self, kind, whole):
        if kind == ALERT:
            raise Fail(f"peer_alert:{whole[4]}", "session", "an ALERT frame, not authenticated")
        if kind != RECORD:
            return self._on_handshake(kind, whole)
        kind, content = parse_record(self.rx.open(whole),
                                     {REC_VERDICT} if self.state == "AwaitVerdict" else {REC_DATA, REC_END, REC_ALERT})
        if kind == REC_VERDICT:
            self._on_verdict(content[0], content[1:].decode())
        elif kind == REC_DATA:
            self.events.append(("data", content))
        elif kind == REC_END:
            self.state = "Ended"
            self.events.append(("end", b""))
        else:
            raise Fail(f"peer_alert:{content[0]}", "session", "an ALERT record: " + repr(content[1:].decode()))

    def _fail(self, failure):
        code = ALERTS.get(failure.alert)
        if code and not self.secured:
            self.out.append(frame(ALERT, u8(code)))
        elif code and not self.sent_end and self.tx.counter < MAX_RECORDS:
            self.out.append(self.tx.seal(REC_ALERT, u8(code)))
        self.state = "Closed" if failure.alert.startswith("verdict:") else "Failed"
        self.tx = self.rx = self.keys = None
        self.buffer.clear()

    # sending

    def send(self, kind, content=b"", padding=None):
        """DATA or END; the initiator may do so before the VERDICT (eager)."""
        if self.tx is None or self.sent_end or not (self.established or self.state == "AwaitVerdict"):
            raise RuntimeError("not possible to send now")
        if kind == REC_DATA and self.tx.counter >= MAX_RECORDS - 1:  # [RE-2]
            raise RuntimeError("the last record is kept for END")
        try:
            self.out.append(self.tx.seal(kind, content, padding))
        except Fail as failure:
            self._fail(failure)
            raise
        self.sent_end = kind == REC_END

    def finished(self): return self.state == "Ended" and self.sent_end

    # the parts that AUTH_R and AUTH_I have in common

    def _note(self, **values):
        if self.trace is not None:
            self.trace.update(values)

    def _th(self, name):
        value = self.transcript.value()
        self._note(**{name: value})
        return value

    def _agree(self, private, share):
        """[HS-6], [HS-10]; the transcript stands at TH_hello."""
        self.keys = handshake_schedule(x25519(private, share), self._th("TH_hello"))
        self._note(**self.keys)

    def _credential(self): return u8(RAW_KEY) + u16(32) + self.public
    def _sign(self, data): return self.identity.sign(data)
    def _confirm(self, key, th): return hmac(key, th)

    def _seal_auth(self, kind, plaintext):
        head = header(kind, len(plaintext) + 16)
        return head + seal(self.keys["hs_key_" + self.side], self.keys["hs_iv_" + self.side], head, plaintext)

    def _build_auth(self, kind, service=None):
        add, side = self.transcript.add, self.side
        credential, padding = self._credential(), bytes(self.auth_padding)
        lead = b"" if service is None else u8(len(service)) + service
        add(T_HEADER, header(kind, len(lead) + len(credential) + 96 + len(padding) + 16))
        if service is not None:
            add(T_SERVICE, service)
        add(T_CREDENTIAL, credential)
        data = signature_input(self.role, self._th("TH_sign_" + side))
        signature = self._sign(data)
        add(T_SIGNATURE, signature)
        confirm = self._confirm(self.keys["confirm_key_" + side], self._th("TH_confirm_" + side))
        plaintext = lead + credential + signature + confirm + padding
        self._note(**{"signature_input_" + side: data, "signature_" + side: signature, "confirm_" + side: confirm,
                      f"auth_{side}_plaintext": plaintext})
        whole = self._seal_auth(kind, plaintext)
        add(T_SEALED, whole[4:])
        self.out.append(whole)

    def _check_auth(self, whole, has_service):
        add, side = self.transcript.add, self.other
        plaintext = open_sealed(self.keys["hs_key_" + side], self.keys["hs_iv_" + side], whole[:4], whole[4:])
        r = Reader(plaintext)
        service = r.take(r.number(1)) if has_service else b""
        if any(not 0x21 <= b <= 0x7E for b in service):  # [FR-7]
            raise Fail("malformed", "message", "the service name has illegal bytes")
        start, kind, length = r.at, r.number(1), r.number(2)
        if not 1 <= length <= MAX_CREDENTIAL_LEN:
            raise Fail("malformed", "message", "length of the credential")
        key = r.take(length)
        block, signature, confirm = plaintext[start:r.at], r.take(64), r.take(32)
        if any(r.rest()):  # [FR-6]
            raise Fail("malformed", "message", "padding that is not zero")
        if kind != RAW_KEY or length != 32:  # [ID-1]
            raise Fail("malformed", "credential", "unknown kind of credential, or wrong length for it")
        if point_fault(key):
            raise Fail("refused", "credential", "the key is " + point_fault(key))
        add(T_HEADER, whole[:4])
        if has_service:
            add(T_SERVICE, service)
        add(T_CREDENTIAL, block)
        role = "initiator" if has_service else "responder"
        data = signature_input(role, self._th("TH_sign_" + side))
        add(T_SIGNATURE, signature)
        wanted = hmac(self.keys["confirm_key_" + side], self._th("TH_confirm_" + side))
        if not _hmac.compare_digest(confirm, wanted):
            raise Fail("refused", "confirmation", "the confirmation is wrong")
        if not verify_strict(key, data, signature):
            raise Fail("refused", "signature", "the signature does not verify")
        add(T_SEALED, whole[4:])
        self.peer = key
        return service

    def _derive_session(self):
        k = session_schedule(self.keys["handshake_secret"], self._th("TH_final"))
        self._note(**k)
        self.tx = Direction(k["traffic_key_" + self.side], k["traffic_iv_" + self.side])
        self.rx = Direction(k["traffic_key_" + self.other], k["traffic_iv_" + self.other])
        self.session_id, self.keys = k["session_id"], None


class Initiator(Endpoint):
    role, side, other = "initiator", "i", "r"
    state = "AwaitHelloReply"

    def __init__(self, seed, random, *, expected=None, service=b"", suites=(SUITE,), extra_shares=(), **options):
        super().__init__(seed, random, **options)
        self.expected, self.service, self.suites, self.extra_shares = expected, service, suites, extra_shares

    def start(self):
        self.nonce, self.private = self.random(32), self.random(32)
        self.share = x25519_public(self.private)
        shares = sorted([(KIND_X25519, self.share), *self.extra_shares])
        self._note(shares=shares)
        hello = frame(HELLO, u16(VERSION) + self.nonce + u8(len(self.suites)) + b"".join(map(u16, self.suites))
                      + u8(len(shares)) + b"".join(u8(k) + u16(len(s)) + s for k, s in shares))
        self.transcript.add(T_FRAME, hello)
        self.out.append(hello)

    def _on_handshake(self, kind, whole):
        if kind == HELLO_REPLY:
            r = Reader(whole[4:])
            if r.number(2) != VERSION:  # [HS-7]
                raise Fail("unsupported_version", "message", "version of HELLO_REPLY")
            suite = r.number(2)
            if suite not in self.suites or suite not in KNOWN_SUITES or len(whole) != 4 + 68:  # [HS-8]
                raise Fail("malformed", "message", "suite or length of HELLO_REPLY")
            nonce, share = r.take(32), r.take(32)
            if nonce == self.nonce or share == self.share:  # [HS-9]
                raise Fail("refused", "agreement", "an echo of the own nonce or share")
            self.transcript.add(T_FRAME, whole)
            self._agree(self.private, share)
            self.private = None
            self.state = "AwaitAuthR"
        else:
            self._check_auth(whole, False)
            if self.peer == self.public and not self.allow_self:  # [ID-3]
                raise Fail("refused", "policy", "the peer has the own identity")
            if self.expected not in (None, self.peer) or self.peer not in self.trusted:  # [HS-15]
                raise Fail("refused", "policy", "the peer is not the expected one, or not trusted")
            self._build_auth(AUTH_I, self.service)
            self._derive_session()
            self.secured = True
            self.state = "AwaitVerdict"

    def _on_verdict(self, code, text):
        if code != ACCEPT:  # [HS-23]
            raise Fail(f"peer_verdict:{code}", "policy", "refused by the peer: " + repr(text))
        if text:  # [HS-22]
            raise Fail("malformed", "message", "an accepting VERDICT with text")
        self.established, self.state = True, "Open"
        self.events.append(("established", b""))


class Responder(Endpoint):
    role, side, other = "responder", "r", "i"
    state = "AwaitHello"

    def __init__(self, seed, random, *, services=None, refusal_text=b"", **options):
        """services: a collection of names, or None for any name."""
        super().__init__(seed, random, **options)
        self.services, self.refusal_text, self.service = services, refusal_text, None

    def _on_handshake(self, kind, whole):
        if kind == AUTH_I:
            return self._on_auth_i(whole)
        share = self._check_hello(Reader(whole[4:]))
        nonce, private = self.random(32), self.random(32)
        reply = frame(HELLO_REPLY, u16(VERSION) + u16(SUITE) + nonce + x25519_public(private))
        self.transcript.add(T_FRAME, whole)
        self.transcript.add(T_FRAME, reply)
        self._agree(private, share)
        self.out.append(reply)
        self._build_auth(AUTH_R)
        self.state = "AwaitAuthI"

    def _check_hello(self, r):
        if r.number(2) != VERSION:  # [HS-2]
            raise Fail("unsupported_version", "message", "version of HELLO")
        r.take(32)
        n = r.number(1)
        suites = [r.number(2) for _ in range(n)] if 1 <= n <= MAX_SUITES else []
        if not suites or len(set(suites)) != n:  # [HS-3]
            raise Fail("malformed", "message", "number of suites, or one twice")
        m, shares, last = r.number(1), {}, -1
        if not 1 <= m <= MAX_SHARES:
            raise Fail("malformed", "message", "number of shares")
        for _ in range(m):
            kind, length = r.number(1), r.number(2)
            if kind <= last or length < 1 or SHARE_LENGTHS.get(kind, length) != length:
                raise Fail("malformed", "message", "order or length of a share")
            shares[kind], last = r.take(length), kind
        if r.rest():
            raise Fail("malformed", "message", "surplus bytes")
        known = [s for s in suites if s in KNOWN_SUITES]
        if any(k not in shares for s in known for k in KNOWN_SUITES[s]):  # [HS-4]
            raise Fail("malformed", "message", "a share is missing")
        if not known:  # [HS-5]
            raise Fail("no_common_suite", "agreement", "no suite in common")
        return shares[KIND_X25519]

    def _on_auth_i(self, whole):
        self.service = self._check_auth(whole, True)
        self._derive_session()
        self.secured = True
        code = self._decide()
        content = u8(code) + (self.refusal_text if code else b"")
        self._note(verdict_plaintext=record_plaintext(REC_VERDICT, content))
        self.out.append(self.tx.seal(REC_VERDICT, content))
        if code:
            raise Fail(f"verdict:{code}", "policy", "the initiator was refused")
        self.established, self.state = True, "Open"
        self.events.append(("established", b""))

    def _decide(self):
        if self.peer == self.public and not self.allow_self:
            return OWN_IDENTITY
        if self.peer not in self.trusted:
            return NOT_TRUSTED
        offered = self.services is None or self.service in self.services
        return ACCEPT if offered else SERVICE_UNAVAILABLE
