// What every client meets before it has a token.

import { expect, expectEqual } from '../lib/checks.mjs';
import { FIXTURE, withGuard } from '../lib/guard.mjs';

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'interop', version: '1' },
  },
};

export async function discovery(checks) {
  await withGuard([FIXTURE], {}, async (guard) => {
    await checks.promise('discovery: a request without a token is challenged', () => challenged(guard));
    await checks.promise('discovery: the resource is what the user typed', () => described(guard));
    await checks.promise('discovery: one issuer in every metadata document', () => oneIssuer(guard));
    await checks.promise('discovery: a person at the MCP address gets a page', () => page(guard));
  });
}

async function challenged(guard) {
  for (const method of ['GET', 'POST', 'DELETE']) {
    const body = method === 'POST' ? JSON.stringify(INITIALIZE) : undefined;
    const answer = await fetch(guard.mcpUrl, {
      method,
      body,
      headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json' },
    });
    expectEqual(answer.status, 401, method);
    const challenge = answer.headers.get('www-authenticate') ?? '';
    const metadata = `resource_metadata="${guard.url}/.well-known/oauth-protected-resource/mcp"`;
    expect(challenge.startsWith('Bearer ') && challenge.includes(metadata), `challenge: ${challenge}`);
  }
}

async function described(guard) {
  for (const suffix of ['/mcp', '']) {
    const answer = await fetch(`${guard.url}/.well-known/oauth-protected-resource${suffix}`);
    expectEqual(answer.status, 200, `metadata${suffix}`);
    const metadata = await answer.json();
    expectEqual(metadata.resource, guard.mcpUrl, 'resource');
    expectEqual(metadata.authorization_servers?.[0], guard.url, 'authorization server');
  }
}

async function oneIssuer(guard) {
  const documents = ['oauth-authorization-server', 'openid-configuration'];
  for (const document of documents.flatMap((name) => [name, `${name}/mcp`])) {
    const answer = await fetch(`${guard.url}/.well-known/${document}`);
    expectEqual(answer.status, 200, document);
    expectEqual((await answer.json()).issuer, guard.url, `issuer of ${document}`);
  }
}

async function page(guard) {
  const answer = await fetch(guard.mcpUrl, { headers: { accept: 'text/html' } });
  expectEqual(answer.status, 401, 'status');
  expect(answer.headers.get('www-authenticate'), 'the challenge is missing');
  expect((await answer.text()).includes(guard.mcpUrl), 'the page does not show the MCP URL');
}
