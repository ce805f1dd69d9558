"""Decisions about chains: by CAs with their revocation lists [ID-9], and by a predecessor [ID-11]. Written from sections 7.1 and 7.2 and from
RFC 5280, section 6; as [ID-7] leaves one path, there is nothing to search."""
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import load_der_public_key

import chains
import countersign as cs
from chains import Certificate, Der

BASIC, KEY_USAGE, EXTENDED, SAN, CONSTRAINTS = ("2.5.29.%d" % n for n in (19, 15, 37, 17, 30))
PURPOSES = {"initiator": "1.3.6.1.5.5.7.3.2", "responder": "1.3.6.1.5.5.7.3.1"}  # clientAuth, serverAuth
SUCCESSION_ONLY = bytes.fromhex("301606146982fce6eaa8d3a0e2b8978aa69fa3e6f9a9a762")  # an extended key usage
MAX_SUCCESSION = 367 * 86400
MAX_BETWEEN = 6
LIST_NUMBER, DELTA, AUTHORITY_KEY = "2.5.29.20", "2.5.29.27", "2.5.29.35"
DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN = 0, 5, 6
HASHES = {"1.2.840.113549.1.1.11": SHA256, "1.2.840.113549.1.1.12": SHA384, "1.2.840.113549.1.1.13": SHA512,
          "1.2.840.10045.4.3.2": SHA256, "1.2.840.10045.4.3.3": SHA384, "1.2.840.10045.4.3.4": SHA512}


class Refused(Exception):
    """The text is the class of the reason."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


def verifies(spki, algorithm, signature, data):
    """Ed25519 strictly [HS-19]."""
    if algorithm == (chains.ED25519, b""):
        s = Der(spki).into(chains.SEQUENCE)
        right, (key, length) = chains.algorithm(s) == algorithm, s.bits()
        return right and length == 256 and len(signature) == 64 and cs.verify_strict(key, data, signature)
    digest = HASHES.get(algorithm[0])
    try:
        key = load_der_public_key(spki)
        if digest and isinstance(key, rsa.RSAPublicKey) and algorithm[0].startswith("1.2.840.113549."):
            key.verify(signature, data, padding.PKCS1v15(), digest())
            return True
        if digest and isinstance(key, ec.EllipticCurvePublicKey) and algorithm[0].startswith("1.2.840.10045."):
            key.verify(signature, data, ec.ECDSA(digest()))
            return True
    except (InvalidSignature, ValueError):
        pass
    return False


def key_usage(certificate, bit):
    """Whether it allows this, which it does if there is none."""
    r = certificate.extension(KEY_USAGE)
    if not r:
        return True
    data, length = r.bits()
    r.end()
    return bit < length and bool(data[bit // 8] >> 7 - bit % 8 & 1)


def purposes(certificate):
    """The extended key usage, or None."""
    r = certificate.extension(EXTENDED)
    if not r:
        return None
    found, purposes = [], r.into(chains.SEQUENCE)
    r.end()
    while purposes.more():
        found.append(purposes.oid())
    return found


def basic(certificate):
    """Whether it is a CA, and the length of the paths that it allows, or None."""
    r = certificate.extension(BASIC)
    if not r:
        return False, None
    whole, r = r, r.into(chains.SEQUENCE)
    whole.end()
    ca = r.peek() == chains.BOOLEAN and r.boolean()
    length = r.integer() if r.more() else None
    r.end()
    return ca, length


# ---- name constraints (RFC 5280, section 4.2.1.10) ----

DNS, DIRECTORY, IP = 2, 4, 7


def below(host, base):
    host, base = host.lower().removesuffix("."), base.lower()
    return base == "" or host == base or host.endswith("." + base)


def within(kind, name, base):
    """Whether a name lies in a subtree. Of other kinds than these a constraint can't be kept."""
    if kind == DNS:
        if not (name + base).isascii():
            raise chains.Damaged("a name")
        return below(name.decode(), base.decode())
    if kind == IP:
        size = len(base) // 2
        mask = int.from_bytes(base[size:], "big")
        if len(base) not in (8, 32) or -mask % (1 << 8 * size) & mask != (-mask % (1 << 8 * size)):
            raise chains.Damaged("a range of addresses")
        return len(name) == size and all((a ^ b) & m == 0 for a, b, m in zip(name, base[:size], base[size:]))
    raise Refused("name constraint")


def names_of(certificate):
    found, r = [], certificate.extension(SAN)
    if r:
        found = list(chains.general_names(r.into(chains.SEQUENCE)))
    subject = Der(certificate.subject).expect(chains.SEQUENCE)
    return found + ([(DIRECTORY, subject)] if subject else [])


def subtrees(r):
    while r.more():
        t = r.into(chains.SEQUENCE)
        tag, content, _ = t.element()
        t.end()
        yield tag & 0x1F, content


def check_constraints(issuer, below_it):
    r = issuer.extension(CONSTRAINTS)
    if not r:
        return
    whole, r = r, r.into(chains.SEQUENCE)
    whole.end()
    permitted, excluded = (list(subtrees(side)) if side else [] for side in (r.optional(0xA0), r.optional(0xA1)))
    r.end()
    for certificate in below_it:
        for kind, name in names_of(certificate):
            allowed = [base for k, base in permitted if k == kind]
            need(not allowed or any(within(kind, name, base) for base in allowed), "name constraint")
            need(not any(within(kind, name, base) for k, base in excluded if k == kind), "name constraint")


# ---- revocation lists (RFC 5280, section 5) ----

