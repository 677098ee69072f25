// However the guard ends, nothing of the wrapped server is left, grandchildren of `npx`
// included.

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

import { expect } from '../lib/checks.mjs';
import { Guard } from '../lib/guard.mjs';
import { initialize } from '../lib/mcp.mjs';
import { obtainTokens } from '../lib/oauth_client.mjs';
import { processesWith } from '../lib/processes.mjs';
import { EVERYTHING } from '../lib/servers.mjs';

const GONE_WITHIN = 15_000;

export async function children(checks) {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    await checks.promise(`children: none outlives a guard ended by ${signal}`, () => end(signal), {
      within: 120_000,
    });
  }
}

async function end(signal) {
  const mark = randomUUID();
  const guard = await Guard.before(EVERYTHING.command, { env: { INTEROP_CHILD: mark } });
  try {
    const { access_token: token } = await obtainTokens(guard);
    await initialize(guard, token);
    expect(processesWith('INTEROP_CHILD', mark).length > 1, 'the server was never started');
    guard.program.signal(signal);
    const deadline = Date.now() + GONE_WITHIN;
    while (processesWith('INTEROP_CHILD', mark).length > 0 && Date.now() < deadline) await delay(100);
    const left = processesWith('INTEROP_CHILD', mark);
    expect(left.length === 0, `left: ${left.map(({ command }) => command).join(' | ')}`);
  } finally {
    await guard.stop();
  }
}
