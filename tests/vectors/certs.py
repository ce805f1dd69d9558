"""Certificates and revocation lists for test vectors, written byte by byte so that they may have any fault, and the same each time: all keys
come from labels, and Ed25519, RSA with PKCS #1 v1.5 and ECDSA as in RFC 6979 sign without randomness."""
import datetime
import hashlib
import ipaddress

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SUCCESSION = "2.25.253087246232178436914573861472214602722"
SERVER_AUTH, CLIENT_AUTH, CODE_SIGNING = ("1.3.6.1.5.5.7.3.%d" % n for n in (1, 2, 3))
DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, KEY_CERT_SIGN, CRL_SIGN = 0, 2, 5, 6  # bits of a key usage
FROM, UNTIL = datetime.datetime(2020, 1, 1), datetime.datetime(2120, 1, 1)


def derive(label, n=32):
    """n bytes that depend on the label only."""
    return b"".join(hashlib.sha256(b"countersign certificates 1/%d/" % i + label.encode()).digest() for i in range(-(-n // 32)))[:n]


# ---- DER ----

def tlv(tag, *parts):
    content = b"".join(parts)
    length = len(content)
    octets = length.to_bytes(-(-length.bit_length() // 8), "big")
    return bytes([tag]) + (bytes([length]) if length < 128 else bytes([0x80 | len(octets)]) + octets) + content


def seq(*parts): return tlv(0x30, *parts)
def octets(*parts): return tlv(4, *parts)
def bits(data, unused=0): return tlv(3, bytes([unused]), data)
def integer(n): return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True))
def true(): return tlv(1, b"\xff")


def oid(text):
    first, second, *arcs = map(int, text.split("."))
    content = b""
    for arc in (40 * first + second, *arcs):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.insert(0, arc & 0x7F | 0x80)
        content += bytes(groups)
    return tlv(6, content)


def time(t): return tlv(0x17, t.strftime("%y%m%d%H%M%SZ").encode()) if t.year < 2050 else tlv(0x18, t.strftime("%Y%m%d%H%M%SZ").encode())
def name(common): return seq() if common == "" else seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(0x0C, common.encode()))))


def alt(text):
    """A general name: `dns:`, `ip:` (also a range, as name constraints have it, or bytes after `#`), `uri:`, `email:`, `dn:`, or `id:`."""
    kind, _, value = text.partition(":")
    if kind == "id":
        return bytes([0x88]) + oid(value)[1:]
    if value.startswith("#"):
        return tlv(0x87, bytes.fromhex(value[1:]))
    if kind == "ip":
        net = ipaddress.ip_network(value)
        return tlv(0x87, net.network_address.packed, net.netmask.packed if "/" in value else b"")
    return tlv({"email": 0x81, "dns": 0x82, "dn": 0xA4, "uri": 0x86}[kind], name(value) if kind == "dn" else value.encode())


# ---- keys ----

class Ed25519:
    algorithm = seq(oid("1.3.101.112"))

    def __init__(self, label): self.seed = derive(label)
    def public(self): return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
    def spki(self): return ed25519_spki(self.public())
    def sign(self, data): return Ed25519PrivateKey.from_private_bytes(self.seed).sign(data)


def ed25519_spki(key): return seq(seq(oid("1.3.101.112")), bits(key))


class Seeded(Ed25519):
    """A key with this seed."""
    def __init__(self, seed): self.seed = seed


class Foreign:
    def spki(self): return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Ecdsa(Foreign):
    algorithm = seq(oid("1.2.840.10045.4.3.2"))

    def __init__(self, label): self.private = ec.derive_private_key(int.from_bytes(derive(label), "big") >> 8, ec.SECP256R1())
    def sign(self, data): return self.private.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))


