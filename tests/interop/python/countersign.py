"""The Countersign protocol, version 1: frames, transcript, key schedule, both roles, records. No input or output."""
import hashlib
import hmac as _hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from kyber_py.ml_kem import ML_KEM_768  # encapsulation with a given m, which `cryptography` does not offer

import chains

VERSION, RAW_KEY, X509_CHAIN = 1, 0x01, 0x02
PROTOCOL = b"countersign/1"
MAX_SUITES, MAX_SHARES, MAX_CREDENTIAL_LEN = 16, 8, 16384
MAX_TEXT_LEN, MAX_CONTEXT_LEN, MAX_CONTENT_LEN, MAX_EXPORT_LEN = 255, 255, 65536, 8160
MAX_RECORDS, MAX_RECORDS_AES, MAX_KEY_BYTES_AES, REKEY_BURST, REKEY_SPACING = 2 ** 48, 2 ** 32, 2 ** 38, 16, 4

X25519, MLKEM = 1, 2  # share kinds
SHARE_LENGTHS, REPLY_LENGTHS = {X25519: 32, MLKEM: 1184}, {X25519: 32, MLKEM: 1088}
KNOWN_SUITES = {1: (X25519,), 2: (X25519, MLKEM), 3: (X25519,), 4: (X25519, MLKEM)}
AEADS = {1: ChaCha20Poly1305, 2: ChaCha20Poly1305, 3: AESGCM, 4: AESGCM}
SUITE_NAMES = {1: "X25519_ChaCha20Poly1305_SHA256", 2: "X25519MLKEM768_ChaCha20Poly1305_SHA256",
               3: "X25519_AES256GCM_SHA256", 4: "X25519MLKEM768_AES256GCM_SHA256"}
DEFAULT_SUITES = (2, 4, 1, 3)
def hybrid(suite): return MLKEM in KNOWN_SUITES.get(suite, ())


HELLO, HELLO_REPLY, AUTH_R, AUTH_I, RECORD, ALERT = 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6
LIMITS = {HELLO: (42, 2048), HELLO_REPLY: (37, 2048), AUTH_R: (116, 17408), AUTH_I: (117, 17408),
          RECORD: (17, 65555), ALERT: (1, 1)}
REC_DATA, REC_END, REC_ALERT, REC_VERDICT, REC_REKEY, REC_KEEPALIVE = 1, 2, 3, 4, 6, 7
KIND_NAMES = {REC_DATA: "data", REC_END: "end", REC_ALERT: "alert", REC_VERDICT: "verdict", REC_REKEY: "rekey",
              REC_KEEPALIVE: "keepalive"}
ALERTS = {"malformed": 1, "unexpected_message": 2, "unsupported_version": 3, "no_common_suite": 4, "refused": 5,
          "bad_record": 6, "timeout": 7, "busy": 8, "internal": 9, "shutting_down": 10, "revoked": 11, "network_key": 12}
ACCEPT, NOT_TRUSTED, SERVICE_UNAVAILABLE, BUSY, OWN_IDENTITY, DENIED = range(6)
T_PROTOCOL, T_CONTEXT, T_FRAME, T_HEADER, T_SERVICE, T_CREDENTIAL, T_SIGNATURE, T_SEALED = range(8)


class Fail(Exception):
    """alert: a name of ALERTS (it is sent), or one of: `verdict:N` (a refusing VERDICT was sent), `peer_verdict:N`,
    `peer_alert:N`, `truncated`, `limit`, `silent` (nothing is sent)."""

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
def seal(suite, key, nonce, ad, plaintext): return AEADS[suite](key).encrypt(nonce, plaintext, ad)


def open_sealed(suite, key, nonce, ad, sealed):
    try:
        return AEADS[suite](key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        raise Fail("bad_record", "aead", "a sealed body does not open") from None


def x25519(k, u, layer="agreement"):
    try:
        return X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(u))
    except ValueError:  # the library refuses an all-zero result
        raise Fail("refused", layer, "the shared secret is all zero") from None


def mlkem_keygen(d, z): return MLKEM768PrivateKey.from_seed_bytes(d + z)
def mlkem_encaps(ek, m): return ML_KEM_768._encaps_internal(ek, m)  # secret, ciphertext


def mlkem_check(ek):  # [HS-27]
    try:
        MLKEM768PublicKey.from_public_bytes(ek)  # refuses coefficients of 3,329 and more
    except ValueError:
        raise Fail("malformed", "agreement", "the encapsulation key is not valid") from None


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


