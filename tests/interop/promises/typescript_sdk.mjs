// The TypeScript SDK 1.x client, the base of most clients, does the whole dance headlessly
// before four published servers.

import { expect, expectEqual } from '../lib/checks.mjs';
import { withGuard } from '../lib/guard.mjs';
import { STALE_TOKEN, SdkPerson, connect, streamableHttp } from '../lib/sdk_client.mjs';
import { SERVERS } from '../lib/servers.mjs';

export async function typescriptSdk(checks) {
  for (const server of SERVERS) {
    const subject = `sdk 1.x, ${server.name}`;
    if (server.needs && !server.needs()) {
      checks.missing(subject, server.name);
      continue;
    }
    await checks.group(subject, () =>
      withGuard(server.command, {}, (guard) => danceOver(streamableHttp(guard), checks, guard, server, subject)),
    );
  }
}

/** `transport` makes one for a person. */
export async function danceOver(transport, checks, guard, server, subject) {
  const person = new SdkPerson();
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
