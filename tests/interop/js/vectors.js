// Runs the test vectors through countersign.js: `node vectors.js FOLDER`. One line a file; exit code 1 at a difference,
// at a missing file and at a file without cases.
import fs from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as chains from './chains.js';
import * as cs from './countersign.js';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const bin = (text) => Buffer.from(text, 'hex');
const maybe = (text) => (text === null ? null : bin(text));
const short = (value) => (JSON.stringify(value) ?? 'nothing').slice(0, 100);
const names = Object.fromEntries(Object.entries(cs.KIND).map(([name, kind]) => [kind, name]));
const other = (role) => (role === 'initiator' ? 'responder' : 'initiator');

function same(what, got, want) {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what}: ${short(got)}, not ${short(want)}`);
}

// 32-byte draws in their order; running out of them is a difference.
function draws(list) {
  const left = list.map((d) => (typeof d === 'string' ? bin(d) : d));
  return Object.assign((length) => {
    if (length !== 32 || left.length === 0) throw new Error('no such draw');
    return Buffer.from(left.shift());
  }, { left });
}

// ---- schedule.json, records.json ----

const splitKeys = (s) => Object.fromEntries(['r', 'i'].flatMap((x) => [
  [`traffic_key_${x}`, cs.keyOf(s[`traffic_secret_${x}`])], [`traffic_iv_${x}`, cs.ivOf(s[`traffic_secret_${x}`])]]));

const SCHEDULE = {
  expand_label(c) {
    same('info', hex(cs.expandInfo(c.label, bin(c.ctx), c.length)), c.info);
    same('output', hex(cs.expandLabel(bin(c.secret), c.label, bin(c.ctx), c.length)), c.output);
  },
  schedule(c) {
    const early = cs.earlySecrets(maybe(c.network_key));
    const hs = cs.handshakeSecrets(early.early_secret, bin(c.shared), bin(c.TH_hello));
    const master = cs.masterSecrets(hs.handshake_secret, bin(c.TH_final));
    const all = { ...early, ...hs, ...master, ...splitKeys(master) };
    same('secrets', Object.fromEntries(Object.entries(all).map(([k, v]) => [k, hex(v)])), c.secrets);
  },
  export(c) {
    same('output', hex(cs.exportKey(bin(c.exporter_secret), bin(c.label), bin(c.context), c.length)), c.output);
  },
  rekey(c) {
    const secret = cs.rekeyed(bin(c.secret), bin(c.content), bin(c.dh));
    same('secret, key, iv', [secret, cs.keyOf(secret), cs.ivOf(secret)].map(hex), [c.secret_after, c.key, c.iv]);
  },
};

function schedule(c) {
  same('flags', c.flags.length, 1);
  SCHEDULE[c.flags[0]](c);
}

const FAR = Buffer.alloc(32, 0x55);                           // a secret for directions that a case says nothing about

// A receiver that stands at a counter, after as many records other than REKEY.
function receiver(c, state) {
  const secrets = { sendSecret: Buffer.from(FAR), receiveSecret: bin(c.secret) };
  const session = cs.Session.resume({ suite: c.suite, state, ...secrets });
  same('key, iv', [hex(session.received.key), hex(session.received.iv)], [c.key, c.iv]);
  session.received.counter = session.received.others = c.counter;
  return session;
}

function records(c) {
  const pad = c.padding === 0 && !c.flags.includes('zero_padding') ? null : c.padding;
  const kind = cs.KIND[c.kind];
  const plaintext = Buffer.concat(pad === null ? [Buffer.from([kind]), bin(c.content)]
    : [Buffer.from([kind | 0x80]), bin(c.content), Buffer.alloc(pad), Buffer.from([pad >> 8, pad])]);
  same('plaintext', hex(plaintext), c.plaintext);
  const direction = receiver(c, 'Open').received;
  same('nonce', hex(direction.nonce()), c.nonce);
  same('frame', hex(direction.seal(cs.TYPE.RECORD, plaintext)), c.frame);
  same('opened', hex(receiver(c, 'Open').received.open(bin(c.frame))), c.plaintext);
  if (c.kind === 'rekey') return;                             // its numbers fit no session
  // And a session takes it.
  const session = receiver(c, c.kind === 'verdict' ? 'AwaitVerdict' : 'Open');
  const [event] = session.receive(bin(c.frame));
  const code = parseInt(c.content.slice(0, 2), 16);
  const eventOf = { verdict: 'established', alert: 'failed' };
  const refused = c.kind === 'verdict' && code !== 0;
  same('event', event.type, refused ? 'failed' : eventOf[c.kind] ?? c.kind);
  if (c.kind === 'data') same('content', hex(event.data), c.content);
  if (c.kind === 'alert') same('alert', session.failure.expect, `peer_alert:${code}`);
  if (refused) same('verdict', session.failure.expect, `peer_verdict:${code}`);
  if (event.failure) same('text', event.failure.text, bin(c.content.slice(2)).toString());
}

// ---- handshake.json ----

// One record by the methods of a session; its frame.
function make(session, { kind, content }, pad) {
  const data = bin(content);
  if (kind === 'alert') {
    session.options.recordPadding = () => pad;
    session.abort(cs.ALERTS[data[0]], data.subarray(1).toString());
  } else {
    same('sent', kind === 'data' ? session.data(data, pad) : session[kind](pad), true);
  }
  const frames = session.frames();
  same('frames', frames.length, 1);
  return frames[0];
}

function handshake(c) {
  const seen = {};
  const random = {};
  const options = (role) => ({
    seed: bin(c[role].seed), context: bin(c.context), networkKey: maybe(c.network_key), suites: c[role].suites,
    random: random[role] = draws(c[role].randomness), authPadding: () => c[role].auth_padding,
    chain: c[role].credential.kind === 2 ? chains.parse(bin(c[role].credential.data)).map((x) => x.der) : null,
    trace: (name, value) => {
      if (name in seen) same(`${name} of both sides`, hex(value), seen[name]);
      seen[name] = hex(value);
    },
  });
  const verdict = bin(c.verdict_plaintext);
  const extraShares = c.offer.shares.map(({ kind, share }) => ({ kind, share: bin(share) }))
    .filter(({ kind }) => kind !== 1 && kind !== 2);
  same('offer', c.offer.suites, c.initiator.suites);
  const i = new cs.Initiator({ ...options('initiator'), service: Buffer.from(c.service), extraShares,
    expectedPeer: bin(c.responder.public_key) });
  const r = new cs.Responder({ ...options('responder'), decide: (key, service) => {
    same('initiator and service', [hex(key), service.toString()], [c.initiator.public_key, c.service]);
    return { code: verdict[1], text: verdict.subarray(2).toString() };
  } });
  const sides = { initiator: i, responder: r };
  same('public keys', [hex(i.ownKey), hex(r.ownKey)], [c.initiator.public_key, c.responder.public_key]);
  const w = c.wire;
  const step = (session, ...want) => {
    const frames = session.frames();
    same('wire', frames.map(hex), want);
    return Buffer.concat(frames);
  };
  r.receive(step(i, w.hello));
  i.receive(step(r, w.hello_reply, w.auth_r));
  const authI = step(i, w.auth_i);
  let eager = c.flags.includes('eager') ? c.records.findIndex((x) => x.from !== 'initiator') : 0;
  if (eager < 0) eager = c.records.length;
  const record = (x) => {
    const session = sides[x.from];
    same('counter, nonce', [session.sent.counter, hex(session.sent.nonce())], [x.counter, x.nonce]);
    const pad = x.padding === 0 ? null : x.padding;
    const frame = make(session, x, pad);
    same('frame', hex(frame), x.frame);
    return frame;
  };
  const early = c.records.slice(0, eager).map(record);
  same('nothing delivered before the verdict', r.receive(authI).filter((e) => e.type === 'data'), []);
  const secrets = { ...c.transcript, ...c.secrets };
  for (const [name, value] of Object.entries(secrets)) same(name, seen[name], value);
  for (const name of ['auth_r_plaintext', 'auth_i_plaintext', 'signature_input_r', 'signature_input_i', 'signature_r',
    'signature_i', 'confirm_r', 'confirm_i']) same(name, seen[name], c[name]);
  same('names', [i.peerNames, r.peerNames], [c.responder.names, c.initiator.names]);
  for (const role of ['initiator', 'responder']) {
    const { kind, data } = c[role].credential;
    const block = Buffer.from([kind, data.length >> 9, data.length >> 1]).toString('hex') + data;
    same('credential', c[`auth_${role[0]}_plaintext`].includes(block), true);
  }
  same('draws left', [random.initiator.left, random.responder.left], [[], []]);
  for (const x of c.exports) {
    const args = [bin(x.label), bin(x.context), x.length];
    same('export', hex(cs.exportKey(bin(seen.exporter_secret), ...args)), x.output);
    if (c.expect === 'valid') same('export', hex(r.exporter(...args)), x.output);
  }
  i.receive(step(r, w.verdict));
  if (c.expect === 'refused') {
    const told = [`peer_verdict:${verdict[1]}`, verdict.subarray(2).toString()];
    same('initiator', [i.failure?.expect, i.failure?.text], told);
    same('responder', [r.failure?.expect, r.state], [`verdict:${verdict[1]}`, 'Failed']);
    same('data after a refusal', early.flatMap((frame) => r.receive(frame)), []);
    return;
  }
  same('session', [i.established, r.established, r.suite], [true, true, c.suite]);
  for (const side of [i, r]) {
    same('ids', [side.sessionId, side.channelBinding].map(hex), [c.secrets.session_id, c.secrets.channel_binding]);
    for (const x of c.exports) same('export', hex(side.exporter(bin(x.label), bin(x.context), x.length)), x.output);
  }
  c.records.forEach((x, n) => {
    const to = sides[other(x.from)];
    const [event] = to.receive(n < eager ? early[n] : record(x));
    same('event', event.type, x.kind === 'alert' ? 'failed' : x.kind);
    if (x.kind === 'data') same('content', hex(event.data), x.content);
  });
  const told = c.flags.includes('alert');
  same('end', [i, r].map((s) => s.failure === null), told ? [false, false] : [true, true]);
}

// ---- rekey.json and negative/rekey.json ----

function rekey(c) {
  const queue = { initiator: [], responder: [] };
  const secrets = { initiator: c.traffic_secret_i, responder: c.traffic_secret_r };
  const sides = {};
  for (const role of ['initiator', 'responder']) {
    const random = (n) => { same('a draw', [n, queue[role].length], [32, 1]); return bin(queue[role].pop()); };
    sides[role] = cs.Session.resume({ suite: c.suite, random, sendSecret: bin(secrets[role]),
      receiveSecret: bin(secrets[other(role)]) });
  }
  for (const d of [sides.responder.sent, sides.initiator.received]) d.counter = d.others = 1;    // the VERDICT
  c.steps.forEach((s, n) => {
    const last = c.expect && n === c.steps.length - 1;
    if (s.op === 'deliver') {
      const { from, kind, content, frame } = c.steps[s.step];
      const session = sides[other(from)];
      const events = session.receive(bin(frame));
      if (last) return;
      same(`step ${n}`, [session.failure?.message, events.map((e) => e.type)], [undefined, [kind]]);
      if (kind === 'data') same('content', hex(events[0].data), content);
      return;
    }
    if (s.forged) return;
    const session = sides[s.from];
    if (s.randomness) queue[s.from].push(s.randomness);
    if (s.refused) {
      same('refused', [last, session.rekey(s.padding)], [true, false]);
      session.events();
      return;
    }
    same(`step ${n}: counter, nonce`, [session.sent.counter, hex(session.sent.nonce())], [s.counter, s.nonce]);
    same(`step ${n}: frame`, hex(make(session, s, s.padding)), s.frame);
    same('draws', queue[s.from], []);
    if (s.secret_after) {
      same('secret after', hex(session.sent.secret), s.secret_after);
      same('numbers', [s.peer_number, s.number], [0, 4].map((at) => bin(s.content).readUInt32BE(at)));
    }
  });
  if (c.expect) {
    const victim = sides[c.victim];
    same('failure', [victim.failure?.expect, victim.failure?.layer], [c.expect, c.layer]);
    same('alert', victim.frames().map(hex), c.alert_frame ? [c.alert_frame] : []);
    same('after it', [victim.receive(bin('c5000011')), victim.frames()], [[], []]);
  }
}

// ---- negative/handshake.json, negative/records.json ----

// The ways to cut a stream [FR-5].
const CUTS = {
  'as given': (parts) => parts,
  'in one piece': (parts) => [Buffer.concat(parts)],
  'in pieces of one byte': (parts) => [...Buffer.concat(parts)].map((byte) => Buffer.from([byte])),
};

function negativeHandshake(c) {
  for (const [how, cut] of Object.entries(CUTS)) {
    const shared = { seed: bin(c.seed), context: bin(c.context), networkKey: maybe(c.network_key), suites: c.suites,
      random: draws(c.randomness) };
    const trusted = c.trusted.map(bin);
    const services = c.services?.map((s) => Buffer.from(s)) ?? null;
    const victim = c.victim === 'initiator'
      ? new cs.Initiator({ ...shared, service: Buffer.from(c.service), expectedPeer: maybe(c.expected_peer),
        trusted: (key) => trusted.some((k) => k.equals(key)) })
      : new cs.Responder({ ...shared, decide: cs.decider(trusted, services) });
    const events = cut(c.feed.map(bin)).flatMap((piece) => victim.receive(piece));
    if (c.expect === 'silent') {
      const hello = new cs.Initiator({ ...shared, random: (n) => Buffer.alloc(n, 9) }).take();
      same(`${how}: silence`, [victim.state, victim.receive(hello), victim.failure], ['Silent', [], null]);
      same('layer', c.layer, 'network');
    } else {
      same(`${how}: failure`, [victim.failure?.expect, victim.failure?.layer], [c.expect, c.layer]);
      same('events', events.filter((e) => ['data', 'end', 'rekey'].includes(e.type)), []);
    }
    const sent = victim.frames().map(hex);
    same(`${how}: frames`, sent.join(''), c.victim_sends.join('') + (c.alert_frame ?? ''));
    same('after it', [victim.receive(Buffer.alloc(200, 0xc1)), victim.frames()], [[], []]);
  }
}

function negativeRecords(c) {
  for (const [how, cut] of Object.entries(CUTS)) {
    const session = receiver(c, { established: 'Open', awaiting_verdict: 'AwaitVerdict' }[c.state]);
    const pieces = cut(c.frames.map(bin));
    const events = pieces.flatMap((piece) => session.receive(piece));
    same(`${how}: failure`, [session.failure?.expect, session.failure?.layer], [c.expect, c.layer]);
    same(`${how}: delivered`, events.filter((e) => e.type === 'data').map((e) => hex(e.data)), c.delivered);
    const code = cs.ALERTS.indexOf(c.expect);
    const far = cs.Session.resume({ suite: c.suite, sendSecret: Buffer.alloc(32), receiveSecret: Buffer.from(FAR) });
    const answer = session.frames();
    same('answers', answer.length, code > 0 ? 1 : 0);
    if (code > 0) same('answer', hex(far.received.open(answer[0])), `03${code.toString(16).padStart(2, '0')}`);
    same('after it', [session.receive(Buffer.alloc(50, 0xc5)), session.frames()], [[], []]);
  }
}

// ---- x509.json ----

function x509(c) {
  const chain = chains.parse(chains.join(c.chain.map(bin)));
  const names = chains.namesOf(chain[0]);
  same('names', names, c.names);
  for (const [wanted, right] of Object.entries(c.wanted)) same(wanted, names.some((own) => chains.covers(own, wanted)), right);
  const reason = c.by === 'pinned' ? chains.successionRefusal(cs.verifyStrictly, chain, c.pinned.map(bin), c.time)
    : chains.refusalBy(cs.verifyStrictly, { cas: c.cas.map(bin), lists: c.crls.map(bin), stale: c.stale_crl }, chain, c.role, c.time);
  same('decision', [reason ? 'refuse' : 'accept', reason], [c.expect, c.reason]);
}

// ---- conformance.json ----

function conformanceSession(n) {
  const R = (name, length) => {
    const blocks = [];
    for (let k = 0; k * 32 < length; k++) blocks.push(cs.sha256(`countersign conformance 1/${n}/${name}/${k}`));
    return Buffer.concat(blocks).subarray(0, length);
  };
  const random = (name) => {
    const all = R(name, 256);
    return draws(Array.from({ length: 8 }, (_, k) => all.subarray(32 * k, 32 * k + 32)));
  };
  const o = R('options', 16);
  const suite = 1 + n % 4;
  const common = { context: R('context', o[3] % 33), networkKey: o[1] & 1 ? R('network key', 32) : null,
    authPadding: (length) => (o[2] & 1 ? (256 - length % 256) % 256 : 0) };
  const [seedI, seedR] = [R('initiator seed', 32), R('responder seed', 32)];
  const i = new cs.Initiator({ ...common, seed: seedI, random: random('initiator'),
    suites: o[0] & 1 ? [1, 2, 3, 4] : [suite], service: Buffer.from(hex(R('service', o[4] % 17))),
    trusted: (key) => key.equals(cs.ed25519Public(seedR)) });
  const r = new cs.Responder({ ...common, seed: seedR, random: random('responder'), suites: [suite],
    decide: cs.decider([cs.ed25519Public(seedI)], null) });
  const frames = [];
  const pass = (from, to, type) => {
    const bytes = from.take();
    frames.push(bytes);
    const events = to.receive(bytes);
    if (type) same(`session ${n}`, events.map((e) => e.type), [type]);
    return events[0];
  };
  pass(i, r);
  pass(r, i, 'authenticated');
  pass(i, r, 'established');
  pass(r, i, 'established');
  const both = (type, say, data = () => null) => {
    for (const [from, to, name] of [[i, r, 'initiator'], [r, i, 'responder']]) {
      same('sent', say(from, data(name)), true);
      const event = pass(from, to, type);
      if (type === 'data') same('content', event.data, data(name));
    }
  };
  const data = (first, lengths) => (name) => R(`${name} data ${first}`, lengths[name]);
  const say = (session, content) => session.data(content);
  both('data', say, data(1, { initiator: 1 + 2 * o[5], responder: 1 + 2 * o[6] }));
  both('rekey', (session) => session.rekey());
  both('data', say, data(2, { initiator: 1 + o[7], responder: 1 + o[8] }));
  both('end', (session) => session.end());
  const tails = [i, r].map((s) => Buffer.concat([s.sessionId, s.channelBinding,
    s.exporter(Buffer.from('conformance'), R('context', 7), 48)]));
  same('suite and ids', [r.suite, hex(tails[0])], [suite, hex(tails[1])]);
  return cs.sha256(Buffer.concat([...frames, tails[0]]));
}

function conformance() {
  const blocks = Array.from({ length: 16 }, (_, b) =>
    cs.sha256(Buffer.concat(Array.from({ length: 256 }, (_, k) => conformanceSession(256 * b + k)))));
  return { blocks: blocks.map(hex), digest: hex(cs.sha256(Buffer.concat(blocks))) };
}

// ---- Main ----

const FILES = { 'schedule.json': schedule, 'records.json': records, 'handshake.json': handshake, 'rekey.json': rekey,
  'negative/handshake.json': negativeHandshake, 'negative/records.json': negativeRecords,
  'negative/rekey.json': rekey, 'x509.json': x509 };

function runFile(folder, name, run) {
  let cases;
  try {
    ({ cases } = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')));
  } catch (e) {
    console.log(`${name}: ${e.message}`);
    return false;
  }
  const wrong = [];
  for (const c of cases ?? []) {
    try {
      if (name.startsWith('negative/') && !c.expect) throw new Error('no expect');
      run(c);
    } catch (e) {
      wrong.push(`  ${name} ${c.id} (${c.comment}): ${e.message}`);
    }
  }
  const count = cases?.length ?? 0;
  console.log(`${name}: ${count} cases, ${wrong.length} wrong`);
  if (wrong.length > 0) console.log(wrong.slice(0, 20).join('\n'));
  return count > 0 && wrong.length === 0;
}

function runConformance(folder, out) {
  const file = path.join(folder ?? '.', 'conformance.json');
  if (!out && !fs.existsSync(file)) {
    console.log('conformance.json: no such file');
    return false;
  }
  const began = Date.now();
  const got = conformance();
  const took = `${((Date.now() - began) / 1000).toFixed(1)} s`;
  if (out) {
    fs.writeFileSync(out, JSON.stringify(got) + '\n');
    console.log(`conformance: 4096 sessions in ${took}, digest ${got.digest.slice(0, 16)}...`);
    return true;
  }
  try {
    const want = JSON.parse(fs.readFileSync(file, 'utf8'));
    const wrong = got.blocks.flatMap((block, n) => (block === want.blocks[n] ? [] : [n]));
    const right = wrong.length === 0 && want.blocks.length === 16 && got.digest === want.digest;
    console.log(`conformance.json: 4096 cases in ${took}, ${right ? 'right' : `wrong, blocks ${wrong}`}`);
    return right;
  } catch (e) {
    console.log(`conformance.json: ${e.message}`);
    return false;
  }
}

const args = process.argv.slice(2);
const only = args.includes('--conformance-only');
const at = args.indexOf('--out');
const out = at < 0 ? null : args[at + 1];
const folder = args.find((a, n) => !a.startsWith('--') && (at < 0 || n !== at + 1));
if ((!only && !folder) || (only && !folder && !out)) {
  console.error('usage: node vectors.js [--conformance-only] FOLDER | node vectors.js --conformance-only --out FILE');
  process.exit(2);
}
let right = only || Object.entries(FILES).map(([name, run]) => runFile(folder, name, run)).every(Boolean);
right = runConformance(folder, out) && right;
process.exitCode = right ? 0 : 1;
