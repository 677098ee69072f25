// Servers that speak HTTP themselves, behind the guard: server-everything over both transports,
// fastmcp with its redirects, and the conformance suite with and without the guard between.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ProgressNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, expectEqual } from '../lib/checks.mjs';
import { BINARY, PASSWORD } from '../lib/guard.mjs';
import { HttpServer, hasFastMcp, withGuardedUrl } from '../lib/http_servers.mjs';
import { call, initialize } from '../lib/mcp.mjs';
import { obtainTokens } from '../lib/oauth_client.mjs';
import { Program } from '../lib/processes.mjs';
import { SdkPerson, connect, streamableHttp } from '../lib/sdk_client.mjs';
import { EVERYTHING, hasPython } from '../lib/servers.mjs';
import { detailOf, hasSuite, serverSuite } from './conformance.mjs';
import { mcpRemoteAt } from './mcp_remote.mjs';
import { pythonOver } from './python_mcp.mjs';
import { danceOver } from './typescript_sdk.mjs';

const BEN = { user: 'ben', password: PASSWORD };
const EVENTS = 'text/event-stream';

export async function urls(checks) {
  const folder = mkdtempSync(join(tmpdir(), 'interop-users-'));
  try {
    const users = join(folder, 'users');
    writeFileSync(users, `${BEN.user}:${await hashOf(BEN.password)}\n`, { mode: 0o600 });
    const options = { flags: ['--users-file', users] };
    await checks.group('url, server-everything', () => streamable(checks, options));
    await checks.group('url, server-everything over HTTP+SSE', () => legacy(checks, options));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await checks.group('url, fastmcp', () => fastMcp(checks));
  await checks.group('url, conformance', () => besideNoGuard(checks));
}

async function hashOf(password) {
  const program = new Program(BINARY, ['hash-password'], { name: 'hash-password', input: true });
  program.child.stdin.end(password);
  await program.finish(20_000);
  return program.output.match(/^\$argon2\S+$/m)[0];
}

async function streamable(checks, options) {
  const server = await HttpServer.everything('streamableHttp');
  const subject = 'url, server-everything';
  await withGuardedUrl(server, '/mcp', options, async (guard) => {
    await danceOver(streamableHttp(guard), checks, guard, EVERYTHING, `${subject}, sdk 1.x`);
    await bothWays(checks, streamableHttp(guard), `${subject}, sdk 1.x`);
    await checks.promise(`${subject}: a session of another user or client is not found, and goes on`, () =>
      ownSession(guard),
    );
    await checks.promise(`${subject}: a session that was ended is over at the server`, () => endedSession(guard, server));
    await python(checks, 'streamable-http', guard, `${subject}, python mcp 1.x`);
  });
}

/** What a server sends of its own: progress, requests within a call, messages on the GET stream. */
async function bothWays(checks, transport, subject) {
  const news = new EventEmitter();
  const client = await connect(transport, new SdkPerson(), () => talkative(news));
  const tell = async (name, args = {}, _meta = {}) => {
    const { content } = await client.callTool({ name, arguments: args, _meta });
    return JSON.stringify(content);
  };
  try {
    await checks.promise(`${subject}: hears every step of a long call`, async () => {
      const steps = [];
      news.on('progress', ({ params }) => steps.push(params.progress));
      const text = await tell('trigger-long-running-operation', { duration: 1, steps: 4 }, { progressToken: 'long' });
      expect(text.includes('completed'), text);
      expectEqual(steps.join(), '1,2,3,4', 'progress');
    });
    await checks.promise(`${subject}: answers what the server samples during a call`, async () => {
      const text = await tell('trigger-sampling-request', { prompt: 'a guarded question' });
      expect(text.includes('sampled: Resource trigger-sampling-request context: a guarded question'), text);
    });
    await checks.promise(`${subject}: answers what the server elicits during a call`, async () => {
      const text = await tell('trigger-elicitation-request');
      expect(text.includes('Ann of the interop'), text);
    });
    await checks.promise(`${subject}: answers a request that comes outside of its calls`, async () => {
      const text = await tell('get-roots-list');
      expect(text.includes('file:///interop'), text);
    });
    await checks.promise(`${subject}: hears what the server sends outside of any call`, async () => {
      const heard = once(news, 'log');
      await tell('toggle-simulated-logging');
      await heard;
    });
  } finally {
    await client.close();
  }
}

/**
 * Hands `news` what it hears. Progress included, since the SDK's `onprogress` misses the last step
 * when the result comes in the same chunk, guard or not.
 */
function talkative(news) {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const client = new Client({ name: 'interop', version: '1.0.0' }, { capabilities });
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
    const text = `sampled: ${params.messages[0].content.text}`;
    return { model: 'interop', role: 'assistant', content: { type: 'text', text } };
  });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ann of the interop' } }));
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///interop', name: 'interop' }] }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, (log) => news.emit('log', log));
  client.setNotificationHandler(ProgressNotificationSchema, (progress) => news.emit('progress', progress));
  return client;
}

async function ownSession(guard) {
  const { access_token: own } = await obtainTokens(guard);
  const session = await initialize(guard, own);
  const others = { 'another user': await obtainTokens(guard, BEN), 'another client': await obtainTokens(guard) };
  for (const [who, { access_token: token }] of Object.entries(others)) {
    expectEqual((await call(guard, token, session)).status, 404, `a call of ${who}`);
    expectEqual(await statusOf('GET', guard, token, session), 404, `a stream of ${who}`);
    expectEqual(await statusOf('DELETE', guard, token, session), 404, `the end by ${who}`);
  }
  expectEqual((await call(guard, own, session)).status, 200, 'a call of its owner');
  expectEqual(await statusOf('GET', guard, own, session), 200, 'a stream of its owner');
}

