// From an https URL to a client that signs in: the guard obtains its certificate from a CA, and the
// client trusts that CA as it would any, by what Node.js is told at its start.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

import { BINARY, INTEROP_DIR, PASSWORD, freePort } from '../lib/guard.mjs';
import { Pebble } from '../lib/pebble.mjs';
import { Program } from '../lib/processes.mjs';
import { EVERYTHING } from '../lib/servers.mjs';

const CLIENT = fileURLToPath(new URL('tls_client.mjs', import.meta.url));

export async function tls(checks) {
  const ports = { http: await freePort(), tls: await freePort() };
  const pebble = await Pebble.visiting(ports);
  if (!pebble) {
    checks.missing('a certificate from a CA', 'pebble');
    return;
  }
  const data = mkdtempSync(join(tmpdir(), 'mcp-guard-interop-'));
  const url = `https://localhost:${ports.tls}`;
  const guard = new Program(
    BINARY,
    [
      '--external-url', url, '--tls-listen', `127.0.0.1:${ports.tls}`, '--listen', `127.0.0.1:${ports.http}`,
      '--tls-accept-tos', '--tls-directory-url', pebble.directory, '--tls-ca-file', pebble.trustFile,
      '--data-path', data, '--', ...EVERYTHING.command,
    ],
    { name: 'mcp-guard', cwd: INTEROP_DIR, env: { MCP_GUARD_PASSWORD: PASSWORD } },
  );
  try {
    const obtained = await checks.promise('a certificate is obtained from a CA', () => guard.says(/certificate_issued/));
    if (obtained) await asClient(checks, `${url}/mcp`, await pebble.issuerFile());
  } finally {
    await guard.stop();
    await pebble.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

/** Which roots Node.js trusts is settled when it starts: the client is a process of its own. */
async function asClient(checks, mcpUrl, issuer) {
  const client = new Program(process.execPath, [CLIENT, mcpUrl], {
    name: 'client',
    cwd: INTEROP_DIR,
    env: { NODE_EXTRA_CA_CERTS: issuer },
  });
  const { code } = await client.finish(180_000);
  const lines = client.output.split('\n');
  for (const line of lines.filter((line) => line.startsWith('ok '))) checks.ok(line.slice(3));
  if (code !== 0) checks.notOk('sdk 1.x over TLS', new Error(client.output));
}
