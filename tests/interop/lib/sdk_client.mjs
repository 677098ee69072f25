// The TypeScript SDK 1.x client, the base of most clients, with a person and a browser who sign
// in when it asks them to.

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { randomUUID } from 'node:crypto';

import { Browser } from './browser.mjs';
import { expect, expectEqual } from './checks.mjs';

/** In place of an access token, it makes the client refresh. */
export const STALE_TOKEN = 'mga_this-token-was-never-issued';

/** Makes transports for a person. */
export const streamableHttp = (guard) => (person) =>
  new StreamableHTTPClientTransport(new URL(guard.mcpUrl), { authProvider: person });

const plain = () => new Client({ name: 'interop', version: '1.0.0' });

/** A client that is signed in and initialized. `transport` makes one for a person. */
export async function connect(transport, person, client = plain) {
  const first = transport(person);
  try {
    await client().connect(first);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
  }
  expect(person.code, 'the client was let in without a sign-in');
  await first.finishAuth(person.code);
  const signedIn = client();
  await signedIn.connect(transport(person));
  return signedIn;
}

/** The SDK's OAuthClientProvider: one person, one browser, credentials in memory. */
export class SdkPerson {
  redirectUrl = 'http://localhost:9/callback';
  visits = 0;
  #state = randomUUID();
  #signIn;

  /** @param {(url: URL) => Promise<URL>} [signIn]  how they do it; with the password if not said */
  constructor(signIn = (url) => new Browser().signIn(url)) {
    this.#signIn = signIn;
  }

  get clientMetadata() {
    return {
      client_name: 'Interop (SDK 1.x)',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    };
  }

  state() {
    return this.#state;
  }

  clientInformation() {
    return this.registered;
  }

  saveClientInformation(registered) {
    this.registered = registered;
  }

  tokens() {
    return this.saved;
  }

  saveTokens(tokens) {
    this.saved = tokens;
  }

  codeVerifier() {
    return this.verifier;
  }

  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }

  async redirectToAuthorization(url) {
    this.visits += 1;
    const target = await this.#signIn(url);
    expect(target.href.startsWith(this.redirectUrl), `sent to ${target.href}`);
    expectEqual(target.searchParams.get('state'), this.#state, 'state');
    expectEqual(target.searchParams.get('iss'), url.origin, 'iss');
    this.code = target.searchParams.get('code');
  }
}
