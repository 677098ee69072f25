// Sign-in with Google, played by npm `oidc-provider` with Google's claims.

import { isLetIn, isRefused, promised, signsIn, withFederation } from '../lib/federated.mjs';
import { IdentityProvider, withProviders } from '../lib/identity_providers.mjs';
import { hasNode22 } from '../lib/servers.mjs';

const USERS = {
  1001: { hd: 'corp.example', name: 'Ann', email: 'ann@corp.example', email_verified: true },
  // A consumer account may be made with any address.
  1002: { name: 'Ben', email: 'ben@corp.example', email_verified: true },
  1003: { hd: 'corp.example.evil.test', email: 'eve@corp.example', email_verified: true },
  1004: { name: 'Fay', email: 'Fay@gmail.com', email_verified: true },
  1005: { name: 'Not Fay', email: 'fay@gmail.com', email_verified: false },
  1006: { name: 'Not Fay', email: 'fay@gmail.com' },
  1007: { name: 'Not Fay', email: 'fay@gmail.com', email_verified: 'true' },
};

export async function google(checks) {
  if (!hasNode22()) {
    checks.missing('google', "npm's node");
    return;
  }
  const place = await promised();
  const provider = await IdentityProvider.google({ guard: place.url, users: USERS });
  const as = (sub) => provider.person(sub);
  const flags = ['--google-allowed-workspaces', 'Corp.Example', '--google-allowed-users', 'fay@gmail.com'];
  const promise = (name, keep) => checks.promise(`google: ${name}`, keep);

  await withProviders([provider], () =>
    withFederation([provider], flags, async (guard) => {
      await promise('an account of the workspace signs in, calls a tool, refreshes (sdk 1.x)', () =>
        signsIn(guard, as('1001'), 'google:1001 ann@corp.example ann@corp.example []'),
      );
      await promise("an address in the workspace's domain alone is refused (A-060)", () =>
        isRefused(guard, as('1002'), 'ben@corp.example', 'corp.example'),
      );
      await promise('an account of a workspace that is called alike is refused (A-060)', () =>
        isRefused(guard, as('1003'), 'eve@corp.example'),
      );
      await promise('a listed address is let in when Google vouches for it', () => isLetIn(guard, as('1004')));
      for (const [sub, how] of [['1005', 'false'], ['1006', 'missing'], ['1007', 'a string']]) {
        await promise(`a listed address is refused when email_verified is ${how} (A-058)`, () =>
          isRefused(guard, as(sub)),
        );
      }
    }, place),
  );
}
