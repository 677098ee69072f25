// Calls a tool at the URL that is given, again and again, each time on a connection of its own, until
// it has seen three certificates and the first of them has expired. Ends with 1 if a call failed.

import { Agent, request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';

import { Checks, expect, expectEqual } from '../lib/checks.mjs';
import { initialize } from '../lib/mcp.mjs';
import { obtainTokens } from '../lib/oauth_client.mjs';

const CERTIFICATES = 3;
const ALL_WITHIN = 240_000;
const CALLERS = 4;
/** Between the calls of one: there are others on this machine. */
const PAUSE = 50;

const mcpUrl = process.argv[2];
const guard = { mcpUrl, url: new URL(mcpUrl).origin };
const checks = new Checks();
const seen = new Map();
let calls = 0;

await checks.promise('renewal: no request fails', renewed, { within: ALL_WITHIN + 10_000 });
console.log(`${calls} calls, ${seen.size} certificates, ${(process.uptime()).toFixed()} s`);
process.exit(checks.failed > 0 ? 1 : 0);

async function renewed() {
  const { access_token: token } = await obtainTokens(guard);
  const session = await initialize(guard, token);
  // Resumption would spare the guard from showing its certificate.
  const agent = new Agent({ keepAlive: false, maxCachedSessions: 0 });
  const deadline = Date.now() + ALL_WITHIN;
  const caller = async () => {
    while (!isDone()) {
      expect(Date.now() < deadline, `only ${seen.size} certificates in time`);
      await call(agent, token, session);
      await delay(PAUSE);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
}

function isDone() {
  const [first] = seen.values();
  return seen.size >= CERTIFICATES && first < Date.now();
}

async function call(agent, token, session) {
  const message = `call ${(calls += 1)}`;
  const headers = {
    authorization: `Bearer ${token}`,
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'mcp-session-id': session,
  };
  const answer = await new Promise((resolve, reject) => {
    const asked = request(mcpUrl, { method: 'POST', agent, headers }, resolve);
    asked.once('error', reject);
    const params = { name: 'echo', arguments: { message } };
    asked.end(JSON.stringify({ jsonrpc: '2.0', id: calls, method: 'tools/call', params }));
  });
  // A certificate that has expired, or is for somebody else, has failed the handshake.
  const { serialNumber, valid_to: end } = answer.socket.getPeerCertificate();
  seen.set(serialNumber, Date.parse(end));
  let text = '';
  for await (const part of answer.setEncoding('utf8')) text += part;
  expectEqual(answer.statusCode, 200, text);
  expect(text.includes(message), `${message} was answered ${text}`);
}
