// A guard that obtains its certificate from a CA (pebble), and clients that trust that CA as they would
// any, by what Node.js is told at its start.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

import { BINARY, INTEROP_DIR, PASSWORD, freePort } from './guard.mjs';
import { Pebble } from './pebble.mjs';
import { Program } from './processes.mjs';
import { EVERYTHING } from './servers.mjs';

/**
 * Starts both, hands them to `use` once there is a certificate, and stops them whatever happens.
 * @param {object} options
 * @param {number} [options.validity]  of certificates, in seconds
 */
export async function withCertifiedGuard(checks, options, use) {
  const ports = { http: await freePort(), tls: await freePort() };
  const pebble = await Pebble.visiting(ports, options);
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
    if (obtained) await use({ mcpUrl: `${url}/mcp`, issuer: await pebble.issuerFile() });
  } finally {
    await guard.stop();
    await pebble.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

/**
 * Runs a client of `promises/`; what it promised counts here.
 * Which roots Node.js trusts is settled when it starts: the client is a process of its own.
 */
export async function runClient(checks, name, script, { mcpUrl, issuer }, within = 180_000) {
  const path = fileURLToPath(new URL(`../promises/${script}`, import.meta.url));
  const client = new Program(process.execPath, [path, mcpUrl], {
    name,
    cwd: INTEROP_DIR,
    env: { NODE_EXTRA_CA_CERTS: issuer },
  });
  const { code } = await client.finish(within);
  const lines = client.output.split('\n');
  for (const line of lines.filter((line) => line.startsWith('ok '))) checks.ok(line.slice(3));
  if (code !== 0) checks.notOk(name, new Error(client.output));
}