class RevocationList:
    def __init__(self, der):
        outer = Der(der)
        r = outer.into(chains.SEQUENCE)
        outer.end()
        tbs = Der(r.data)
        self.tbs = tbs.whole(chains.SEQUENCE)
        r.element()
        self.algorithm = chains.algorithm(r)
        self.signature = r.bits()[0]
        r.end()
        r = Der(self.tbs).into(chains.SEQUENCE)
        need(r.peek() == chains.INTEGER and r.integer() == 1, "bad revocation list")
        self.inner_algorithm = chains.algorithm(r)
        self.issuer = r.whole(chains.SEQUENCE)
        r.time()
        self.next_update = r.time()
        self.serials, entries = set(), r.optional(chains.SEQUENCE)
        while entries and entries.more():
            e = entries.into(chains.SEQUENCE)
            self.serials.add(e.integer())
            e.time()
            known(chains.extensions(e) if e.peek() == chains.SEQUENCE else {}, ())
            e.end()
        wrapped = r.optional(0xA0)
        found = chains.extensions(wrapped) if wrapped else {}
        if wrapped:
            wrapped.end()
        need(DELTA not in found, "bad revocation list")
        known(found, (LIST_NUMBER, AUTHORITY_KEY))  # an indirect list has a critical one
        r.end()


def known(extensions, names):
    need(not any(critical and name not in names for name, (critical, _) in extensions.items()), "bad revocation list")


def check_revocation(certificate, issuer, lists, now, stale):
    mine = [x for x in lists if x.issuer == certificate.issuer]
    need(mine, "no revocation list")
    signed = [x for x in mine if x.algorithm == x.inner_algorithm and verifies(issuer.spki, x.algorithm, x.signature, x.tbs)
              and key_usage(issuer, CRL_SIGN)]
    need(signed, "bad revocation list")
    need(not any(certificate.serial in x.serials for x in signed), "revoked")
    need(stale or any(now < x.next_update for x in signed), "revocation list out of date")


# ---- paths ----

KNOWN = {BASIC, KEY_USAGE, EXTENDED, SAN, CONSTRAINTS}


def check_signature(certificate, spki):
    need(certificate.algorithm == certificate.inner_algorithm
         and verifies(spki, certificate.algorithm, certificate.signature, certificate.tbs), "bad signature")


def check_time(certificate, now):
    need(now >= certificate.not_before, "not yet valid")
    need(now <= certificate.not_after, "expired")


def check_known(certificate):
    need(certificate.version == 2, "version")
    need({name for name, (critical, _) in certificate.extensions.items() if critical} <= KNOWN, "unknown critical extension")


def check_leaf(leaf):
    need(not basic(leaf)[0], "the leaf is a CA")
    need(key_usage(leaf, DIGITAL_SIGNATURE), "key usage")


def check_path(path, anchor, role, now, lists, stale):
    """path: the leaf first, up to the certificate that the anchor issued."""
    issuers = [*path[1:], anchor]
    need(len(path) - 1 <= MAX_BETWEEN, "path length")
    for certificate, issuer in zip(path, issuers):
        check_signature(certificate, issuer.spki)
    for certificate in (*path, anchor):
        check_time(certificate, now)
    for n, issuer in enumerate(issuers):  # n: how many intermediates are below it
        ca, length = basic(issuer)
        need(ca and key_usage(issuer, KEY_CERT_SIGN), "not a CA")
        need(length is None or n <= length, "path length")
    check_leaf(path[0])
    for certificate in path:
        found = purposes(certificate)
        need(found is None or PURPOSES[role] in found, "extended key usage")
        check_known(certificate)
    for n, issuer in enumerate(issuers):
        check_constraints(issuer, path[:n + 1])
    if lists:
        for certificate, issuer in zip(path, issuers):
            check_revocation(certificate, issuer, lists, now, stale)


class Authority:
    """Trust by CAs."""

    def __init__(self, cas, lists=(), stale=False):
        self.cas, self.lists, self.stale = [Certificate(c) for c in cas], [RevocationList(x) for x in lists], stale

    def refusal(self, chain, role, now):
        """None if the chain of a peer in this role is accepted, else the class of the reason."""
        reason = "no known CA"
        for ca in self.cas:
            for n in range(1, len(chain) + 1):
                if chain[n - 1].issuer == ca.subject:
                    try:
                        return check_path(chain[:n], ca, role, now, self.lists, self.stale)
                    except Refused as e:
                        reason = str(e)
                    except chains.Damaged:
                        reason = "damaged extension"
        return reason


def predecessor(chain):
    """The key that vouches for the leaf if the chain is a succession, else None. [ID-11]"""
    leaf = chain[0]
    if len(chain) != 2 or leaf.extensions.get(EXTENDED, (None, None))[1] != SUCCESSION_ONLY or leaf.not_after - leaf.not_before > MAX_SUCCESSION:
        return None
    return chain[1].ed25519()


def succession_refusal(chain, pinned, now):
    """None if the leaf is accepted in place of one of the pinned keys, else the class of the reason. [ID-11] [ID-12]"""
    leaf, key = chain[0], predecessor(chain)
    if key is None:
        return "not a succession"
    if key not in pinned or cs.point_fault(key):
        return "unknown predecessor"
    try:
        check_signature(leaf, chain[1].spki)
        check_time(leaf, now)
        check_known(leaf)
        check_leaf(leaf)
    except Refused as e:
        return str(e)
    except chains.Damaged:
        return "damaged extension"
    return None
