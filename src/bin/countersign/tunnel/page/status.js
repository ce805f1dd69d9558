// The status page of `countersign tunnel`: asks /sessions and /history, and shows what they say.
// Times are told from `now` of the answers, never from the browser's clock. Names come from peers and files and may be hostile: they reach
// the page as text only, without characters that steer its direction, and cut.

const POLL = 1000, PATIENCE = 10000, SLOWEST = 15000;          // milliseconds
const SPAN = 300;                                             // seconds in the pictures
const WINDOW = 5;                                             // seconds over which the throughput of peers is taken
const MOST_BARS = 8;

// ---- text and numbers

const number = (value) => Number.isFinite(Number(value)) ? Number(value) : 0;
const count = (value) => number(value).toLocaleString('en', { maximumFractionDigits: 1 });
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? '' : 's'}`;

function bytes(value) {
  let rest = number(value), unit = 0;
  for (; rest >= 999.5 && unit < 5; unit++) rest /= 1000;
  return `${unit ? rest.toFixed(rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0) : Math.round(rest)} ${['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit]}`;
}
const rate = (value) => `${bytes(value)}/s`;

function duration(value) {
  const s = Math.max(0, Math.floor(number(value)));
  const pair = (big, of, small, unit) => `${Math.floor(s / big)} ${of}${small ? ` ${small} ${unit}` : ''}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return pair(60, 'min', s % 60, 's');
  if (s < 86400) return pair(3600, 'h', Math.floor(s % 3600 / 60), 'min');
  return pair(86400, 'd', Math.floor(s % 86400 / 3600), 'h');
}
const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);

// What can't be seen, or turns the direction of what follows, is written out.
const printable = (value, most = 160) => {
  const text = String(value ?? '').slice(0, most + 1).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  return text.length > most ? `${text.slice(0, most)}…` : text;
};

// ---- elements

const $ = (selector, within = document) => within.querySelector(selector);
const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
function shape(name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
// One line that ends in "…" where there is no room; all of it, within reason, in its tooltip.
function cut(value, className = '') {
  const node = element('bdi', `cut ${className}`, printable(value));
  node.dir = 'ltr';
  node.title = printable(value, 1000);
  return node;
}

// ---- pictures over time: one series above the zero line, one below it, on one scale

class Chart {
  constructor(id, { up, down, format, least = 1, columns = false }) {
    Object.assign(this, { figure: $(`#${id}`), up, down, format, least, columns, points: null, hover: null });
    this.svg = $('svg', this.figure);
    this.title = $('h2', this.figure).textContent;
    this.readings = [...this.figure.querySelectorAll('.reading li')];
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener('pointermove', (event) => {
      this.hover = event.clientX - this.svg.getBoundingClientRect().left;
      this.draw();
    });
    this.svg.addEventListener('pointerleave', () => { this.hover = null; this.draw(); });
  }

  show(history, now) {
    this.interval = number(history.interval) || 1;
    this.now = now;
    this.points = (history.points ?? []).map((p) => ({ ago: now - number(p.time), up: number(p[this.up]), down: this.down ? number(p[this.down]) : 0 }))
      .filter((p) => p.ago <= SPAN && p.ago > -this.interval * 3);
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!this.points || !width) return;
    const box = { left: 46, right: width - 2, top: 7, bottom: height - 20 };
    const x = (ago) => box.right - Math.max(0, ago) / SPAN * (box.right - box.left);
    const peak = (key) => Math.max(0, ...this.points.map((p) => p[key]));
    const { step, above, below } = scale(peak('up'), this.down ? peak('down') : null, this.least);
    const y = (value) => box.top + (above - value / step) / (above + below) * (box.bottom - box.top);

    const nodes = [];
    for (let line = -below; line <= above; line++) {
      const at = Math.round(y(line * step)) + .5;
      nodes.push(shape('line', { class: line ? 'grid' : 'zero', x1: box.left, x2: box.right, y1: at, y2: at }));
      const label = this.format(Math.abs(line) * step).replace(/\/s$/, '').replace(/\.0+(?= )/, '');
      nodes.push(shape('text', { x: box.left - 6, y: at + 3.5, 'text-anchor': 'end' }, label));
    }
    const apart = box.right - box.left > 360 ? 60 : 120;
    for (let ago = apart; ago <= SPAN; ago += apart)
      nodes.push(shape('text', { x: x(ago), y: height - 4, 'text-anchor': ago === SPAN ? 'start' : 'middle' }, `−${ago / 60} min`));
    nodes.push(shape('text', { x: box.right, y: height - 4, 'text-anchor': 'end' }, 'now'));
    if (this.points.length) for (const [key, sign] of this.down ? [['up', 1], ['down', -1]] : [['up', 1]]) nodes.push(...this.series(key, sign, x, y));
    else nodes.push(shape('text', { x: (box.left + box.right) / 2, y: height / 2 - 14, 'text-anchor': 'middle' }, 'No measurement yet'));

    const told = this.told(x);
    if (told && this.hover !== null)
      nodes.push(shape('line', { class: 'cursor', x1: x(told.ago), x2: x(told.ago), y1: box.top, y2: box.bottom }));
    this.svg.replaceChildren(...nodes);
    this.read(told, peak);
  }

  // Runs of points without a gap: lines over their areas, or a column for each.
  series(key, sign, x, y) {
    const runs = [];
    let before = null;
    for (const point of this.points) {
      if (!before || before.ago - point.ago > this.interval * 3.5) runs.push([]);
      runs.at(-1).push([x(point.ago), y(sign * point[key])]);
      before = point;
    }
    const at = ([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`, zero = y(0).toFixed(1);
    if (this.columns) {
      const thick = Math.max(1.5, x(0) - x(this.interval) - .5);
      const d = runs.flat().filter(([, py]) => Math.abs(py - zero) > .1).map(([px, py]) => `M${(px - thick).toFixed(1)} ${zero}V${py.toFixed(1)}h${thick.toFixed(1)}V${zero}Z`);
      return [shape('path', { class: `column ${key}`, d: d.join('') })];
    }
    const lines = runs.map((run) => `M${run.map(at).join('L')}`);
    const areas = runs.map((run, i) => `${lines[i]}V${zero}H${run[0][0].toFixed(1)}Z`);
    return [shape('path', { class: `area ${key}`, d: areas.join('') }), shape('path', { class: `line ${key}`, d: lines.join('') })];
  }

  // The point under the pointer, otherwise the newest one.
  told(x) {
    if (this.hover === null) return this.points.at(-1);
    const distance = (p) => Math.abs(x(p.ago) - this.hover);
    return this.points.reduce((best, p) => best && distance(best) <= distance(p) ? best : p, undefined);
  }

  read(told, peak) {
    const keys = this.readings.map((li) => li.className);
    this.readings.forEach((li, i) => say($('b', li), told ? this.format(told[keys[i]]) : '–'));
    say($('.when', this.figure), told && this.hover !== null ? `${clock(this.now - told.ago)}, ${duration(told.ago)} ago` : 'last 5 minutes');
    const words = this.readings.map((li, i) => `${li.lastChild.textContent.trim()} ${told ? this.format(told[keys[i]]) : 'nothing'} now, at most ${this.format(peak(keys[i]))}`);
    this.svg.setAttribute('aria-label', `${this.title}, last 5 minutes: ${words.join('; ')}`);
  }
}

// Lines at 1, 2 or 5 times a power of ten; few enough to be read.
function scale(up, down, least) {
  for (let step = least; ; step *= /^2/.test(step.toExponential()) ? 2.5 : 2) {
    const above = Math.max(1, Math.ceil(up / step)), below = down === null ? 0 : Math.max(1, Math.ceil(down / step));
    if (above + below <= 5 || step > 1e18) return { step, above, below };
  }
}

// ---- bars

function bars(id, rows, empty) {
  const most = Math.max(...rows.map((row) => row.parts.reduce((a, b) => a + b, 0)), 1e-9);
  const items = rows.slice(0, MOST_BARS).map(({ label, tip, parts, text }) => {
    const item = element('li'), name = cut(label), picture = shape('svg', { 'aria-hidden': 'true' });
    if (tip) name.title = printable(tip, 1000);
    let from = 0;
    parts.forEach((part, i) => {
      const share = part / most * 100;
      picture.append(shape('rect', { class: i ? 'down' : 'up', x: `${from.toFixed(2)}%`, width: `${share.toFixed(2)}%`, height: '100%' }));
      from += share;
    });
    item.append(name, element('span', 'amount', text), picture);
    return item;
  });
  if (rows.length > MOST_BARS) items.push(element('li', 'more', `and ${count(rows.length - MOST_BARS)} more`));
  $(`#${id} .bars`).replaceChildren(...items);
  say($(`#${id} .empty`), rows.length ? '' : empty);
}

const identity = (session) => `${session.tunnel} ${session.side} ${session.id}`;     // both ends may be in one process
const peerName = (peer) => peer?.name || peer?.names?.[0] || '';

// Bytes a second of each peer: what its sessions carried since the oldest answer of the window.
const answers = [];
function throughputByPeer({ now, started, sessions = [] }) {
  const latest = answers.at(-1);
  if (latest && (latest.started !== started || now < latest.now || now - latest.now > 4 * WINDOW)) answers.length = 0;
  if (answers.at(-1)?.now !== now)
    answers.push({ now, started, seen: new Map(sessions.map((s) => [identity(s), [number(s.received), number(s.sent)]])) });
  while (answers.length > 2 && answers[1].now <= now - WINDOW) answers.shift();
  if (answers.length < 2) return null;
  const base = answers[0], peers = new Map();
  for (const session of sessions) {
    const before = base.seen.get(identity(session)) ?? (session.started >= base.now ? [0, 0] : null);
    if (!before) continue;                                    // it was there, but not listed
    const key = String(session.peer?.key), name = peerName(session.peer);
    const peer = peers.get(key) ?? { label: name || key, tip: `${name} ${key}`, parts: [0, 0] };
    [session.received, session.sent].forEach((value, i) => { peer.parts[i] += Math.max(0, number(value) - before[i]) / (now - base.now); });
    peers.set(key, peer);
  }
  const total = ({ parts }) => parts[0] + parts[1];
  return [...peers.values()].filter((p) => total(p) > 0).sort((a, b) => total(b) - total(a)).map((p) => ({ ...p, text: rate(total(p)) }));
}

function refusalsByReason(tunnels) {
  const reasons = new Map();
  for (const tunnel of tunnels)
    for (const [reason, n] of Object.entries(tunnel.refusals ?? {})) reasons.set(reason, (reasons.get(reason) ?? 0) + number(n));
  return [...reasons].filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
    .map(([reason, n]) => ({ label: reason.replaceAll('_', ' '), parts: [n], text: count(n) }));
}

// ---- tables

// A column is { value: what it sorts by, text: what stands there if that differs, fill: for cells that are more than a text and never change }.
class Table {
  constructor(id, { columns, key, search, sort = null, falling = false }) {
    Object.assign(this, { section: $(`#${id}`), columns, key, search, sort, falling, all: [], rows: new Map() });
    this.body = $('tbody', this.section);
    this.input = $('input', this.section);
    this.buttons = [...this.section.querySelectorAll('th button')];
    this.input.addEventListener('input', () => this.draw());
    for (const button of this.buttons) button.addEventListener('click', () => {
      const name = button.dataset.key;
      this.falling = this.sort === name ? !this.falling : button.parentNode.className === 'number';
      this.sort = name;
      this.draw();
    });
  }

  show(all, total, empty) {
    Object.assign(this, { all, total, empty });
    this.draw();
  }

  draw() {
    const wanted = this.input.value.trim().toLowerCase();
    const shown = this.all.map((item, i) => [this.key(item, i), item]).filter(([, item]) => !wanted || this.search(item).join('\n').toLowerCase().includes(wanted));
    if (this.sort) {
      const { value } = this.columns[this.sort], order = this.falling ? -1 : 1;
      const compare = (a, b) => typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true });
      shown.sort(([, a], [, b]) => order * compare(value(a), value(b)));
    }
    for (const button of this.buttons)
      button.parentNode.setAttribute('aria-sort', button.dataset.key !== this.sort ? 'none' : this.falling ? 'descending' : 'ascending');
    const rows = new Map(shown.map(([key, item]) => [key, this.row(this.rows.get(key), item)]));
    this.rows = rows;
    const nodes = [...rows.values()];
    if (nodes.length !== this.body.children.length || nodes.some((node, i) => node !== this.body.children[i])) this.body.replaceChildren(...nodes);

    say($('.count', this.section), [count(this.total), this.all.length < this.total && `the newest ${count(this.all.length)} are listed`,
      wanted && `${count(shown.length)} match`].filter(Boolean).join(' · '));
    this.input.hidden = this.all.length < 4 && !wanted;
    $('.scroll', this.section).hidden = !shown.length;
    say($('.empty', this.section), shown.length ? '' : this.all.length ? `Nothing here matches “${printable(this.input.value, 60)}”.` : this.empty);
  }

  row(known, item) {
    const row = known ?? element('tr');
    if (!known) row.setAttribute('role', 'row');
    this.buttons.forEach((button, i) => {
      const { value, text, fill } = this.columns[button.dataset.key];
      let cell = row.children[i];
      if (!cell) {
        cell = row.appendChild(element('td', button.parentNode.className));
        cell.setAttribute('role', 'cell');
        cell.dataset.label = button.textContent;
        if (fill) cell.append(...fill(item));
      }
      if (fill) return;
      const raw = value(item);
      say(cell, text ? text(item) : typeof raw === 'number' ? count(raw) : printable(raw));
      if (typeof raw === 'number') cell.classList.toggle('zero-value', raw === 0);
    });
    return row;
  }
}

