// A command behind the guard: calls, memory.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { Guard, INTEROP_DIR, freePort } from '../../tests/interop/lib/guard.mjs';
import { obtainTokens } from '../../tests/interop/lib/oauth_client.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';
import {
  IN_FLIGHT, QUICK, WORKERS, addressOf, besides, credentials, listens, load, median, openSession, programs, resident,
  say,
} from '../lib/measuring.mjs';

const STREAMS = QUICK ? 50 : 2000;
/** Everything here is one user's. */
const UNLIMITED = ['--max-requests-per-user', '1000000'];

/** Calls a second, and the guard's processor time for each. */
export async function calls() {
  const port = await freePort();
  const baseline = new Program(programs, ['baseline', String(port), String(WORKERS)]);
  const guard = await Guard.before([programs, 'fast-child'], { flags: UNLIMITED });
  const gateway = await supergateway();
  try {
    await listens(port);
    const head = await openSession(guard.mcpUrl, (await obtainTokens(guard)).access_token);
    for (const inFlight of IN_FLIGHT) {
      const rounds = await besides(guard.program.pid, inFlight, (n) => load(addressOf(guard.url), n, head), {
        hyper: (n) => load(`127.0.0.1:${port}`, n, head, 'one-for-all'),
      });
      const { own, micros, rates } = median(rounds, ({ own, rates }) => own.rate / rates.hyper);
      say(`calls, ${inFlight} in flight`, {
        guard: `${own.rate.toFixed(0)}/s`,
        hyper: `${rates.hyper.toFixed(0)}/s`,
        ratio: (own.rate / rates.hyper).toFixed(2),
        cpu: `${micros.toFixed(1)} us/call`,
        p50: `${own.p50_us} us`,
        p99: `${own.p99_us} us`,
      });
      if (inFlight === 32) await besideSupergateway(own, gateway);
    }
  } finally {
    baseline.kill();
    gateway.program.kill();
    await guard.stop();
  }
}

async function besideSupergateway(own, gateway) {
  await listens(gateway.port);
  const url = `http://localhost:${gateway.port}/mcp`;
  const theirs = await load(`127.0.0.1:${gateway.port}`, 32, await openSession(url));
  say('calls, 32 in flight, beside supergateway', {
    supergateway: `${theirs.rate.toFixed(0)}/s`,
    ratio: (own.rate / theirs.rate).toFixed(1),
  });
}

async function supergateway() {
  const port = await freePort();
  const args = ['--stateful', '--outputTransport', 'streamableHttp', '--logLevel', 'none'];
  const program = new Program(
    join(INTEROP_DIR, 'node_modules/.bin/supergateway'),
    [...args, '--port', String(port), '--stdio', `${programs} fast-child`],
  );
  return { program, port };
}

export async function idle() {
  const guard = await Guard.before([programs, 'fast-child']);
  try {
    await delay(QUICK ? 0 : 1000);
    say('idle, no child', { resident: `${(resident(guard.program.pid) / 1024).toFixed(1)} MB` });
  } finally {
    await guard.stop();
  }
}

/** One child for all sessions, so that what grows is the guard's own state. */
export async function streams() {
  const limit = String(STREAMS + 1000);
  const flags = [
    ...UNLIMITED, '--isolation', 'user', '--max-streams-per-user', limit, '--max-connections-per-address', limit,
  ];
  const guard = await Guard.before([programs, 'fast-child'], { flags });
  try {
    const head = credentials(guard.url, (await obtainTokens(guard)).access_token);
    const few = await holding(guard, 10, head);
    const many = await holding(guard, STREAMS, head);
    const each = (many - few) / (STREAMS - 10);
    say(`${STREAMS} idle sessions with a stream`, { each: `${each.toFixed(1)} KB` });
  } finally {
    await guard.stop();
  }
}

/** The guard's resident KB while so many sessions hold their stream open. */
async function holding(guard, howMany, head) {
  const client = new Program(programs, ['streams', addressOf(guard.url), String(howMany)], { input: true });
  try {
    client.child.stdin.write(`${head}\r\n`);
    await client.says(/"ready"/, 60_000);
    await delay(QUICK ? 0 : 2000);
    return resident(guard.program.pid);
  } finally {
    client.kill();
    await client.ended;
  }
}