def early_schedule(network_key):
    early = extract(bytes(32), network_key or bytes(32))
    return {"early_secret": early, "network_tag_key": expand_label(early, "network tag", b"", 32)}


def network_tag(network_key, hello): return hmac(early_schedule(network_key)["network_tag_key"], hello)


def handshake_schedule(shared, th_hello, network_key=None):
    k = {"shared": shared, **early_schedule(network_key)}
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
         "channel_binding": expand_label(ms, "channel binding", th_final, 32),
         "session_id": expand_label(ms, "session id", th_final, 16)}
    for s, role in (("r", "responder"), ("i", "initiator")):
        k["traffic_secret_" + s] = expand_label(ms, "traffic " + role, th_final, 32)
        k["traffic_key_" + s], k["traffic_iv_" + s] = key_iv(k["traffic_secret_" + s])
    return k


def export(exporter_secret, label, context, length):  # [KS-2]
    if not (1 <= len(label) <= 255 and len(context) <= 65535 and 1 <= length <= MAX_EXPORT_LEN):
        raise ValueError("label, context or length of an export")
    ctx = hashlib.sha256(u32(len(label)) + label + u32(len(context)) + context).digest()
    return expand_label(exporter_secret, "export", ctx, length)


def next_secret(secret, content, dh): return extract(expand_label(secret, "rekey", content, 32), dh)  # [RK-1]


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
    if kind == REC_DATA and not content or kind in (REC_END, REC_KEEPALIVE) and content:
        raise Fail("malformed", "message", "an empty DATA, or an END or KEEPALIVE with content")
    if kind == REC_REKEY and len(content) != 40:
        raise Fail("malformed", "message", "the length of a REKEY")
    if kind in (REC_ALERT, REC_VERDICT):
        if not content:
            raise Fail("malformed", "message", "no code")
        check_text(content[1:])
    return kind, content


class Direction:
    """One direction of a session. others, rekeys: records so far, since the beginning; used: plaintext under this key."""

    def __init__(self, suite, secret, counter=0, others=0):
        self.suite, self.others, self.rekeys = suite, others, 0
        self._set(secret, counter)

    def _set(self, secret, counter):
        self.secret, self.counter, self.used = secret, counter, 0
        self.key, self.iv = key_iv(secret)

    def nonce(self): return bytes(a ^ b for a, b in zip(self.iv, bytes(4) + self.counter.to_bytes(8, "big")))

    def room(self, size, kept=0, kept_bytes=0):
        """Whether a record with a plaintext of this size may be sealed; kept: what has to stay free after it. [RE-2]"""
        aes = AEADS[self.suite] is AESGCM
        return (self.counter + kept < (MAX_RECORDS_AES if aes else MAX_RECORDS)
                and not (aes and self.used + size + kept_bytes > MAX_KEY_BYTES_AES))

    def may_rekey(self): return self.rekeys + 1 <= REKEY_BURST + self.others // REKEY_SPACING  # [RK-2]

    def _step(self, size):
        if not self.room(size):
            raise Fail("limit", "session", "no further record under this key")
        nonce = self.nonce()
        self.counter, self.used = self.counter + 1, self.used + size
        return nonce

    def _count(self, plaintext):
        if plaintext[0] & 0x7F == REC_REKEY:
            self.rekeys += 1
        else:
            self.others += 1

    def seal_plaintext(self, plaintext):
        head = header(RECORD, len(plaintext) + 16)
        whole = head + seal(self.suite, self.key, self._step(len(plaintext)), head, plaintext)
        self._count(plaintext)
        return whole

    def seal(self, kind, content=b"", padding=None): return self.seal_plaintext(record_plaintext(kind, content, padding))

    def open(self, data):
        """The record is not counted yet: a REKEY has to be judged first."""
        return open_sealed(self.suite, self.key, self._step(len(data) - 20), data[:4], data[4:])

    def rekey(self, content, dh): self._set(next_secret(self.secret, content, dh), 0)


# ---- both roles ----

LEGAL = {"AwaitHello": {HELLO, ALERT}, "AwaitAuthI": {AUTH_I, ALERT}, "AwaitHelloReply": {HELLO_REPLY, ALERT},
         "AwaitAuthR": {AUTH_R, ALERT}, "AwaitVerdict": {RECORD, ALERT}, "Open": {RECORD}, "Ended": set()}


