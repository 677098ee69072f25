// What the groups about identity providers share: a whole sign-in through a real client, with
// what the wrapped server is told of the person, and a sign-in that the guard refuses.

import { join } from 'node:path';

import { Browser } from './browser.mjs';
import { expect, expectEqual } from './checks.mjs';
import { INTEROP_DIR, freePort, withGuard } from './guard.mjs';
import { authorization, obtainTokens, register } from './oauth_client.mjs';
import { STALE_TOKEN, SdkPerson, connect, streamableHttp } from './sdk_client.mjs';

/** server-everything, without `npx` and its seconds; it tells its environment. */
const SERVER = ['node', join(INTEROP_DIR, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')];
const TELL = { name: 'get-env', arguments: {} };
const ABOUT = ['--env', 'WHO={user.subject} {user.login} {user.email} [{user.groups}]'];

/** Where a guard will be: providers must know it before it starts. */
export async function promised() {
  const port = await freePort();
  return { port, url: `http://localhost:${port}` };
}

/** A guard that people sign in to with these providers, and with no password. */
export async function withFederation(providers, flags, use, { port } = {}) {
  const env = Object.assign({ MCP_GUARD_PASSWORD: undefined }, ...providers.map((provider) => provider.env));
  const all = [...providers.flatMap((provider) => provider.flags), ...flags, ...ABOUT];
  return withGuard(SERVER, { flags: all, env, port }, use);
}

/** From the client's first request to a tool's answer, and on after a refresh. */
export async function signsIn(guard, person, who) {
  const browser = new Browser();
  const sdk = new SdkPerson((url) => browser.signIn(url, person));
  const client = await connect(streamableHttp(guard), sdk);
  try {
    expectEqual(await told(client), who, 'what the server is told');
    const before = sdk.tokens();
    sdk.saveTokens({ ...before, access_token: STALE_TOKEN });
    expectEqual(await told(client), who, 'what the server is told after a refresh');
    expect(sdk.tokens().refresh_token !== before.refresh_token, 'the refresh token did not rotate');
    expectEqual(sdk.visits, 1, 'visits to the browser');
  } finally {
    await client.close();
  }
}

async function told(client) {
  const { content } = await client.callTool(TELL);
  return JSON.parse(content[0].text).WHO;
}

/** Signed in there, but not let in: they read who they are and why, and the client hears of it. */
export async function isRefused(guard, person, ...reasons) {
  const browser = new Browser();
  const { request, page } = await refusal(guard, person, browser);
  for (const reason of reasons) expect(page.text().includes(reason), `no "${reason}": ${page.complaint()}`);
  const cancelled = await browser.press(page, 'Cancel');
  const answer = cancelled.onward()?.searchParams;
  expectEqual(answer?.get('error'), 'access_denied', `error for the client (${cancelled.complaint()})`);
  expectEqual(answer.get('state'), request.state, 'state');
  expectEqual(answer.get('iss'), guard.url, 'iss');
}

/** A page with status 403 at the provider's callback, and no code for the client. */
export async function refusal(guard, person, browser = new Browser()) {
  const request = await authorization(guard, await register(guard));
  const { target, page } = await browser.walk(request.url, person);
  expect(!target, `was sent on to the client: ${target}`);
  expectEqual(page.status, 403, `answer to the callback (${page.complaint()})`);
  expect(/\/\.auth\/\w+\/callback$/.test(page.url.pathname), `refused at ${page.url}`);
  return { request, page };
}

export const isLetIn = (guard, person) => obtainTokens(guard, person);

/** From the provider's login page to the address that it sends the browser back to. */
export async function cameBack(ann, browser, target) {
  const back = await browser.walk(target, { user: ann.user, password: ann.password });
  expect(back.target?.searchParams.has('code'), `the provider sent the browser to ${back.target}`);
  return back.target;
}
