import { spawn } from 'node:child_process';
import { Guard, freePort } from '../../tests/interop/lib/guard.mjs';
import { obtainTokens } from '../../tests/interop/lib/oauth_client.mjs';
import { Program, killAll } from '../../tests/interop/lib/processes.mjs';
import { WORKERS, addressOf, credentials, listens, load, programs } from '../lib/measuring.mjs';
process.once('exit', killAll);
const port = await freePort();
const up = new Program(programs, ['upstream', String(port), String(WORKERS)]);
await listens(port);
const guard = await Guard.beforeUrl(`http://127.0.0.1:${port}/mcp`, {});
const hp = await freePort();
const proxy = new Program(programs, ['proxy', String(hp), `127.0.0.1:${port}`, String(WORKERS)]);
await listens(hp);
const head = credentials(guard.url, (await obtainTokens(guard)).access_token);
const run = (cmd, args) => { const p = spawn(cmd, args, { stdio: ['ignore', 'ignore', 'pipe'] }); let out = ''; p.stderr.on('data', (c) => out += c); return { p, done: new Promise((r) => p.on('close', () => r(out))) }; };
for (const [name, pid, addr] of [['guard', guard.program.pid, addressOf(guard.url)], ['hyper', proxy.pid, `127.0.0.1:${hp}`]]) {
  const st = run('perf', ['stat', '-e', 'instructions:u,instructions:k,cycles:u,cycles:k,context-switches,raw_syscalls:sys_enter', '-p', String(pid)]);
  const r = await load(addr, 32, head, 'one-for-all');
  st.p.kill('SIGINT'); const out = await st.done;
  console.log(name, r.total); for (const l of out.split('\n')) { const m = l.match(/^\s*([\d,]+)\s+(\S+)/); if (m) console.log('  ', m[2], (Number(m[1].replaceAll(',', '')) / r.total).toFixed(2)); }
  const s2 = run('strace', ['-f', '-c', '-p', String(pid)]);
  const r2 = await load(addr, 32, head, 'one-for-all');
  s2.p.kill('SIGINT'); const o2 = await s2.done;
  console.log('calls', r2.total); console.log(o2.split('\n').slice(0, 12).join('\n'));
}
await guard.stop(); proxy.kill(); up.kill(); process.exit(0);
