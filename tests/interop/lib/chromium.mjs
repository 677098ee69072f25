// Chromium, and what the groups that use it share: screens, a page with a loopback client,
// pictures, and what makes a page of the guard's readable.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium as engine } from 'playwright-core';

import { expect, expectEqual } from './checks.mjs';
import { Listener } from './listener.mjs';
import { register } from './oauth_client.mjs';
import { hasNode22 } from './servers.mjs';

export const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const CLIENT_NAME = 'Interop browser client';
/** How long a page may take over what a person just did. */
export const STEP = 10_000;

export const SCREENS = ['light', 'dark'].flatMap((colorScheme) => [
  { name: `desktop-${colorScheme}`, viewport: { width: 1280, height: 800 }, colorScheme },
  { name: `phone-${colorScheme}`, viewport: { width: 360, height: 740 }, colorScheme, isMobile: true },
]);

export const hasChromium = () => existsSync(EXECUTABLE);

/** Whether Chromium is there, and the Node that the accounts elsewhere need; says what is not. */
export function hasWhatSignInNeeds(checks, name) {
  if (!hasChromium()) {
    checks.missing(name, EXECUTABLE);
    return false;
  }
  if (!hasNode22()) {
    checks.missing(name, "npm's node");
    return false;
  }
  return true;
}

/** @param {string[]} [rules]  which host is where, as for `--host-resolver-rules` */
export function launch(rules = []) {
  return engine.launch({
    executablePath: EXECUTABLE,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      ...(rules.length > 0 ? [`--host-resolver-rules=${rules}`] : []),
    ],
  });
}

/** A fresh browser context and a loopback client, both closed afterwards. */
export async function onPage({ browser, guard }, screen, use) {
  const { name, ...options } = screen;
  const context = await browser.newContext({ ...options, ignoreHTTPSErrors: true });
  const client = await Listener.open();
  client.registered = (redirectUri = `${client.origin}/callback`) =>
    register(guard, { name: CLIENT_NAME, redirectUris: [redirectUri] });
  try {
    await use(await context.newPage(), client);
  } finally {
    await context.close();
    client.close();
  }
}

export async function picture({ screenshots }, page, name) {
  if (!screenshots) return;
  mkdirSync(screenshots, { recursive: true });
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true, animations: 'disabled' });
}

/** The page as it is once nothing on it moves any more: buttons come a moment after the rest. */
export async function settled(page) {
  await page.waitForFunction(() => document.getAnimations().every(({ playState }) => playState === 'finished'), null, {
    timeout: STEP,
  });
}

export async function readable(page, screen) {
  const seen = await page.evaluate(() => {
    const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    const root = getComputedStyle(document.documentElement).backgroundColor.match(/[\d.]+/g).map(Number);
    const transparent = getComputedStyle(document.body).backgroundColor.startsWith('rgba(0, 0, 0, 0');
    const shade = transparent ? (root[3] === 0 ? null : root[0] + root[1] + root[2]) : red + green + blue;
    const unnamed = [...document.querySelectorAll('input:not([type=hidden]), button, a')].filter(
      (part) => !part.labels?.length && !part.ariaLabel && !part.textContent.trim() && !part.value,
    );
    return {
      shade,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      unnamed: unnamed.map((part) => part.outerHTML),
      language: document.documentElement.lang,
      title: document.title,
      scripts: document.scripts.length,
      headings: document.querySelectorAll('h1').length,
    };
  });
  expect(seen.overflow <= 0, `scrolls sideways by ${seen.overflow} px`);
  expect(seen.unnamed.length === 0, `without a label: ${seen.unnamed}`);
  expect(seen.language && seen.title && seen.headings === 1, `lang, title, h1: ${JSON.stringify(seen)}`);
  expectEqual(seen.scripts, 0, 'scripts');
  const dark = seen.shade !== null && seen.shade < 3 * 128;
  expectEqual(dark, screen.colorScheme === 'dark', 'dark background');
}

/** The pages of `oidc-provider`: sign in, then agree. */
export async function signInThere(page, user) {
  await page.locator('input[name=login]').fill(user, { timeout: STEP });
  await page.locator('input[name=password]').fill('any will do');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click({ timeout: STEP });
}
