// Small web servers for the browser tests: a loopback client that waits for its callback,
// an attacker's page, an https client with a certificate of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Listener {
  visits = [];

  /** @param {(request: http.IncomingMessage, answer: http.ServerResponse) => void} [answer] */
  static async open(answer = thank, tls = null) {
    const listener = new Listener();
    const handle = (request, response) => {
      listener.visits.push(new URL(request.url, listener.origin));
      answer(request, response);
    };
    listener.server = tls ? https.createServer(tls, handle) : http.createServer(handle);
    await new Promise((resolve, reject) => {
      listener.server.once('error', reject);
      listener.server.listen(0, '127.0.0.1', resolve);
    });
    listener.port = listener.server.address().port;
    listener.origin = `http${tls ? 's' : ''}://127.0.0.1:${listener.port}`;
    return listener;
  }

  /** The query of the last visit to `path`, if there was one. */
  visited(path) {
    return this.visits.findLast((url) => url.pathname === path)?.searchParams;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function thank(_request, response) {
  response.setHeader('content-type', 'text/html');
  response.end('<!doctype html><title>Done</title><p>You can close this page.');
}

/** A self-signed certificate for `host`, made by the openssl command. */
export function certificateFor(host) {
  const directory = mkdtempSync(join(tmpdir(), 'interop-tls-'));
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name));
    const subject = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    return { key: readFileSync(key), cert: readFileSync(cert) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
