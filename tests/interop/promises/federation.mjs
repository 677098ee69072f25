// Several providers at once, providers that are out of order, and sign-ins that are taken from
// one browser to another.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { Browser } from '../lib/browser.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import { cameBack, isLetIn, isRefused, promised, withFederation } from '../lib/federated.mjs';
import { IdentityProvider, withProviders } from '../lib/identity_providers.mjs';
import { call, initialize } from '../lib/mcp.mjs';
import { authorization, redeem, refresh, register } from '../lib/oauth_client.mjs';
import { hasNode22 } from '../lib/servers.mjs';

const EMAIL = 'ann@corp.example';
const USERS = { ann: { hd: 'corp.example', preferred_username: 'ann', email: EMAIL, email_verified: true } };
const FLAGS = ['--google-allowed-users', EMAIL, '--oidc-allowed-users', EMAIL];

export async function federation(checks) {
  if (!hasNode22()) {
    checks.missing('federation', "npm's node");
    return;
  }
  const place = await promised();
  const google = await IdentityProvider.google({ guard: place.url, users: USERS });
  const oidc = await IdentityProvider.oidc({ guard: place.url, users: USERS });
  await withProviders([google], () =>
    withFederation([google, oidc], FLAGS, (guard) => together({ checks, guard, google, oidc }), place),
  );
  await checks.promise('federation: who is taken off the list is out after a SIGHUP, and signs in no more', () =>
    takenOff(place),
  );
}

async function takenOff(place) {
  const users = { ann: USERS.ann, ben: { email: 'ben@corp.example', email_verified: true } };
  const oidc = await IdentityProvider.oidc({ guard: place.url, users });
  const folder = mkdtempSync(join(tmpdir(), 'interop-config-'));
  const config = join(folder, 'guard.toml');
  const allow = (...emails) => writeFileSync(config, `oidc-allowed-users = ${JSON.stringify(emails)}\n`);
  allow(EMAIL, 'ben@corp.example');
  try {
    await withProviders([oidc], () =>
      withFederation([oidc], ['--config', config], async (guard) => {
        const [ann, ben] = [await session(guard, oidc.person('ann')), await session(guard, oidc.person('ben'))];
        allow('ben@corp.example');
        guard.program.signal('SIGHUP');
        await guard.program.says(/"event":"reloaded"/);
        expectEqual((await call(guard, ann.access_token, ann.session)).status, 401, 'a call of who is off the list');
        const refreshed = await refresh(guard, ann);
        expectEqual(refreshed.error, 'invalid_grant', 'their refresh');
        await isRefused(guard, oidc.person('ann'), EMAIL, 'not on the list');
        expectEqual((await call(guard, ben.access_token, ben.session)).status, 200, 'a call of who is on it still');
        expect((await refresh(guard, ben)).access_token, 'who is on it still cannot refresh');
      }, place),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function session(guard, person) {
  const tokens = await isLetIn(guard, person);
  return { ...tokens, session: await initialize(guard, tokens.access_token) };
}

async function together({ checks, guard, google, oidc }) {
  const promise = (name, keep) => checks.promise(`federation: ${name}`, keep);
  const ann = oidc.person('ann');
  try {
    await promise('the guard serves while a provider is down, and says so on a page', async () => {
      const { page } = await walkTo(guard, ann);
      unavailable(page);
      await isLetIn(guard, google.person('ann'));
    });
    await promise('that provider works soon after it is there, without a restart of the guard', async () => {
      await oidc.start();
      await soon(() => isLetIn(guard, ann));
    });
    await promise("a provider's new keys are fetched when they are needed", async () => {
      await oidc.becomes({});
      await isLetIn(guard, ann);
    });
    await promise('a provider is asked nothing before the person agreed (A-031)', async () => {
      await oidc.goAway();
      const { page } = await walkTo(guard, { ...ann, through: 'no such button' });
      await oidc.comeBack();
      expectEqual(page.status, 200, 'the consent page');
      for (const { name } of [google, oidc]) expect(page.text().includes(`Continue with ${name}`), page.complaint());
    });
    await promise('a provider that fails at the callback costs a reload, no new sign-in', () => reload({ guard, oidc, ann }));
    await promise("another browser cannot finish a person's sign-in; they still can (A-032)", () =>
      stolen({ guard, oidc, ann }),
    );
    await promise('one address at two providers is two people (A-063)', () => twoPeople({ guard, google, oidc }));
  } finally {
    await oidc.stop();
  }
}

/** A failure to reach a provider may stand for a few seconds. */
async function soon(attempt, within = 10_000) {
  const deadline = Date.now() + within;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(250);
    }
  }
}

async function walkTo(guard, person, browser = new Browser()) {
  const client = await register(guard);
  const request = await authorization(guard, client);
  return { client, request, ...(await browser.walk(request.url, person)) };
}

function unavailable(page) {
  expectEqual(page?.status, 503, `answer while the provider is down (${page?.complaint()})`);
  expect(Number(page.headers.get('retry-after')) > 0, 'no Retry-After');
  expect(page.headers.get('content-type').startsWith('text/html'), 'no page');
}

/** As far as the provider's login page. */
async function departed(guard, ann, browser) {
  const journey = await walkTo(guard, { ...ann, origins: [] }, browser);
  expect(journey.target?.origin === ann.origins[0], `sent to ${journey.target}`);
  return journey;
}

async function reload({ guard, oidc, ann }) {
  const browser = new Browser();
  const { client, request, target } = await departed(guard, ann, browser);
  const callback = await cameBack(ann, browser, target);
  await oidc.goAway();
  const down = await browser.open(callback, guard.url);
  unavailable(down);
  await oidc.comeBack();
  const up = await browser.open(down.url, guard.url);
  const done = await browser.walkOn(up, ann);
  expect(done.target, `reloaded: ${done.page?.complaint()}`);
  await redeem(guard, client, request, done.target);
}

async function stolen({ guard, oidc, ann }) {
  const [victims, attackers] = [new Browser(), new Browser()];
  const { client, request, target } = await departed(guard, ann, attackers);
  const callback = await cameBack(oidc.person('ann'), victims, target);
  const theirs = await victims.open(callback, guard.url);
  expectEqual(theirs.status, 403, 'answer to the browser that did not begin');
  expect(!theirs.onward(), `sent on to ${theirs.onward()}`);
  const own = await cameBack(ann, attackers, target);
  const done = await attackers.walkOn(await attackers.open(own, guard.url), ann);
  expect(done.target, `the browser that began: ${done.page?.complaint()}`);
  await redeem(guard, client, request, done.target);
}

async function twoPeople({ guard, google, oidc }) {
  const [one, other] = [
    await isLetIn(guard, google.person('ann')),
    await isLetIn(guard, oidc.person('ann')),
  ].map((tokens) => tokens.access_token);
  const session = await initialize(guard, one);
  const [own, foreign] = [await call(guard, one, session), await call(guard, other, session)];
  expectEqual(foreign.status, 404, "the other's session");
  expectEqual(who(await own.text()), `google:ann ann ${EMAIL} []`, 'the first');
  const second = await call(guard, other, await initialize(guard, other));
  expectEqual(who(await second.text()), `oidc:${oidc.url}#ann ann ${EMAIL} []`, 'the second');
}

const who = (answer) => answer.match(/\\"WHO\\": \\"(.*?)\\"/)?.[1];
