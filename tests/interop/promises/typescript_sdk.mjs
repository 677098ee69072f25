// The TypeScript SDK 1.x client, the base of most clients, does the whole dance headlessly
// before four published servers.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { randomUUID } from 'node:crypto';

import { Browser } from '../lib/browser.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import { withGuard } from '../lib/guard.mjs';
import { SERVERS } from '../lib/servers.mjs';

const STALE_TOKEN = 'mga_this-token-was-never-issued';

export async function typescriptSdk(checks) {
  for (const server of SERVERS) {
    const subject = `sdk 1.x, ${server.name}`;
    if (server.needs && !server.needs()) {
      checks.missing(subject, server.name);
      continue;
    }
    await checks.group(subject, () =>
      withGuard(server.command, {}, (guard) => {
        const transport = (person) =>
          new StreamableHTTPClientTransport(new URL(guard.mcpUrl), { authProvider: person });
        return danceOver(transport, checks, guard, server, subject);
      }),
    );
  }
}

/** `transport` makes one for a person. */
export async function danceOver(transport, checks, guard, server, subject) {
  const person = new Person();
  let client;
  const connected = await checks.promise(`${subject}: signs in and initializes`, async () => {
    client = await connect(transport, person);
    expectEqual(person.visits, 1, 'visits to the browser');
  }, { within: 120_000 });
  if (!connected) throw new Error(`the guard said:\n${guard.log()}`);
  try {
    await checks.promise(`${subject}: lists its tools`, () => listed(client, server));
    await checks.promise(`${subject}: calls a tool`, () => called(client, server));
    await checks.promise(`${subject}: refreshes and calls again`, async () => {
      const before = person.tokens();
      person.saveTokens({ ...before, access_token: STALE_TOKEN });
      await called(client, server);
      expect(person.tokens().access_token !== STALE_TOKEN, 'the access token was not renewed');
      expect(person.tokens().refresh_token !== before.refresh_token, 'the refresh token did not rotate');
      expectEqual(person.visits, 1, 'visits to the browser');
    });
  } finally {
    await client.close();
  }
}

async function connect(transport, person) {
  const client = () => new Client({ name: 'interop', version: '1.0.0' });
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

async function listed(client, server) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  expect(names.includes(server.call.name), `no ${server.call.name} among ${names}`);
}

async function called(client, server) {
  const result = await client.callTool(server.call);
  const text = JSON.stringify(result.content);
  expect(!result.isError && server.answers.test(text), `the answer was ${text}`);
}

/** The SDK's OAuthClientProvider: one person, one browser, credentials in memory. */
class Person {
  redirectUrl = 'http://localhost:9/callback';
  visits = 0;
  #state = randomUUID();

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
    const target = await new Browser().signIn(url);
    expect(target.href.startsWith(this.redirectUrl), `sent to ${target.href}`);
    expectEqual(target.searchParams.get('state'), this.#state, 'state');
    expectEqual(target.searchParams.get('iss'), url.origin, 'iss');
    this.code = target.searchParams.get('code');
  }
}
