// A TCP peer over countersign.js: `connect` sends and checks an echo, `serve` echoes.
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import { parseArgs } from 'node:util';
import * as chains from './chains.js';
import * as cs from './countersign.js';

const HELP = `usage: peer.js connect --seed HEX --expect HEX|--ca CA.pem [--peer-name NAME] [--service NAME]
                       [--send-bytes N] [--eager] [common] ADDR:PORT
       peer.js serve --seed HEX --allow HEX [HEX ...]|--ca CA.pem [--service NAME [NAME ...]]
                     [--host HOST] --port PORT [common]

connect sends its standard input, or --send-bytes N bytes of a pattern, and prints the echo, or checks it.
serve echoes; without --service it offers the empty name. Port 0 is any.

  --seed HEX            32-byte Ed25519 seed
  --expect, --allow     public keys of the responder, of initiators
  --peer-name NAME      that the responder's certificate has to have: a DNS name, an address, a URI
  --eager               send before the VERDICT
common:
  --cert CHAIN.pem      present these certificates, that of the key first
  --ca CA.pem           believe the chains of these CAs
  --context HEX         application context
  --suite NAME          repeatable; the most preferred first
  --network-key HEX     32 bytes
  --rekey-every N       a REKEY before each N-th record, as far as [RK-2] allows
  --padding N           records are padded to a multiple of N bytes
  --keepalive SECONDS   a KEEPALIVE after so long without a record
  --timeout SECONDS     for the whole handshake (10)

Exit codes of connect: 0 echoed, 1 failed, 2 usage, 3 the responder is not who it has to be, 4 refused by a VERDICT.
Seeds and network keys stand on the command line, where every user of the machine can read them: use test keys only.
`;
const DEFAULT_SUITES = [2, 4, 1, 3];                          // hybrid ones first
const MAX_CONNECTIONS = 1024;
const MAX_UNFINISHED = 64;                                    // handshakes of one address
const SILENT_BYTES = 1 << 18;                                 // so much a silent responder reads [NK-4]
const IDLE = 60;                                              // seconds without a byte of progress in a session
const LINGER = 0.5;                                           // seconds after our last byte, so that no reset eats it
const PATTERN = Buffer.from(Array.from({ length: 65536 }, (_, i) => i * 7 % 256));    // repeats after 256 bytes

