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
    const subject = `python mcp 1.x, ${server.name}`;
    if (!hasPython()) {
      checks.missing(subject, 'PyPI mcp');
      continue;
    }
    await checks.group(subject, () =>
      withGuard(server.command, {}, (guard) =>
        pythonOver('streamable-http', guard.mcpUrl, checks, guard, server, subject),
      ),
    );
  }
}

export async function pythonOver(transport, url, checks, guard, server, subject) {
  const script = join(INTEROP_DIR, 'promises/python_mcp.py');
  const browser = join(INTEROP_DIR, 'lib/open_browser.mjs');
  const args = [script, url, browser, JSON.stringify(server.call), transport];
  const python = new Program(PYTHON, args, { name: 'python_mcp.py' });
  try {
    for (const step of STEPS) {
      const kept = await checks.promise(`${subject}: ${step}`, () => python.says(`ok ${step}`, 110_000), {
        within: 120_000,
      });
      if (!kept) throw new Error(`the guard said:\n${guard.log()}`);
    }
    await python.finish(20_000);
  } finally {
    python.kill();
  }
}
