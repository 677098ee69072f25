import { execFileSync, spawn } from 'node:child_process';
import { Guard, freePort } from '../../tests/interop/lib/guard.mjs';
import { obtainTokens } from '../../tests/interop/lib/oauth_client.mjs';
import { Program, killAll } from '../../tests/interop/lib/processes.mjs';
import { WORKERS, addressOf, credentials, listens, load, programs, processorTime } from '../lib/measuring.mjs';
process.once('exit', killAll);
const port = await freePort();
const up = new Program(programs, ['upstream', String(port), String(WORKERS)]);
await listens(port);
const guard = await Guard.beforeUrl(`http://127.0.0.1:${port}/mcp`, {});
const hp = await freePort();
const proxy = new Program(programs, ['proxy', String(hp), `127.0.0.1:${port}`, String(WORKERS)]);
await listens(hp);
const head = credentials(guard.url, (await obtainTokens(guard)).access_token);
const n = Number(process.argv[2] ?? 32);
for (const [name, pid, addr] of [['guard', guard.program.pid, addressOf(guard.url)], ['hyper', proxy.pid, `127.0.0.1:${hp}`]]) {
  const before = processorTime(pid);
  const perf = process.argv[3] === 'perf' ? spawn('perf', ['record', '-g', '-F', '2000', '-p', String(pid), '-o', `/tmp/perf-${name}.data`], { stdio: 'ignore' }) : null;
  const r = await load(addr, n, head, 'one-for-all');
  perf?.kill('SIGINT');
  console.log(name, r.rate.toFixed(0), ((processorTime(pid) - before) / 1000 / r.total).toFixed(1), 'us/call');
}
await guard.stop(); proxy.kill(); up.kill();
process.exit(0);
