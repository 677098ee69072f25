// npm `oidc-provider`, which is certified. argv[2] is JSON: `host` and `port`, where it
// listens, which is also its issuer; `client` (`id`, `secret`, `redirectUris`); `users`, whose
// claims stand under the name that they type on the login page, which is their `sub`;
// `inIdToken`, whether claims come in the ID token or at the userinfo endpoint alone.

import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';

import { Provider } from 'oidc-provider';

import { listen } from './listening.mjs';

const { host, port, client, users, inIdToken = true } = JSON.parse(process.argv[2]);
const secret = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

const provider = new Provider(`http://${host}:${port}`, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: client.redirectUris,
      grant_types: ['authorization_code'],
      response_types: ['code'],
    },
  ],
  // As Google has `hd` without a scope of its own, and Okta and others `groups` with one.
  claims: {
    openid: ['sub', 'hd'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  conformIdTokenClaims: !inIdToken,
  findAccount: (_, id) => users[id] && { accountId: id, claims: () => ({ sub: id, ...users[id] }) },
  jwks: { keys: [{ ...secret.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  cookies: { keys: ['of this test alone'] },
});

listen(http.createServer(provider.callback()), { host, port });
