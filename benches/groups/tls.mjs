// TLS of the guard's own: handshakes beside nginx, what it costs a call, and what connections cost
// others on which nobody speaks.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { Guard, freePort } from '../../tests/interop/lib/guard.mjs';
import { obtainTokens } from '../../tests/interop/lib/oauth_client.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';
import {
  MEASURE, QUICK, ROUNDS, WORKERS, addressOf, besides, credentials, listens, load, median, programs, result, say,
} from '../lib/measuring.mjs';
import { Nginx } from '../lib/nginx.mjs';

const NAME = 'localhost';
const IN_FLIGHT = 32;
const DEAD = QUICK ? 100 : 2000;
const REQUESTS = QUICK ? 20 : 500;

export async function tls() {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-guard-tls-'));
  // Node.js settles whom it trusts at its start; what it asks here is our own guard on loopback.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  try {
    const certificate = selfSigned(folder);
    await guards(certificate, async (guard, plain) => {
      await handshakes(guard, certificate);
      await calls(guard, plain, certificate);
      await besideDeadConnections(guard);
    });
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** ECDSA on P-256, which is what CAs hand out to the guard. */
function selfSigned(folder) {
  const [chain, key] = ['chain.pem', 'key.pem'].map((name) => join(folder, name));
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`, '-addext', 'basicConstraints=critical,CA:FALSE',
    '-keyout', key, '-out', chain,
  ], { stdio: 'pipe' });
  return { chain, key };
}

/** One guard with TLS and one without, before the same upstream. */
async function guards(certificate, use) {
  const port = await freePort();
  const upstream = new Program(programs, ['upstream', String(port), String(WORKERS)]);
  const flags = ['--max-connections-per-address', '9000', '--max-requests-per-user', '1000000'];
  const started = [];
  try {
    await listens(port);
    for (const options of [{ flags, certificate }, { flags }]) {
      started.push(await Guard.beforeUrl(`http://127.0.0.1:${port}/mcp`, options));
    }
    for (const guard of started) guard.token = (await obtainTokens(guard)).access_token;
    await use(...started);
  } finally {
    for (const guard of started) await guard.stop();
    upstream.kill();
  }
}

async function handshakes(guard, certificate) {
  const shake = (port) =>
    result(new Program(programs, ['handshakes', `127.0.0.1:${port}`, String(IN_FLIGHT), String(MEASURE), NAME, certificate.chain]));
  const nginx = await shakingNginx(certificate);
  try {
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const theirs = nginx ? (await shake(nginx.port)).rate : NaN;
      const own = (await shake(new URL(guard.url).port)).rate;
      rounds.push({ own, theirs, ratio: own / theirs });
    }
    const { own, theirs, ratio } = median(rounds, (round) => (nginx ? round.ratio : round.own));
    const beside = nginx ? { nginx: `${theirs.toFixed(0)}/s`, ratio: ratio.toFixed(2) } : { nginx: 'is not installed' };
    say(`TLS handshakes, ${IN_FLIGHT} in flight`, { guard: `${own.toFixed(0)}/s`, ...beside });
  } finally {
    nginx?.stop();
  }
}

/** A server that answers nothing but handshakes. */
async function shakingNginx({ chain, key }) {
  const nginx = await Nginx.start(
    (port) => `
  server {
    listen 127.0.0.1:${port} ssl backlog=1024;
    ssl_certificate ${chain};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;
    return 200;
  }
`,
  );
  for (let turn = 0; nginx && turn < 100; turn += 1) {
    if (await fetch(`https://${NAME}:${nginx.port}/`).catch(() => null)) return nginx;
    await delay(50);
  }
  if (!nginx) return null;
  const said = nginx.program.output;
  nginx.stop();
  throw new Error(`nginx does not answer: ${said}`);
}

async function calls(guard, plain, { chain }) {
  const head = (one) => credentials(one.url, one.token);
  const own = (n) => load(addressOf(guard.url), n, head(guard), 'one-for-all', [NAME, chain]);
  const others = { plain: (n) => load(addressOf(plain.url), n, head(plain), 'one-for-all') };
  const rounds = await besides(guard.program.pid, IN_FLIGHT, own, others);
  const { own: best, micros, rates } = median(rounds, ({ own, rates }) => own.rate / rates.plain);
  say(`forwarded over TLS, ${IN_FLIGHT} in flight`, {
    guard: `${best.rate.toFixed(0)}/s`,
    'without TLS': `${rates.plain.toFixed(0)}/s`,
    ratio: (best.rate / rates.plain).toFixed(2),
    cpu: `${micros.toFixed(1)} us/call`,
    p99: `${best.p99_us} us`,
  });
}

async function besideDeadConnections(guard) {
  const alone = await times(guard);
  const dead = new Program(programs, ['dead', addressOf(guard.url), String(DEAD)], { input: true });
  try {
    await dead.says(/"ready"/, 60_000);
    const crowded = await times(guard);
    say(`a new request over TLS beside ${DEAD} dead connections`, {
      'p99 without them': `${alone.toFixed(1)} ms`,
      'p99 with them': `${crowded.toFixed(1)} ms`,
    });
  } finally {
    dead.kill();
    await dead.ended;
  }
}

/** The 99th percentile in milliseconds, of requests that each make a connection. */
async function times(guard) {
  const taken = [];
  for (let turn = 0; turn < REQUESTS; turn += 1) {
    const began = performance.now();
    const status = await once(guard);
    if (status !== 200) throw new Error(`the guard answered ${status}`);
    taken.push(performance.now() - began);
  }
  return taken.sort((a, b) => a - b).at(Math.floor(taken.length * 0.99));
}

function once(guard) {
  const headers = { authorization: `Bearer ${guard.token}`, 'content-type': 'application/json' };
  const agent = new Agent({ keepAlive: false, maxCachedSessions: 0 });
  return new Promise((resolve, reject) => {
    const asked = request(guard.mcpUrl, { method: 'POST', headers, agent }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
    });
    asked.on('error', reject);
    asked.end('{}');
  });
}
