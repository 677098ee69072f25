// npm `oauth2-mock-server`, which signs in at once and has hooks for faults. argv[2] is JSON:
// `host`, `port`; `claims`, which everybody has; `faults`, one for each ID token that it
// signs, in turn, and none after the last.

import { Events, OAuth2Server } from 'oauth2-mock-server';

const { host, port, claims, faults } = JSON.parse(process.argv[2]);
const now = () => Math.floor(Date.now() / 1000);
const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

/** What is wrong with the claims. */
const CLAIMS = {
  expired: { iat: () => now() - 7200, exp: () => now() - 3600 },
  'not yet valid': { iat: () => now() + 3600, nbf: () => now() + 3600, exp: () => now() + 7200 },
  'for another client': { aud: () => 'somebody-else' },
  'of another issuer': { iss: () => 'https://accounts.example.com' },
  'for another sign-in': { nonce: () => 'another' },
  'without a nonce': { nonce: () => undefined },
  'without a subject': { sub: () => undefined },
};

/** What is wrong with the token as a whole. */
const TOKENS = {
  'without a signature': ([, payload]) => [encode({ alg: 'none', typ: 'JWT' }), payload, ''],
  'with a claim added': ([header, payload, signature]) => {
    const said = JSON.parse(Buffer.from(payload, 'base64url'));
    return [header, encode({ ...said, email: 'root@corp.example' }), signature];
  },
};

const unknown = faults.filter((name) => !(name in CLAIMS) && !(name in TOKENS));
if (unknown.length > 0) throw new Error(`unknown faults: ${unknown}`);

const server = new OAuth2Server();
let fault;

server.service.on(Events.BeforeTokenSigning, ({ payload }) => {
  // Access tokens pass here as well; only ID tokens have a nonce.
  if (payload.nonce === undefined) return;
  fault = faults.shift();
  Object.assign(payload, claims);
  for (const [name, value] of Object.entries(CLAIMS[fault] ?? {})) payload[name] = value();
});

server.service.on(Events.BeforeResponse, ({ body }) => {
  const change = TOKENS[fault];
  if (change) body.id_token = change(body.id_token.split('.')).join('.');
});

await server.issuer.keys.generate('RS256');
server.issuer.url = `http://${host}:${port}`;
await server.start(port, host);
console.log('open');
