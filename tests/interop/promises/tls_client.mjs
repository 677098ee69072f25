// The TypeScript SDK's client at the URL that is given; ends with 1 if a promise was broken.

import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { Checks, expectEqual } from '../lib/checks.mjs';
import { EVERYTHING } from '../lib/servers.mjs';
import { danceOver } from './typescript_sdk.mjs';

const mcpUrl = new URL(process.argv[2]);
const checks = new Checks();
const transport = (person) => new StreamableHTTPClientTransport(mcpUrl, { authProvider: person });
const guard = { log: () => '(see the guard)' };

await checks.group('tls', () => danceOver(transport, checks, guard, EVERYTHING, 'sdk 1.x over TLS'));
await checks.promise('every address of the metadata is https', async () => {
  const answer = await fetch(new URL('/.well-known/oauth-authorization-server', mcpUrl));
  const metadata = await answer.json();
  const addresses = Object.values(metadata).filter((value) => /^https?:/.test(value));
  const foreign = addresses.filter((address) => !address.startsWith(`${mcpUrl.origin}`));
  expectEqual(foreign.join(), '', 'addresses elsewhere');
});
process.exit(checks.failed > 0 ? 1 : 0);