const amount = (key) => ({ value: (item) => number(item[key]), text: (item) => bytes(item[key]) });
const line = (key, className) => ({ value: (item) => String(item[key] ?? ''), fill: (item) => [cut(item[key], className)] });
const outcome = (key) => ({ value: (tunnel) => number(tunnel.handshakes?.[key]) });

const tunnelTable = new Table('tunnels', {
  key: (tunnel, i) => `${i} ${tunnel.name} ${tunnel.side} ${tunnel.listen}`,
  search: (tunnel) => [tunnel.name, tunnel.side, tunnel.listen],
  columns: {
    name: line('name'), side: line('side'), listen: line('listen', 'mono'),
    sessions: { value: (tunnel) => number(tunnel.sessions) }, total: { value: (tunnel) => number(tunnel.total) },
    accepted: outcome('accepted'), refused: outcome('refused'), timed_out: outcome('timed_out'), gave_way: outcome('gave_way'), failed: outcome('failed'),
    received: amount('received'), sent: amount('sent'),
  },
});
const sessionTable = new Table('sessions', {
  sort: 'age', key: identity,
  search: (s) => [s.id, s.tunnel, s.side, s.service, s.from, s.to, s.peer?.key, s.peer?.name, ...s.peer?.names ?? []],
  columns: {
    peer: { value: (s) => peerName(s.peer) || String(s.peer?.key), fill: ({ peer }) => {
      const name = cut(peerName(peer) || 'no name', peerName(peer) ? '' : 'zero-value');
      name.title = printable([peer?.name, ...peer?.names ?? []].filter(Boolean).join(' '), 1000);
      return [name, cut(peer?.key, 'sub mono')];
    } },
    service: { value: (s) => String(s.service ?? ''), fill: (s) => [cut(s.service || '(none)'), cut(`${s.tunnel} · ${s.side}`, 'sub')] },
    from: line('from', 'mono'), to: line('to', 'mono'),
    age: { value: (s) => s.age, text: (s) => duration(s.age) },
    idle: { value: (s) => number(s.idle), text: (s) => s.idle < 10 ? `${number(s.idle).toFixed(1)} s` : duration(s.idle) },
    received: amount('received'), sent: amount('sent'), id: line('id', 'mono short'),
  },
});
const charts = [
  new Chart('throughput', { up: 'received', down: 'sent', format: rate, least: 10 }),
  new Chart('live', { up: 'sessions', format: count }),
  new Chart('handshakes', { up: 'accepted', down: 'refused', format: count, columns: true }),
];

