// Certificates as credentials: a strict reader of DER, what sections 7.1 and 7.2 ask of a chain when it is decoded, and decisions by
// CAs, revocation lists [ID-9] and predecessors [ID-11]. Written from protocol-spec.md and RFC 5280; as [ID-7] leaves one
// path, there is nothing to search. Signatures other than Ed25519 are left to node:crypto.
import crypto from 'node:crypto';
import net from 'node:net';

const MAX_CERTIFICATES = 8;
const [BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET] = [1, 2, 3, 4, 6, 0x17, 0x18, 0x30, 0x31];
const ED25519 = '1.3.101.112';
const [BASIC, KEY_USAGE, EXTENDED, SAN, CONSTRAINTS] = [19, 15, 37, 17, 30].map((n) => `2.5.29.${n}`);
// An extended key usage with the purpose of a succession alone.
const SUCCESSION = '301606146982fce6eaa8d3a0e2b8978aa69fa3e6f9a9a762';
const MAX_SUCCESSION = 367 * 86400;
const MAX_BETWEEN = 6;
const PURPOSE = { initiator: '1.3.6.1.5.5.7.3.2', responder: '1.3.6.1.5.5.7.3.1' };       // clientAuth, serverAuth
const [DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN] = [0, 5, 6];
const HASHES = { '1.2.840.113549.1.1.11': ['rsa', 'sha256'], '1.2.840.113549.1.1.12': ['rsa', 'sha384'],
  '1.2.840.113549.1.1.13': ['rsa', 'sha512'], '1.2.840.10045.4.3.2': ['ec', 'sha256'], '1.2.840.10045.4.3.3': ['ec', 'sha384'],
  '1.2.840.10045.4.3.4': ['ec', 'sha512'] };

export class Damaged extends Error {}
// The credential is `malformed`; the tag names the rule.
export class NotAChain extends Error {
  constructor(tag) {
    super(tag);
    this.tag = tag;
  }
}
const sound = (ok, what) => { if (!ok) throw new Damaged(what); };

// Elements one after the other; lengths are the shortest, tags have one byte.
export class Der {
  constructor(data) { Object.assign(this, { data, at: 0 }); }
  get more() { return this.at < this.data.length; }
  get next() { return this.more ? this.data[this.at] : null; }

