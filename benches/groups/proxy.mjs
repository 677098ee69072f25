// A URL behind the guard: rates beside a bare hyper proxy and nginx, idle streams, a large answer.

import { setTimeout as delay } from 'node:timers/promises';

import { Guard, freePort } from '../../tests/interop/lib/guard.mjs';
import { obtainTokens } from '../../tests/interop/lib/oauth_client.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';
import {
  IN_FLIGHT, QUICK, WORKERS, addressOf, besides, credentials, listens, load, median, processorTime, programs,
  resident, say,
} from '../lib/measuring.mjs';
import { Nginx } from '../lib/nginx.mjs';

/** Each takes two file descriptors of the guard, and 20 000 is all that many systems give. */
const STREAMS = QUICK ? 50 : 9500;
const CALLS_BESIDE_STREAMS = QUICK ? 20 : 1000;

/** Small authenticated POSTs: the guard, hyper and nginx by turns, before the same upstream. */
export async function forwarded() {
  await before(async (guard, upstream, head) => {
    const hyper = await freePort();
    const proxy = new Program(programs, ['proxy', String(hyper), addressOf(upstream), String(WORKERS)]);
    const nginx = await proxyingNginx(addressOf(upstream));
    try {
      await listens(hyper);
      const others = { hyper: (n) => load(`127.0.0.1:${hyper}`, n, head, 'one-for-all') };
      if (nginx) others.nginx = (n) => load(`127.0.0.1:${nginx.port}`, n, head, 'one-for-all');
      for (const inFlight of IN_FLIGHT) {
        const own = (n) => load(addressOf(guard.url), n, head, 'one-for-all');
        const rounds = await besides(guard.program.pid, inFlight, own, others);
        for (const name of Object.keys(others)) {
          const { own, micros, rates } = median(rounds, ({ own, rates }) => own.rate / rates[name]);
          say(`forwarded, ${inFlight} in flight, beside ${name}`, {
            guard: `${own.rate.toFixed(0)}/s`,
            [name]: `${rates[name].toFixed(0)}/s`,
            ratio: (own.rate / rates[name]).toFixed(2),
            cpu: `${micros.toFixed(1)} us/call`,
            p99: `${own.p99_us} us`,
          });
        }
      }
    } finally {
      proxy.kill();
      nginx?.stop();
    }
  });
}

/** What an idle event stream costs, and what many of them cost everybody else. */
export async function idleStreams() {
  await before(async (guard, _upstream, head) => {
    const pid = guard.program.pid;
    const few = await holding(guard, 10, head, async () => resident(pid));
    await holding(guard, STREAMS, head, async () => {
      const many = resident(pid);
      const began = process.hrtime.bigint();
      const before = processorTime(pid);
      await delay(QUICK ? 100 : 5000);
      const share = (processorTime(pid) - before) / Number(process.hrtime.bigint() - began);
      const taken = await times(guard, head);
      say(`${STREAMS} idle event streams`, {
        each: `${((many - few) / (STREAMS - 10)).toFixed(1)} KB`,
        cpu: `${(share * 100).toFixed(2)} % of a core`,
        'p99 of a new request': `${taken.at(Math.floor(taken.length * 0.99)).toFixed(1)} ms`,
      });
    });
  });
}

/** 100 MB through the guard, to a reader that takes its time at first. */
export async function largeAnswer() {
  await before(async (guard, _upstream, head) => {
    const pid = guard.program.pid;
    const authorization = head.match(/authorization: (.*)\r/)[1];
    const fetchOnce = (path) => fetch(`${guard.url}${path}`, { headers: { authorization } });
    await (await fetch(guard.mcpUrl, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: '{}' })).text();
    const idle = resident(pid);
    const answer = await fetchOnce('/large');
    let received = 0;
    let peak = idle;
    for await (const chunk of answer.body) {
      if (received === 0) await delay(QUICK ? 50 : 1000);
      received += chunk.length;
      peak = Math.max(peak, resident(pid));
    }
    if (received !== 100 * 1024 * 1024) throw new Error(`${received} bytes arrived`);
    say('a streamed answer of 100 MB', { added: `${((peak - idle) / 1024).toFixed(1)} MB` });
  });
}

/** A guard before the upstream; `use` gets both and the head of an authenticated request. */
async function before(use) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const upstream = new Program(programs, ['upstream', String(port), String(WORKERS)]);
  const most = String(STREAMS + 1000);
  const flags = [
    '--max-streams-per-user', most, '--max-connections', most, '--max-connections-per-address', most,
    '--max-requests-per-user', '1000000',
  ];
  let guard;
  try {
    await listens(port);
    guard = await Guard.beforeUrl(`${url}/mcp`, { flags });
    const head = credentials(guard.url, (await obtainTokens(guard)).access_token);
    await use(guard, url, head);
  } finally {
    await guard?.stop();
    upstream.kill();
  }
}

async function holding(guard, howMany, head, use) {
  const client = new Program(programs, ['gets', addressOf(guard.url), String(howMany)], { input: true });
  try {
    client.child.stdin.write(`${head}\r\n`);
    await client.says(/"ready"/, 60_000);
    await delay(QUICK ? 0 : 2000);
    return await use();
  } finally {
    client.kill();
    await client.ended;
  }
}

/** Milliseconds of single new requests, in order. */
async function times(guard, head) {
  const authorization = head.match(/authorization: (.*)\r/)[1];
  const taken = [];
  for (let turn = 0; turn < CALLS_BESIDE_STREAMS; turn += 1) {
    const began = performance.now();
    const headers = { authorization, 'content-type': 'application/json', connection: 'close' };
    await (await fetch(guard.mcpUrl, { method: 'POST', headers, body: '{}' })).text();
    taken.push(performance.now() - began);
  }
  return taken.sort((a, b) => a - b);
}

/** A bare proxy that keeps connections. */
async function proxyingNginx(upstream) {
  const nginx = await Nginx.start(
    (port) => `
  keepalive_requests 100000000;
  upstream server { server ${upstream}; keepalive 512; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
`,
  );
  if (nginx) await listens(nginx.port);
  else say('nginx', { skipped: 'it is not installed' });
  return nginx;
}
