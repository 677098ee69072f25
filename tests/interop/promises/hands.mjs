// How hands reach the pages: by the keyboard alone, and by clicks and keys that were meant for
// another page.

import { ringed } from '../lib/accessibility.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import { SCREENS, STEP, hasWhatSignInNeeds, onPage, settled } from '../lib/chromium.mjs';
import { Example, ask } from '../lib/example.mjs';
import { PASSWORD } from '../lib/guard.mjs';

const PASSWORD_FIELD = 'Password for server-filesystem';
const ACME = 'Continue with Acme';

export async function hands(checks) {
  if (!hasWhatSignInNeeds(checks, 'hands')) return;
  const example = await Example.open();
  const scene = { checks, browser: example.browser };
  try {
    await example.withPassword(async (guard) => {
      await keysOnThePassword({ ...scene, guard });
      await held({ ...scene, guard, button: 'Allow' });
    });
    await example.withAccounts(async (guard) => {
      await keysOnAccounts({ ...scene, guard });
      await held({ ...scene, guard, button: ACME });
      await uncovered({ ...scene, guard });
      await touched({ ...scene, guard });
    });
    await example.withEverything((guard) => keysOnEverything({ ...scene, guard }));
  } finally {
    await example.close();
  }
}

async function keysOnThePassword(scene) {
  const { checks, guard } = scene;
  for (const screen of SCREENS) {
    await checks.promise(`hands, ${screen.name}: Tab and Shift+Tab go through the password page in its order`, () =>
      onPage(scene, screen, async (page) => {
        await ask(guard, page);
        await settled(page);
        expectEqual(await focused(page), PASSWORD_FIELD, 'what has the focus at first');
        await walk(page, 'Tab', ['Cancel', 'Allow']);
        await walk(page, 'Shift+Tab', ['Cancel', PASSWORD_FIELD]);
      }),
    );
  }
  for (const [kind, keys] of [['Enter', ['Enter']], ['Space on Allow', ['Tab', 'Tab', 'Space']]]) {
    await checks.promise(`hands: a password and ${kind} sign in`, () =>
      onPage(scene, SCREENS[0], async (page, client) => {
        await ask(guard, page, { redirectUri: `${client.origin}/callback` });
        await settled(page);
        await page.keyboard.type(PASSWORD);
        for (const key of keys) await page.keyboard.press(key);
        await page.waitForURL(`${client.origin}/**`, { timeout: STEP });
        expect(client.visited('/callback')?.get('code'), 'no code');
      }),
    );
  }
  await checks.promise('hands: Tab and Enter cancel, and the way back has the next focus', () =>
    onPage(scene, SCREENS[0], async (page) => {
      await ask(guard, page);
      await settled(page);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.getByText('Access was not allowed').first().waitFor({ timeout: STEP });
      await walk(page, 'Tab', ['Return to app.example.com']);
    }),
  );
}

async function keysOnAccounts(scene) {
  const { checks, guard } = scene;
  await checks.promise('hands: Tab goes through the accounts to Cancel', () =>
    onPage(scene, SCREENS[0], async (page) => {
      await ask(guard, page);
      await settled(page);
      expectEqual(await focused(page), 'nothing', 'what has the focus at first');
      await page.keyboard.press('Enter');
      await walk(page, 'Tab', ['Continue with GitHub', ACME, 'Cancel']);
      await walk(page, 'Shift+Tab', [ACME, 'Continue with GitHub']);
    }),
  );
  await checks.promise('hands: Enter on an account leads to its sign-in', () =>
    onPage(scene, SCREENS[0], async (page) => {
      await ask(guard, page);
      await settled(page);
      for (const key of ['Tab', 'Tab', 'Enter']) await page.keyboard.press(key);
      await page.locator('input[name=login]').waitFor({ timeout: STEP });
    }),
  );
}

async function keysOnEverything(scene) {
  const { checks, guard } = scene;
  await checks.promise('hands: Enter in a field presses Allow, never an account', () =>
    onPage(scene, SCREENS[0], async (page) => {
      await ask(guard, page);
      await settled(page);
      await walk(page, 'Tab', ['Continue with GitHub', ACME, 'User name']);
      await page.keyboard.type('anna');
      await walk(page, 'Tab', [PASSWORD_FIELD]);
      await page.keyboard.type('not this one');
      await walk(page, 'Shift+Tab', ['User name']);
      const posted = page.waitForRequest((request) => request.method() === 'POST', { timeout: STEP });
      await page.keyboard.press('Enter');
      expectEqual(new URL((await posted).url()).pathname, '/.auth/password', 'where the form went');
      await page.locator('[role=alert]').waitFor({ timeout: STEP });
      expectEqual(await focused(page), PASSWORD_FIELD, 'what has the focus then');
      await settled(page);
      await walk(page, 'Tab', ['Allow', 'Cancel']);
    }),
  );
}

