// A bare OAuth client: registers, sends a browser, redeems the code. For what needs a token
// and is not itself about OAuth.

import { createHash, randomBytes } from 'node:crypto';

import { Browser } from './browser.mjs';
import { expect, expectEqual } from './checks.mjs';

const REDIRECT_URI = 'http://127.0.0.1:9/callback';

export async function register(guard, { redirectUris = [REDIRECT_URI], name = 'interop' } = {}) {
  const metadata = await discover(guard);
  const answer = await reach(guard)(metadata.registration_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: name,
      redirect_uris: redirectUris,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    }),
  });
  const body = await answer.text();
  expectEqual(answer.status, 201, `registration (${body})`);
  return JSON.parse(body);
}

/** A guard at a name that only a browser resolves brings a `fetch` of its own. */
const reach = (guard) => guard.fetch ?? fetch;

export async function discover(guard) {
  const answer = await reach(guard)(`${guard.url}/.well-known/oauth-authorization-server`);
  expect(answer.ok, `metadata answered ${answer.status}`);
  return answer.json();
}

/** An authorization request that is still to be taken to a browser. */
export async function authorization(guard, client, redirectUri = client.redirect_uris[0]) {
  const { authorization_endpoint: endpoint } = await discover(guard);
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const url = new URL(endpoint);
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: redirectUri,
    state,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: guard.mcpUrl,
  });
  return { url, verifier, state, redirectUri };
}

/** The whole dance; gives the token endpoint's answer. `person` as for `Browser.walk`. */
export async function obtainTokens(guard, person) {
  const client = await register(guard);
  const request = await authorization(guard, client);
  const target = await new Browser().signIn(request.url, person);
  return redeem(guard, client, request, target);
}

/** What the token endpoint gives for the code at `target`, with the client's id beside it. */
export async function redeem(guard, client, request, target) {
  expectEqual(target.searchParams.get('state'), request.state, 'state');
  expect(target.searchParams.has('code'), `the client was sent ${target.search}`);
  const answer = await token(guard, {
    grant_type: 'authorization_code',
    code: target.searchParams.get('code'),
    redirect_uri: request.redirectUri,
    client_id: client.client_id,
    code_verifier: request.verifier,
    resource: guard.mcpUrl,
  });
  const body = await answer.text();
  expectEqual(answer.status, 200, `token endpoint (${body})`);
  return { ...JSON.parse(body), client_id: client.client_id };
}

/** New tokens, or an OAuth error. */
export async function refresh(guard, { client_id, refresh_token }) {
  const answer = await token(guard, { grant_type: 'refresh_token', client_id, refresh_token });
  return answer.json();
}

async function token(guard, form) {
  const { token_endpoint: endpoint } = await discover(guard);
  return fetch(endpoint, { method: 'POST', body: new URLSearchParams(form) });
}