// ---- the whole page

let last = null;                                              // the last good answer

function show(answer) {
  const { now, started, version, draining, tunnels = [], sessions = [] } = answer;
  if (!Number.isFinite(now) || !Array.isArray(tunnels) || !Array.isArray(sessions)) throw new Error('the answer cannot be read');
  last = answer;
  const live = tunnels.reduce((sum, tunnel) => sum + number(tunnel.sessions), 0), ever = tunnels.reduce((sum, tunnel) => sum + number(tunnel.total), 0);
  say($('#version'), printable(version, 40));
  say($('#uptime'), duration(now - number(started)));
  say($('#updated'), clock(now));
  document.title = `${draining ? 'draining · ' : ''}${plural(live, 'session')} · countersign tunnel`;
  const peers = throughputByPeer(answer);
  bars('peers', peers ?? [], !live ? 'No live session.' : peers ? 'No session carries data at the moment.' : 'Measuring …');
  bars('refusals', refusalsByReason(tunnels), 'Nothing has been refused.');
  tunnelTable.show(tunnels, tunnels.length, 'No tunnel is configured.');
  sessionTable.show(sessions.map((s) => ({ ...s, age: now - number(s.started) })), Math.max(live, sessions.length),
    ever ? `No live session; there were ${count(ever)}.` : 'No session yet. A session is listed here as soon as its handshake is done.');
}

