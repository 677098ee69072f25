// Published servers that speak HTTP themselves, each on a port of its own.

import { createConnection } from 'node:net';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { FIXTURE, Guard, INTEROP_DIR, freePort } from './guard.mjs';
import { Program } from './processes.mjs';

/** Where `requirements-fastmcp.txt` was installed: it cannot share the client's place. */
export const FASTMCP_PYTHON = process.env.INTEROP_FASTMCP_PYTHON ?? '/nonexistent';

export const hasFastMcp = () => existsSync(FASTMCP_PYTHON);

const MODULES = join(INTEROP_DIR, 'node_modules');

export class HttpServer {
  /** npm's server-everything; `transport`: `streamableHttp` or `sse`. */
  static everything(transport) {
    const main = join(MODULES, '@modelcontextprotocol/server-everything/dist/index.js');
    return HttpServer.#start((port) => [process.execPath, [main, transport], { PORT: String(port) }]);
  }

  static fastMcp() {
    const main = join(INTEROP_DIR, 'promises/fastmcp_server.py');
    return HttpServer.#start((port) => [FASTMCP_PYTHON, [main, String(port)]]);
  }

  /** The project's own stdio server, made to speak HTTP by npm's supergateway. */
  static fixture() {
    const flags = ['--stateful', '--outputTransport', 'streamableHttp', '--logLevel', 'none'];
    const main = join(MODULES, '.bin/supergateway');
    return HttpServer.#start((port) => [main, [...flags, '--port', String(port), '--stdio', FIXTURE]]);
  }

  static async #start(commandAt) {
    const server = new HttpServer();
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    const [command, args, env] = commandAt(server.port);
    server.program = new Program(command, args, { name: args[0], env });
    await server.#listens();
    return server;
  }

  async #listens(within = 60_000) {
    const deadline = Date.now() + within;
    while (Date.now() < deadline && !this.program.end) {
      if (await answers(this.port)) return;
      await delay(50);
    }
    this.program.kill();
    throw new Error(`${this.program.name} does not listen:\n${this.program.output.slice(-2000)}`);
  }

  stop() {
    return this.program.stop();
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Starts a guard before `path` of a server, hands it to `use`, and stops both whatever happens. */
export async function withGuardedUrl(server, path, options, use) {
  let guard;
  try {
    guard = await Guard.beforeUrl(`${server.url}${path}`, options);
    return await use(guard);
  } finally {
    await guard?.stop();
    await server.stop();
  }
}
