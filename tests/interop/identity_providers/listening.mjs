// What the launchers here share: SIGUSR2 takes a provider away, as a machine that is down, and
// brings it back with all that it knows.

export function listen(server, { host, port }) {
  // Node ends a program that waits for nothing but a signal.
  setInterval(() => {}, 60_000);
  const open = () => server.listen(port, host, () => console.log('open'));
  process.on('SIGUSR2', () => {
    if (!server.listening) return open();
    server.close(() => console.log('closed'));
    server.closeAllConnections();
  });
  if (server.listening) console.log('open');
  else open();
}
