// The Countersign protocol, version 1, without input or output: bytes go in through `receive`, frames come out through
// `take`. Written from protocol-spec.md alone; tags such as [HS-19] are those of the specification. For tests, not for
// production: JavaScript can't promise constant time, nor that an erased secret has left the memory.
import crypto from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import * as chains from './chains.js';

const EMPTY = Buffer.alloc(0);
const VERSION = 1;
const PROTOCOL = 'countersign/1';
const HEADER_LEN = 4;
const TAG_LEN = 16;
const AUTH_TAIL = 64 + 32;                                    // signature and confirmation
const MAX_CREDENTIAL_LEN = 16384;
const MAX_SUITES = 16;
const MAX_SHARES = 8;
const MAX_TEXT_LEN = 255;
const MAX_EXPORT_LEN = 8160;
const MAX_NUMBER = 2 ** 32 - 1;
const REKEY_BURST = 16;
const REKEY_SPACING = 4;
export const MAX_CONTENT_LEN = 65536;
export const MAX_RECORD_LEN = 65555;

export const TYPE = { HELLO: 0xc1, HELLO_REPLY: 0xc2, AUTH_R: 0xc3, AUTH_I: 0xc4, RECORD: 0xc5, ALERT: 0xc6 };
const LENGTHS = new Map([[TYPE.HELLO, [42, 2048]], [TYPE.HELLO_REPLY, [37, 2048]], [TYPE.AUTH_R, [116, 17408]],
  [TYPE.AUTH_I, [117, 17408]], [TYPE.RECORD, [17, MAX_RECORD_LEN]], [TYPE.ALERT, [1, 1]]]);
export const KIND = { data: 1, end: 2, alert: 3, verdict: 4, rekey: 6, keepalive: 7 };
const KINDS = new Set(Object.values(KIND));
export const ALERTS = [null, 'malformed', 'unexpected_message', 'unsupported_version', 'no_common_suite', 'refused',
  'bad_record', 'timeout', 'busy', 'internal', 'shutting_down', 'revoked', 'network_key'];
export const VERDICTS = ['accept', 'not_trusted', 'service_unavailable', 'busy', 'own_identity', 'denied'];
const ITEM = { PROTOCOL: 0, CONTEXT: 1, FRAME: 2, HEADER: 3, SERVICE: 4, CREDENTIAL: 5, SIGNATURE: 6, SEALED: 7 };

const CHACHA = { cipher: 'chacha20-poly1305', maxRecords: 2 ** 48, maxBytes: Infinity };
const AES = { cipher: 'aes-256-gcm', maxRecords: 2 ** 32, maxBytes: 2 ** 38 };
export const SUITES = new Map([
  [1, { name: 'X25519_ChaCha20Poly1305_SHA256', kinds: [1], aead: CHACHA }],
  [2, { name: 'X25519MLKEM768_ChaCha20Poly1305_SHA256', kinds: [1, 2], aead: CHACHA }],
  [3, { name: 'X25519_AES256GCM_SHA256', kinds: [1], aead: AES }],
  [4, { name: 'X25519MLKEM768_AES256GCM_SHA256', kinds: [1, 2], aead: AES }],
]);
const OFFERED_LEN = new Map([[1, 32], [2, 1184]]);            // shares of an initiator, by kind
const REPLIED_LEN = new Map([[1, 32], [2, 1088]]);            // shares of a responder

// What ended a handshake or a session. `expect` is the name of the alert that goes out, or what happened instead of
// one: peer_alert:N, peer_verdict:N, verdict:N, limit, truncated. `layer` says who noticed, as in the test vectors.
export class Failure extends Error {
  constructor(expect, layer, tag, text = '') {
    super(`${expect} [${tag}]${text ? ' ' + JSON.stringify(text) : ''}`);
    Object.assign(this, { expect, layer, tag, text });
  }
}
const need = (ok, expect, layer, tag) => { if (!ok) throw new Failure(expect, layer, tag); };

// ---- Primitives, section 2 ----

const u8 = (n) => Buffer.from([n]);
const u16 = (n) => { const b = Buffer.alloc(2); b.writeUInt16BE(n); return b; };
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const concat = (...parts) => Buffer.concat(parts);
const erase = (...secrets) => { for (const s of secrets) s?.fill(0); };
const isZero = (bytes) => bytes.every((b) => b === 0);
const equal = (a, b) => a.length === b.length && crypto.timingSafeEqual(a, b);

export const sha256 = (data) => crypto.createHash('sha256').update(data).digest();
export const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest();
export const extract = (salt, ikm) => hmac(salt, ikm);

function expand(prk, info, length) {
  const blocks = [EMPTY];
  for (let n = 1; (n - 1) * 32 < length; n++) blocks.push(hmac(prk, concat(blocks[n - 1], info, u8(n))));
  return concat(...blocks).subarray(0, length);
}

const der = (hex, raw) => concat(Buffer.from(hex, 'hex'), raw);     // node wants keys in PKCS #8 and SPKI
const privateKey = (oid, raw) =>
  crypto.createPrivateKey({ key: der(`302e020100300506032b65${oid}04220420`, raw), format: 'der', type: 'pkcs8' });
const publicKey = (oid, raw) =>
  crypto.createPublicKey({ key: der(`302a300506032b65${oid}032100`, raw), format: 'der', type: 'spki' });
const publicOf = (key) => crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12);
const X25519 = '6e';
const ED25519 = '70';

