// TLS in front of a guard, at a name that only the browser under test resolves: pages as they look
// where the guard is at home, and the same from run to run.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';

import { Guard } from './guard.mjs';
import { Listener, certificateFor } from './listener.mjs';

export class Front {
  static async open(host) {
    const front = new Front();
    front.host = host;
    front.url = `https://${host}`;
    const forward = (request, response) => front.#forward(request, response);
    front.listener = await Listener.open(forward, certificateFor(host));
    /** For `--host-resolver-rules`. */
    front.rule = `MAP ${host}:443 127.0.0.1:${front.listener.port}`;
    return front;
  }

  /** Starts a guard behind it, hands it to `use`, and stops it whatever happens. */
  async withGuard(command, { path = '', ...options }, use) {
    const guard = await Guard.before(command, { ...options, externalUrl: `${this.url}${path}` });
    guard.fetch = (url, request) => this.#fetch(url, request);
    this.guard = guard;
    try {
      return await use(guard);
    } finally {
      this.guard = undefined;
      await guard.stop();
    }
  }

  #forward(request, response) {
    const { method, url: path, headers } = request;
    const onward = http.request({ host: '127.0.0.1', port: this.guard?.port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    request.pipe(onward);
  }

  /** As much of `fetch` as a client of the guard needs. */
  async #fetch(url, { method = 'GET', headers = {}, body = '' } = {}) {
    const { pathname: path } = new URL(url);
    const length = { 'content-length': Buffer.byteLength(body) };
    const request = https.request({
      host: '127.0.0.1',
      port: this.listener.port,
      servername: this.host,
      rejectUnauthorized: false,
      agent: false,
      method,
      path,
      headers: { ...headers, ...length, host: this.host },
    });
    request.end(body);
    const [answer] = await once(request, 'response');
    return new Response(Readable.toWeb(answer), { status: answer.statusCode, headers: answer.headers });
  }

  close() {
    this.listener.close();
  }
}