class Endpoint:
    """feed() bytes, then write out what is in `out` (frames) and act on `events`; a Fail is final. `random(n)` is injected.
    States of the receiving direction: those of section 13, and Closed after a refusing VERDICT was sent."""
    role, side, other = "", "", ""

    def __init__(self, seed, random, *, suites=DEFAULT_SUITES, network_key=None, context=b"", trusted=(), auth_padding=0,
                 allow_self=False, chain=None, believes=None, trace=None):
        """suites: of an initiator the offer, of a responder its preference; chain: certificates in DER, the own one first;
        believes: a function that says whether the certificates of a peer are accepted, beside the keys that are trusted."""
        if len(context) > MAX_CONTEXT_LEN:
            raise ValueError("the context is too long")
        self.identity = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = ed25519_public(seed)
        self.random, self.trusted, self.auth_padding, self.allow_self = random, set(trusted), auth_padding, allow_self
        self.chain, self.believes, self.peer_chain, self.peer_names = chain, believes, None, []
        self.trace = trace  # a dict that collects every named value, for test vectors only
        self.transcript = Transcript(context)
        self.suites, self.network_key, self.suite = tuple(suites), network_key, None
        self.out, self.events, self.buffer = [], [], bytearray()
        self.first, self.silent = True, False  # silent: nothing is sent for a failure [NK-3]
        self.established = self.secured = self.sent_end = False  # secured: failures are answered with records
        self.tx = self.rx = self.keys = self.peer = self.session_id = self.channel_binding = self.exporter = None
        self.number = self.named = self.peer_number = 0  # section 11.2
        self.halves, self.peer_share = {}, None

    # receiving

    def feed(self, data):
        if self.state not in LEGAL:
            return
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
            if self.silent:  # [NK-4]
                failure = Fail("silent", "network", str(failure))
            self._fail(failure)
            raise failure

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
        plaintext = self.rx.open(whole)
        kind, content = parse_record(plaintext, {REC_VERDICT} if self.state == "AwaitVerdict" else
                                     {REC_DATA, REC_END, REC_ALERT, REC_REKEY, REC_KEEPALIVE})
        if kind == REC_REKEY:
            self._on_rekey(content)
        self.rx._count(plaintext)
        if kind == REC_VERDICT:
            self._on_verdict(content[0], content[1:].decode())
        elif kind == REC_DATA:
            self.events.append(("data", content))
        elif kind == REC_END:
            self.state = "Ended"
            self.events.append(("end", b""))
        elif kind == REC_ALERT:
            raise Fail(f"peer_alert:{content[0]}", "session", "an ALERT record: " + repr(content[1:].decode()))

    def _on_rekey(self, content):
        peer_number, number, share = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big"), content[8:]
        if not self.rx.may_rekey():  # [RK-2]
            raise Fail("unexpected_message", "rekey", "too many REKEY records")
        if not self.named <= peer_number <= self.number:  # [RK-3]; at most one is between them
            raise Fail("malformed", "rekey", "REKEY names a share that is not kept")
        if number not in (0, self.peer_number + 1):  # [RK-4]
            raise Fail("malformed", "rekey", "REKEY skips or repeats a number")
        self.named = peer_number
        self.halves = {n: k for n, k in self.halves.items() if n >= peer_number}
        if number:
            self.peer_number, self.peer_share = number, share
        self.rx.rekey(content, x25519(self.halves[peer_number], share, "rekey") if peer_number else bytes(32))  # [RK-5]

    def _fail(self, failure):
        code = None if self.silent else ALERTS.get(failure.alert)
        if code and not self.secured:
            self.out.append(frame(ALERT, u8(code)))
        elif code and not self.sent_end and self.tx.room(2):
            self.out.append(self.tx.seal(REC_ALERT, u8(code)))
        self.state = "Closed" if failure.alert.startswith("verdict:") else "Failed"
        self.tx = self.rx = self.keys = self.exporter = None
        self.halves.clear()
        self.buffer.clear()

    # sending

    def _ready(self):
        if self.tx is None or self.sent_end or not (self.established or self.state == "AwaitVerdict"):
            raise RuntimeError("not possible to send now")

    def send(self, kind, content=b"", padding=None):
        """DATA, KEEPALIVE or END; the initiator may do so before the VERDICT (eager)."""
        self._ready()
        if kind != REC_END and not self.tx.room(len(content) + (padding or 0) + 3, 1, 1 << 17):  # [RE-2]
            raise RuntimeError("the last record is kept for END, ALERT or REKEY")
        try:
            self.out.append(self.tx.seal(kind, content, padding))
        except Fail as failure:
            self._fail(failure)
            raise
        self.sent_end = kind == REC_END

    def rekey(self, padding=None):
        """The next record is sealed under a new key."""
        self._ready()
        if not self.tx.may_rekey():  # [RK-2]
            raise RuntimeError("too many REKEY records")
        k, number = self.random(32), 0
        if self.named == self.number:
            self.number = number = self.number + 1
            self.halves[number] = k
        try:
            dh = x25519(k, self.peer_share, "rekey") if self.peer_number else bytes(32)  # [RK-6]
            content = u32(self.peer_number) + u32(number) + x25519_public(k)
            self.out.append(self.tx.seal(REC_REKEY, content, padding))
        except Fail as failure:
            self._fail(failure)
            raise
        self.tx.rekey(content, dh)

    def export(self, label, context, length): return export(self.exporter, label, context, length)
    def finished(self): return self.state == "Ended" and self.sent_end

    # the parts that AUTH_R and AUTH_I have in common

    def _note(self, **values):
        if self.trace is not None:
            self.trace.update(values)

    def _th(self, name):
        value = self.transcript.value()
        self._note(**{name: value})
        return value

    def _combine(self, mlkem_secret, dh): return mlkem_secret + dh

    def _agree(self, private, share, mlkem_secret=None):
        """[HS-6], [HS-10]; the transcript stands at TH_hello."""
        dh = x25519(private, share)
        if mlkem_secret is not None:
            self._note(dh=dh, mlkem_secret=mlkem_secret)
        shared = dh if mlkem_secret is None else self._combine(mlkem_secret, dh)
        self.keys = handshake_schedule(shared, self._th("TH_hello"), self.network_key)
        self._note(**self.keys)

    def _credential(self):
        data = chains.join(self.chain) if self.chain else self.public
        return u8(X509_CHAIN if self.chain else RAW_KEY) + u16(len(data)) + data

    def _believed(self): return self.peer_chain is not None and self.believes is not None and self.believes(self.peer_chain)
    def _trusted(self): return self.peer in self.trusted or self._believed()

    def _sign(self, data): return self.identity.sign(data)
    def _confirm(self, key, th): return hmac(key, th)

    def _seal_auth(self, kind, plaintext):
        head = header(kind, len(plaintext) + 16)
        return head + seal(self.suite, self.keys["hs_key_" + self.side], self.keys["hs_iv_" + self.side], head, plaintext)

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
        plaintext = open_sealed(self.suite, self.keys["hs_key_" + side], self.keys["hs_iv_" + side], whole[:4], whole[4:])
        r = Reader(plaintext)
        service = r.take(r.number(1)) if has_service else b""
        if any(not 0x21 <= b <= 0x7E for b in service):  # [FR-7]
            raise Fail("malformed", "message", "the service name has illegal bytes")
        start, kind, length = r.at, r.number(1), r.number(2)
        if not 1 <= length <= MAX_CREDENTIAL_LEN:
            raise Fail("malformed", "message", "length of the credential")
        data = r.take(length)
        block, signature, confirm = plaintext[start:r.at], r.take(64), r.take(32)
        if any(r.rest()):  # [FR-6]
            raise Fail("malformed", "message", "padding that is not zero")
        key, chain = self._parse_credential(kind, data)
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
            raise Fail("bad_record", "confirmation", "the confirmation is wrong")
        if not verify_strict(key, data, signature):
            raise Fail("refused", "signature", "the signature does not verify")
        add(T_SEALED, whole[4:])
        self.peer, self.peer_chain = key, chain
        self.peer_names = chains.names(chain[0]) if chain else []
        return service

    def _parse_credential(self, kind, data):
        """The key, and the chain if it is one."""
        if kind == X509_CHAIN:
            try:
                chain = chains.parse(data)
            except chains.NotAChain as e:
                raise Fail("malformed", "credential", str(e)) from None
            return chain[0].ed25519(), chain
        if kind != RAW_KEY or len(data) != 32:  # [ID-1]
            raise Fail("malformed", "credential", "unknown kind of credential, or wrong length for it")
        return data, None

    def _derive_session(self):
        k = session_schedule(self.keys["handshake_secret"], self._th("TH_final"))
        self._note(**k)
        self.tx, self.rx = (Direction(self.suite, k["traffic_secret_" + s]) for s in (self.side, self.other))
        self.session_id, self.channel_binding, self.exporter = k["session_id"], k["channel_binding"], k["exporter_secret"]
        self.keys = None


