// What a person sees, in Chromium: the consent page on two widths and in two colour schemes,
// the ways out of it, and the attacks that need a browser.

import { expect, expectEqual } from '../lib/checks.mjs';
import {
  CLIENT_NAME,
  EXECUTABLE,
  SCREENS,
  STEP,
  hasChromium,
  launch,
  onPage,
  picture,
  readable,
} from '../lib/chromium.mjs';
import { FIXTURE, PASSWORD, withGuard } from '../lib/guard.mjs';
import { Listener, certificateFor } from '../lib/listener.mjs';
import { authorization } from '../lib/oauth_client.mjs';

const HTTPS_HOST = 'client.example.com';

export async function chromium(checks, { screenshots }) {
  if (!hasChromium()) {
    checks.missing('chromium', EXECUTABLE);
    return;
  }
  const secure = await Listener.open(undefined, certificateFor(HTTPS_HOST));
  const browser = await launch([`MAP ${HTTPS_HOST}:443 127.0.0.1:${secure.port}`]);
  try {
    await withGuard([FIXTURE], {}, async (guard) => {
      const scene = { checks, guard, browser, screenshots, secure };
      await looks(scene);
      await waysOut(scene);
      await attacks(scene);
    });
  } finally {
    await browser.close();
    secure.close();
  }
}

async function looks(scene) {
  const { checks, guard } = scene;
  for (const screen of SCREENS) {
    await checks.promise(`chromium, ${screen.name}: the consent page is readable`, () =>
      onPage(scene, screen, async (page, client) => {
        const request = await authorization(guard, await client.registered());
        await page.goto(request.url.href);
        await picture(scene, page, `consent-${screen.name}`);
        await readable(page, screen);
        const text = await page.locator('body').innerText();
        for (const shown of [CLIENT_NAME, '127.0.0.1', guard.mcpUrl]) {
          expect(text.includes(shown), `the page does not show ${shown}`);
        }
      }),
    );
    await checks.promise(`chromium, ${screen.name}: the landing page is readable`, () =>
      onPage(scene, screen, async (page) => {
        for (const [name, url] of [['root', `${guard.url}/`], ['mcp', guard.mcpUrl]]) {
          await page.goto(url);
          await picture(scene, page, `landing-${name}-${screen.name}`);
          await readable(page, screen);
          expect((await page.locator('body').innerText()).includes(guard.mcpUrl), 'no MCP URL');
        }
      }),
    );
  }
}

async function waysOut(scene) {
  const { checks, guard, secure } = scene;
  await checks.promise('chromium: Enter in the password field signs in to a loopback client', () =>
    onPage(scene, SCREENS[0], async (page, client) => {
      await consent(page, guard, await client.registered(), (password) => password.press('Enter'));
      await page.waitForURL(`${client.origin}/**`, { timeout: STEP });
      const answer = client.visited('/callback');
      expect(answer?.get('code') && answer.get('iss') === guard.url, `the client got ${answer}`);
    }),
  );
  await checks.promise('chromium: a wrong password is told and can be mended', () =>
    onPage(scene, SCREENS[1], async (page, client) => {
      await consent(page, guard, await client.registered(), (password) => password.press('Enter'), 'not this one');
      await page.locator('[role=alert]').waitFor({ timeout: STEP });
      await picture(scene, page, 'wrong-password');
      await page.locator('input[type=password]').fill(PASSWORD);
      await page.locator('input[type=password]').press('Enter');
      await page.waitForURL(`${client.origin}/**`, { timeout: STEP });
      expect(client.visited('/callback')?.get('code'), 'no code');
    }),
  );
  await checks.promise('chromium: Cancel tells the client access_denied', () =>
    onPage(scene, SCREENS[0], async (page, client) => {
      const request = await authorization(guard, await client.registered());
      await page.goto(request.url.href);
      await page.getByRole('button', { name: /cancel|deny/i }).click();
      await page.waitForURL(`${client.origin}/**`, { timeout: STEP });
      const answer = client.visited('/callback');
      expectEqual(answer?.get('error'), 'access_denied', 'error');
      expectEqual(answer.get('iss'), guard.url, 'iss');
      expectEqual(answer.get('state'), request.state, 'state');
    }),
  );
  await checks.promise('chromium: an https client that hops on to another origin is reached', () =>
    onPage(scene, SCREENS[0], async (page, client) => {
      secure.server.removeAllListeners('request');
      secure.server.on('request', (request, response) => {
        const { search } = new URL(request.url, secure.origin);
        response.writeHead(302, { location: `${client.origin}/hop${search}` }).end();
      });
      const registered = await client.registered(`https://${HTTPS_HOST}/callback`);
      await consent(page, guard, registered, (password) => password.press('Enter'));
      await followLink(page, `https://${HTTPS_HOST}`);
      await page.waitForURL(`${client.origin}/hop**`, { timeout: STEP });
      expect(client.visited('/hop')?.get('code'), 'no code');
    }),
  );
  await checks.promise('chromium: a client with a scheme of its own is sent its code', () =>
    onPage(scene, SCREENS[1], async (page, client) => {
      const scheme = 'cursor://anysphere.cursor-mcp/oauth/callback';
      const blocked = [];
      page.on('console', (message) => /Content Security Policy/i.test(message.text()) && blocked.push(message.text()));
      const sent = new Promise((resolve) => {
        page.on('response', (answer) => {
          const location = answer.headers().location ?? '';
          if (location.startsWith(scheme)) resolve(location);
        });
      });
      await consent(page, guard, await client.registered(scheme), (password) => password.press('Enter'));
      const link = page.locator(`a[href^="${scheme}"]`);
      const linked = link.getAttribute('href', { timeout: STEP });
      const target = await Promise.any([sent, linked]);
      linked.catch(() => {});
      await picture(scene, page, 'custom-scheme');
      expect(new URL(target).searchParams.get('code'), `sent to ${target}`);
      expectEqual(blocked.length, 0, `blocked by policy (${blocked})`);
    }),
  );
}