export const x25519Public = (k) => publicOf(privateKey(X25519, k));
// OpenSSL refuses to return an all-zero secret; the rules here are about the value, so it is given as what it is.
export function x25519(k, u) {
  try {
    return crypto.diffieHellman({ privateKey: privateKey(X25519, k), publicKey: publicKey(X25519, u) });
  } catch (e) {
    if (e.code === 'ERR_OSSL_FAILED_DURING_DERIVATION') return Buffer.alloc(32);
    throw e;
  }
}

export const ed25519Public = (seed) => publicOf(privateKey(ED25519, seed));
const ed25519Sign = (seed, message) => crypto.sign(null, message, privateKey(ED25519, seed));

// The canonical encoding of a point that is not of small order [ID-2]. noble's strict decoding refuses y >= p.
export function goodPoint(bytes) {
  try {
    return !ed25519.Point.fromBytes(bytes, false).isSmallOrder();
  } catch {
    return false;
  }
}

const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

// [HS-19]. OpenSSL computes [S]B - [k]A without the cofactor and compares its encoding with R, byte by byte: that is
// the equation asked for, and R is canonical where it holds. noble's own verify multiplies by the cofactor.
export function verifyStrictly(key, message, signature) {
  const s = BigInt('0x' + Buffer.from(signature.subarray(32)).reverse().toString('hex'));
  return goodPoint(key) && s < ORDER && goodPoint(signature.subarray(0, 32))
    && crypto.verify(null, message, publicKey(ED25519, key), signature);
}

// FIPS 203, section 7.2: 768 coefficients of 12 bits, each below 3,329 [HS-27].
export function goodEncapsulationKey(ek) {
  for (let i = 0; i < 1152; i += 3) {
    if ((ek[i] | (ek[i + 1] & 15) << 8) >= 3329 || (ek[i + 1] >> 4 | ek[i + 2] << 4) >= 3329) return false;
  }
  return true;
}

export function seal(suite, key, nonce, ad, plaintext) {
  const c = crypto.createCipheriv(SUITES.get(suite).aead.cipher, key, nonce, { authTagLength: TAG_LEN });
  c.setAAD(ad, { plaintextLength: plaintext.length });
  return concat(c.update(plaintext), c.final(), c.getAuthTag());
}

export function open(suite, key, nonce, ad, sealed) {
  const end = sealed.length - TAG_LEN;
  const d = crypto.createDecipheriv(SUITES.get(suite).aead.cipher, key, nonce, { authTagLength: TAG_LEN });
  d.setAAD(ad, { plaintextLength: end });
  d.setAuthTag(sealed.subarray(end));
  const plaintext = d.update(sealed.subarray(0, end));
  try {
    d.final();
    return plaintext;
  } catch {
    return null;
  }
}

// ---- Transcript and key schedule, sections 9 and 10 ----

export class Transcript {
  #hash = crypto.createHash('sha256');
  constructor(context) { this.add(ITEM.PROTOCOL, Buffer.from(PROTOCOL)).add(ITEM.CONTEXT, context); }
  add(tag, data) { this.#hash.update(u8(tag)).update(u32(data.length)).update(data); return this; }
  value() { return this.#hash.copy().digest(); }
}

export const signatureInput = (role, th) =>                   // [TR-1]
  concat(Buffer.alloc(64, 0x20), Buffer.from(`countersign/1 ${role} signature\0`), th);

export function expandInfo(label, ctx, length) {
  const full = Buffer.from('countersign/1 ' + label);
  return concat(u16(length), u8(full.length), full, u8(ctx.length), ctx);
}
export const expandLabel = (secret, label, ctx, length) => expand(secret, expandInfo(label, ctx, length), length);
export const keyOf = (secret) => expandLabel(secret, 'key', EMPTY, 32);
export const ivOf = (secret) => expandLabel(secret, 'iv', EMPTY, 12);

export function earlySecrets(networkKey) {
  const early_secret = extract(Buffer.alloc(32), networkKey ?? Buffer.alloc(32));
  return { early_secret, network_tag_key: expandLabel(early_secret, 'network tag', EMPTY, 32) };
}

export function handshakeSecrets(early, shared, th) {
  const handshake_secret = extract(expandLabel(early, 'derived', EMPTY, 32), shared);
  const of = (label) => expandLabel(handshake_secret, label, th, 32);
  const [hs_secret_r, hs_secret_i] = [of('handshake responder'), of('handshake initiator')];
  return { handshake_secret, hs_secret_r, hs_key_r: keyOf(hs_secret_r), hs_iv_r: ivOf(hs_secret_r),
    hs_secret_i, hs_key_i: keyOf(hs_secret_i), hs_iv_i: ivOf(hs_secret_i),
    confirm_key_r: of('confirm responder'), confirm_key_i: of('confirm initiator') };
}

export function masterSecrets(handshakeSecret, th) {
  const master_secret = extract(expandLabel(handshakeSecret, 'derived', EMPTY, 32), Buffer.alloc(32));
  const of = (label, length = 32) => expandLabel(master_secret, label, th, length);
  return { master_secret, traffic_secret_r: of('traffic responder'), traffic_secret_i: of('traffic initiator'),
    exporter_secret: of('exporter'), channel_binding: of('channel binding'), session_id: of('session id', 16) };
}

export function exportKey(exporterSecret, label, context, length) {  // [KS-2]
  if (label.length < 1 || label.length > 255 || context.length > 65535 || !(length >= 1 && length <= MAX_EXPORT_LEN)) {
    throw new RangeError('label, context or length of an export');
  }
  const hash = sha256(concat(u32(label.length), label, u32(context.length), context));
  return expandLabel(exporterSecret, 'export', hash, length);
}

export const rekeyed = (secret, content, dh) => extract(expandLabel(secret, 'rekey', content, 32), dh);  // [RK-1]

// ---- Pieces of messages ----

const frameOf = (type, body) => {
  const header = u32(body.length);
  header[0] = type;
  return concat(header, body);
};

// One direction of the records, or AUTH_R and AUTH_I, which are sealed under counter 0 of their own keys.
class Direction {
  rekeys = 0;
  others = 0;

  constructor(suite, secret) {
    this.suite = suite;
    this.#set(secret);
  }

  #set(secret) {
    erase(this.secret, this.key);
    Object.assign(this, { secret, key: keyOf(secret), iv: ivOf(secret), counter: 0, bytes: 0 });
  }

  // Whether a plaintext of so many bytes may be sealed or opened still [RE-2]. The sender keeps one number and the
  // bytes of one record back, for END, ALERT and REKEY; a receiver (and those three) may go to the last.
  room(length, toTheLast) {
    const { maxRecords, maxBytes } = SUITES.get(this.suite).aead;
    return toTheLast ? this.counter < maxRecords && this.bytes + length <= maxBytes
      : this.counter < maxRecords - 1 && this.bytes + length <= maxBytes - MAX_RECORD_LEN;
  }

  // [RK-2]; for the sender and the receiver of one more REKEY.
  mayRekey() { return this.rekeys + 1 <= REKEY_BURST + Math.floor(this.others / REKEY_SPACING); }

  nonce() {
    const nonce = Buffer.from(this.iv);
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(this.counter));
    for (let i = 0; i < 8; i++) nonce[4 + i] ^= counter[i];
    return nonce;
  }

