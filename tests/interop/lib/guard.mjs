// The guard under test: the release binary on a free port, with a data directory of its own.

import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';

import { Program } from './processes.mjs';

export const PASSWORD = 'correct horse battery staple';
export const INTEROP_DIR = join(dirname(fileURLToPath(import.meta.url)), '..');
export const REPOSITORY = join(INTEROP_DIR, '..', '..');
export const BINARY = process.env.INTEROP_BINARY ?? join(REPOSITORY, 'target/release/mcp-guard');
export const FIXTURE =
  process.env.INTEROP_FIXTURE ?? join(REPOSITORY, 'target/debug/examples/conformance_server');

export async function freePort(host = '127.0.0.1') {
  const server = createServer();
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Guard {
  /** Starts it before `command` and waits until it serves. `port`: where, if that was promised. */
  static before(command, options) {
    return Guard.#start(['--', ...command], options);
  }

  /** Starts it before the server at `url`. */
  static async beforeUrl(url, options) {
    const guard = await Guard.#start([url], options);
    guard.mcpUrl = `${guard.url}${new URL(url).pathname}`;
    return guard;
  }

  /**
   * With a `certificate` (paths of `chain` and `key`) it speaks TLS. With an `externalUrl`, TLS ends
   * in front of it, at that URL.
   */
  static async #start(server, { flags = [], env = {}, certificate, port, externalUrl } = {}) {
    port ??= await freePort();
    const guard = new Guard();
    guard.port = port;
    guard.url = externalUrl ?? `${certificate ? 'https' : 'http'}://localhost:${port}`;
    if (externalUrl) flags = [...flags, '--no-auto-tls', '--listen', `127.0.0.1:${port}`];
    const { origin, pathname } = new URL(guard.url);
    guard.address = `${externalUrl ? `http://127.0.0.1:${port}` : origin}${pathname.replace(/\/$/, '')}`;
    if (certificate) {
      const listen = ['--tls-listen', `127.0.0.1:${port}`, '--listen', `127.0.0.1:${await freePort()}`];
      const { chain, key } = certificate;
      flags = [...flags, ...listen, '--tls-cert-file', chain, '--tls-key-file', key];
    }
    guard.mcpUrl = `${guard.url}/mcp`;
    guard.data = mkdtempSync(join(tmpdir(), 'mcp-guard-interop-'));
    const args = ['--external-url', guard.url, '--data-path', guard.data, ...flags, ...server];
    // The working directory lets `npx` find the pinned servers without a download.
    guard.program = new Program(BINARY, args, {
      name: 'mcp-guard',
      cwd: INTEROP_DIR,
      env: { MCP_GUARD_PASSWORD: PASSWORD, ...env },
    });
    await guard.serves();
    return guard;
  }

  async serves(within = 10_000) {
    const deadline = Date.now() + within;
    while (Date.now() < deadline && !this.program.end) {
      const answer = await fetch(`${this.address}/healthz`).catch(() => null);
      if (answer?.ok) return;
      await delay(20);
    }
    const said = this.log();
    await this.stop();
    throw new Error(`the guard does not serve:\n${said}`);
  }

  log() {
    return this.program.output.slice(-3000);
  }

  async stop() {
    await this.program.stop();
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** Starts a guard, hands it to `use`, and stops it whatever happens. */
export async function withGuard(command, options, use) {
  const guard = await Guard.before(command, options);
  try {
    return await use(guard);
  } finally {
    await guard.stop();
  }
}