/** The page that leads to a host that is neither loopback nor trusted may ask for a click. */
async function followLink(page, prefix) {
  const link = page.locator(`a[href^="${prefix}"]`);
  const shown = await link.waitFor({ timeout: 2000 }).then(() => true, () => false);
  if (shown) await link.click().catch(() => {});
}

async function attacks(scene) {
  const { checks, guard } = scene;
  await checks.promise('chromium: the consent page cannot be framed', () =>
    onPage(scene, SCREENS[0], async (page, client) => {
      const request = await authorization(guard, await client.registered());
      const attacker = await Listener.open((_, response) => {
        response.setHeader('content-type', 'text/html');
        response.end(`<!doctype html><iframe src="${request.url.href.replaceAll('&', '&amp;')}"></iframe>`);
      });
      try {
        await page.goto(attacker.origin);
        const [, frame] = page.frames();
        await frame.waitForLoadState().catch(() => {});
        expectEqual(await frame.locator('form').count(), 0, 'forms in the frame');
        expect(frame.url().startsWith('chrome-error:'), `the frame shows ${frame.url()}`);
      } finally {
        attacker.close();
      }
    }),
  );
  await checks.promise('chromium: a form posted from another site is refused', () =>
    onPage(scene, SCREENS[0], async (page, client) => {
      const form = await formFor(scene, client);
      const attacker = await Listener.open((_, response) => {
        response.setHeader('content-type', 'text/html');
        response.end(`<!doctype html>${form}<script>document.forms[0].submit()</script>`);
      });
      try {
        const posted = page.waitForResponse((answer) => answer.request().method() === 'POST', { timeout: STEP });
        await page.goto(attacker.origin, { waitUntil: 'commit' });
        expectEqual((await posted).status(), 403, 'answer to the post');
      } finally {
        attacker.close();
      }
    }),
  );
}

/** The attacker's copy of a real consent form, filled in, aimed at the guard. */
async function formFor(scene, client) {
  const request = await authorization(scene.guard, await client.registered());
  const context = await scene.browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(request.url.href);
    return await page.evaluate((password) => {
      const form = document.querySelector('form');
      form.setAttribute('action', form.action);
      form.querySelector('input[type=password]').setAttribute('value', password);
      for (const button of form.querySelectorAll('button, input[type=submit]')) button.remove();
      return form.outerHTML;
    }, PASSWORD);
  } finally {
    await context.close();
  }
}

async function consent(page, guard, client, send, password = PASSWORD) {
  const request = await authorization(guard, client);
  await page.goto(request.url.href);
  const user = page.locator('input[type=text]');
  if (await user.count()) await user.fill('owner');
  const field = page.locator('input[type=password]');
  await field.fill(password);
  await send(field);
}
