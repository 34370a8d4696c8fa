// A person at a browser: Chromium steered by Playwright, ordered about by lines of JSON on standard input, one after another.
// node browser.mjs NODE_MODULES CHROMIUM BASE
// A request is {"op", …}; its answer {"ok": true, …} or {"ok": false, "why"}.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import path from 'node:path';

const [, , modules, executablePath, base] = process.argv;
const require = createRequire(path.join(modules, 'from-here.js'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

// What a person finds, or does not, within this time.
const PATIENCE = 60_000;
// Chromium's own sandbox does not work for root; nothing but our own pages is opened here.
const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
const browser = await chromium.launch({ executablePath, args });
let context;
let page;
let looks;
let scripted = true;
let complaints = [];
// How much comes with a page, and what of it is still counted.
let bytes = 0;
let counting = [];

// What a person would call it: the label of a field, the name of a button or a link, a text.
const named = ({ label, button, link, selector, first }) => {
  const exact = true;
  let found;
  if (label) found = page.getByLabel(label, { exact });
  else if (button) found = page.getByRole('button', { name: button });
  else if (link) found = page.getByRole('link', { name: link, exact });
  else found = page.locator(selector);
  return first ? found.first() : found;
};

// The same document without its script.
const twin = async () => {
  const url = page.url();
  const html = (await page.content()).replace(/<script[^>]*><\/script>/g, '');
  const other = await browser.newContext({ ...looks, javaScriptEnabled: true });
  const copy = await other.newPage();
  await copy.route(url, (route) => route.fulfill({ contentType: 'text/html; charset=utf-8', body: html }));
  await copy.goto(url, { waitUntil: 'load' });
  return copy;
};

const found = (request) => (request.text ? named(request).filter({ hasText: request.text }) : named(request));

const ops = {
  async open({ width, height, scripts, dark }) {
    await context?.close();
    scripted = scripts;
    looks = { viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' };
    context = await browser.newContext({ ...looks, javaScriptEnabled: scripts });
    context.setDefaultTimeout(PATIENCE);
    page = await context.newPage();
    complaints = [];
    page.on('console', (message) => {
      // A page that answers with a refusal, on purpose, is reported here too.
      const expected = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !expected) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (!request.url().startsWith(base)) complaints.push(`asked for ${request.url()}`);
    });
    page.on('response', (response) => {
      counting.push(response.body().then((body) => { bytes += body.length; }, () => {}));
    });
    return {};
  },
  async go({ path: to }) {
    bytes = 0;
    counting = [];
    const response = await page.goto(new URL(to, base).href, { waitUntil: 'load' });
    await Promise.all(counting);
    return { status: response.status(), bytes };
  },
  async fill(request) {
    await named(request).fill(request.value);
    return {};
  },
  async click(request) {
    await named(request).click();
    return {};
  },
  async press({ key, times = 1 }) {
    for (let n = 0; n < times; n += 1) await page.keyboard.press(key);
    return {};
  },
  async text(request) {
    return { text: await named(request).innerText() };
  },
  async has(request) {
    return { count: await found(request).count() };
  },
  // Waits for it to be there, with that text in it.
  async see(request) {
    await found(request).first().waitFor({ state: 'visible' });
    return {};
  },
  // What has the focus, as who listens to the page would hear it, and whether it shows.
  async focus() {
    return page.evaluate(() => {
      const active = document.activeElement;
      const style = getComputedStyle(active);
      return {
        tag: active.tagName.toLowerCase(),
        id: active.id,
        text: (active.labels?.[0]?.innerText || active.innerText || '').trim(),
        visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
      };
    });
  },
  // A mark that stands only as long as the page is not loaded anew.
  async mark() {
    await page.evaluate(() => document.documentElement.setAttribute('data-marked', ''));
    return {};
  },
  async marked() {
    return { marked: (await page.locator('html[data-marked]').count()) === 1 };
  },
  // What the page's width has to be for all of it to be seen, beyond what there is.
  async overflow() {
    return { overflow: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth) };
  },
  async axe() {
    // Where scripts do not run axe does not, either: what stands there is looked at in a window where they do.
    const place = scripted ? page : await twin();
    await place.evaluate(axe);
    const judged = await place.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    if (place !== page) await place.context().close();
    const violations = judged.violations.map(({ id, help, nodes }) => ({
      id,
      help,
      at: nodes.slice(0, 3).map((node) => `${node.target.join(' ')}: ${node.failureSummary}`),
    }));
    return { violations, passes: judged.passes.length };
  },
  async shot({ file }) {
    await page.screenshot({ path: file, fullPage: true });
    return {};
  },
  async complaints() {
    return { complaints };
  },
};

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    say({ ok: true, ...(await ops[request.op](request)) });
  } catch (error) {
    const where = page ? `, at ${page.url()}` : '';
    say({ ok: false, why: `${error.message}${where}` });
  }
}
// Whoever has ordered us about waits for the end. At an exit Playwright kills what is left.
setTimeout(() => process.exit(1), 10_000).unref();
await browser.close();
