// The status page in Debian's Chromium: `node run.js` against fixed answers, `node run.js --live URL` against a running tunnel.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { FAULTS } from './faults.js';
import { HOSTILE, WORLDS } from './fixtures.js';
import { compare } from './pictures.js';

const HELP = `usage: run.js [--update] [--only WORD]     the page with fixed answers; --update renews the reference pictures
       run.js --faults [--only WORD]     plants faults in the page, and fails if one is not noticed
                                         --why tells how much each part of a picture differs
       run.js --live URL [--picture FILE] [--seconds N]     a running tunnel's page: sessions and throughput have to show and move
`;
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const HERE = path.dirname(fileURLToPath(import.meta.url));
const PAGE = path.join(HERE, '../../src/bin/countersign/tunnel/page');
const REFERENCE = path.join(HERE, 'reference'), ACTUAL = path.join(HERE, 'actual');
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' };
const WIDE = { width: 1280, height: 900 }, PHONE = { width: 390, height: 844 };
const SECTIONS = ['header', '#throughput', '#live', '#handshakes', '#peers', '#refusals', '#tunnels', '#sessions'];

// ---- a process that isn't there

class Stand {
  constructor(alter) {
    this.alter = alter ?? ((name, text) => text);
  }
  // Each page has a port of its own: a late question of the page before must not use up an answer.
  async open(world) {
    this.close();
    this.play(world);
    this.server = http.createServer((request, response) => this.answer(request.url, response));
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${this.server.address().port}/`;
  }
  close() { this.server?.close(); this.server?.closeAllConnections(); }
  play(world) { Object.assign(this, { world, polls: { sessions: 0, history: 0 } }); }

  answer(url, response) {
    const name = url === '/' ? 'status.html' : url.slice(1);
    const send = (status, type, body) => response.writeHead(status, { 'content-type': type, 'content-security-policy': CSP }).end(body);
    if (name in this.polls) {
      const answer = WORLDS[this.world][name](this.polls[name]++);
      if (answer === null) return response.destroy();
      if (typeof answer === 'number') return send(answer, 'text/plain', 'no\n');
      return send(200, 'application/json', typeof answer === 'string' ? answer : JSON.stringify(answer));
    }
    if (!/^status\.(html|js|css)$/.test(name)) return send(404, 'text/plain', 'not found\n');
    send(200, TYPES[name.split('.')[1]], this.alter(name, fs.readFileSync(path.join(PAGE, name), 'utf8')));
  }
}

// ---- a browser

function findChromium() {
  const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];
  for (const name of names) for (const folder of ['', ...process.env.PATH.split(':')]) {
    const file = folder ? path.join(folder, name) : name;
    if (path.isAbsolute(file) && fs.existsSync(file)) return file;
  }
  throw new Error(`no Chromium: looked for ${names.join(', ')} in PATH; CHROMIUM=/path/to/it says where it is`);
}
const launch = () => chromium.launch({                         // with a profile of its own, which is removed
  executablePath: findChromium(), headless: true,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--hide-scrollbars', '--force-color-profile=srgb', '--disable-lcd-text', '--font-render-hinting=none'],
});

// `waitForFunction` needs eval in the page, which the page's policy forbids.
async function until(what, test, seconds = values.faults ? 10 : 60) {
  for (const end = Date.now() + seconds * 1000; ; await sleep(40)) {
    if (await test()) return;
    if (Date.now() > end) assert.fail(`waited ${seconds} s: ${what}`);
  }
}

class Tab {
  static async open(browser, url, { viewport = WIDE, scheme = 'light', allow = /^$/ } = {}) {
    const tab = new Tab();
    tab.context = await browser.newContext({ viewport, colorScheme: scheme, timezoneId: 'UTC', locale: 'en-GB' });
    tab.page = await tab.context.newPage();
    tab.complaints = [];
    const complain = (text) => { if (!allow.test(text)) tab.complaints.push(text); };
    tab.page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complain(message.text()));
    tab.page.on('pageerror', (error) => complain(String(error)));
    tab.page.on('dialog', (dialog) => { complain('a dialog'); dialog.dismiss(); });
    tab.page.on('request', (request) => request.url().startsWith(url) || request.url().startsWith('data:') || complain(`asks ${request.url()}`));
    await tab.page.addInitScript(() => {
      window.violations = [];
      document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    tab.response = await tab.page.goto(url);
    return tab;
  }
  async close() {
    const violations = await this.page.evaluate(() => window.violations);
    await this.context.close();
    assert.deepEqual(this.complaints, [], 'the console has errors');
    assert.deepEqual(violations, [], 'the page breaks its policy');
  }
  text(selector) { return this.page.evaluate((s) => document.querySelector(s)?.textContent ?? null, selector); }
  texts(selector) { return this.page.evaluate((s) => [...document.querySelectorAll(s)].map((node) => node.textContent), selector); }
  attribute(selector, name) { return this.page.evaluate(([s, n]) => document.querySelector(s).getAttribute(n), [selector, name]); }
  visible(selector) { return this.page.evaluate((s) => document.querySelector(s).getClientRects().length > 0, selector); }
  column(table, n) { return this.texts(`#${table} tbody tr > :nth-child(${n})`); }
  sort(table, key) { return this.page.click(`#${table} th button[data-key=${key}]`); }
  press(selector) { return this.page.evaluate((s) => document.querySelector(s).click(), selector); }       // even if it has just gone
  // They need two answers; where the machine was so slow that the page gave one up, it gets them again.
  async settled() {
    const bars = async () => (await this.texts('#peers .bars li')).length > 0;
    await until('bars of peers', bars, 15).catch(() => { this.replay(); return until('bars of peers', bars); });
  }
  overflow() { return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth); }
  style(selector, property) { return this.page.evaluate(([s, p]) => getComputedStyle(document.querySelector(s))[p], [selector, property]); }
}

