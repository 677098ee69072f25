// One connection that speaks HTTP/2 and nothing else, by Node.js's own client.

import { connect } from 'node:http2';
import { once } from 'node:events';

import { expectEqual } from './checks.mjs';

const SILENCE = 30_000;

export class Http2Connection {
  /** Fails unless both sides agree on HTTP/2. */
  static async to(origin) {
    const connection = new Http2Connection();
    connection.session = connect(origin);
    await once(connection.session, 'connect');
    expectEqual(connection.session.alpnProtocol, 'h2', 'the protocol');
    return connection;
  }

  get isOpen() {
    return !this.session.closed && !this.session.destroyed;
  }

  /** What may be open at a time, in the server's opinion. */
  get mostStreams() {
    return this.session.remoteSettings.maxConcurrentStreams;
  }

  /** A request on a stream of its own, and the whole answer. */
  async request(method, path, headers = {}, body = '') {
    const stream = await this.open(method, path, headers, body);
    return { ...stream, text: await stream.text() };
  }

  /** The same as soon as the answer's head is there: `status`, `headers`, and functions for the rest. */
  async open(method, path, headers = {}, body = '') {
    const endStream = body === '';
    const stream = this.session.request({ ':method': method, ':path': path, ...headers }, { endStream });
    stream.setEncoding('utf8');
    stream.setTimeout(SILENCE, () => stream.destroy(new Error(`${method} ${path}: silence`)));
    let received = '';
    stream.on('data', (part) => (received += part));
    const ended = new Promise((resolve, reject) => {
      stream.once('end', resolve);
      stream.once('error', reject);
    });
    ended.catch(() => {});
    if (!endStream) stream.end(body);
    const [head] = await once(stream, 'response');
    return {
      status: head[':status'],
      headers: head,
      text: () => ended.then(() => received),
      /** Resolves once what has arrived matches. */
      says: async (pattern) => {
        while (!pattern.test(received)) {
          if (stream.readableEnded) throw new Error(`it ended without ${pattern}: ${received}`);
          await Promise.race([once(stream, 'data'), ended]);
        }
      },
    };
  }

  close() {
    this.session.close();
  }
}