async function endedSession(guard, server) {
  const { access_token: token } = await obtainTokens(guard);
  const session = await initialize(guard, token);
  expectEqual(await statusOf('DELETE', guard, token, session), 200, 'the end');
  await server.program.says(/Transport closed for session/);
  expectEqual((await call(guard, token, session)).status, 400, "a call after it, by the server's own word");
}

/** The status only; a stream is let go. */
async function statusOf(method, guard, token, session) {
  const headers = { authorization: `Bearer ${token}`, accept: EVENTS, 'mcp-session-id': session };
  const answer = await fetch(guard.mcpUrl, { method, headers });
  await answer.body?.cancel();
  return answer.status;
}

async function legacy(checks, options) {
  const server = await HttpServer.everything('sse');
  const subject = 'url, server-everything over HTTP+SSE';
  await withGuardedUrl(server, '/sse', options, async (guard) => {
    const transport = (person) => new SSEClientTransport(new URL(guard.mcpUrl), { authProvider: person });
    await danceOver(transport, checks, guard, EVERYTHING, `${subject}, sdk 1.x`);
    await bothWays(checks, transport, `${subject}, sdk 1.x`);
    await checks.promise(`${subject}: nobody else can send into a session`, () => ownEndpoint(guard));
    await python(checks, 'sse', guard, `${subject}, python mcp 1.x`);
    await mcpRemoteAt(guard.mcpUrl, checks, `${subject}, mcp-remote`, ['--transport', 'sse-only']);
  });
}

async function ownEndpoint(guard) {
  const { access_token: own } = await obtainTokens(guard);
  const others = { 'another user': await obtainTokens(guard, BEN), 'another client': await obtainTokens(guard) };
  const events = await fetch(guard.mcpUrl, { headers: { authorization: `Bearer ${own}`, accept: EVENTS } });
  try {
    const endpoint = new URL(await firstData(events.body), guard.url);
    expectEqual(endpoint.origin, guard.url, 'where messages go');
    const without = new URL(endpoint);
    without.searchParams.delete('mcp_guard');
    expect(without.href !== endpoint.href, `nothing binds ${endpoint}`);
    for (const [who, { access_token: token }] of Object.entries(others)) {
      expectEqual(await ping(endpoint, token), 404, `a message of ${who}`);
      expectEqual(await ping(without, token), 404, `a message of ${who} to the server's own address`);
    }
    expectEqual(await ping(endpoint, own), 202, 'a message of its owner');
  } finally {
    await events.body.cancel();
  }
}

async function firstData(body) {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body.values({ preventCancel: true })) {
    text += decoder.decode(chunk, { stream: true });
    const [, data] = text.match(/^data: (.*)\r?\n/m) ?? [];
    if (data) return data;
  }
  throw new Error(`the stream ended with ${text}`);
}

async function ping(endpoint, token) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  return (await fetch(endpoint, { method: 'POST', headers, body })).status;
}

async function python(checks, transport, guard, subject, url = guard.mcpUrl) {
  if (!hasPython()) {
    checks.missing(subject, 'PyPI mcp');
    return;
  }
  await checks.group(subject, () => pythonOver(transport, url, checks, guard, EVERYTHING, subject));
}

/** It answers at `/mcp`, and redirects `/mcp/` to an absolute URL of its own. */
async function fastMcp(checks) {
  const askedAt = ['/mcp', '/mcp/'];
  for (const path of askedAt) {
    if (!hasFastMcp()) {
      checks.missing(`url, fastmcp at ${path}`, 'PyPI fastmcp');
      continue;
    }
    const subject = `url, fastmcp at ${path}`;
    await withGuardedUrl(await HttpServer.fastMcp(), path, {}, async (guard) => {
      for (const asked of askedAt) {
        const url = `${guard.url}${asked}`;
        const transport = (person) => new StreamableHTTPClientTransport(new URL(url), { authProvider: person });
        const sdk = `${subject}, sdk 1.x at ${asked}`;
        await checks.group(sdk, () => danceOver(transport, checks, guard, EVERYTHING, sdk));
        await python(checks, 'streamable-http', guard, `${subject}, python mcp 1.x at ${asked}`, url);
      }
    });
  }
}

/** What passes at a server passes with the guard before it; the guard adds what that one lacks. */
async function besideNoGuard(checks) {
  if (!hasSuite()) {
    checks.missing('url, conformance', 'the conformance suite');
    return;
  }
  const server = await HttpServer.fixture();
  await withGuardedUrl(server, '/mcp', {}, async (guard) => {
    const alone = await serverSuite(`${server.url}/mcp`);
    const { access_token: token } = await obtainTokens(guard);
    const guarded = await serverSuite(guard.mcpUrl, token);
    for (const [name, { passed, failed }] of alone.scenarios) {
      if (failed > 0) continue;
      await checks.promise(`url, conformance: ${name} passes as it does without the guard`, async () => {
        const behind = guarded.scenarios.get(name);
        expectEqual(behind?.failed, 0, `failed checks${detailOf(guarded.output, name)}`);
        expectEqual(behind.passed, passed, 'passed checks');
      });
    }
    await checks.promise('url, conformance: the guard protects from DNS rebinding', async () => {
      const name = 'dns-rebinding-protection';
      const { passed, failed } = guarded.scenarios.get(name) ?? {};
      expect(passed > 0 && failed === 0, detailOf(guarded.output, name));
    });
  });
}
