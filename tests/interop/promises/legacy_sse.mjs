// Clients of the HTTP+SSE transport of 2024-11-05: the TypeScript SDK's, the Python SDK's and
// mcp-remote's, each from its first request to a refreshed token.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';

import { expect } from '../lib/checks.mjs';
import { withGuard } from '../lib/guard.mjs';
import { EVERYTHING, hasPython } from '../lib/servers.mjs';
import { mcpRemoteOver } from './mcp_remote.mjs';
import { pythonOver } from './python_mcp.mjs';
import { danceOver } from './typescript_sdk.mjs';

export async function legacySse(checks) {
  await withGuard(EVERYTHING.command, {}, async (guard) => {
    const urls = { '/sse': `${guard.url}/sse`, 'the new URL': guard.mcpUrl };
    for (const [name, url] of Object.entries(urls)) {
      const subject = `sdk 1.x, HTTP+SSE at ${name}`;
      const transport = (person) => new SSEClientTransport(new URL(url), { authProvider: person });
      await checks.group(subject, () => danceOver(transport, checks, guard, EVERYTHING, subject));
    }
    const subject = 'python mcp 1.x, HTTP+SSE';
    if (hasPython()) {
      const url = urls['/sse'];
      await checks.group(subject, () => pythonOver('sse', url, checks, guard, EVERYTHING, subject));
    } else {
      checks.missing(subject, 'PyPI mcp');
    }
    await checks.promise('a client without a token learns where to get one for /sse', () => challenged(urls['/sse']));
  });
  await mcpRemoteOver(checks, 'mcp-remote, HTTP+SSE', (guard) => `${guard.url}/sse`, ['--transport', 'sse-only']);
}

async function challenged(url) {
  const client = new Client({ name: 'interop', version: '1.0.0' });
  const error = await client.connect(new SSEClientTransport(new URL(url))).catch((error) => error);
  expect(error?.code === 401, `without a token: ${error}`);
}
