// Every page in every state that a person can meet, on two widths and in two colour schemes: legible,
// of one width with the window, and clean by the rules of axe-core; and what strangers put on it.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { PNG } from 'pngjs';

import { audited, contrasted, reflows } from '../lib/accessibility.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import {
  SCREENS,
  STEP,
  hasWhatSignInNeeds,
  onPage,
  picture,
  readable,
  settled,
  signInThere,
} from '../lib/chromium.mjs';
import { Example, LINKS, PROGRAM, ask } from '../lib/example.mjs';
import { PASSWORD } from '../lib/guard.mjs';

const EVERYWHERE = SCREENS.map(({ name }) => name);

/** How to get there, and on which screens `docs/pages.md` shows it. */
const WITH_A_PASSWORD = [
  { name: 'consent', shown: EVERYWHERE, visit: (guard, page) => ask(guard, page) },
  { name: 'consent-loopback', shown: ['desktop-light'], visit: (guard, page) => ask(guard, page, { redirectUri: PROGRAM }) },
  { name: 'consent-app', shown: [], visit: (guard, page) => ask(guard, page, { redirectUri: LINKS }) },
  { name: 'wrong-password', shown: ['phone-light'], visit: (guard, page) => signIn(guard, page, 'not this one') },
  { name: 'signed-in', shown: [], visit: (guard, page) => signIn(guard, page, PASSWORD, LINKS) },
  { name: 'denied', shown: [], visit: denied },
  { name: 'expired', shown: ['desktop-light'], visit: expired },
  { name: 'unknown-app', shown: [], visit: ({ url }, page) => page.goto(`${url}/authorize?client_id=nobody`) },
  { name: 'landing', shown: ['desktop-light'], visit: ({ url }, page) => page.goto(`${url}/`) },
];
const WITH_ACCOUNTS = [
  { name: 'consent-providers', shown: ['desktop-light'], visit: (guard, page) => ask(guard, page) },
  { name: 'refused', shown: ['phone-dark'], visit: refused },
];
const WITH_EVERYTHING = [
  { name: 'consent-everything', shown: [], visit: (guard, page) => ask(guard, page) },
];

export async function pages(checks, { screenshots, pictures }) {
  if (!hasWhatSignInNeeds(checks, 'pages')) return;
  const example = await Example.open();
  const scene = { checks, browser: example.browser, screenshots, pictures };
  try {
    await example.withPassword(async (guard) => {
      await looks({ ...scene, guard }, WITH_A_PASSWORD);
      await strangers({ ...scene, guard });
    });
    await example.withAccounts((guard) => looks({ ...scene, guard }, WITH_ACCOUNTS));
    await example.withEverything((guard) => looks({ ...scene, guard }, WITH_EVERYTHING));
    await example.withPassword((guard) => longAddress({ ...scene, guard }), `/${'segment-'.repeat(30)}`);
  } finally {
    await example.close();
  }
}

async function looks(scene, states) {
  for (const { name, shown, visit } of states) {
    for (const screen of SCREENS) {
      await scene.checks.promise(`pages: ${name}, ${screen.name}`, () =>
        onPage(scene, screen, async (page) => {
          await visit(scene.guard, page);
          await settled(page);
          await picture(scene, page, `${name}-${screen.name}`);
          if (shown.includes(screen.name)) await pictureForTheDocument(scene, page, `${name}-${screen.name}`);
          await readable(page, screen);
          await contrasted(page);
          await audited(page);
          if (screen.colorScheme === 'light') await reflows(page);
        }),
      );
    }
  }
  await scene.checks.promise(`pages: ${states[0].name}, in the system's colours`, () =>
    onPage(scene, { ...SCREENS[0], forcedColors: 'active' }, async (page) => {
      await states[0].visit(scene.guard, page);
      await settled(page);
      await picture(scene, page, `${states[0].name}-forced-colors`);
      await contrasted(page);
    }),
  );
}

/** What is on the page and a little around it, as large as on the screen. */
async function pictureForTheDocument({ pictures }, page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  const { x, y, width, height } = await page.locator('main').boundingBox();
  const margin = Math.min(32, x, y);
  const clip = { x: x - margin, y: y - margin, width: width + 2 * margin, height: height + 2 * margin };
  const shot = PNG.sync.read(await page.screenshot({ fullPage: true, animations: 'disabled', clip }));
  // Letters on flat ground pack best as they are.
  const packed = PNG.sync.write(shot, { colorType: 2, filterType: 0, deflateLevel: 9, deflateStrategy: 0 });
  writeFileSync(join(pictures, `${name}.png`), packed);
}