def prime(label):
    """The first prime from some number of 1,024 bits on that is 3 modulo 4 and fits the exponent 65,537."""
    small = [p for p in range(3, 2000, 2) if all(p % q for q in range(3, int(p ** 0.5) + 1, 2))]
    n = int.from_bytes(derive(label, 128), "big") | 3 << 1022 | 3
    while any(n % p == 0 for p in small) or n % 65537 == 1 or any(pow(b, n - 1, n) != 1 for b in (2, 3, 5, 7)):
        n += 4
    return n


class Rsa(Foreign):
    algorithm = seq(oid("1.2.840.113549.1.1.11"), tlv(5))

    def __init__(self, label):
        p, q, e = prime(label + " p"), prime(label + " q"), 65537
        p, q = max(p, q), min(p, q)
        d = pow(e, -1, (p - 1) * (q - 1))
        self.private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)).private_key()

    def sign(self, data): return self.private.sign(data, padding.PKCS1v15(), SHA256())


# ---- extensions ----

def extension(identifier, value, critical=False): return seq(oid(identifier), true() if critical else b"", octets(value))
def basic(ca=True, path_length=None): return extension("2.5.29.19", seq(true() if ca else b"", b"" if path_length is None else integer(path_length)), True)


def key_usage(*used):
    value = sum(0x8000 >> n for n in used).to_bytes(2, "big").rstrip(b"\0") or b"\0"
    unused = next((n for n in range(8) if value[-1] >> n & 1), 0)
    return extension("2.5.29.15", bits(value, unused), True)


def extended(*purposes, critical=False): return extension("2.5.29.37", seq(*map(oid, purposes)), critical)
def alt_names(*names): return extension("2.5.29.17", seq(*map(alt, names)))


def constraints(permitted=(), excluded=()):
    sides = ((0xA0, permitted), (0xA1, excluded))
    return extension("2.5.29.30", seq(*(tlv(tag, *(seq(alt(n)) for n in names)) for tag, names in sides if names)), True)


CA = (basic(), key_usage(KEY_CERT_SIGN, CRL_SIGN))
LEAF = (key_usage(DIGITAL_SIGNATURE), extended(CLIENT_AUTH, SERVER_AUTH))


# ---- certificates and lists ----

class Party:
    """A key with a name, and its certificate."""

    def __init__(self, subject, key, issuer=None, *, label=None, extensions=CA, valid=(FROM, UNTIL), signer=None, spki=None, edit=None,
                 issuer_name=None, version=3, outside=None):
        """issuer: a Party, or None for a certificate signed by itself. signer: whose key really signs. edit: what becomes of the signature.
        outside: the algorithm that stands beside the signature."""
        self.subject, self.key, issuer = subject, key, issuer or self
        issuer_key = (signer or issuer).key
        self.serial = int.from_bytes(derive("serial " + (label or subject), 16), "big") >> 1
        tbs = seq(tlv(0xA0, integer(version - 1)) if version > 1 else b"", integer(self.serial), issuer_key.algorithm, name(issuer_name or issuer.subject),
                  seq(*map(time, valid)), name(subject), spki or key.spki(), tlv(0xA3, seq(*extensions)) if extensions else b"")
        signature = issuer_key.sign(tbs)
        self.der = seq(tbs, outside or issuer_key.algorithm, bits(edit(signature) if edit else signature))

    def revoke(self, *certificates, valid=(FROM, UNTIL), key=None, edit=None, extensions=(), version=2):
        """A revocation list (RFC 5280, section 5.1) by this issuer."""
        key = key or self.key
        entries = seq(*(seq(integer(c.serial), time(FROM)) for c in certificates)) if certificates else b""
        numbered = tlv(0xA0, seq(extension("2.5.29.35", seq(tlv(0x80, hashlib.sha1(self.key.spki()).digest()))), extension("2.5.29.20", integer(1)), *extensions))
        tbs = seq(*[integer(1)] * (version > 1), key.algorithm, name(self.subject), *map(time, valid), entries, numbered if version > 1 else b"")
        signature = key.sign(tbs)
        return seq(tbs, key.algorithm, bits(edit(signature) if edit else signature))


def chain(*parties): return [p.der for p in parties]