// ---- what has to be so

const FACTS = {
  async busy(open) {
    const tab = await open('busy');
    await tab.settled();
    assert.equal(await tab.text('#state'), 'running');
    assert.equal(await tab.page.title(), '16 sessions · countersign tunnel');
    assert.deepEqual([await tab.text('#version'), await tab.text('#uptime'), await tab.text('#updated')], ['0.1.0', '1 d 2 h', '17:26:40']);
    assert.equal(await tab.visible('#notice'), false);
    assert.deepEqual(await tab.column('tunnels', 1), ['web', 'db', 'mail']);
    assert.deepEqual(await tab.texts('#tunnels tbody tr:first-child td'),
      ['web', 'server', '0.0.0.0:7000', '8', '18,231', '18,231', '153', '12', '0', '31', '8.12 GB', '512 MB']);
    assert.equal((await tab.column('sessions', 1)).length, 16);
    assert.deepEqual((await tab.column('sessions', 5)).slice(0, 4), ['3 s', '1 min 4 s', '4 min 9 s', '9 min 16 s'], 'newest first');
    assert.match((await tab.column('sessions', 1))[0], /^orders-apiSHA256:[\w+/]{43}$/);
    assert.match((await tab.column('sessions', 1))[7], /^spiffe:\/\/example.org\/nameless/, 'a peer without name has that of its certificate');
    assert.deepEqual((await tab.texts('#refusals .bars li')).map((text) => text.replace(/(\d+)$/, '=$1')),
      ['not trusted=101', 'too many handshakes=34', 'service unavailable=21', 'expired=1']);
    const peers = await tab.texts('#peers .bars li');
    assert.equal(peers.length, 9, 'eight peers and a note');
    assert.match(peers[0], /^orders-api\d+\.\d+ MB\/s$/);
    assert.equal(peers[8], 'and 4 more');
    const readings = await tab.texts('.reading li');
    assert.match(readings[0], /^\d+\.\d+ MB\/s received$/);
    assert.deepEqual(readings.slice(2, 3), ['16 live']);
    assert.match(await tab.attribute('#throughput svg', 'aria-label'), /^Throughput, last 5 minutes: received [\d.]+ MB\/s now, at most [\d.]+ MB\/s; sent /);
    assert.ok((await tab.attribute('#throughput path.line.up', 'd')).split('L').length > 250, 'a line of 300 points');
    assert.ok((await tab.attribute('#handshakes path.column.down', 'd')).length > 100);
    await tab.page.hover('#throughput svg', { position: { x: 300, y: 60 } });
    assert.match(await tab.text('#throughput .when'), /^17:2\d:\d\d, \d min( \d+ s)? ago$/);
    assert.equal(await tab.visible('#throughput .cursor'), true);
    assert.equal(await tab.overflow(), 0);
    await tab.close();
  },

  async sorting(open) {
    const tab = await open('busy');
    await tab.settled();
    const heading = (key) => tab.page.evaluate((k) => document.querySelector(`#sessions [data-key=${k}]`).parentNode.getAttribute('aria-sort'), key);
    assert.equal(await heading('age'), 'ascending');
    await tab.sort('sessions', 'received');
    const received = () => tab.page.evaluate(() => [...document.querySelectorAll('#sessions tbody tr')].map((tr) => tr.children[6].textContent));
    const units = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };
    const values = (await received()).map((text) => text.split(' ')).map(([n, unit]) => n * units[unit]);
    assert.deepEqual(values, [...values].sort((a, b) => b - a), 'numbers fall first');
    assert.deepEqual([await heading('received'), await heading('age')], ['descending', 'none']);
    const falling = await received();
    await tab.sort('sessions', 'received');
    assert.deepEqual(await received(), falling.reverse());
    await tab.sort('sessions', 'peer');
    const names = await tab.texts('#sessions tbody td:first-child > :first-child');
    assert.deepEqual(names, [...names].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })));
    await tab.sort('tunnels', 'refused');
    assert.deepEqual(await tab.column('tunnels', 1), ['web', 'mail', 'db']);
    await sleep(1200);                                        // the next answer keeps the order
    assert.deepEqual(await tab.column('tunnels', 1), ['web', 'mail', 'db']);
    await tab.close();
  },

  async filter(open) {
    const tab = await open('busy');
    await tab.settled();
    await tab.page.fill('#sessions input', 'ALICE');
    assert.deepEqual((await tab.texts('#sessions tbody td:first-child > :first-child')), ['alice', 'alice']);
    assert.equal(await tab.text('#sessions .count'), '16 · 2 match');
    await tab.page.fill('#sessions input', '<nobody>');
    assert.equal(await tab.text('#sessions .empty'), 'Nothing here matches “<nobody>”.');
    assert.equal(await tab.visible('#sessions table'), false);
    await tab.page.fill('#sessions input', 'smtp');
    assert.equal((await tab.column('sessions', 1)).length, 4);
    await tab.page.fill('#sessions input', '');
    assert.equal((await tab.column('sessions', 1)).length, 16);
    await tab.close();
  },

  async empty(open) {
    const tab = await open('empty');
    await until('an answer', async () => await tab.text('#state') === 'running');
    assert.equal(await tab.text('#sessions .empty'), 'No session yet. A session is listed here as soon as its handshake is done.');
    assert.equal(await tab.text('#refusals .empty'), 'Nothing has been refused.');
    assert.equal(await tab.page.title(), '0 sessions · countersign tunnel');
    assert.equal(await tab.text('#peers .empty'), 'No live session.');
    assert.ok((await tab.texts('#throughput text')).includes('No measurement yet'));
    assert.equal((await tab.column('tunnels', 1)).length, 1);
    await tab.close();
  },

  async many(open, stand) {
    const tab = await open('many');
    await tab.settled();
    assert.equal((await tab.column('sessions', 1)).length, 1000);
    assert.equal(await tab.text('#sessions .count'), '4,213 · the newest 1,000 are listed');
    const asked = stand.polls.sessions;
    await until('more polls: a thousand rows do not stop it', () => stand.polls.sessions >= asked + 3);
    await tab.close();
  },

  async hostile(open) {
    for (const viewport of [WIDE, PHONE]) {
      const tab = await open('hostile', { viewport });
      await tab.settled();
      assert.equal(await tab.page.evaluate(() => window.owned), undefined);
      assert.equal(await tab.page.evaluate(() => document.querySelectorAll('main img, main script, body > img, [onerror], [onload]').length), 0);
      assert.equal(await tab.overflow(), 0);
      const names = await tab.texts('#sessions tbody td:first-child > :first-child');
      assert.equal(names.length, HOSTILE.length);
      assert.equal(names[0], HOSTILE[0]);
      assert.equal(names[2], '\\u{202e}gnp.exe');
      assert.equal(names[3], `${'x'.repeat(160)}…`);
      assert.equal(names[4], '\\u{0}\\u{7}\\u{1b}[31mred');
      assert.equal(await tab.page.evaluate(() => /[\p{C}]/u.test(document.body.innerText.replaceAll(/[\n\t]/g, ''))), false);
      assert.ok(await tab.page.evaluate(() => [...document.querySelectorAll('[title]')].every((node) => node.title.length < 10_100)));
      const tall = await tab.page.evaluate(() => Math.max(...[...document.querySelectorAll('#sessions tbody tr, .bars li')].map((n) => n.clientHeight)));
      assert.ok(tall < (viewport === WIDE ? 70 : 260), `a row is ${tall} pixels high`);
      await tab.close();
    }
  },

  async draining(open) {
    const tab = await open('draining');
    await tab.settled();
    assert.equal(await tab.text('#state'), 'draining');
    assert.equal(await tab.text('#notice p'), 'Draining: no new session is taken; 16 sessions may finish.');
    assert.equal(await tab.visible('#retry'), false);
    assert.match(await tab.page.title(), /^draining · /);
    await tab.close();
  },

  async unreachable(open, stand) {
    const tab = await open('busy', { allow: /^Failed to load resource/ });
    await tab.settled();
    for (const [world, reason] of [['broken', 'it answered 500'], ['gone', 'no connection'], ['garbled', 'the answer cannot be read']]) {
      stand.play(world);
      await until(`notice for ${world}`, async () => await tab.visible('#notice') && (await tab.text('#notice p')).includes(reason));
      assert.match(await tab.text('#notice p'), /^No news \([^)]+\). What stands here is from 17:26:(39|40). Trying again.$/);
      assert.equal(await tab.text('#state'), 'can’t reach the process');
      assert.equal((await tab.column('sessions', 1)).length, 16, 'what was known stays');
      assert.match(await tab.style('main', 'filter'), /saturate/);
      assert.equal(await tab.visible('#retry'), true);
      stand.play('busy');
      await tab.press('#retry');
      await until('running again', async () => await tab.text('#state') === 'running');
      await until('no notice', async () => !await tab.visible('#notice'));
    }
    stand.play('broken');
    await sleep(6500);                                        // after 1, 2 and 4 seconds
    assert.ok(stand.polls.sessions <= 3, `backs off: ${stand.polls.sessions} polls`);
    stand.play('forgetful');
    await tab.press('#retry');
    await until('a notice', async () => (await tab.text('#notice p')) === 'The pictures may be old: no history (it answered 500).');
    assert.equal(await tab.text('#state'), 'running');
    await tab.close();
  },

  async hidden(open, stand) {
    const tab = await open('busy');
    await tab.settled();
    const hide = (hidden) => tab.page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    let asked;
    await until('a hidden page does not poll', async () => {
      asked = stand.polls.sessions;
      await sleep(2500);
      return stand.polls.sessions === asked;
    }, 10);
    await hide(false);
    await until('a poll', () => stand.polls.sessions > asked);
    await tab.close();
  },

  async phone(open) {
    const tab = await open('busy', { viewport: { width: 320, height: 640 } });
    await tab.settled();
    assert.equal(await tab.overflow(), 0);
    const inside = await tab.page.evaluate(() => [...document.querySelectorAll('main *')].filter((node) => node.getBoundingClientRect().right > 320.5).map((node) => node.outerHTML.slice(0, 80)));
    assert.deepEqual(inside, []);
    await tab.sort('sessions', 'idle');                       // the headings still sort
    assert.equal(await tab.attribute('#sessions [data-key=idle]', 'data-key'), 'idle');
    assert.match((await tab.column('sessions', 6))[0], /min|s$/);
    await tab.close();
  },

  // Texts against what is behind them, as WCAG counts: 4.5 to 1.
  async contrast(open) {
    for (const scheme of ['light', 'dark']) for (const world of ['busy', 'draining']) {
      const tab = await open(world, { scheme });
      await tab.settled();
      const poor = await tab.page.evaluate(() => {
        const parse = (text) => text.match(/[\d.]+/g).map(Number);
        const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = (node) => {
          for (let n = node; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
        };
        const poor = new Set();
        for (const node of document.querySelectorAll('body *')) {
          if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || !node.getClientRects().length) continue;
          const style = getComputedStyle(node), [a, b] = [light(parse(node instanceof SVGElement ? style.fill : style.color)), light(ground(node))];
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) poor.add(`${node.localName}.${node.getAttribute('class')} ${ratio.toFixed(2)}`);
        }
        return [...poor];
      });
      assert.deepEqual(poor, [], scheme);
      await tab.close();
    }
  },
};

