// From an https URL to clients that sign in, over HTTP/1.1 and HTTP/2.

import { runClient, withCertifiedGuard } from '../lib/certified.mjs';

export async function tls(checks) {
  await withCertifiedGuard(checks, {}, async (guard) => {
    await runClient(checks, 'sdk 1.x over TLS', 'tls_client.mjs', guard);
    await runClient(checks, 'node:http2', 'http2_client.mjs', guard);
  });
}