  #take(n) {
    sound(this.at + n <= this.data.length, 'bytes are missing');
    this.at += n;
    return this.data.subarray(this.at - n, this.at);
  }

  element() {
    const start = this.at;
    const tag = this.#take(1)[0];
    sound((tag & 0x1f) !== 0x1f, 'a tag of several bytes');
    let length = this.#take(1)[0];
    if (length >= 0x80) {
      const n = length & 0x7f;
      sound(n >= 1 && n <= 4, 'a length');
      const octets = this.#take(n);
      length = octets.readUIntBE(0, n);
      sound(octets[0] !== 0 && length >= 0x80, 'a length that is not the shortest');
    }
    const content = this.#take(length);
    return { tag, content, whole: this.data.subarray(start, this.at) };
  }

  expect(tag) {
    const e = this.element();
    sound(e.tag === tag, `tag ${e.tag}, not ${tag}`);
    return e.content;
  }
  whole(tag) {
    const e = this.element();
    sound(e.tag === tag, `tag ${e.tag}, not ${tag}`);
    return e.whole;
  }
  into(tag = SEQUENCE) { return new Der(this.expect(tag)); }
  optional(tag) { return this.next === tag ? this.into(tag) : null; }
  end() { sound(!this.more, 'surplus bytes'); }

  // An INTEGER as its shortest bytes in hexadecimal.
  integer() {
    const content = this.expect(INTEGER);
    const [a, b] = content;
    sound(content.length > 0 && !(content.length > 1 && ((a === 0 && b < 0x80) || (a === 0xff && b >= 0x80))), 'an integer');
    return content.toString('hex');
  }
  number() {
    const hex = this.integer();
    sound(hex.length <= 8 && parseInt(hex.slice(0, 2), 16) < 0x80, 'a small number');
    return parseInt(hex, 16);
  }
  boolean() {
    const content = this.expect(BOOLEAN);
    sound(content.length === 1 && (content[0] === 0 || content[0] === 0xff), 'a boolean');
    return content[0] === 0xff;
  }
  oid() {
    const content = this.expect(OID);
    sound(content.length > 0 && content.at(-1) < 0x80, 'an object identifier');
    const arcs = [];
    let [value, first] = [0n, true];
    for (const byte of content) {
      sound(!(first && byte === 0x80), 'an object identifier that is not the shortest');
      value = value << 7n | BigInt(byte & 0x7f);
      first = byte < 0x80;
      if (first) {
        arcs.push(value);
        value = 0n;
      }
    }
    const top = arcs[0] < 80n ? arcs[0] / 40n : 2n;
    return [top, arcs[0] - 40n * top, ...arcs.slice(1)].join('.');
  }
  bits() {
    const content = this.expect(BIT_STRING);
    const unused = content[0];
    sound(content.length > 0 && unused < 8 && (content.length > 1 || unused === 0), 'a bit string');
    sound((content.at(-1) & (1 << unused) - 1) === 0 || content.length === 1, 'a bit string');
    return { data: content.subarray(1), length: 8 * (content.length - 1) - unused };
  }
  // Seconds since 1970.
  time() {
    const { tag, content } = this.element();
    const text = content.toString('latin1');
    const shape = { [UTC_TIME]: /^\d{12}Z$/, [GENERALIZED_TIME]: /^\d{14}Z$/ }[tag];
    sound(shape?.test(text), 'a time');
    const full = tag === UTC_TIME ? (text < '5' ? '20' : '19') + text : text;
    const [year, month, day, hour, minute, second] = [full.slice(0, 4), ...full.slice(4).match(/\d\d/g)].map(Number);
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day);
    date.setUTCHours(hour, minute, second);
    sound(date.toISOString().replace(/[-T:]/g, '').slice(0, 14) === full.slice(0, 14), 'a time');
    return date.getTime() / 1000;
  }
}

function walk(data) {
  for (const r = new Der(data); r.more;) {
    const { tag, content } = r.element();
    if (tag & 0x20) walk(content);
  }
}

// Relative names, each of them attributes with a type and a value.
function checkName(r) {
  for (const names = r.into(); names.more;) {
    const attributes = names.into(SET);
    sound(attributes.more, 'a relative name without attributes');
    while (attributes.more) {
      const attribute = attributes.into();
      attribute.oid();
      walk(attribute.element().whole);
      attribute.end();
    }
  }
  r.end();
}

// The identifier and, as they stand, its parameters.
function algorithm(r) {
  const a = r.into();
  const oid = a.oid();
  const parameters = a.more ? a.element().whole : Buffer.alloc(0);
  a.end();
  return { oid, parameters: parameters.toString('hex') };
}
const sameAlgorithm = (a, b) => a.oid === b.oid && a.parameters === b.parameters;

function extensions(r) {
  const found = new Map();
  const list = r.into();
  sound(list.more, 'no extensions');
  while (list.more) {
    const e = list.into();
    const oid = e.oid();
    const critical = e.next === BOOLEAN && e.boolean();
    sound(!found.has(oid), 'an extension twice');
    found.set(oid, { critical, value: e.expect(OCTET_STRING) });
    e.end();
  }
  return found;
}

function signed(der) {
  const outer = new Der(der);
  const r = outer.into();
  outer.end();
  const tbs = r.whole(SEQUENCE);
  const outside = algorithm(r);
  const { data, length } = r.bits();
  r.end();
  sound(length % 8 === 0, 'a signature');
  return { tbs, algorithm: outside, signature: data, r: new Der(tbs).into() };
}