  seal(type, plaintext) {
    const header = u32(plaintext.length + TAG_LEN);
    header[0] = type;
    const frame = concat(header, seal(this.suite, this.key, this.nonce(), header, plaintext));
    this.#count(plaintext.length);
    return frame;
  }

  open(frame) {
    const header = frame.subarray(0, HEADER_LEN);
    const plaintext = open(this.suite, this.key, this.nonce(), header, frame.subarray(HEADER_LEN));
    if (plaintext) this.#count(plaintext.length);
    return plaintext;
  }

  #count(length) {
    this.counter += 1;
    this.bytes += length;
  }

  rekey(content, dh) {
    this.rekeys += 1;
    this.#set(rekeyed(this.secret, content, dh));
    erase(dh);
  }

  forget() { erase(this.secret, this.key); }
}

// The raw key, or with a list of certificates in DER, the own one first, the chain.
const credentialBlock = (key, chain) => {
  const data = chain ? chains.join(chain) : key;
  return concat(u8(chain ? 2 : 1), u16(data.length), data);
};

// The key of a credential, and its certificates if it is a chain.
function parseCredential(kind, data) {
  if (kind === 2) {
    try {
      const chain = chains.parse(data);
      return { key: chain[0].ed25519, chain };
    } catch (e) {
      throw e instanceof chains.NotAChain ? new Failure('malformed', 'credential', e.tag) : e;
    }
  }
  need(kind === 1 && data.length === 32, 'malformed', 'credential', 'ID-1');
  return { key: data, chain: null };
}

const goodService = (service) => service.length <= 255 && service.every((b) => b >= 0x21 && b <= 0x7e);  // [FR-7]

// Plaintext of AUTH_R or AUTH_I, from the credential block on: its fields, or a failure. `tag` is for missing bytes.
function parseAuth(plaintext, withService, tag) {
  let at = 0;
  const take = (n) => {
    need(at + n <= plaintext.length, 'malformed', 'message', tag);
    at += n;
    return plaintext.subarray(at - n, at);
  };
  const service = withService ? take(take(1)[0]) : EMPTY;
  need(goodService(service), 'malformed', 'message', 'FR-7');
  const start = at;
  const kind = take(1)[0];
  const length = take(2).readUInt16BE();
  need(length >= 1 && length <= MAX_CREDENTIAL_LEN, 'malformed', 'message', tag);
  need(at + length + AUTH_TAIL <= plaintext.length, 'malformed', 'message', tag);
  const data = take(length);
  const credential = plaintext.subarray(start, at);
  const [signature, confirm] = [take(64), take(32)];
  need(isZero(plaintext.subarray(at)), 'malformed', 'message', 'FR-6');
  return { service, credential, ...parseCredential(kind, data), signature, confirm };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function parseText(bytes) {                                   // [FR-9]
  need(bytes.length <= MAX_TEXT_LEN, 'malformed', 'message', 'FR-9');
  let text;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new Failure('malformed', 'message', 'FR-9');
  }
  need(!/[\u0000-\u001f\u007f-\u009f]/.test(text), 'malformed', 'message', 'FR-9');
  return text;
}

// The content of a record without its padding [RE-3].
function unpad(plaintext) {
  if (!(plaintext[0] & 0x80)) return plaintext.subarray(1);
  const end = plaintext.length - 2;
  need(end >= 1, 'malformed', 'message', 'RE-3');
  const start = end - plaintext.readUInt16BE(end);
  need(start >= 1 && isZero(plaintext.subarray(start, end)), 'malformed', 'message', 'RE-3');
  return plaintext.subarray(1, start);
}

// ---- Frames and records: what both roles share ----

// What an unknown first byte may be the start of, for the user's eyes (end of section 6.1).
function looksLike(byte) {
  if (byte >= 0x14 && byte <= 0x17) return 'this looks like TLS';
  if (byte === 0x53) return 'this looks like SSH';
  return byte >= 0x41 && byte <= 0x5a ? 'this looks like HTTP' : '';
}