async function signIn(guard, page, password, redirectUri) {
  await ask(guard, page, { redirectUri });
  await page.locator('input[type=password]').fill(password);
  await page.locator('input[type=password]').press('Enter');
  await page.locator('[role=alert], a').waitFor({ timeout: STEP });
}

async function denied(guard, page) {
  await ask(guard, page);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('link', { name: 'Return to app.example.com' }).waitFor({ timeout: STEP });
}

async function expired(guard, page) {
  await ask(guard, page);
  await page.evaluate(() => {
    for (const field of document.querySelectorAll('input[name=request]')) field.value = 'another';
  });
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('This page has expired').first().waitFor({ timeout: STEP });
}

async function refused(guard, page) {
  await ask(guard, page);
  await page.getByRole('button', { name: 'Continue with Acme' }).click();
  await page.locator('input[name=login]').waitFor({ timeout: STEP });
  await signInThere(page, 'eve');
  await page.locator('[role=alert]').waitFor({ timeout: STEP });
}

/** A host as long as DNS allows. */
const LONG_HOST = [...['a', 'b', 'c'].map((letter) => letter.repeat(63)), `${'d'.repeat(53)}.example`].join('.');
const NAMES = {
  'of 200 letters': 'W'.repeat(200),
  'of wide letters': '\u{fdfd}'.repeat(64),
  'from right to left': '\u05e2\u05d5\u05d6\u05e8 (verified) https://bank.example'.repeat(2),
  'of markup': '<img src=x onerror=alert(1)> {{7*7}} &amp; "\'',
};

async function strangers(scene) {
  const { checks, guard } = scene;
  for (const [kind, name] of Object.entries(NAMES)) {
    await checks.promise(`pages: a name ${kind} stays in its place (A-014)`, () =>
      onPage(scene, SCREENS[1], async (page) => {
        await ask(guard, page, { name });
        await settled(page);
        await picture(scene, page, `name-${kind.replaceAll(' ', '-')}`);
        await reflows(page);
        const order = await page.evaluate(() =>
          ['.host', '.app', '.question'].map((part) => document.querySelector(part).getBoundingClientRect().top),
        );
        expect(order[0] < order[1] && order[1] < order[2], `host, name and question are at ${order}`);
        expectEqual(await page.locator('.app img').count(), 0, 'images');
      }),
    );
  }
  await checks.promise('pages: heaps of marks on a name leave the host as it is (A-014)', async () => {
    const plain = await hostShown(scene, 'Zxlgo');
    // The dot is a mark that DejaVu piles up.
    const heaped = await hostShown(scene, `Zx${'\u0307'.repeat(60)}lgo`);
    expect(plain.equals(heaped), 'the marks reach into the host');
  });
  await checks.promise('pages: a host as long as DNS allows is shown whole', () =>
    onPage(scene, SCREENS[1], async (page) => {
      await ask(guard, page, { redirectUri: `https://${LONG_HOST}/callback` });
      await settled(page);
      await picture(scene, page, 'long-host');
      expectEqual(await page.locator('.host').innerText(), LONG_HOST, 'host');
      await reflows(page);
      await page.getByRole('button', { name: 'Cancel' }).click();
      await page.getByRole('link', { name: `Return to ${LONG_HOST}` }).waitFor({ timeout: STEP });
      await picture(scene, page, 'long-host-denied');
      await reflows(page);
    }),
  );
  await checks.promise('pages: nothing on the page is as large as the host', () =>
    onPage(scene, SCREENS[0], async (page) => {
      await ask(guard, page);
      const sizes = await page.evaluate(() =>
        [...document.querySelectorAll('main *')]
          .filter((part) => part.matches(':not(svg, svg *)') && !part.closest('.host'))
          .map((part) => parseFloat(getComputedStyle(part).fontSize)),
      );
      const host = await page.locator('.host').evaluate((part) => parseFloat(getComputedStyle(part).fontSize));
      expect(sizes.every((size) => size < host), `the host has ${host} px, others ${sizes}`);
    }),
  );
}

/** The pixels of the host above a client's name. */
async function hostShown(scene, name) {
  let shown;
  await onPage(scene, SCREENS[0], async (page) => {
    await ask(scene.guard, page, { name });
    await settled(page);
    shown = await page.locator('.host').screenshot();
  });
  return shown;
}

async function longAddress(scene) {
  await scene.checks.promise('pages: an address of many letters stays in its place', () =>
    onPage(scene, SCREENS[1], async (page) => {
      for (const visit of [() => ask(scene.guard, page), () => page.goto(`${scene.guard.url}/`)]) {
        await visit();
        await settled(page);
        expect((await page.locator('main').innerText()).includes(scene.guard.mcpUrl), 'it is not shown whole');
        await reflows(page);
      }
      await picture(scene, page, 'long-address');
    }),
  );
}