// RFC 5280, section 4.1; the values of extensions are read when they are asked for.
export class Certificate {
  constructor(der) {
    const { r, ...outside } = signed(der);
    Object.assign(this, { der, ...outside });
    const version = r.optional(0xa0);
    const number = version?.number();
    version?.end();
    sound(number === undefined || number === 1 || number === 2, 'a version');
    this.version = 1 + (number ?? 0);
    this.serial = r.integer();
    this.inner = algorithm(r);
    this.issuer = r.whole(SEQUENCE);
    const validity = r.into();
    [this.notBefore, this.notAfter] = [validity.time(), validity.time()];
    validity.end();
    this.subject = r.whole(SEQUENCE);
    checkName(new Der(this.issuer));
    checkName(new Der(this.subject));
    this.spki = r.whole(SEQUENCE);
    const s = new Der(this.spki).into();
    this.keyAlgorithm = algorithm(s);
    this.key = s.bits();
    s.end();
    for (const tag of [0x81, 0x82]) if (r.next === tag) r.element();
    const wrapped = r.optional(0xa3);
    this.extensions = wrapped ? extensions(wrapped) : new Map();
    wrapped?.end();
    r.end();
  }

  extension(oid) { return this.extensions.has(oid) ? new Der(this.extensions.get(oid).value) : null; }

  // What the SEQUENCE has that the extension is.
  content(oid) {
    const r = this.extension(oid);
    const inner = r?.into() ?? null;
    r?.end();
    return inner;
  }

  // The 32 bytes of its Ed25519 key, or null [ID-6].
  get ed25519() {
    const right = this.keyAlgorithm.oid === ED25519 && this.keyAlgorithm.parameters === '' && this.key.length === 256;
    return right ? this.key.data : null;
  }
}

const GENERAL_NAMES = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88];
function* generalNames(r) {
  while (r.more) {
    const { tag, content, whole } = r.element();
    sound(GENERAL_NAMES.includes(tag), 'a general name');
    if (tag === 0xa0) {                       // an otherName
      const other = new Der(content);
      other.oid();
      walk(other.expect(0xa0));
      other.end();
    } else if (tag === 0xa4) checkName(new Der(content));
    else if (tag & 0x20) walk(content);
    else if (tag === 0x88) new Der(Buffer.concat([Buffer.of(OID), whole.subarray(1)])).oid();
    else if (tag !== 0x87) ascii(content);
    yield { kind: tag & 0x1f, value: content };
  }
}

// RFC 5952.
function addressText(bytes) {
  if (bytes.length === 4) return [...bytes].join('.');
  if (bytes.subarray(0, 12).toString('hex') === '00000000000000000000ffff') return `::ffff:${[...bytes.subarray(12)].join('.')}`;
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  let best = [0, 1];
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === '0') n += 1;
    if (n > best[1]) best = [i, n];
  }
  if (best[1] < 2) return groups.join(':');
  return `${groups.slice(0, best[0]).join(':')}::${groups.slice(best[0] + best[1]).join(':')}`;
}

const ascii = (bytes) => {
  sound(bytes.every((b) => b < 0x80), 'a name');
  return bytes.toString('latin1');
};

// The names of a peer, as `dns:`, `ip:` and `uri:` texts [ID-10].
export function namesOf(certificate) {
  const r = certificate.content(SAN);
  const entries = r ? [...generalNames(r)] : [];
  const texts = {
    2: (v) => (/^(\*\.)?[\w-]+(\.[\w-]+)*\.?$/.test(ascii(v)) ? [`dns:${ascii(v)}`] : []),
    6: (v) => (/^[a-z][a-z0-9+.-]*:[!-~]+$/i.test(ascii(v)) ? [`uri:${ascii(v)}`] : []),
    7: (v) => (v.length === 4 || v.length === 16 ? [`ip:${addressText(v)}`] : []),
  };
  return entries.flatMap(({ kind, value }) => texts[kind]?.(value) ?? []);
}

