// PyPI `mcp` 1.x (python_mcp.py) does the whole dance headlessly before four servers.

import { join } from 'node:path';

import { INTEROP_DIR, withGuard } from '../lib/guard.mjs';
import { Program } from '../lib/processes.mjs';
import { PYTHON, SERVERS, hasPython } from '../lib/servers.mjs';

const STEPS = [
  'signs in and initializes',
  'lists its tools',
  'calls a tool',
  'refreshes and calls again',
];

export async function pythonMcp(checks) {
  for (const server of SERVERS) {
    const named = (what) => `python mcp 1.x, ${server.name}: ${what}`;
    if (!hasPython()) {
      checks.missing(named('the whole dance'), 'PyPI mcp');
      continue;
    }
    await withGuard(server.command, {}, (guard) => dance(checks, guard, server, named));
  }
}

async function dance(checks, guard, server, named) {
  const script = join(INTEROP_DIR, 'promises/python_mcp.py');
  const browser = join(INTEROP_DIR, 'lib/open_browser.mjs');
  const args = [script, guard.mcpUrl, browser, JSON.stringify(server.call)];
  const python = new Program(PYTHON, args, { name: 'python_mcp.py' });
  try {
    for (const step of STEPS) {
      const kept = await checks.promise(named(step), () => python.says(`ok ${step}`, 110_000), {
        within: 120_000,
      });
      if (!kept) return;
    }
    await python.finish(20_000);
  } finally {
    python.kill();
  }
}