const LEGAL = {                                               // section 13; ALERT frames end where [AL-4] says
  AwaitHello: [TYPE.HELLO, TYPE.ALERT], AwaitAuthI: [TYPE.AUTH_I, TYPE.ALERT],
  AwaitHelloReply: [TYPE.HELLO_REPLY, TYPE.ALERT], AwaitAuthR: [TYPE.AUTH_R, TYPE.ALERT],
  AwaitVerdict: [TYPE.RECORD, TYPE.ALERT], Open: [TYPE.RECORD],
};

// States: those of section 13 (Open, Ended and Failed for the receiving direction), and Silent [NK-4].
// Options of both roles: seed, context, networkKey, suites (most preferred first), random(n), authPadding(length of the
// plaintext) and recordPadding(length of the content) giving bytes of padding (null: no padding flag), heal (the SHOULD
// at the end of section 11.2), allowOwn [ID-3], chain (certificates in DER to present, the own one first), trace(name, value), which sees every intermediate value.
export class Session {
  state = 'Open';
  failure = null;
  suite = null;
  peerKey = null;
  peerNames = [];                                             // of its certificate
  sent = null;                                                // directions of the records
  received = null;
  hushed = false;                                             // no byte may go out yet [NK-3]
  endSent = false;
  #store = Buffer.alloc(4096);
  #used = 0;
  #any = false;                                               // whether a frame has come
  #events = [];
  #output = [];
  // Section 11.2, under its own names; private halves of our numbered shares by number.
  #number = 0;
  #named = 0;
  #halves = new Map();
  #peerNumber = 0;
  #peerShare = null;
  #mixedWith = null;                                          // peer's share in the last rekey of our own schedule

  constructor(options = {}) {
    this.options = { context: EMPTY, networkKey: null, random: crypto.randomBytes, authPadding: () => 0,
      recordPadding: () => null, heal: false, allowOwn: false, chain: null, trace: () => {}, ...options };
    const { context, networkKey } = this.options;
    if (context.length > 255) throw new RangeError('a context has at most 255 bytes');
    if (networkKey && (networkKey.length !== 32 || isZero(networkKey))) throw new RangeError('network key [NK-6]');
  }

  // A session in the midst of its life, for test vectors.
  static resume({ suite, sendSecret, receiveSecret, state = 'Open', ...options }) {
    const session = new Session(options);
    session.startRecords(suite, sendSecret, receiveSecret);
    session.state = state;
    return session;
  }

  startRecords(suite, sendSecret, receiveSecret) {
    this.suite = suite;
    this.sent = new Direction(suite, sendSecret);
    this.received = new Direction(suite, receiveSecret);
  }

  trace(values) {
    for (const [name, value] of Object.entries(values)) this.options.trace(name, Buffer.from(value));
  }