class Initiator(Endpoint):
    role, side, other = "initiator", "i", "r"
    state = "AwaitHelloReply"

    def __init__(self, seed, random, *, expected=None, expected_name=None, service=b"", extra_shares=(), **options):
        """expected: a key; expected_name: a name as chains.names gives it."""
        super().__init__(seed, random, **options)
        self.expected, self.expected_name, self.service, self.extra_shares = expected, expected_name, service, extra_shares

    def start(self):
        self.nonce, self.private = self.random(32), self.random(32)
        self.share = x25519_public(self.private)
        shares = [(X25519, self.share), *self.extra_shares]
        if any(map(hybrid, self.suites)):
            self.decapsulation = mlkem_keygen(self.random(32), self.random(32))
            shares.append((MLKEM, self.decapsulation.public_key().public_bytes_raw()))
        self.shares = sorted(shares)
        self._note(shares=self.shares)
        body = (u16(VERSION) + self.nonce + u8(len(self.suites)) + b"".join(map(u16, self.suites))
                + u8(len(shares)) + b"".join(u8(k) + u16(len(s)) + s for k, s in self.shares))
        hello = header(HELLO, len(body) + (32 if self.network_key else 0)) + body
        if self.network_key:  # [NK-1]
            hello += network_tag(self.network_key, hello)
        self.transcript.add(T_FRAME, hello)
        self.out.append(hello)

    def _on_handshake(self, kind, whole):
        if kind == HELLO_REPLY:
            r = Reader(whole[4:])
            if r.number(2) != VERSION:  # [HS-7]
                raise Fail("unsupported_version", "message", "version of HELLO_REPLY")
            self.suite = r.number(2)
            kinds = KNOWN_SUITES.get(self.suite)
            if self.suite not in self.suites or not kinds or len(whole) != 40 + sum(REPLY_LENGTHS[k] for k in kinds):  # [HS-8]
                raise Fail("malformed", "message", "suite or length of HELLO_REPLY")
            nonce, share = r.take(32), r.take(32)
            if nonce == self.nonce or share == self.share:  # [HS-9]
                raise Fail("refused", "agreement", "an echo of the own nonce or share")
            self.transcript.add(T_FRAME, whole)
            self._agree(self.private, share, self.decapsulation.decapsulate(r.rest()) if hybrid(self.suite) else None)
            self.private = self.decapsulation = None
            self.state = "AwaitAuthR"
        else:
            self._check_auth(whole, False)
            if self.peer == self.public and not self.allow_self:  # [ID-3]
                raise Fail("refused", "policy", "the peer has the own identity")
            if self.expected not in (None, self.peer) or not self._trusted():  # [HS-15]
                raise Fail("refused", "policy", "the peer is not the expected one, or not trusted")
            if self.expected_name and not (self._believed() and any(chains.covers(n, self.expected_name) for n in self.peer_names)):
                raise Fail("refused", "policy", "the peer has not the expected name")  # [ID-10]
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
        self.silent = bool(self.network_key)

    def _encaps(self, ek, m): return mlkem_encaps(ek, m)

    def _on_handshake(self, kind, whole):
        if kind == AUTH_I:
            return self._on_auth_i(whole)
        if self.network_key:  # [NK-2]
            if len(whole) < 4 + 42 + 32 or not _hmac.compare_digest(network_tag(self.network_key, whole[:-32]), whole[-32:]):
                raise Fail("silent", "network", "no tag, or a wrong one")
            self.silent = False
        shares = self._check_hello(Reader(whole[4:]))
        nonce, private, secret, reply_shares = self.random(32), self.random(32), None, b""
        if hybrid(self.suite):
            secret, reply_shares = self._encaps(shares[MLKEM], self.random(32))
        reply = frame(HELLO_REPLY, u16(VERSION) + u16(self.suite) + nonce + x25519_public(private) + reply_shares)
        self.transcript.add(T_FRAME, whole)
        self.transcript.add(T_FRAME, reply)
        self._agree(private, shares[X25519], secret)
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
        tag = r.rest()
        if len(tag) not in ((32,) if self.network_key else (0, 32)):
            raise Fail("malformed", "message", "surplus bytes")
        if tag and not self.network_key:  # [NK-5]
            raise Fail("network_key", "network", "HELLO has the tag of a network key")
        known = [s for s in suites if s in KNOWN_SUITES]
        if any(k not in shares for s in known for k in KNOWN_SUITES[s]):  # [HS-4]
            raise Fail("malformed", "message", "a share is missing")
        self.suite = next((s for s in self.suites if s in known), None)
        if self.suite is None:  # [HS-5]
            raise Fail("no_common_suite", "agreement", "no suite in common")
        if hybrid(self.suite):
            mlkem_check(shares[MLKEM])
        return shares

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
        if not self._trusted():
            return NOT_TRUSTED
        offered = self.services is None or self.service in self.services
        return ACCEPT if offered else SERVICE_UNAVAILABLE
