// MCP by hand, for what a client of an SDK would not do.

import { expect } from './checks.mjs';

const VERSION = '2025-11-25';

/** A new session; gives its id. */
export async function initialize(guard, token) {
  const clientInfo = { name: 'interop', version: '1' };
  const params = { protocolVersion: VERSION, capabilities: {}, clientInfo };
  const answer = await post(guard, token, { id: 1, method: 'initialize', params });
  const text = await answer.text();
  expect(answer.ok && text.includes('serverInfo'), `initialize answered ${answer.status}: ${text}`);
  const session = answer.headers.get('mcp-session-id');
  await (await post(guard, token, { method: 'notifications/initialized' }, session)).text();
  return session;
}

/** server-everything's environment, asked for in this session. */
export function call(guard, token, session) {
  const params = { name: 'get-env', arguments: {} };
  return post(guard, token, { id: 2, method: 'tools/call', params }, session);
}

function post(guard, token, message, session) {
  const headers = {
    authorization: `Bearer ${token}`,
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
  };
  if (session) Object.assign(headers, { 'mcp-session-id': session, 'mcp-protocol-version': VERSION });
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  return fetch(guard.mcpUrl, { method: 'POST', headers, body });
}
