// publish_port.mjs PORT
//
// Runs in a container's network and is handed a socket that listens outside of it: what comes in
// there goes to PORT here.

import { connect } from 'node:net';

const port = Number(process.argv[2]);

process.once('message', (_, server) => {
  server.on('connection', (outer) => {
    const inner = connect(port, '127.0.0.1');
    outer.pipe(inner).pipe(outer);
    outer.on('error', () => inner.destroy());
    inner.on('error', () => outer.destroy());
    outer.on('close', () => inner.destroy());
    inner.on('close', () => outer.destroy());
  });
  process.send('published');
});
process.once('disconnect', () => process.exit());
