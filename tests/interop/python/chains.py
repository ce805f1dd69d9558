"""Certificates as credentials: a strict reader of DER, and what sections 7.1 and 7.2 ask of a chain before anybody believes it."""
import base64
import datetime
import ipaddress
import re
import string

MAX_CERTIFICATES = 8
ED25519, SAN = "1.3.101.112", "2.5.29.17"
INTEGER, BOOLEAN, BIT_STRING, OCTET_STRING, OID, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 2, 1, 3, 4, 6, 0x17, 0x18, 0x30, 0x31


class Damaged(ValueError):
    """Not DER, or not what it has to be."""


class NotAChain(ValueError):
    """The credential is `malformed`; the tag names the rule."""

    def __init__(self, tag, reason):
        super().__init__(f"{reason} [{tag}]")
        self.tag = tag


class Der:
    """Reads elements one after the other; the lengths are the shortest, and the tags of one byte."""

    def __init__(self, data): self.data, self.at = data, 0
    def more(self): return self.at < len(self.data)
    def peek(self): return self.data[self.at] if self.more() else None

    def _take(self, n):
        if len(self.data) - self.at < n:
            raise Damaged("bytes are missing")
        self.at += n
        return self.data[self.at - n:self.at]

    def element(self):
        """The tag, the content, and the whole."""
        start = self.at
        tag, length = self._take(2)
        if tag & 0x1F == 0x1F:
            raise Damaged("a tag of more than one byte")
        if length >= 0x80:
            octets = self._take(length & 0x7F)
            if not 1 <= len(octets) <= 4 or octets[0] == 0 or int.from_bytes(octets, "big") < 0x80:
                raise Damaged("a length that is not the shortest, or none")
            length = int.from_bytes(octets, "big")
        content = self._take(length)
        return tag, content, self.data[start:self.at]

    def expect(self, tag):
        found, content, _ = self.element()
        if found != tag:
            raise Damaged(f"tag 0x{found:02x}, not 0x{tag:02x}")
        return content

    def whole(self, tag):
        found, _, whole = self.element()
        if found != tag:
            raise Damaged(f"tag 0x{found:02x}, not 0x{tag:02x}")
        return whole

    def into(self, tag): return Der(self.expect(tag))
    def optional(self, tag): return self.into(tag) if self.peek() == tag else None

    def end(self):
        if self.more():
            raise Damaged("surplus bytes")

    def integer(self):
        content = self.expect(INTEGER)
        if not content or len(content) > 1 and (content[0], content[1] >> 7) in ((0, 0), (255, 1)):
            raise Damaged("an integer that is not the shortest")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self):
        content = self.expect(BOOLEAN)
        if content not in (b"\0", b"\xff"):
            raise Damaged("a boolean")
        return content == b"\xff"

    def oid(self):
        content, arcs, value = self.expect(OID), [], 0
        if not content or content[-1] & 0x80:
            raise Damaged("an object identifier")
        for n, byte in enumerate(content):
            if byte == 0x80 and (n == 0 or not content[n - 1] & 0x80):
                raise Damaged("an object identifier that is not the shortest")
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                arcs, value = arcs + [value], 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def bits(self):
        content = self.expect(BIT_STRING)
        if not content or content[0] > 7 or len(content) == 1 and content[0] or content[-1] & (1 << content[0]) - 1:
            raise Damaged("a bit string")
        return content[1:], 8 * len(content) - 8 - content[0]

    def time(self):
        tag, content, _ = self.element()
        shape = {UTC_TIME: (13, "%y%m%d%H%M%SZ"), GENERALIZED_TIME: (15, "%Y%m%d%H%M%SZ")}.get(tag)
        if not shape or len(content) != shape[0] or not content[:-1].isdigit() or content[-1:] != b"Z":
            raise Damaged("a time")
        try:
            value = datetime.datetime.strptime(content.decode(), shape[1]).replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            raise Damaged("a time") from None
        if tag == UTC_TIME and value.year >= 2050:  # 50 to 99 are of the last century
            value = value.replace(year=value.year - 100)
        elif tag == UTC_TIME and int(content[:2]) >= 50:
            value = value.replace(year=1900 + int(content[:2]))
        return int(value.timestamp())


def check_name(r):
    """A name is relative names, each of them attributes with a type and a value; they are only compared."""
    names = r.into(SEQUENCE)
    while names.more():
        attributes = names.into(SET)
        if not attributes.more():
            raise Damaged("a relative name without attributes")
        while attributes.more():
            attribute = attributes.into(SEQUENCE)
            attribute.oid()
            walk(attribute.element()[2])
            attribute.end()
    r.end()


def walk(data):
    """Whether everything inside is made of elements."""
    r = Der(data)
    while r.more():
        tag, content, _ = r.element()
        if tag & 0x20:
            walk(content)


def algorithm(r):
    """The identifier and its parameters as they stand (b"" if there are none)."""
    a = r.into(SEQUENCE)
    found = a.oid(), a.element()[2] if a.more() else b""
    a.end()
    return found


def extensions(r):
    """{ identifier: (critical, value) }"""
    found, r = {}, r.into(SEQUENCE)
    if not r.more():
        raise Damaged("no extensions")
    while r.more():
        e = r.into(SEQUENCE)
        name, critical = e.oid(), False
        if e.peek() == BOOLEAN:
            critical = e.boolean()
            if not critical:
                raise Damaged("a default value that is written")
        if name in found:
            raise Damaged("an extension twice")
        found[name] = critical, e.expect(OCTET_STRING)
        e.end()
    return found