/** Presses `key` until each of `stops` had the focus, in this order, and could be seen to have it. */
async function walk(page, key, stops) {
  for (const stop of stops) {
    await page.keyboard.press(key);
    expectEqual(await focused(page), stop, `the focus after ${key}`);
    await ringed(page);
  }
}

function focused(page) {
  return page.evaluate(() => {
    const { activeElement: active, body } = document;
    return active === body ? 'nothing' : (active.labels?.[0] ?? active).textContent.trim();
  });
}

/** What is clicked and typed as the page appears. Its clock stands still, so that every moment is. */
async function held(scene) {
  const { checks, guard, button } = scene;
  await checks.promise(`hands: a click and keys just after the page appears do not press ${button} (A-041)`, () =>
    onPage(scene, SCREENS[0], async (page) => {
      const posts = countedPosts(page);
      const clock = await clockOf(page);
      await clock.stop();
      await ask(guard, page);
      // Else the browser itself keeps the form back.
      if (button === 'Allow') await page.locator('input[type=password]').fill('not this one');
      await stray(page, button);
      for (let turn = 0; turn < 3; turn += 1) {
        await page.keyboard.press('Tab');
        const reached = await focused(page);
        expect(['nothing', PASSWORD_FIELD].includes(reached), `Tab reached ${reached}`);
        await page.keyboard.press('Space');
      }
      expectEqual(posts(), 0, 'forms sent');
      await clock.run();
      await settled(page);
      await page.getByRole('button', { name: button }).click();
      await page.locator('[role=alert], input[name=login]').waitFor({ timeout: STEP });
      expect(posts() > 0, 'the button never works');
    }),
  );
}

/** A window that closes under the pointer uncovers a page that has been there for long. */
async function uncovered(scene) {
  const { checks, guard } = scene;
  await checks.promise('hands: a click just after the pointer came over the page presses nothing (A-041)', () =>
    onPage(scene, SCREENS[0], async (page) => {
      const posts = countedPosts(page);
      const clock = await clockOf(page);
      await ask(guard, page);
      await settled(page);
      await clock.stop();
      await stray(page, ACME);
      expectEqual(posts(), 0, 'forms sent');
      await clock.run();
      await settled(page);
      await stray(page, ACME);
      await page.locator('input[name=login]').waitFor({ timeout: STEP });
    }),
  );
  await checks.promise('hands: who wants less motion waits as long, and sees nothing fade', () =>
    onPage(scene, { ...SCREENS[0], reducedMotion: 'reduce' }, async (page) => {
      const clock = await clockOf(page);
      await clock.stop();
      await ask(guard, page);
      const times = await page.evaluate(() =>
        document.getAnimations().map((animation) => [animation.animationName, animation.effect.getTiming().duration]),
      );
      const longest = (name) => Math.max(...times.filter(([it]) => it === name).map(([, duration]) => duration));
      expectEqual(longest('absent'), 600, 'ms without buttons');
      expectEqual(longest('appear'), 0, 'ms of fading');
    }),
  );
}

/** A finger does not hover first: its one tap must do. */
async function touched(scene) {
  const { checks, guard } = scene;
  await checks.promise('hands: the first tap of a finger counts', () =>
    onPage(scene, { ...SCREENS[1], hasTouch: true }, async (page) => {
      await ask(guard, page);
      await settled(page);
      const { x, y, width, height } = await page.getByRole('button', { name: ACME }).boundingBox();
      await page.touchscreen.tap(x + width / 2, y + height / 2);
      await page.locator('input[name=login]').waitFor({ timeout: STEP });
    }),
  );
}

/** A click as the hand makes it: wherever the button is, whether it is ready or not. */
async function stray(page, button) {
  const place = page.getByRole('button', { name: button, includeHidden: true });
  const { x, y, width, height } = await place.evaluate((part) => part.getBoundingClientRect().toJSON());
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.up();
}

function countedPosts(page) {
  let posts = 0;
  page.on('request', (request) => {
    if (request.method() === 'POST') posts += 1;
  });
  return () => posts;
}

/** The clock of the page's animations. */
async function clockOf(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Animation.enable');
  const rate = (playbackRate) => session.send('Animation.setPlaybackRate', { playbackRate });
  return { stop: () => rate(0), run: () => rate(1) };
}