function announce(state, text, notice) {
  $('#state').dataset.state = state;
  say($('#state'), text);
  document.body.classList.toggle('stale', state === 'lost');
  const box = $('#notice');
  box.classList.toggle('lost', state === 'lost');
  $('#retry').hidden = state !== 'lost';
  box.hidden = !notice;
  say($('p', box), notice ?? '');
}

async function get(path) {
  const fail = (error) => { throw new Error(error.name === 'TimeoutError' ? `no answer in ${PATIENCE / 1000} s` : 'no connection'); };
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) }).catch(fail);
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  return response.json().catch(() => { throw new Error('the answer cannot be read'); });
}

let timer = null, polling = false, failures = 0, turn = 0, historyError = null;

async function poll() {
  clearTimeout(timer);
  if (polling || document.hidden) return;
  polling = true;
  const [sessions, history] = await Promise.allSettled([get('sessions'), ...turn++ % 2 ? [] : [get('history')]]);
  try {
    if (sessions.reason) throw sessions.reason;
    show(sessions.value);
    if (history) historyError = history.reason ?? null;
    if (history?.value) for (const chart of charts) chart.show(history.value, last.now);
    failures = 0;
    announce(...last.draining
      ? ['draining', 'draining', `Draining: no new session is taken; ${plural(last.tunnels.reduce((n, t) => n + number(t.sessions), 0), 'session')} may finish.`]
      : ['running', 'running', historyError && `The pictures may be old: no history (${historyError.message}).`]);
  } catch (error) {
    failures++, turn = 0;
    document.title = 'unreachable · countersign tunnel';
    announce('lost', 'can’t reach the process', `${printable(`No news (${error.message}).`)} ${last ? `What stands here is from ${clock(last.now)}.` : ''} Trying again.`);
  }
  polling = false;
  timer = setTimeout(poll, Math.min(POLL * 2 ** Math.min(failures, 10), SLOWEST));
}

document.addEventListener('visibilitychange', poll);          // stops when the page is hidden, and goes on at once when it is seen again
$('#retry').addEventListener('click', () => { failures = 0; poll(); });
poll();