// Whether the name `own` of a certificate is the `wanted` one [ID-10].
export function covers(own, wanted) {
  if (!own.startsWith('dns:') || !wanted.startsWith('dns:')) return own === wanted;
  const plain = (name) => name.slice(4).replace(/[A-Z]/g, (c) => c.toLowerCase()).replace(/\.$/, '');
  const [a, b] = [plain(own), plain(wanted)];
  if (b.includes('*')) return false;
  if (!a.startsWith('*.')) return a === b;
  const dot = b.indexOf('.');
  return dot > 0 && b.slice(dot + 1) === a.slice(2) && a.slice(2).includes('.');
}

export const join = (certificates) => Buffer.concat(certificates.flatMap((c) => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(c.length);
  return [length, c];
}));

// The certificates of a credential, the leaf first, checked as far as section 7.1 says for when it is decoded.
export function parse(data) {
  const fields = [];
  for (let at = 0; at < data.length;) {
    const length = at + 2 <= data.length ? data.readUInt16BE(at) : 0;
    if (length < 1 || at + 2 + length > data.length) throw new NotAChain('ID-4');
    fields.push(data.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  if (fields.length > MAX_CERTIFICATES) throw new NotAChain('ID-5');
  let chain;
  try {
    chain = fields.map((der) => new Certificate(Buffer.from(der)));
    namesOf(chain[0]);
  } catch (e) {
    throw e instanceof Damaged ? new NotAChain('ID-4') : e;
  }
  if (!chain[0].ed25519) throw new NotAChain('ID-6');
  if (chain.slice(1).some((c, i) => !chain[i].issuer.equals(c.subject))) throw new NotAChain('ID-7');
  if (new Set(chain.map((c) => c.subject.toString('hex'))).size !== chain.length) throw new NotAChain('ID-7');
  return chain;
}

export function fromPem(text) {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((b) => Buffer.from(b.replace(/-----[A-Z ]*-----/g, ''), 'base64'));
}

// What somebody calls a peer, as a name of a certificate.
export function nameOf(text) {
  if (text.includes('://')) return `uri:${text}`;
  if (net.isIPv4(text)) return `ip:${text}`;
  if (!net.isIPv6(text)) return `dns:${text}`;
  const groups = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::').map((part) => part.split(':').filter(Boolean));
  const missing = Array(8 - groups.flat().length).fill('0');
  const all = groups.length === 2 ? [...groups[0], ...missing, ...groups[1]] : groups[0];
  return `ip:${addressText(Buffer.from(all.map((g) => g.padStart(4, '0')).join(''), 'hex'))}`;
}

// ---- Decisions: null, or the class of the reason ----

class Refused extends Error {}
const need = (ok, reason) => { if (!ok) throw new Refused(reason); };

function verifies(strict, spki, { oid, parameters }, signature, data) {
  const s = new Der(spki).into();
  const key = algorithm(s);
  if (oid === ED25519) {
    const right = parameters === '' && sameAlgorithm(key, { oid, parameters }) && signature.length === 64;
    const { data: bytes, length } = s.bits();
    return right && length === 256 && strict(bytes, data, signature);
  }
  const [type, hash] = HASHES[oid] ?? [];
  try {
    const k = crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' });
    return k.asymmetricKeyType === type && crypto.verify(hash, data, k, signature);
  } catch {
    return false;
  }
}

function mayBeUsed(certificate, bit) {
  const r = certificate.extension(KEY_USAGE);
  if (!r) return true;
  const { data, length } = r.bits();
  r.end();
  return bit < length && (data[bit >> 3] >> (7 - bit % 8) & 1) === 1;
}

function purposes(certificate) {
  const r = certificate.content(EXTENDED);
  if (!r) return null;
  const found = [];
  while (r.more) found.push(r.oid());
  return found;
}

function basic(certificate) {
  const r = certificate.content(BASIC);
  const ca = r?.next === BOOLEAN && r.boolean();
  const length = r?.more ? r.number() : Infinity;
  r?.end();
  return { ca, length };
}

const [DNS, DIRECTORY, ADDRESS] = [2, 4, 7];
const below = (host, base) => base === '' || host === base || host.endsWith(`.${base}`);

function within(kind, name, base) {
  const lower = (b) => ascii(b).toLowerCase();
  switch (kind) {
    case DNS: return below(lower(name).replace(/\.$/, ''), lower(base));
    case ADDRESS: {
      const size = base.length / 2;
      const ones = [...base.subarray(size)].map((b) => b.toString(2).padStart(8, '0')).join('');
      sound([4, 16].includes(size) && !ones.includes('01'), 'a range of addresses');
      return name.length === size && name.every((b, i) => ((b ^ base[i]) & base[size + i]) === 0);
    }
    default: throw new Refused('name constraint');   // a constraint that nobody here can keep
  }
}

function* subtrees(r) {
  while (r?.more) {
    const subtree = r.into();
    const { tag, content } = subtree.element();
    subtree.end();
    yield { kind: tag & 0x1f, base: content };
  }
}

function checkConstraints(issuer, path) {
  const r = issuer.content(CONSTRAINTS);
  if (!r) return;
  const [permitted, excluded] = [0xa0, 0xa1].map((tag) => [...subtrees(r.optional(tag))]);
  r.end();
  for (const certificate of path) {
    const subject = new Der(certificate.subject).expect(SEQUENCE);
    const san = certificate.extension(SAN);
    const names = [...(san ? generalNames(san.into()) : []), ...(subject.length ? [{ kind: DIRECTORY, value: subject }] : [])];
    for (const { kind, value } of names) {
      const allowed = permitted.filter((p) => p.kind === kind);
      need(allowed.length === 0 || allowed.some(({ base }) => within(kind, value, base)), 'name constraint');
      need(!excluded.some((x) => x.kind === kind && within(kind, value, x.base)), 'name constraint');
    }
  }
}

export class RevocationList {
  constructor(der) {
    const { r, ...outside } = signed(der);
    Object.assign(this, outside);
    need(r.next === INTEGER && r.number() === 1, 'bad revocation list');
    this.inner = algorithm(r);
    this.issuer = r.whole(SEQUENCE);
    r.time();
    this.nextUpdate = r.time();
    this.serials = new Set();
    for (const entries = r.optional(SEQUENCE); entries?.more;) {
      const entry = entries.into();
      this.serials.add(entry.integer());
      entry.time();
      if (entry.more) bear(extensions(entry), [], 'bad revocation list');
      entry.end();
    }
    const wrapped = r.optional(0xa0);
    const found = wrapped ? extensions(wrapped) : new Map();
    need(!found.has(DELTA), 'bad revocation list');
    bear(found, LIST, 'bad revocation list');   // an indirect list has a critical one
    wrapped?.end();
    r.end();
  }
}

const KNOWN = [BASIC, KEY_USAGE, EXTENDED, SAN, CONSTRAINTS];
const DELTA = '2.5.29.27';
const LIST = ['2.5.29.20', '2.5.29.35'];   // cRLNumber, authorityKeyIdentifier
function bear(found, known, reason) {
  for (const [oid, { critical }] of found) need(!critical || known.includes(oid), reason);
}

// What [ID-9] asks of any certificate, and of a leaf, that has nothing to do with its issuer.
function checkItself(certificate) {
  need(certificate.version === 3, 'version');
  bear(certificate.extensions, KNOWN, 'unknown critical extension');
}
function checkTime(certificate, now) {
  need(now >= certificate.notBefore, 'not yet valid');
  need(now <= certificate.notAfter, 'expired');
}
function checkLeaf(leaf) {
  need(!basic(leaf).ca, 'the leaf is a CA');
  need(mayBeUsed(leaf, DIGITAL_SIGNATURE), 'key usage');
}
const isSigned = (strict, spki, thing) => sameAlgorithm(thing.algorithm, thing.inner)
  && verifies(strict, spki, thing.algorithm, thing.signature, thing.tbs);

// Null, or the class of the reason.
function reasonOf(action) {
  try {
    action();
    return null;
  } catch (e) {
    if (!(e instanceof Refused || e instanceof Damaged)) throw e;
    return e instanceof Refused ? e.message : 'damaged extension';
  }
}

// Throws `Refused` if a list is not to be loaded. strict(key, message, signature) verifies Ed25519 as [HS-19] asks.
export class Authority {
  constructor(strict, cas, lists = [], stale = false) {
    Object.assign(this, { strict, stale, cas: cas.map((c) => new Certificate(c)), lists: lists.map((l) => new RevocationList(l)) });
  }

  // Null if the chain of a peer in this role is accepted at this time, else the class of the reason.
  refusal(chain, role, now) {
    let reason = 'no known CA';
    for (const ca of this.cas) {
      for (let n = 1; n <= chain.length; n++) {
        if (!chain[n - 1].issuer.equals(ca.subject)) continue;
        reason = reasonOf(() => this.#path(chain.slice(0, n), ca, role, now));
        if (!reason) return null;
      }
    }
    return reason;
  }

  #path(path, ca, role, now) {
    const issuers = [...path.slice(1), ca];
    need(path.length - 1 <= MAX_BETWEEN, 'path length');
    path.forEach((c, i) => need(isSigned(this.strict, issuers[i].spki, c), 'bad signature'));
    for (const c of [...path, ca]) checkTime(c, now);
    issuers.forEach((issuer, below_) => {
      const b = basic(issuer);
      need(b.ca && mayBeUsed(issuer, KEY_CERT_SIGN), 'not a CA');
      need(below_ <= b.length, 'path length');
    });
    checkLeaf(path[0]);
    for (const c of path) {
      need(purposes(c)?.includes(PURPOSE[role]) ?? true, 'extended key usage');
      checkItself(c);
    }
    issuers.forEach((issuer, i) => checkConstraints(issuer, path.slice(0, i + 1)));
    if (this.lists.length > 0) path.forEach((c, i) => this.#revocation(c, issuers[i], now));
  }

  #revocation(certificate, issuer, now) {
    const mine = this.lists.filter((l) => l.issuer.equals(certificate.issuer));
    need(mine.length > 0, 'no revocation list');
    const right = mine.filter((l) => isSigned(this.strict, issuer.spki, l) && mayBeUsed(issuer, CRL_SIGN));
    need(right.length > 0, 'bad revocation list');
    need(!right.some((l) => l.serials.has(certificate.serial)), 'revoked');
    need(this.stale || right.some((l) => now < l.nextUpdate), 'revocation list out of date');
  }
}

// Null if the leaf is accepted in place of one of the pinned keys [ID-11] [ID-12].
export function successionRefusal(strict, chain, pinned, now) {
  const [leaf, before] = chain;
  const short = leaf.notAfter - leaf.notBefore <= MAX_SUCCESSION;
  const use = leaf.extensions.get(EXTENDED)?.value.toString('hex');
  const key = chain.length === 2 && use === SUCCESSION && short ? before.ed25519 : null;
  if (!key) return 'not a succession';
  if (!pinned.some((k) => k.equals(key))) return 'unknown predecessor';
  return reasonOf(() => {
    need(isSigned(strict, before.spki, leaf), 'bad signature');
    checkTime(leaf, now);
    checkItself(leaf);
    checkLeaf(leaf);
  });
}

// Null if a side with these CAs and lists accepts the chain; a list that can't be loaded is a reason as well.
export function refusalBy(strict, { cas, lists, stale }, chain, role, now) {
  let reason = null;
  const failed = reasonOf(() => { reason = new Authority(strict, cas, lists, stale).refusal(chain, role, now); });
  return failed ?? reason;
}
