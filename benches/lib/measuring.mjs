// What every measurement needs: the programs, load, processor time, memory.

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { REPOSITORY } from '../../tests/interop/lib/guard.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';

const { values: options, positionals } = parseArgs({
  options: { quick: { type: 'boolean' } },
  allowPositionals: true,
});

export const QUICK = options.quick ?? false;
/** The groups asked for; none means all. */
export const WANTED = positionals;
export const ROUNDS = QUICK ? 1 : 5;
export const IN_FLIGHT = [1, 32, 256];
export const WORKERS = availableParallelism();
export const MEASURE = QUICK ? 200 : 3000;
const WARM_UP = QUICK ? 50 : 1000;

const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'bench', version: '1' },
  },
});

/** The programs of `benches/programs`. */
export const programs = process.env.INTEROP_BENCH ?? build();

/** The guard last: building a benchmark also builds the binary, with the tests' features. */
function build() {
  const cargo = (...args) =>
    execFileSync('cargo', args, { cwd: REPOSITORY, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  // To see that all runs, programs will do that are not optimised.
  const building = QUICK ? ['build'] : ['bench', '--no-run'];
  const messages = cargo(...building, '--bench', 'programs', '--message-format=json');
  if (!process.env.INTEROP_BINARY) cargo('build', '--release');
  const artifacts = messages.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  return artifacts.find((artifact) => artifact.target?.name === 'programs' && artifact.executable).executable;
}

/** The round in the middle: the machine is not ours alone, and one round says more than an average. */
export function median(rounds, figure) {
  return rounds.sort((a, b) => figure(a) - figure(b))[rounds.length >> 1];
}

/** Turns by turns, `guarded` and what it is held against, at each number in flight. */
export async function besides(pid, inFlight, guarded, others) {
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const rates = {};
    for (const [name, other] of Object.entries(others)) rates[name] = (await other(inFlight)).rate;
    const before = processorTime(pid);
    const own = await guarded(inFlight);
    const micros = (processorTime(pid) - before) / 1000 / own.total;
    rounds.push({ own, micros, rates });
  }
  return rounds;
}

/** Warms up, then measures; `total` counts the calls of both, for the processor time. */
export async function load(address, inFlight, head, answers = 'own-id', secure = []) {
  const once = async (milliseconds) => {
    const args = ['load', address, String(inFlight), String(milliseconds), answers, ...secure];
    const program = new Program(programs, args, { input: true });
    program.child.stdin.end(head);
    return result(program);
  };
  const warm = await once(WARM_UP);
  const measured = await once(MEASURE);
  return { ...measured, total: warm.calls + measured.calls };
}

export async function result(program) {
  const { code } = await program.finish(60_000);
  if (code !== 0) throw new Error(program.output.slice(-1000));
  return JSON.parse(program.output.trim().split('\n').at(-1));
}

/** Initializes a session; gives the header lines that each call of it carries. */
export async function openSession(url, token) {
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  if (token) headers.authorization = `Bearer ${token}`;
  const opened = await fetch(url, { method: 'POST', headers, body: INITIALIZE });
  const text = await opened.text();
  if (!opened.ok) throw new Error(`initialize answered ${opened.status}: ${text}`);
  const session = { 'mcp-session-id': opened.headers.get('mcp-session-id'), 'mcp-protocol-version': '2025-11-25' };
  const body = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' });
  await (await fetch(url, { method: 'POST', headers: { ...headers, ...session }, body })).text();
  const lines = Object.entries(session).map(([name, value]) => `${name}: ${value}\r\n`);
  return credentials(url, token) + lines.join('');
}

export function credentials(url, token) {
  const authorization = token ? `authorization: Bearer ${token}\r\n` : '';
  return `host: ${new URL(url).host}\r\n${authorization}`;
}

export function addressOf(url) {
  return `127.0.0.1:${new URL(url).port}`;
}

export async function listens(port) {
  for (let turn = 0; turn < 200; turn += 1) {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST' }).catch(() => null);
    if (answer) return answer.arrayBuffer();
    await delay(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** Nanoseconds on a processor, all threads together. */
export function processorTime(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  const spent = threads.map((id) => readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]);
  return spent.reduce((sum, nanoseconds) => sum + Number(nanoseconds), 0);
}

/** Kilobytes. */
export function resident(pid) {
  return Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]);
}

export function say(what, figures) {
  const parts = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
  console.log(`${what}: ${parts.join(', ')}`);
}
