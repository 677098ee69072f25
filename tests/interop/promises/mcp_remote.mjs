// `mcp-remote`, how clients that only speak stdio reach a remote server: it opens a browser
// (ours, through BROWSER) and listens for the answer itself.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from '../lib/checks.mjs';
import { INTEROP_DIR, freePort, withGuard } from '../lib/guard.mjs';
import { MARK } from '../lib/processes.mjs';
import { EVERYTHING } from '../lib/servers.mjs';

export async function mcpRemote(checks) {
  await mcpRemoteOver(checks, 'mcp-remote', (guard) => guard.mcpUrl);
}

/** `urlOf` a guard is what mcp-remote is given, with `flags`. */
export async function mcpRemoteOver(checks, subject, urlOf, flags) {
  await withGuard(EVERYTHING.command, {}, (guard) => mcpRemoteAt(urlOf(guard), checks, subject, flags));
}

export async function mcpRemoteAt(url, checks, subject, flags = []) {
  const home = mkdtempSync(join(tmpdir(), 'mcp-remote-'));
  try {
    const port = await freePort();
    const args = [url, String(port), ...flags];
    await checks.promise(`${subject}: signs in through a browser and calls a tool`, () => use(args, home), {
      within: 120_000,
    });
    await checks.promise(`${subject}: comes back without a browser`, () => use(args, home, { browser: 'false' }), {
      within: 120_000,
    });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function use(args, home, { browser = join(INTEROP_DIR, 'lib/open_browser.mjs') } = {}) {
  const transport = new StdioClientTransport({
    command: join(INTEROP_DIR, 'node_modules/.bin/mcp-remote'),
    args,
    env: { ...process.env, BROWSER: browser, DISPLAY: '', MCP_REMOTE_CONFIG_DIR: home, INTEROP_RUN: MARK },
    stderr: 'pipe',
  });
  let said = '';
  transport.stderr.on('data', (chunk) => (said += chunk));
  const client = new Client({ name: 'interop', version: '1.0.0' });
  try {
    await client.connect(transport, { timeout: 100_000 });
    const result = await client.callTool(EVERYTHING.call);
    expect(EVERYTHING.answers.test(JSON.stringify(result.content)), JSON.stringify(result));
  } catch (error) {
    throw new Error(`${error.message}\nmcp-remote said:\n${said.slice(-2000)}`);
  } finally {
    await client.close();
  }
}