const PICTURES = {
  'wide-light': { viewport: WIDE, scheme: 'light' }, 'wide-dark': { viewport: WIDE, scheme: 'dark' },
  'phone-light': { viewport: PHONE, scheme: 'light' },
};

async function take(open, name) {
  const tab = await open('few', PICTURES[name]);
  await tab.settled();
  const png = await tab.page.screenshot({ fullPage: true, animations: 'disabled' });
  const places = await tab.page.evaluate((selectors) => Object.fromEntries(selectors.flatMap((selector) => {
    const node = document.querySelector(selector);
    if (!node) return [];
    const { x, y, width, height } = node.getBoundingClientRect();
    return [[selector, { x: Math.round(x), y: Math.round(y + scrollY), width: Math.round(width), height: Math.round(height) }]];
  })), SECTIONS);
  await tab.close();
  return { png, places };
}

async function picture(browser, open, name, keep) {
  const { png, places } = await take(open, name);
  const known = JSON.parse(fs.readFileSync(path.join(REFERENCE, 'places.json')));
  const reference = fs.readFileSync(path.join(REFERENCE, `${name}.png`)).toString('base64');
  const { faults, measures, difference } = await compare(browser, { reference, actual: png.toString('base64'), before: known[name], after: places });
  if (values.why) console.log(measures.map((measure) => `        ${name} ${measure}`).join('\n'));
  if (faults.length && keep) {
    fs.mkdirSync(ACTUAL, { recursive: true });
    fs.writeFileSync(path.join(ACTUAL, `${name}.png`), png);
    fs.writeFileSync(path.join(ACTUAL, `${name}.difference.png`), difference, 'base64');
  }
  assert.deepEqual(faults, [], `${name}.png differs from its reference`);
}

