// What a process would answer: fixed numbers, and a time that stands still from the second answer on.
export const NOW = 1764178000;

function generator(seed) {
  let state = seed;
  return () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
}
const hex = (random, n) => Array.from({ length: n }, () => Math.floor(random() * 16).toString(16)).join('');
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const fingerprint = (random) => `SHA256:${Array.from({ length: 43 }, () => ALPHABET[Math.floor(random() * 64)]).join('')}`;

const PEERS = ['orders-api', 'billing', 'alice', 'search-indexer', 'eu-west-2/gateway', 'backup', 'metrics', null, 'reports', 'cache-warmer', 'bob', 'probe'];
const SERVICES = [['redis', '127.0.0.1:6379'], ['postgres', 'unix:/run/postgresql/.s.PGSQL.5432'], ['smtp', '127.0.0.1:25'], ['', 'exec:/usr/lib/report']];
const TUNNELS = [['web', 'server', '0.0.0.0:7000'], ['db', 'client', 'unix:/run/countersign/db.sock'], ['mail', 'server', 'systemd:mail']];

// `poll` counts from 0: the first answer is a second older than the others, so that there is throughput to tell.
function sessions(poll, { listed = 16, live = listed, draining = false } = {}) {
  const random = generator(7), older = poll ? 0 : 1, now = NOW - older;
  const keys = PEERS.map(() => fingerprint(random));
  const list = Array.from({ length: listed }, (_, i) => {
    const who = i % PEERS.length, [service, to] = SERVICES[i % 4], [tunnel, side] = TUNNELS[i % 3];
    const speed = Math.floor(4e6 * 0.55 ** who * (0.6 + random() / 2)), back = Math.floor(speed * (i % 3 ? 0.12 : 1.4));
    return {
      id: hex(random, 32), tunnel, side, service, to,
      peer: { key: keys[who], name: PEERS[who], names: who % 4 === 3 ? [`spiffe://example.org/${PEERS[who] ?? 'nameless'}`] : [] },
      from: i % 5 ? `10.20.${i % 7}.${(i * 37) % 250}:${50000 + i * 13}` : `[2001:db8::${(i + 10).toString(16)}]:${41000 + i}`,
      started: NOW - 3 - i * i * 61.5, idle: i % 4 ? 0.2 : i * 9.5,
      received: speed * (40 + i) - older * speed, sent: back * (40 + i) - older * back, rekeys: i % 3,
    };
  });
  const share = [0.5, 0.3, 0.2].map((part) => Math.round(live * part));
  share[0] += live - share.reduce((a, b) => a + b);
  return {
    version: '0.1.0', now, started: NOW - 93784, draining, listed,
    tunnels: TUNNELS.map(([name, side, listen], i) => ({
      name, side, listen, sessions: share[i], total: [18231, 942, 77][i], received: [8123456789, 91234567, 456789][i], sent: [512345678, 2123456789, 1234][i],
      handshakes: { accepted: [18231, 942, 77][i], refused: [153, 0, 4][i], timed_out: [12, 1, 0][i], gave_way: [0, 2, 0][i], failed: [31, 0, 2][i] },
      refusals: [{ not_trusted: 98, service_unavailable: 21, too_many_handshakes: 34 }, {}, { not_trusted: 3, expired: 1 }][i],
    })),
    sessions: list,
  };
}

function history() {
  const random = generator(3);
  return {
    interval: 1,
    points: Array.from({ length: 300 }, (_, i) => ({
      time: NOW - 299 + i,
      sessions: Math.round(11 + 4 * Math.sin(i / 37) + random() * 1.5),
      received: 6e6 * (1 + 0.55 * Math.sin(i / 23)) + 1.3e6 * random(), sent: 3.4e6 * (1 + 0.4 * Math.cos(i / 31)) + 0.9e6 * random(),
      accepted: random() < 0.35 ? Math.ceil(random() * 3) : 0, refused: i > 130 && i < 190 && random() < 0.5 ? Math.ceil(random() * 2) : 0,
    })),
  };
}

const LONG = 'x'.repeat(10_000);
export const HOSTILE = [
  '<img src=x onerror="window.owned=1">', '<script>window.owned=1</script>', '\u202egnp.exe', `${LONG}end`, '\u0000\u0007\u001b[31mred', 'א‏בג\u2066',
  '"><svg onload=window.owned=1>', 'e\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301', '__proto__', '{{7*7}}${7*7}',
];
function hostile(poll) {
  const answer = sessions(poll, { listed: HOSTILE.length });
  answer.version = HOSTILE[0];
  answer.sessions.forEach((session, i) => {
    for (const key of ['service', 'from', 'to', 'tunnel', 'id']) session[key] = `${HOSTILE[i]}${key === 'id' ? i : ''}`;
    session.peer = { key: `${HOSTILE[i]}${i}`, name: HOSTILE[i], names: HOSTILE };
  });
  answer.tunnels.forEach((tunnel, i) => { tunnel.name = tunnel.listen = tunnel.side = HOSTILE[i + 1]; });
  answer.tunnels[0].refusals = Object.fromEntries(HOSTILE.map((name, i) => [name, 10 + i]));
  return answer;
}

const empty = () => ({
  version: '0.1.0', now: NOW, started: NOW - 4, draining: false, sessions: [],
  tunnels: [{ name: 'web', side: 'server', listen: '127.0.0.1:7000', sessions: 0, total: 0, received: 0, sent: 0,
    handshakes: { accepted: 0, refused: 0, timed_out: 0, gave_way: 0, failed: 0 }, refusals: {} }],
});

// Each world answers poll by poll; `null` is a connection that breaks, a number a status.
export const WORLDS = {
  busy: { sessions: (poll) => sessions(poll), history },
  few: { sessions: (poll) => sessions(poll, { listed: 6 }), history },
  draining: { sessions: (poll) => sessions(poll, { draining: true }), history },
  many: { sessions: (poll) => sessions(poll, { listed: 1000, live: 4213 }), history },
  empty: { sessions: empty, history: () => ({ interval: 1, points: [] }) },
  hostile: { sessions: hostile, history },
  broken: { sessions: () => 500, history: () => 500 },
  gone: { sessions: () => null, history: () => null },
  garbled: { sessions: () => '{"version":', history: () => 'nothing' },
  forgetful: { sessions: (poll) => sessions(poll), history: () => 500 },
};