  emit(type, fields = {}) { this.#events.push({ type, ...fields }); }
  put(frame) { this.#output.push(frame); }
  events() { const all = this.#events; this.#events = []; return all; }
  frames() { const all = this.#output; this.#output = []; return all; }
  take() { return concat(...this.frames()); }

  get established() { return !!this.secrets && !this.failure && (this.state === 'Open' || this.state === 'Ended'); }
  get finished() { return this.failure !== null || (this.state === 'Ended' && this.endSent); }

  // Bytes of the peer, cut in any way [FR-5]; returns what happened.
  receive(bytes) {
    if (!this.failure && this.state !== 'Silent') {
      this.#append(bytes);
      this.guard(() => this.#drain());
      if (this.failure || this.state === 'Silent') this.#used = 0;
    }
    return this.events();
  }

  // The store doubles as bytes come, whatever length a header claims [FR-4].
  #append(bytes) {
    const needed = this.#used + bytes.length;
    if (needed > this.#store.length) {
      const store = Buffer.alloc(Math.max(needed, 2 * this.#store.length));
      this.#store.copy(store, 0, 0, this.#used);
      this.#store = store;
    }
    this.#store.set(bytes, this.#used);
    this.#used = needed;
  }

  #drain() {
    let at = 0;
    for (;;) {
      const left = this.#used - at;
      if (left === 0 || this.failure || this.state === 'Silent') break;
      need(this.state !== 'Ended', 'unexpected_message', 'session', 'RE-6');
      const type = this.#store[at];                           // judged before there is a header [FR-1, FR-3]
      if (!LENGTHS.has(type)) throw new Failure('malformed', 'frame', 'FR-3', this.#any ? '' : looksLike(type));
      need(LEGAL[this.state].includes(type), 'unexpected_message', 'session', 'FR-3');
      if (left < HEADER_LEN) break;
      const length = this.#store.readUIntBE(at + 1, 3);
      const [least, most] = LENGTHS.get(type);
      need(length >= least && length <= most, 'malformed', 'frame', 'FR-2');
      if (left < HEADER_LEN + length) break;
      const frame = Buffer.from(this.#store.subarray(at, at + HEADER_LEN + length));
      at += HEADER_LEN + length;
      this.#any = true;
      this.#frame(type, frame);
    }
    this.#store.copyWithin(0, at, this.#used);
    this.#used -= at;
  }

  #frame(type, frame) {
    if (type === TYPE.ALERT) {
      need(!this.hushed, 'silent', 'network', 'NK-3');
      throw new Failure(`peer_alert:${frame[HEADER_LEN]}`, 'session', 'AL-2');
    }
    if (type === TYPE.RECORD) this.#record(frame);
    else this.handshake(type, frame);
  }

  // Runs a step; whatever is thrown in it ends the session as section 12 says.
  guard(step) {
    try {
      step();
      return true;
    } catch (e) {
      this.fail(e instanceof Failure ? e : new Failure('internal', 'own', 'AL-3', String(e?.message)));
      return false;
    }
  }

  fail(failure) {
    if (this.failure) return;
    if (this.hushed) {                                        // [NK-3, NK-4]: neither a byte nor an end
      this.state = 'Silent';
      return;
    }
    const code = ALERTS.indexOf(failure.expect);
    if (code > 0) {
      if (!this.sent) this.put(frameOf(TYPE.ALERT, u8(code)));          // [AL-1]
      else if (!this.endSent) this.#put(KIND.alert, concat(u8(code), Buffer.from(failure.answer ?? '')));
    }
    this.state = 'Failed';
    this.failure = failure;
    this.forget();
    this.emit('failed', { failure });
  }

  // [KS-1], as far as JavaScript goes.
  forget() {
    this.sent?.forget();
    this.received?.forget();
    for (const half of this.#halves.values()) erase(half);
    this.#halves.clear();
    erase(this.secrets?.exporter_secret, this.x, this.dk, this.early?.early_secret, this.early?.network_tag_key);
    erase(...Object.values(this.hs ?? {}));
  }

  #record(frame) {
    const d = this.received;
    need(d.room(frame.length - HEADER_LEN - TAG_LEN, true), 'limit', 'session', 'RE-2');
    const plaintext = d.open(frame);
    need(plaintext, 'bad_record', 'aead', 'RE-1');
    const kind = plaintext[0] & 0x7f;
    need(KINDS.has(kind), 'malformed', 'message', 'RE-5');
    need((kind === KIND.verdict) === (this.state === 'AwaitVerdict'), 'unexpected_message', 'session', 'HS-21');
    const content = unpad(plaintext);
    need(content.length <= MAX_CONTENT_LEN, 'malformed', 'message', 'RE-3');
    if (kind !== KIND.rekey) d.others += 1;
    switch (kind) {
      case KIND.data:
        need(content.length > 0, 'malformed', 'message', 'RE-3');
        return this.emit('data', { data: content });
      case KIND.end:
        need(content.length === 0, 'malformed', 'message', 'RE-3');
        this.state = 'Ended';
        d.forget();
        return this.emit('end');
      case KIND.keepalive:
        need(content.length === 0, 'malformed', 'message', 'RE-3');
        return this.emit('keepalive');
      case KIND.rekey:
        return this.#takeRekey(content);
      default:
        need(content.length > 0, 'malformed', 'message', 'RE-3');
        return this.#told(kind, content[0], parseText(content.subarray(1)));
    }
  }

  #told(kind, code, text) {
    if (kind === KIND.alert) throw new Failure(`peer_alert:${code}`, 'session', 'RE-9', text);
    if (code !== 0) throw new Failure(`peer_verdict:${code}`, 'policy', 'HS-23', text);
    need(text === '', 'malformed', 'message', 'HS-22');
    this.state = 'Open';
    this.emit('established');
  }

  #takeRekey(content) {
    const d = this.received;
    need(content.length === 40, 'malformed', 'message', 'RE-3');
    need(d.mayRekey(), 'unexpected_message', 'rekey', 'RK-2');
    const [peerNumber, number, share] = [content.readUInt32BE(0), content.readUInt32BE(4), content.subarray(8)];
    need(peerNumber >= this.#named && peerNumber <= this.#number, 'malformed', 'rekey', 'RK-3');
    this.#named = peerNumber;
    for (const [n, half] of this.#halves) {
      if (n < peerNumber) {
        erase(half);
        this.#halves.delete(n);
      }
    }
    need(number === 0 || number === this.#peerNumber + 1, 'malformed', 'rekey', 'RK-4');
    if (number !== 0) [this.#peerNumber, this.#peerShare] = [number, Buffer.from(share)];
    const dh = peerNumber === 0 ? Buffer.alloc(32) : x25519(this.#halves.get(peerNumber), share);
    need(peerNumber === 0 || !isZero(dh), 'refused', 'rekey', 'RK-5');
    d.rekey(content, dh);
    this.emit('rekey');
  }

  // ---- Sending ----

  get canSend() { return !!this.sent && !this.failure && !this.endSent && this.state !== 'Silent'; }

  // One record, padding and all; `pad` is a number of bytes, null for none.
  #put(kind, content, pad = this.options.recordPadding(content.length)) {
    if (pad !== null && content.length + pad > MAX_CONTENT_LEN) throw new RangeError('padding [RE-4]');
    const plaintext = pad === null ? concat(u8(kind), content)
      : concat(u8(kind | 0x80), content, Buffer.alloc(pad), u16(pad));
    const last = kind === KIND.end || kind === KIND.alert || kind === KIND.rekey;
    if (!this.sent.room(plaintext.length, last)) {
      if (kind === KIND.alert) return;                        // best effort [AL-3]
      need(!last && this.mayRekey, 'limit', 'session', 'RE-2');
      this.#putRekey(true);                                   // the sender rekeys before the limit
    }
    if (kind !== KIND.rekey) this.sent.others += 1;
    this.put(this.sent.seal(TYPE.RECORD, plaintext));
  }

  #say(kind, content, pad) {
    if (!this.canSend) return false;
    return this.guard(() => {
      const healing = this.#mixedWith !== null && this.#peerNumber > this.#mixedWith && kind !== KIND.alert;
      if (this.options.heal && healing && this.mayRekey) this.#putRekey(false);
      this.#put(kind, content, pad);
    });
  }

  // True if the record is in the output; false if the session is over or our direction has ended.
  data(content, pad) {
    if (content.length < 1 || content.length > MAX_CONTENT_LEN) throw new RangeError('content of DATA');
    return this.#say(KIND.data, content, pad);
  }

  keepalive(pad) { return this.#say(KIND.keepalive, EMPTY, pad); }

  end(pad) {
    const done = this.#say(KIND.end, EMPTY, pad);
    if (done) {
      this.endSent = true;
      this.sent.forget();
    }
    return done;
  }

  get mayRekey() { return this.canSend && this.sent.mayRekey(); }

  rekey(pad) { return this.mayRekey && this.guard(() => this.#putRekey(true, pad)); }

  #putRekey(ofOwnSchedule, pad) {
    const k = this.options.random(32);
    const share = x25519Public(k);
    const dh = this.#peerNumber === 0 ? Buffer.alloc(32) : x25519(k, this.#peerShare);
    need(this.#peerNumber === 0 || !isZero(dh), 'refused', 'rekey', 'RK-6');
    let number = 0;
    if (this.#named === this.#number && this.#number < MAX_NUMBER) {
      number = this.#number += 1;
      this.#halves.set(number, Buffer.from(k));
    }
    erase(k);
    const content = concat(u32(this.#peerNumber), u32(number), share);
    this.#put(KIND.rekey, content, pad);
    this.sent.rekey(content, dh);
    this.#mixedWith = ofOwnSchedule ? this.#peerNumber : null;
  }

  // Ends the session by an ALERT of our own: timeout, revoked, shutting_down, busy, internal.
  abort(name, text = '') {
    this.fail(Object.assign(new Failure(name, 'session', 'local'), { answer: text }));
    return this.events();
  }

  // The transport has no more bytes for us [RE-7].
  transportEnded() {
    if (this.state !== 'Ended') {
      this.hushed = false;
      this.fail(new Failure('truncated', 'session', 'RE-7'));
    }
    return this.events();
  }

  putVerdict(code, text) { this.#put(KIND.verdict, concat(u8(code), Buffer.from(text))); }

  exporter(label, context, length) {
    if (!this.established) throw new Error('no session');
    return exportKey(this.secrets.exporter_secret, label, context, length);
  }
  get sessionId() { return this.secrets.session_id; }
  get channelBinding() { return this.secrets.channel_binding; }

  // ---- What both handshakes share ----

  deriveHandshake(shared) {
    const TH_hello = this.transcript.value();
    this.hs = handshakeSecrets(this.early.early_secret, shared, TH_hello);
    this.trace({ TH_hello, shared, ...this.hs });
    erase(shared, this.early.early_secret, this.early.network_tag_key);
  }

  // AUTH_R or AUTH_I (side "r" or "i") of our own: the plaintext is closed by what we sign, and sealed.
  makeAuth(side, role, type, service) {
    const { seed, authPadding, chain } = this.options;
    const credential = credentialBlock(this.ownKey, chain);
    const prefix = side === 'i' ? concat(u8(service.length), service) : EMPTY;
    const length = prefix.length + credential.length + AUTH_TAIL;
    const padding = Buffer.alloc(authPadding(length));
    const header = u32(length + padding.length + TAG_LEN);    // in the transcript before anything is signed
    header[0] = type;
    const hashes = this.#authHashes(side, header, service, credential);
    const signed = signatureInput(role, hashes.sign());
    const signature = ed25519Sign(seed, signed);
    const confirm = hmac(this.hs[`confirm_key_${side}`], hashes.confirm(signature));
    const plaintext = concat(prefix, credential, signature, confirm, padding);
    const frame = new Direction(this.suite, this.hs[`hs_secret_${side}`]).seal(type, plaintext);
    this.transcript.add(ITEM.SEALED, frame.subarray(HEADER_LEN));
    this.trace({ [`signature_input_${side}`]: signed, [`signature_${side}`]: signature, [`confirm_${side}`]: confirm,
      [`auth_${side}_plaintext`]: plaintext });
    return frame;
  }

  // The same of the peer, checked up to its signature, in the order of sections 8.2 and 8.3.
  checkAuth(side, role, frame, tags) {
    const plaintext = new Direction(this.suite, this.hs[`hs_secret_${side}`]).open(frame);
    need(plaintext, 'bad_record', 'aead', tags.open);
    const { service, credential, key, chain, signature, confirm } = parseAuth(plaintext, side === 'i', tags.parse);
    need(goodPoint(key), 'refused', 'credential', 'ID-2');
    const hashes = this.#authHashes(side, frame.subarray(0, HEADER_LEN), service, credential);
    const signed = signatureInput(role, hashes.sign());
    const right = hmac(this.hs[`confirm_key_${side}`], hashes.confirm(signature));
    need(equal(confirm, right), 'bad_record', 'confirmation', tags.confirm);
    need(verifyStrictly(key, signed, signature), 'refused', 'signature', tags.signature);
    this.transcript.add(ITEM.SEALED, frame.subarray(HEADER_LEN));
    this.peerKey = Buffer.from(key);
    this.peerNames = chain ? chains.namesOf(chain[0]) : [];
    return { key: this.peerKey, chain, service: Buffer.from(service) };
  }

  // The transcript is moved on in two steps, as the hash between them is what gets signed.
  #authHashes(side, header, service, credential) {
    const t = this.transcript;
    const note = (name) => {
      const value = t.value();
      this.trace({ [`${name}_${side}`]: value });
      return value;
    };
    return {
      sign: () => {
        t.add(ITEM.HEADER, header);
        if (side === 'i') t.add(ITEM.SERVICE, service);
        t.add(ITEM.CREDENTIAL, credential);
        return note('TH_sign');
      },
      confirm: (signature) => {
        t.add(ITEM.SIGNATURE, signature);
        return note('TH_confirm');
      },
    };
  }

  deriveSession() {
    const TH_final = this.transcript.value();
    const s = masterSecrets(this.hs.handshake_secret, TH_final);
    const { master_secret, traffic_secret_i, traffic_secret_r, ...kept } = s;
    this.trace({ TH_final, ...s, traffic_key_r: keyOf(traffic_secret_r), traffic_iv_r: ivOf(traffic_secret_r),
      traffic_key_i: keyOf(traffic_secret_i), traffic_iv_i: ivOf(traffic_secret_i) });
    erase(master_secret, ...Object.values(this.hs));
    this.secrets = kept;
    return s;
  }
}

const suitesKnown = (suites) => {
  if (suites.length < 1 || suites.length > MAX_SUITES || new Set(suites).size !== suites.length) {
    throw new RangeError('1 to 16 different suites');
  }
};
const sharesOf = (suites) => new Set(suites.flatMap((s) => SUITES.get(s)?.kinds ?? []));

// More options: service, expectedPeer (or null), trusted(key), believes(chain) for a peer with a chain (beside trusted),
// expectedName (as chains.namesOf gives them, or null), extraShares (a list of { kind, share }, for tests).
// `data` may be called as soon as `canSend` is true: then it is eager.
export class Initiator extends Session {
  constructor(options) {
    super({ service: EMPTY, expectedPeer: null, expectedName: null, trusted: () => true, believes: () => false, extraShares: [], ...options });
    const { seed, suites, service, networkKey, context, random, extraShares } = this.options;
    suitesKnown(suites);
    if (!goodService(service)) throw new RangeError('service [FR-7]');
    this.ownKey = ed25519Public(seed);
    this.state = 'AwaitHelloReply';
    this.nonce = random(32);
    this.x = random(32);
    this.share = x25519Public(this.x);
    const shares = [{ kind: 1, share: this.share }, ...extraShares];
    if (sharesOf(suites).has(2)) {
      const dz = concat(random(32), random(32));
      const { publicKey: ek, secretKey } = ml_kem768.keygen(dz);
      erase(dz);
      this.dk = secretKey;
      shares.push({ kind: 2, share: Buffer.from(ek) });
    }
    shares.sort((a, b) => a.kind - b.kind);
    this.early = earlySecrets(networkKey);
    this.trace(this.early);
    const body = concat(u16(VERSION), this.nonce, u8(suites.length), ...suites.map(u16), u8(shares.length),
      ...shares.flatMap(({ kind, share }) => [u8(kind), u16(share.length), share]));
    const tagLen = networkKey ? 32 : 0;
    const hello = frameOf(TYPE.HELLO, concat(body, Buffer.alloc(tagLen)));    // the header counts the tag
    if (networkKey) {                                         // [NK-1]
      hello.set(hmac(this.early.network_tag_key, hello.subarray(0, hello.length - 32)), hello.length - 32);
    }
    this.transcript = new Transcript(context).add(ITEM.FRAME, hello);
    this.put(hello);
  }

  handshake(type, frame) {
    if (type === TYPE.HELLO_REPLY) this.#reply(frame);
    else this.#authR(frame);
  }

  #reply(frame) {
    const body = frame.subarray(HEADER_LEN);
    need(body.readUInt16BE(0) === VERSION, 'unsupported_version', 'message', 'HS-7');
    const suite = body.readUInt16BE(2);
    need(this.options.suites.includes(suite) && SUITES.has(suite), 'malformed', 'message', 'HS-8');
    const { kinds } = SUITES.get(suite);
    const length = kinds.reduce((sum, kind) => sum + REPLIED_LEN.get(kind), 36);
    need(body.length === length, 'malformed', 'message', 'HS-8');
    const [nonce, share, c] = [body.subarray(4, 36), body.subarray(36, 68), body.subarray(68)];
    need(!nonce.equals(this.nonce) && !share.equals(this.share), 'refused', 'agreement', 'HS-9');
    this.suite = suite;
    const dh = x25519(this.x, share);
    need(!isZero(dh), 'refused', 'agreement', 'HS-10');
    let shared = dh;
    if (kinds.includes(2)) {
      const ss = Buffer.from(ml_kem768.decapsulate(c, this.dk));    // never fails [HS-10]
      shared = concat(ss, dh);
      this.trace({ mlkem_secret: ss, dh });
      erase(ss, dh);
    }
    erase(this.x, this.dk);                                   // [HS-1]
    this.transcript.add(ITEM.FRAME, frame);
    this.deriveHandshake(shared);
    this.state = 'AwaitAuthR';
  }

  #authR(frame) {
    const tags = { open: 'HS-11', parse: 'HS-12', confirm: 'HS-13', signature: 'HS-14' };
    const { key, chain } = this.checkAuth('r', 'responder', frame, tags);
    const { allowOwn, expectedPeer, expectedName, trusted, believes, service } = this.options;
    need(allowOwn || !key.equals(this.ownKey), 'refused', 'policy', 'ID-3');
    const believed = chain !== null && believes(chain);
    need((!expectedPeer || key.equals(expectedPeer)) && (trusted(key) || believed), 'refused', 'policy', 'HS-15');
    const named = believed && this.peerNames.some((own) => chains.covers(own, expectedName ?? ''));
    need(!expectedName || named, 'refused', 'policy', 'ID-10');
    const auth = this.makeAuth('i', 'initiator', TYPE.AUTH_I, service);
    const s = this.deriveSession();
    this.put(auth);
    this.startRecords(this.suite, s.traffic_secret_i, s.traffic_secret_r);
    this.state = 'AwaitVerdict';
    this.emit('authenticated');
  }
}

// More option: decide(key, service, chain or null), giving the { code, text } of the VERDICT; `decider` makes one.
export class Responder extends Session {
  constructor(options) {
    super(options);
    suitesKnown(this.options.suites);
    this.ownKey = ed25519Public(this.options.seed);
    this.state = 'AwaitHello';
    this.early = earlySecrets(this.options.networkKey);
    this.trace(this.early);
    this.hushed = !!this.options.networkKey;
  }

  handshake(type, frame) {
    if (type === TYPE.HELLO) this.#hello(frame);
    else this.#authI(frame);
  }

  #hello(frame) {
    const { networkKey, suites: own, context, random } = this.options;
    const body = frame.subarray(HEADER_LEN);
    if (networkKey) {                                         // [NK-2], before any field
      need(body.length >= 42 + 32, 'silent', 'network', 'NK-2');
      const cut = frame.length - 32;
      const right = hmac(this.early.network_tag_key, frame.subarray(0, cut));
      need(equal(frame.subarray(cut), right), 'silent', 'network', 'NK-2');
      this.hushed = false;
    }
    need(body.readUInt16BE(0) === VERSION, 'unsupported_version', 'message', 'HS-2');
    const { offered, shares, rest } = this.#parseHello(body);
    need(rest === 0 || rest === 32, 'malformed', 'message', 'HS-3');
    need(!networkKey || rest === 32, 'malformed', 'message', 'HS-3');
    need(networkKey || rest === 0, 'network_key', 'network', 'NK-5');
    need([...sharesOf(offered)].every((kind) => shares.has(kind)), 'malformed', 'message', 'HS-4');
    this.suite = own.find((s) => offered.includes(s));
    need(this.suite, 'no_common_suite', 'agreement', 'HS-5');
    const hybrid = SUITES.get(this.suite).kinds.includes(2);
    need(!hybrid || goodEncapsulationKey(shares.get(2)), 'malformed', 'agreement', 'HS-27');

    const nonce = random(32);
    const y = random(32);
    const share = x25519Public(y);
    let [ss, c] = [EMPTY, EMPTY];
    if (hybrid) {
      const m = random(32);
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(shares.get(2), m);
      [ss, c] = [Buffer.from(sharedSecret), Buffer.from(cipherText)];
      erase(m, sharedSecret);
    }
    const dh = x25519(y, shares.get(1));
    erase(y);                                                 // [HS-1]
    need(!isZero(dh), 'refused', 'agreement', 'HS-6');
    if (hybrid) this.trace({ mlkem_secret: ss, dh });
    const reply = frameOf(TYPE.HELLO_REPLY, concat(u16(VERSION), u16(this.suite), nonce, share, c));
    this.transcript = new Transcript(context).add(ITEM.FRAME, frame).add(ITEM.FRAME, reply);
    this.deriveHandshake(concat(ss, dh));
    erase(ss, dh);
    const auth = this.makeAuth('r', 'responder', TYPE.AUTH_R, EMPTY);
    this.put(reply);
    this.put(auth);
    this.state = 'AwaitAuthI';
  }

  // [HS-3], but for what follows the shares.
  #parseHello(body) {
    let at = 34;
    const take = (n) => {
      need(at + n <= body.length, 'malformed', 'message', 'HS-3');
      at += n;
      return body.readUIntBE(at - n, n);
    };
    const suiteCount = take(1);
    need(suiteCount >= 1 && suiteCount <= MAX_SUITES, 'malformed', 'message', 'HS-3');
    const offered = Array.from({ length: suiteCount }, () => take(2));
    need(new Set(offered).size === suiteCount, 'malformed', 'message', 'HS-3');
    const shareCount = take(1);
    need(shareCount >= 1 && shareCount <= MAX_SHARES, 'malformed', 'message', 'HS-3');
    const shares = new Map();
    let last = -1;
    for (let i = 0; i < shareCount; i++) {
      const kind = take(1);
      const length = take(2);
      need(kind > last && length >= 1 && at + length <= body.length, 'malformed', 'message', 'HS-3');
      need(!OFFERED_LEN.has(kind) || OFFERED_LEN.get(kind) === length, 'malformed', 'message', 'HS-3');
      shares.set(kind, body.subarray(at, at + length));
      at += length;
      last = kind;
    }
    return { offered, shares, rest: body.length - at };
  }

  #authI(frame) {
    const tags = { open: 'HS-16', parse: 'HS-17', confirm: 'HS-18', signature: 'HS-20' };
    const { key, chain, service } = this.checkAuth('i', 'initiator', frame, tags);
    const s = this.deriveSession();
    this.startRecords(this.suite, s.traffic_secret_r, s.traffic_secret_i);
    const { code, text } = this.#decide(key, service, chain);
    this.putVerdict(code, code === 0 ? '' : text);            // [HS-22]
    if (code === 0) {
      this.state = 'Open';
      this.emit('established', { service });
    } else {                                                  // [HS-24]; nothing follows a refusal, not even an ALERT
      this.fail(new Failure(`verdict:${code}`, 'policy', 'HS-26', text));
    }
  }

  #decide(key, service, chain) {
    if (!this.options.allowOwn && key.equals(this.ownKey)) return { code: 4, text: '' };
    try {
      return this.options.decide(key, service, chain);
    } catch {
      return { code: 3, text: '' };                           // our own fault [HS-26]
    }
  }
}

// Who may come in, and to which services (null: to any), in the order of [HS-26].
export const decider = (keys, services, believes = () => false) => (key, service, chain) => {
  if (!keys.some((k) => k.equals(key)) && !(chain && believes(chain))) return { code: 1, text: '' };
  return { code: services && !services.some((s) => s.equals(service)) ? 2 : 0, text: '' };
};
