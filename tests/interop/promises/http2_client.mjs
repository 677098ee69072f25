// A whole journey over HTTP/2, on one connection to the URL that is given; ends with 1 if a promise was
// broken. The SDK's client speaks HTTP/1.1 only. The person's browser is somebody else, and does too.

import { createHash, randomBytes } from 'node:crypto';

import { Checks, expect, expectEqual } from '../lib/checks.mjs';
import { Browser } from '../lib/browser.mjs';
import { Http2Connection } from '../lib/http2_connection.mjs';

const SUBJECT = 'node:http2';
const REDIRECT_URI = 'http://127.0.0.1:9/callback';
const VERIFIER = randomBytes(32).toString('base64url');
const VERSION = '2025-11-25';
const CALLS = 100;
/** Longer than what either side lets the other send unasked. */
const LONG = 'long '.repeat(100_000);

const mcpUrl = new URL(process.argv[2]);
const checks = new Checks();
const connection = await Http2Connection.to(mcpUrl.origin);
let token;
let session;

await checks.group(SUBJECT, async () => {
  await checks.promise(`${SUBJECT}: is refused, finds the way and signs in`, signIn);
  await checks.promise(`${SUBJECT}: initializes`, initialize);
  const listening = await listen();
  await checks.promise(`${SUBJECT}: hears what nobody asked for on the listening stream`, () => hear(listening));
  await checks.promise(`${SUBJECT}: ${CALLS} calls at a time each get their own answer`, callAtOnce);
  await checks.promise(`${SUBJECT}: half a megabyte goes in and comes back`, callAtLength);
  await checks.promise(`${SUBJECT}: ends its session, and with it the listening stream`, () => end(listening));
  await checks.promise(`${SUBJECT}: it was one connection`, async () => expect(connection.isOpen, 'it is closed'));
});
connection.close();
process.exit(checks.failed > 0 ? 1 : 0);

async function signIn() {
  const refused = await post({ method: 'ping', id: 0 });
  expectEqual(refused.status, 401, 'without a token');
  const [, document] = refused.headers['www-authenticate'].match(/resource_metadata="([^"]+)"/);
  const { resource, authorization_servers: [issuer] } = await getJson(document);
  expectEqual(resource, mcpUrl.href, 'resource');
  expectEqual(new URL(issuer).origin, mcpUrl.origin, 'issuer');
  const metadata = await getJson(`${mcpUrl.origin}/.well-known/oauth-authorization-server`);
  const client = await register(metadata.registration_endpoint);
  const code = await authorize(metadata.authorization_endpoint, client);
  const answer = await connection.request(
    'POST',
    pathOf(metadata.token_endpoint),
    { 'content-type': 'application/x-www-form-urlencoded' },
    new URLSearchParams({
      grant_type: 'authorization_code', code, client_id: client, redirect_uri: REDIRECT_URI,
      code_verifier: VERIFIER, resource: mcpUrl.href,
    }).toString(),
  );
  expectEqual(answer.status, 200, `the token endpoint (${answer.text})`);
  token = JSON.parse(answer.text).access_token;
}

async function register(endpoint) {
  const client = { client_name: SUBJECT, redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: 'none' };
  const json = { 'content-type': 'application/json' };
  const answer = await connection.request('POST', pathOf(endpoint), json, JSON.stringify(client));
  expectEqual(answer.status, 201, `registration (${answer.text})`);
  return JSON.parse(answer.text).client_id;
}

async function authorize(endpoint, client) {
  const url = new URL(endpoint);
  url.search = new URLSearchParams({
    response_type: 'code', client_id: client, redirect_uri: REDIRECT_URI, state: 'xyz',
    code_challenge: createHash('sha256').update(VERIFIER).digest('base64url'), code_challenge_method: 'S256', resource: mcpUrl.href,
  });
  return (await new Browser().signIn(url)).searchParams.get('code');
}

async function initialize() {
  const params = { protocolVersion: VERSION, capabilities: {}, clientInfo: { name: 'interop', version: '1' } };
  const answer = await post({ id: 0, method: 'initialize', params });
  expectEqual(answer.status, 200, `initialize (${answer.text})`);
  session = answer.headers['mcp-session-id'];
  expectEqual((await post({ method: 'notifications/initialized' })).status, 202, 'initialized');
}

async function listen() {
  const stream = await connection.open('GET', mcpUrl.pathname, { ...credentials(), accept: 'text/event-stream' });
  expectEqual(stream.status, 200, 'the listening stream');
  return stream;
}

async function hear(listening) {
  await call(0, 'toggle-simulated-logging', {});
  await listening.says(/notifications\/message/);
}

/** With the listening stream they are more than the guard lets be open at a time: one waits its turn. */
async function callAtOnce() {
  expectEqual(connection.mostStreams, CALLS, 'streams at a time');
  const begun = Date.now();
  const slow = (id) => call(id, 'trigger-long-running-operation', { duration: 1, steps: 1 });
  const quick = async (id) => {
    const text = await call(id, 'echo', { message: `number ${id}` });
    expect(text.endsWith(`number ${id}`), `${id} was answered ${text}`);
  };
  await Promise.all(Array.from({ length: CALLS }, (_, id) => (id % 2 ? slow(id) : quick(id))));
  const seconds = (Date.now() - begun) / 1000;
  expect(seconds < CALLS / 4, `they took ${seconds} s, one after another`);
}

async function callAtLength() {
  const text = await call(0, 'echo', { message: LONG });
  expect(text.endsWith(LONG), `${text.length} letters came back`);
}

async function end(listening) {
  const answer = await connection.request('DELETE', mcpUrl.pathname, credentials());
  expect(answer.status === 200 || answer.status === 204, `DELETE answered ${answer.status}`);
  await listening.text();
  expectEqual((await post({ id: 1, method: 'ping' })).status, 404, 'the session that ended');
}

/** The text of a tool's answer. */
async function call(id, name, args) {
  const { status, headers, text } = await post({ id, method: 'tools/call', params: { name, arguments: args } });
  expectEqual(status, 200, `${name} (${text})`);
  const isStream = headers['content-type'].startsWith('text/event-stream');
  const events = text.split('\n').filter((line) => line.startsWith('data: {')).map((line) => line.slice(6));
  const messages = (isStream ? events : [text]).map((message) => JSON.parse(message));
  const answer = messages.find((message) => message.id === id);
  expect(answer?.result, `no answer to ${id} in ${text.slice(0, 500)}`);
  return answer.result.content[0].text;
}

function post(message) {
  const headers = {
    ...credentials(),
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
  };
  return connection.request('POST', mcpUrl.pathname, headers, JSON.stringify({ jsonrpc: '2.0', ...message }));
}

function credentials() {
  return {
    ...(token && { authorization: `Bearer ${token}` }),
    ...(session && { 'mcp-session-id': session, 'mcp-protocol-version': VERSION }),
  };
}

async function getJson(url) {
  const answer = await connection.request('GET', pathOf(url));
  expectEqual(answer.status, 200, url);
  return JSON.parse(answer.text);
}

function pathOf(url) {
  const { origin, pathname } = new URL(url);
  expectEqual(origin, mcpUrl.origin, 'where the documents lead');
  return pathname;
}