class Certificate:
    """RFC 5280, section 4.1. Values of extensions are read when they are asked for."""

    def __init__(self, der):
        self.der = der
        outer = Der(der)
        r = outer.into(SEQUENCE)
        outer.end()
        tbs = Der(r.data)
        self.tbs = tbs.whole(SEQUENCE)
        r.element()
        self.algorithm = algorithm(r)
        self.signature, unused = r.bits()
        r.end()
        if unused % 8:
            raise Damaged("a signature of odd bits")
        r = Der(self.tbs).into(SEQUENCE)
        version = r.optional(0xA0)
        self.version = version.integer() if version else 0
        if version:
            version.end()
        if self.version not in (0, 1, 2) or version and not self.version:
            raise Damaged("version")
        self.serial = r.integer()
        self.inner_algorithm = algorithm(r)
        self.issuer = r.whole(SEQUENCE)
        validity = r.into(SEQUENCE)
        self.not_before, self.not_after = validity.time(), validity.time()
        validity.end()
        self.subject = r.whole(SEQUENCE)
        check_name(Der(self.issuer))
        check_name(Der(self.subject))
        self.spki = r.whole(SEQUENCE)
        s = Der(self.spki).into(SEQUENCE)
        self.key_algorithm = algorithm(s)
        self.key, self.key_bits = s.bits()
        s.end()
        for tag in (0x81, 0x82):
            if r.peek() == tag:
                r.element()
        self.extensions = {}
        if r.peek() == 0xA3:
            e = r.into(0xA3)
            self.extensions = extensions(e)
            e.end()
        r.end()

    def extension(self, name):
        """A reader of its value, or None."""
        return Der(self.extensions[name][1]) if name in self.extensions else None

    def ed25519(self):
        """The 32 bytes of its Ed25519 key, or None. [ID-6]"""
        return self.key if self.key_algorithm == (ED25519, b"") and self.key_bits == 256 else None


GENERAL_NAMES = 0xA0, 0x81, 0x82, 0xA3, 0xA4, 0xA5, 0x86, 0x87, 0x88


def general_names(r):
    """(kind, value) for each; the kind is the number of the alternative in RFC 5280, section 4.2.1.6."""
    while r.more():
        tag, content, whole = r.element()
        if tag not in GENERAL_NAMES:
            raise Damaged("a general name")
        if tag == 0xA0:  # an otherName
            other = Der(content)
            other.oid()
            walk(other.expect(0xA0))
            other.end()
        elif tag == 0xA4:
            check_name(Der(content))
        elif tag & 0x20:
            walk(content)
        elif tag == 0x88:
            Der(b"\6" + whole[1:]).oid()
        elif tag != 0x87 and not content.isascii():
            raise Damaged("a name")
        yield tag & 0x1F, content


def is_dns(text):
    """Whether a DNS name counts: letters, digits, `-`, `_`, and a first label that may be `*`."""
    labels = text.removesuffix(".").split(".")
    first = labels[0] == "*" and len(labels) > 1
    return all(label and set(label) <= set(string.ascii_letters + string.digits + "-_") for label in labels[first:])


def address(value):
    """RFC 5952."""
    found = ipaddress.ip_address(value)
    mapped = getattr(found, "ipv4_mapped", None)
    return f"::ffff:{mapped}" if mapped else str(found)


def names(certificate):
    """The names of a peer, as `dns:`, `ip:` and `uri:` texts. [ID-10]"""
    found, r = [], certificate.extension(SAN)
    entries = list(general_names(r.into(SEQUENCE))) if r else []
    if r:
        r.end()
    for kind, value in entries:
        if kind in (2, 6):
            text = value.decode("ascii")
            if kind == 2 and is_dns(text):
                found.append("dns:" + text)
            elif kind == 6 and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", text):
                found.append("uri:" + text)
        elif kind == 7 and len(value) in (4, 16):
            found.append("ip:" + address(value))
    return found


def covers(own, wanted):
    """Whether the name `own` of a certificate is the `wanted` one. [ID-10]"""
    kind, _, value = own.partition(":")
    if kind != "dns" or not wanted.startswith("dns:"):
        return own == wanted
    value, wanted = (x.lower().removesuffix(".") for x in (value, wanted[4:]))
    if "*" in wanted:
        return False
    if not value.startswith("*."):
        return value == wanted
    label, dot, rest = wanted.partition(".")
    return bool(label and dot) and rest == value[2:] and "." in rest


def split(data):
    """The certificates of a credential, in DER. [ID-4] [ID-5]"""
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 2], "big")
        if length < 1 or at + 2 + length > len(data):
            raise NotAChain("ID-4", "the data does not end with a certificate")
        found.append(data[at + 2:at + 2 + length])
        at += 2 + length
    if len(found) > MAX_CERTIFICATES:
        raise NotAChain("ID-5", "too many certificates")
    return found


def from_pem(text):
    """The certificates, in DER."""
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----", text)
    return [base64.b64decode(b) for b in blocks]


def name_of(text):
    """What somebody calls a peer, as a name of a certificate."""
    if "://" in text:
        return "uri:" + text
    try:
        return "ip:" + address(text)
    except ValueError:
        return "dns:" + text


def join(certificates): return b"".join(len(c).to_bytes(2, "big") + c for c in certificates)


def parse(data):
    """The certificates of a credential, the leaf first, checked as far as section 7.1 says for when it is decoded."""
    try:
        chain = [Certificate(der) for der in split(data)]
        names(chain[0])
    except Damaged as e:
        raise NotAChain("ID-4", f"a certificate is damaged: {e}") from None
    if chain[0].ed25519() is None:
        raise NotAChain("ID-6", "the leaf is not for an Ed25519 key")
    if any(a.issuer != b.subject for a, b in zip(chain, chain[1:])):
        raise NotAChain("ID-7", "a certificate is not that of the issuer of the one before")
    if len({c.subject for c in chain}) != len(chain):
        raise NotAChain("ID-7", "a subject twice")
    return chain
