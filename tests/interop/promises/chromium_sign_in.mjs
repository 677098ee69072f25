// Sign-in with an account elsewhere, in Chromium: the page that offers it, a whole sign-in with
// each kind of provider, the pages for those who are not let in, and the theft of a sign-in
// between two browsers.

import { Browser } from '../lib/browser.mjs';
import {
  SCREENS,
  STEP,
  hasWhatSignInNeeds,
  launch,
  onPage,
  picture,
  readable,
  settled,
  signInThere,
} from '../lib/chromium.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import { cameBack, promised } from '../lib/federated.mjs';
import { FIXTURE, PASSWORD, withGuard } from '../lib/guard.mjs';
import { IdentityProvider, withProviders } from '../lib/identity_providers.mjs';
import { authorization, redeem } from '../lib/oauth_client.mjs';

const USERS = {
  ann: { hd: 'corp.example', email: 'ann@corp.example', email_verified: true },
  eve: { email: 'eve@corp.example', email_verified: true },
};

const FLAGS = [
  ...['--github-allowed-users', 'octo-ann'],
  ...['--google-allowed-workspaces', 'corp.example'],
  ...['--oidc-allowed-users', 'ann@corp.example'],
];

export async function chromiumSignIn(checks, { screenshots }) {
  if (!hasWhatSignInNeeds(checks, 'chromiumSignIn')) return;
  const place = await promised();
  const providers = await Promise.all([
    IdentityProvider.gitHub({ user: { id: 7, login: 'octo-ann', email: 'ann@corp.example' } }),
    IdentityProvider.google({ guard: place.url, users: USERS }),
    IdentityProvider.oidc({ guard: place.url, users: USERS }),
  ]);
  // What the pages of `oidc-provider` load from the internet is not there.
  const browser = await launch(['MAP *.googleapis.com ~NOTFOUND']);
  const options = {
    port: place.port,
    flags: [...providers.flatMap((provider) => provider.flags), ...FLAGS],
    env: Object.assign({}, ...providers.map((provider) => provider.env)),
  };
  try {
    await withProviders(providers, () =>
      withGuard([FIXTURE], options, async (guard) => {
        const scene = { checks, guard, browser, screenshots, providers };
        await looks(scene);
        await signIns(scene);
        await thefts(scene);
      }),
    );
  } finally {
    await browser.close();
  }
}

async function looks(scene) {
  const { checks, providers } = scene;
  const oidc = providers.at(-1);
  for (const screen of SCREENS) {
    await checks.promise(`chromium, ${screen.name}: the ways to sign in are readable`, () =>
      onPage(scene, screen, async (page, client) => {
        await begin(scene, page, client);
        await settled(page);
        await picture(scene, page, `ways-to-sign-in-${screen.name}`);
        await readable(page, screen);
        for (const provider of providers) expectEqual(await continueWith(page, provider).count(), 1, provider.name);
      }),
    );
    await checks.promise(`chromium, ${screen.name}: a refusal is readable`, () =>
      onPage(scene, screen, async (page, client) => {
        await refused(scene, page, client, oidc);
        await picture(scene, page, `refused-${screen.name}`);
        await readable(page, screen);
      }),
    );
    await checks.promise(`chromium, ${screen.name}: an outage is readable, and a reload gets over it`, () =>
      onPage(scene, screen, async (page, client) => {
        await begin(scene, page, client);
        const authorize = await leaveFor(page, oidc);
        const callback = await cameBack(oidc.person('ann'), new Browser(), authorize);
        await oidc.goAway();
        const answer = await page.goto(callback.href);
        await picture(scene, page, `outage-${screen.name}`);
        await oidc.comeBack();
        expectEqual(answer.status(), 503, 'status');
        await readable(page, screen);
        await page.reload();
        await arrived(page, client);
      }),
    );
  }
}

async function signIns(scene) {
  const { checks, providers } = scene;
  for (const provider of providers) {
    await checks.promise(`chromium: a person signs in with ${provider.name}`, () =>
      onPage(scene, SCREENS[0], async (page, client) => {
        const blocked = [];
        page.on('console', (message) => /Content Security Policy/i.test(message.text()) && blocked.push(message.text()));
        const { registered, request } = await begin(scene, page, client);
        await continueWith(page, provider).click();
        if (provider.kind !== 'github') await signInThere(page, 'ann');
        const answer = await arrived(page, client);
        expectEqual(answer.get('state'), request.state, 'state');
        expectEqual(blocked.length, 0, `blocked by policy (${blocked})`);
        await redeem(scene.guard, registered, request, { searchParams: answer });
      }),
    );
  }
  await checks.promise('chromium: the password works beside them', () =>
    onPage(scene, SCREENS[1], async (page, client) => {
      await begin(scene, page, client);
      await page.locator('input[type=password]').fill(PASSWORD);
      await page.locator('input[type=password]').press('Enter');
      await arrived(page, client);
    }),
  );
  await checks.promise('chromium: who was refused may use another account', () =>
    onPage(scene, SCREENS[1], async (page, client) => {
      const oidc = providers.at(-1);
      await refused(scene, page, client, oidc);
      await page.getByRole('button', { name: /another/i }).click();
      await signInThere(page, 'ann');
      await arrived(page, client);
    }),
  );
}

async function thefts(scene) {
  const { checks, guard, providers } = scene;
  const oidc = providers.at(-1);
  await checks.promise("chromium: a second browser cannot finish the first one's sign-in; the first can (A-032)", () =>
    onPage(scene, SCREENS[0], (page, client) =>
      onPage(scene, SCREENS[0], async (victims) => {
        await begin(scene, page, client);
        await victims.goto(await leaveFor(page, oidc));
        const answer = await cameBackTo(guard, victims, 'ann');
        expectEqual(answer.status(), 403, 'answer to the second browser');
        await picture(scene, victims, 'stolen');
        expectEqual(client.visits.length, 0, 'visits to the client');
        await signInThere(page, 'ann');
        await arrived(page, client);
      }),
    ),
  );
}

async function begin({ guard }, page, client) {
  const registered = await client.registered();
  const request = await authorization(guard, registered);
  await page.goto(request.url.href);
  return { registered, request };
}

const continueWith = (page, { name }) => page.getByRole('button', { name: `Continue with ${name}` });

/** As far as the provider's login page; gives the address that the guard sent the browser to. */
async function leaveFor(page, provider) {
  const [asked] = await Promise.all([
    page.waitForRequest((request) => request.url().startsWith(`${provider.url}/`), { timeout: STEP }),
    continueWith(page, provider).click(),
  ]);
  await page.locator('input[name=login]').waitFor({ timeout: STEP });
  return asked.url();
}

/** Signs in there; gives the guard's answer to the callback. */
async function cameBackTo(guard, page, user) {
  const [answer] = await Promise.all([
    page.waitForResponse((answer) => answer.url().startsWith(`${guard.url}/.auth/`), { timeout: STEP }),
    signInThere(page, user),
  ]);
  return answer;
}

async function refused(scene, page, client, oidc) {
  await begin(scene, page, client);
  await leaveFor(page, oidc);
  const answer = await cameBackTo(scene.guard, page, 'eve');
  expectEqual(answer.status(), 403, 'answer to somebody who is not listed');
  await page.getByText('eve@corp.example').waitFor({ timeout: STEP });
}

async function arrived(page, client) {
  await page.waitForURL(`${client.origin}/**`, { timeout: STEP });
  const answer = client.visited('/callback');
  expect(answer?.get('code'), `the client got ${answer}`);
  return answer;
}