// Texts of a peer may hold what a terminal obeys, or shows backwards.
const printable = (text) => text.replace(/[^ -~]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
const explain = ({ expect, layer, tag, text }) =>
  `failed: ${expect} (${layer}) [${tag}]${text ? ` "${printable(text)}"` : ''}`;

// A session on a socket. `handlers` are named after the events of the session; besides, drain (more may be sent) and
// done(failure or null), once.
class Link {
  #timers = new Map();
  #held = new Set();
  #discarded = 0;
  #records = 0;
  #done = false;

  constructor(socket, session, options, handlers) {
    Object.assign(this, { socket, session, options, handlers });
    this.#timer('deadline', options.timeout, () => this.abort('timeout'));
    socket.setNoDelay(true);
    socket.on('data', (bytes) => this.#run(() => this.#receive(bytes)));
    socket.on('end', () => this.#run(() => this.#events(session.transportEnded())));
    socket.on('error', () => {});                             // close follows
    socket.on('close', () => {
      this.#run(() => this.#events(session.transportEnded()));
      // Whoever closes before our END has gone out, or with an END of ours that could not be written, fails as well.
      this.#finish(session.failure ?? (session.finished ? null : new cs.Failure('truncated', 'session', 'RE-7')));
      for (const name of [...this.#timers.keys()]) this.#timer(name);
    });
    socket.on('drain', () => this.#run(() => {
      this.#idle();
      this.release('drain');
      handlers.drain?.();
    }));
  }

  #timer(name, seconds, action) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    if (action) this.#timers.set(name, setTimeout(() => this.#run(action), seconds * 1000));
  }

  #idle() {
    if (this.session.established && !this.#done) this.#timer('idle', IDLE, () => this.abort('timeout'));
  }

  #alive() {
    const { keepalive } = this.options;
    if (!keepalive || !this.session.established || this.#done) return;
    this.#timer('keepalive', keepalive, () => {
      if (!this.socket.writableNeedDrain) this.session.keepalive();
    });
  }

  // Every callback goes through here: nothing that a peer sends may end the program.
  #run(action) {
    try {
      action();
      this.flush();
    } catch (e) {
      this.session.abort('internal');
      console.error(`internal: ${printable(String(e?.stack ?? e))}`);
      this.socket.destroy();
    }
  }

  #receive(bytes) {
    if (this.#done) return;                                   // lingering: what comes is discarded [HS-24]
    this.#idle();
    this.#events(this.session.receive(bytes));
    if (this.session.state === 'Silent') {
      this.#discarded += bytes.length;
      if (this.#discarded > SILENT_BYTES) this.hold('silent');
    }
  }

  #events(events) {
    for (const e of events) {
      if (e.type === 'established') {
        this.#timer('deadline');
        this.#idle();
        this.#alive();
      }
      this.handlers[e.type]?.(e);
    }
  }

  // Reading stops while there is a reason to.
  hold(why) { this.#held.add(why); this.socket.pause(); }
  release(why) {
    this.#held.delete(why);
    if (this.#held.size === 0) this.socket.resume();
  }

  // Sends a record by `say`, with the REKEY that may be due before it.
  #record(say) {
    this.#records += 1;
    if (this.options.rekeyEvery && this.#records % this.options.rekeyEvery === 0) this.session.rekey();
    say();
  }

  // False when no more should come before the next `drain`.
  send(data) {
    for (let at = 0; at < data.length; at += cs.MAX_CONTENT_LEN) {
      this.#record(() => this.session.data(data.subarray(at, at + cs.MAX_CONTENT_LEN)));
    }
    this.flush();
    return !this.socket.writableNeedDrain;
  }

  end() {
    this.#record(() => this.session.end());
    this.flush();
    this.socket.end();                                        // half-close [RE-6]
  }

  flush() {
    const out = this.session.take();
    if (out.length > 0 && this.socket.writable) {
      this.socket.write(out);
      this.#alive();
    }
    if (this.session.finished) this.#finish(this.session.failure);
  }

  abort(name) {
    this.#events(this.session.abort(name));
    if (this.session.state === 'Silent') this.socket.destroy();    // after the deadline, without a byte [NK-4]
  }

  #finish(failure) {
    if (this.#done) return;
    this.#done = true;
    for (const name of [...this.#timers.keys()]) this.#timer(name);
    this.#held.clear();
    this.socket.resume();
    this.socket.end();
    this.#timer('linger', LINGER, () => this.socket.destroy());
    this.handlers.done(failure);
  }
}

const sessionOptions = (o) => ({
  seed: o.seed, chain: o.cert, context: o.context, networkKey: o.networkKey, suites: o.suites, random: randomBytes, heal: true,
  authPadding: (length) => (1024 - length % 1024) % 1024,     // section 4 recommends it
  recordPadding: (length) => (o.padding
    ? Math.min((o.padding - length % o.padding) % o.padding, cs.MAX_CONTENT_LEN - length) : null),
});

// Whether the chain of a peer in this role is accepted by a CA now; the reason goes to the user.
const believer = (ca, role) => (chain) => {
  const reason = ca ? ca.refusal(chain, role, Date.now() / 1000) : 'no CA is known';
  if (reason) console.error(`not believed: ${reason}`);
  return !reason;
};

function connect(o) {
  const session = new cs.Initiator({ ...sessionOptions(o), service: o.service, expectedPeer: o.expect, expectedName: o.peerName,
    trusted: (key) => o.expect !== null && key.equals(o.expect), believes: believer(o.ca, 'responder') });
  const socket = net.connect({ host: o.host, port: o.port, allowHalfOpen: true });
  const hashes = [createHash('sha256'), createHash('sha256')];
  let [left, got, began, stopped] = [o.sendBytes, 0, false, false];
  let problem = null;

  const source = () => {                                      // the pattern, for --send-bytes
    while (left > 0 && session.canSend) {
      const piece = PATTERN.subarray(0, Math.min(left, PATTERN.length));
      left -= piece.length;
      hashes[0].update(piece);
      if (!link.send(piece)) return;
    }
    if (left === 0 && !stopped) {
      stopped = true;
      link.end();
    }
  };
  const start = () => {
    if (began) return;
    began = true;
    if (o.sendBytes !== null) return source();
    process.stdin.on('data', (piece) => {
      hashes[0].update(piece);
      if (!link.send(piece)) process.stdin.pause();
    });
    process.stdin.on('end', () => link.end());
    process.stdin.on('error', () => link.abort('internal'));
  };
  const link = new Link(socket, session, o, {
    authenticated: () => { if (o.eager) start(); },
    established: () => {
      console.error(`session ${session.sessionId.toString('hex')} suite ${cs.SUITES.get(session.suite).name}`);
      start();
    },
    drain: () => {
      if (!began) return;
      if (o.sendBytes !== null) source();
      else process.stdin.resume();
    },
    data: ({ data }) => {
      hashes[1].update(data);
      got += data.length;
      if (o.sendBytes === null && !process.stdout.write(data)) {
        link.hold('stdout');
        process.stdout.once('drain', () => link.release('stdout'));
      }
    },
    done: (failure) => {
      const [sent, back] = hashes.map((h) => h.digest('hex'));
      if (!failure && sent !== back) problem = `failed: ${got} bytes came back, and they differ`;
      if (failure) problem ??= explain(failure);
      const { sent: ours, received: theirs } = session;
      console.error(problem ?? `ok, rekeys sent ${ours.rekeys}, received ${theirs.rekeys}`);
      const refused = { refused: 3 }[failure?.expect] ?? (failure?.expect.startsWith('peer_verdict:') ? 4 : 1);
      process.exitCode = problem ? (failure ? refused : 1) : 0;
      if (began && o.sendBytes === null) process.stdin.destroy();
    },
  });
  socket.on('error', (e) => { if (!session.sent) problem = `failed: ${printable(e.message)}`; });
  socket.on('connect', () => link.flush());
}

function serve(o) {
  const unfinished = new Map();
  let open = 0;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const address = socket.remoteAddress ?? 'nobody';
    const session = new cs.Responder({ ...sessionOptions(o), decide: cs.decider(o.allow, o.services, believer(o.ca, 'initiator')) });
    const count = unfinished.get(address) ?? 0;
    const full = open >= MAX_CONNECTIONS || count >= MAX_UNFINISHED;
    open += 1;
    unfinished.set(address, count + 1);
    let pending = true;
    const ready = () => {
      if (!pending) return;
      pending = false;
      const now = unfinished.get(address) - 1;
      if (now > 0) unfinished.set(address, now);
      else unfinished.delete(address);
    };
    let who = `${address}:${socket.remotePort}`;
    const link = new Link(socket, session, o, {
      established: ({ service }) => {
        ready();
        const [id, peer] = [session.sessionId, session.peerKey].map((b) => b.toString('hex'));
        who += ` session ${id} peer ${[peer.slice(0, 16), ...session.peerNames.map(printable)].join(' ')} service "${service}" suite ${session.suite}`;
      },
      data: ({ data }) => { if (!link.send(data)) link.hold('drain'); },    // the echo sets the pace of reading
      end: () => link.end(),
      done: (failure) => {
        const { sent, received } = session;
        const end = failure ? explain(failure) : `ok, rekeys sent ${sent.rekeys}, received ${received.rekeys}`;
        console.error(`${who} ${end}`);
      },
    });
    socket.on('close', () => {
      open -= 1;
      ready();
    });
    if (full) {                                               // an ALERT, or nothing at all [NK-3]
      link.abort('busy');
      link.flush();
    }
  });
  server.on('error', (e) => {
    console.error(`failed: ${e.message}`);
    process.exitCode = 1;
  });
  server.listen(o.port, o.host, () => console.log(`listening on ${o.host}:${server.address().port}`));
}

// ---- Command line ----

class Usage extends Error {}

const bytes = (name, text, length) => {
  if (!/^([0-9a-fA-F]{2})*$/.test(text ?? '?') || (length && text.length !== 2 * length)) {
    throw new Usage(`--${name} takes ${length ?? 'an even number of'} bytes in hexadecimal`);
  }
  return Buffer.from(text, 'hex');
};
const number = (name, text, least, most) => {
  const n = Number(text);
  if (!text || !(n >= least && n <= most)) throw new Usage(`--${name} takes a number from ${least} to ${most}`);
  return n;
};
const whole = (name, text, least, most) => {
  const n = number(name, text, least, most);
  if (!Number.isInteger(n)) throw new Usage(`--${name} takes a whole number`);
  return n;
};

const certificates = (name, file) => {
  let found;
  try {
    found = chains.fromPem(fs.readFileSync(file, 'ascii'));
  } catch (e) {
    throw new Usage(`--${name}: ${e.message}`);
  }
  if (found.length === 0) throw new Usage(`--${name}: no certificate in ${file}`);
  return found;
};

const COMMON = ['seed', 'cert', 'ca', 'context', 'suite', 'network-key', 'rekey-every', 'padding', 'keepalive', 'timeout'];
const OWN = { connect: ['expect', 'peer-name', 'service', 'send-bytes'], serve: ['allow', 'service', 'host', 'port'] };

// Options that take several values in one go are given to parseArgs one by one.
function spread(args, many) {
  let current = null;
  return args.flatMap((arg) => {
    if (arg.startsWith('--')) {
      current = many.includes(arg) ? arg : null;
      return current ? [] : [arg];
    }
    return current ? [`${current}=${arg}`] : [arg];
  });
}

function parse([command, ...args]) {
  if (!Object.hasOwn(OWN, command ?? '')) throw new Usage('connect or serve?');
  const serving = command === 'serve';
  const names = [...COMMON, ...OWN[command]];
  const options = Object.fromEntries(names.map((n) => [n, { type: 'string', multiple: n === 'suite' || serving }]));
  if (!serving) options.eager = { type: 'boolean' };
  const { values, positionals } = parseArgs({ options, allowPositionals: !serving,
    args: spread(args, serving ? ['--allow', '--service'] : []) });
  const one = (name) => (Array.isArray(values[name]) ? values[name].at(-1) : values[name]);
  const given = (name, read, otherwise) => (one(name) === undefined ? otherwise : read(one(name)));
  const suites = values.suite?.map((name) => {
    const found = [...cs.SUITES].find(([, s]) => s.name === name);
    if (!found) throw new Usage(`--suite: one of ${[...cs.SUITES.values()].map((s) => s.name).join(', ')}`);
    return found[0];
  });
  const service = (name) => {
    if (!/^[!-~]{0,255}$/.test(name)) throw new Usage('--service: 0 to 255 printable characters');
    return Buffer.from(name);
  };
  const common = {
    seed: bytes('seed', one('seed'), 32),
    cert: given('cert', (file) => certificates('cert', file), null),
    ca: given('ca', (file) => new chains.Authority(cs.verifyStrictly, certificates('ca', file)), null),
    context: given('context', (t) => bytes('context', t), Buffer.alloc(0)),
    suites: suites ? [...new Set(suites)] : DEFAULT_SUITES,
    networkKey: given('network-key', (t) => bytes('network-key', t, 32), null),
    rekeyEvery: given('rekey-every', (t) => whole('rekey-every', t, 1, 2 ** 32), 0),
    padding: given('padding', (t) => whole('padding', t, 1, cs.MAX_CONTENT_LEN), 0),
    keepalive: given('keepalive', (t) => number('keepalive', t, 0.001, 86400), 0),
    timeout: given('timeout', (t) => number('timeout', t, 0.001, 86400), 10),
  };
  if (common.networkKey?.every((b) => b === 0)) throw new Usage('--network-key: not all zero [NK-6]');
  if (common.context.length > 255) throw new Usage('--context: at most 255 bytes');
  if (serving) {
    if (!values.allow && !common.ca) throw new Usage('--allow or --ca is missing');
    return () => serve({ ...common, allow: (values.allow ?? []).map((t) => bytes('allow', t, 32)),
      services: (values.service ?? ['']).map(service), host: one('host') ?? '127.0.0.1',
      port: whole('port', one('port'), 0, 65535) });
  }
  const at = positionals.length === 1 ? positionals[0].lastIndexOf(':') : -1;
  if (at < 1) throw new Usage('which ADDR:PORT?');
  if (one('expect') === undefined && !common.ca) throw new Usage('--expect or --ca is missing');
  return () => connect({ ...common, expect: given('expect', (t) => bytes('expect', t, 32), null),
    peerName: given('peer-name', chains.nameOf, null), service: service(one('service') ?? ''),
    sendBytes: given('send-bytes', (t) => whole('send-bytes', t, 0, 2 ** 40), null), eager: !!values.eager,
    host: positionals[0].slice(0, at).replace(/^\[(.*)\]$/, '$1'),
    port: whole('port', positionals[0].slice(at + 1), 0, 65535) });
}

function main(args) {
  if (args.length === 0 || args.includes('--help') || args.includes('-h')) {
    (args.length === 0 ? process.stderr : process.stdout).write(HELP);
    process.exitCode = args.length === 0 ? 2 : 0;
    return;
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  let run;
  try {
    run = parse(args);
  } catch (e) {
    if (!(e instanceof Usage) && !e.code?.startsWith('ERR_PARSE_ARGS')) throw e;
    console.error(`peer.js: ${e.message}; see --help`);
    process.exitCode = 2;
    return;
  }
  run();
}

main(process.argv.slice(2));
