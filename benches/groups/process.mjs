// The guard by itself: how soon it listens, and what parts of the request path cost.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { BINARY, PASSWORD, freePort } from '../../tests/interop/lib/guard.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';
import { QUICK, programs, result, say } from '../lib/measuring.mjs';

const STARTS = QUICK ? 2 : 11;

export async function start() {
  const port = await freePort();
  const data = mkdtempSync(join(tmpdir(), 'mcp-guard-bench-'));
  const url = `http://localhost:${port}`;
  const args = ['--external-url', url, '--data-path', data, '--', programs, 'fast-child'];
  try {
    const program = new Program(programs, ['start', `127.0.0.1:${port}`, String(STARTS), '--', BINARY, ...args], {
      env: { MCP_GUARD_PASSWORD: PASSWORD },
    });
    const { first_ms: first, median_ms: median } = await result(program);
    say('exec to listening', { first: `${first.toFixed(1)} ms`, median: `${median.toFixed(1)} ms` });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

export async function parts() {
  const program = new Program(programs, ['parts', QUICK ? '100' : '20000']);
  const { rewrite_ns: rewrite, token_ns: token } = await result(program);
  say('parts of the way', { 'parse and rewrite 700 bytes': `${rewrite} ns`, 'known token': `${token} ns` });
}