async function update(browser, open) {
  fs.mkdirSync(REFERENCE, { recursive: true });
  const all = {};
  for (const name of Object.keys(PICTURES)) {
    const { png, places } = await take(open, name);
    fs.writeFileSync(path.join(REFERENCE, `${name}.png`), (await compare(browser, { actual: png.toString('base64') })).half, 'base64');
    all[name] = places;
  }
  fs.writeFileSync(path.join(REFERENCE, 'places.json'), `${JSON.stringify(all, null, 1).replace(/\n {3}\s*/g, ' ').replace(/\n {2}\}/g, ' }')}\n`);
}

const opener = (browser, stand) => async (world, options) => {
  const tab = await Tab.open(browser, await stand.open(world), options);
  tab.replay = () => stand.play(world);
  return tab;
};

// All checks, or those named; each with a stand of its own, several at a time. What failed is returned.
async function check(browser, { alter, keep, only }) {
  const jobs = [...Object.entries(FACTS),
    ...Object.keys(PICTURES).map((name) => [name, (open) => picture(browser, open, name, keep)])].filter(([name]) => name.includes(only));
  const failures = [];
  const worker = async () => {
    for (let job; (job = jobs.shift());) {
      const [name, run] = job, stand = new Stand(alter);
      const open = opener(browser, stand);
      try {
        await run(open, stand);
        if (keep) console.log(`ok      ${name}`);
      } catch (error) {
        failures.push({ name, error });
        if (keep) console.log(`FAILED  ${name}: ${error.message}`);
      } finally {
        stand.close();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, worker));
  return failures;
}

async function plant(browser, only) {
  let unnoticed = 0;
  for (const { name, file, from, to, by } of FAULTS.filter((fault) => fault.name.includes(only))) {
    const alter = (served, text) => {
      if (served !== file) return text;
      assert.ok(text.includes(from), `the fault "${name}" has nothing to change`);
      return text.replaceAll(from, to);
    };
    alter(file, fs.readFileSync(path.join(PAGE, file), 'utf8'));
    const failures = await check(browser, { alter, only: by in FACTS ? by : '-' });     // the names of pictures have a dash
    const right = by === 'nothing' ? !failures.length : failures.length > 0;
    if (!right) unnoticed++;
    console.log(`${right ? 'ok     ' : 'WRONG  '} ${name}: ${failures.map((f) => f.name).join(', ') || 'passes'}`);
    for (const { error } of right && !values.why ? [] : failures) console.log(error.message.replace(/^/gm, '          '));
  }
  return unnoticed;
}

async function live(browser, url, { file, seconds }) {
  const tab = await Tab.open(browser, new URL('/', url).href);
  assert.equal(tab.response.headers()['content-security-policy'], CSP);
  assert.match(tab.response.headers()['content-type'], /^text\/html/);
  const readings = () => tab.texts('#throughput .reading b');
  const moving = async () => (await readings()).some((text) => /^[\d.]+ .?B\/s$/.test(text) && text !== '0 B/s');
  const carried = () => tab.texts('#tunnels tbody td:nth-last-child(-n+2)');
  await until('the page to run', async () => await tab.text('#state') === 'running', seconds);
  await until('live sessions in the table', async () => (await tab.column('sessions', 1)).length > 0, seconds);
  await until('throughput', moving, seconds);
  const known = [await tab.attribute('#throughput path.line.up', 'd'), await tab.text('#updated'), `${await carried()}`];
  await until('the picture, the time and the bytes to move', async () => await tab.attribute('#throughput path.line.up', 'd') !== known[0] &&
    await tab.text('#updated') !== known[1] && `${await carried()}` !== known[2], seconds);
  await until('throughput by peer', async () => (await tab.texts('#peers .bars li')).length > 0, seconds);
  assert.ok((await tab.column('tunnels', 1)).length > 0, 'a tunnel is listed');
  if (file) await tab.page.screenshot({ path: file, fullPage: true });
  console.log(`ok      ${await tab.page.title()}; ${(await readings()).join(' received, ')} sent`);
  await tab.close();
}

const { values } = parseArgs({ options: { update: { type: 'boolean' }, faults: { type: 'boolean' }, live: { type: 'string' }, picture: { type: 'string' },
  seconds: { type: 'string', default: '20' }, only: { type: 'string', default: '' }, why: { type: 'boolean' }, help: { type: 'boolean' } } });
if (values.help) {
  process.stdout.write(HELP);
} else {
  const browser = await launch();
  try {
    if (values.live) await live(browser, values.live, { file: values.picture, seconds: Number(values.seconds) });
    else if (values.faults) process.exitCode = await plant(browser, values.only) ? 1 : 0;
    else {
      if (values.update) {
        const stand = new Stand();
        await update(browser, opener(browser, stand));
        stand.close();
      }
      fs.rmSync(ACTUAL, { recursive: true, force: true });
      process.exitCode = (await check(browser, { keep: true, only: values.only })).length ? 1 : 0;
    }
  } finally {
    await browser.close();
  }
}
