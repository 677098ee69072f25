// Sign-in with any OIDC issuer: npm `oidc-provider`, PyPI `oidc-provider-mock` (its `aud` is an
// array, and it announces no PKCE), npm `oauth2-mock-server` for ID tokens that must not be
// believed.

import { isLetIn, isRefused, promised, refusal, signsIn, withFederation } from '../lib/federated.mjs';
import { IdentityProvider, withProviders } from '../lib/identity_providers.mjs';
import { hasNode22, hasPython } from '../lib/servers.mjs';

const USERS = {
  ann: { preferred_username: 'ann', email: 'ann@corp.example', email_verified: true, groups: ['staff', 'admin'] },
  ben: { preferred_username: 'ben', email: 'ben@corp.example', email_verified: false, groups: ['staff'] },
  cat: { preferred_username: 'cat', email: 'cat@corp.example', groups: ['admin'] },
  dan: { preferred_username: 'dan', email: 'dan@corp.example@evil.test', email_verified: true, groups: ['administrators'] },
  eve: { preferred_username: 'eve', email: 'eve@sub.corp.example', email_verified: true, groups: 'admin' },
};

const FAULTS = [
  'expired',
  'not yet valid',
  'for another client',
  'of another issuer',
  'for another sign-in',
  'without a nonce',
  'without a subject',
  'without a signature',
  'with a claim added',
];

export async function oidc(checks) {
  if (!hasNode22()) {
    checks.missing('oidc', "npm's node");
    return;
  }
  await checks.group('oidc, rules', () => rules(checks));
  await checks.group('oidc, aud as an array', () => array(checks));
  await checks.group('oidc, faults', () => faults(checks));
}

async function rules(checks) {
  const place = await promised();
  const provider = await IdentityProvider.oidc({ guard: place.url, users: USERS });
  const promise = (name, keep) => checks.promise(`oidc: ${name}`, keep);
  const areLetIn = async (guard, ...users) => {
    for (const user of users) await isLetIn(guard, provider.person(user));
  };
  const areRefused = async (guard, ...users) => {
    for (const user of users) await isRefused(guard, provider.person(user));
  };
  const guarded = (flags, use) => withFederation([provider], flags, use, place);

  await withProviders([provider], async () => {
    await guarded(['--oidc-allowed-users', 'Ann@corp.example,ben@corp.example,cat@corp.example'], async (guard) => {
      await promise('a listed user signs in, calls a tool, refreshes (sdk 1.x)', () =>
        signsIn(guard, provider.person('ann'), `oidc:${provider.url}#ann ann ann@corp.example []`),
      );
      await promise('a listed address that the issuer does not vouch for is refused (A-058)', () =>
        areRefused(guard, 'ben', 'cat'),
      );
      await promise('who is not listed reads who they are', () =>
        isRefused(guard, provider.person('eve'), 'eve', 'not on the list of allowed users'),
      );
    });
    await guarded(['--oidc-allowed-users-glob', '*@corp.example'], (guard) =>
      promise('a pattern stands for one domain (A-059)', async () => {
        await areLetIn(guard, 'ann');
        await areRefused(guard, 'dan', 'eve');
      }),
    );
    const groups = ['--oidc-scopes', 'openid,profile,email,groups'];
    await guarded([...groups, '--oidc-allowed-claims', '/groups=admin'], (guard) =>
      promise('a group lets in its members, whole names only', async () => {
        await signsIn(guard, provider.person('ann'), `oidc:${provider.url}#ann ann ann@corp.example [staff,admin]`);
        await areLetIn(guard, 'cat', 'eve');
        await areRefused(guard, 'ben', 'dan');
      }),
    );
    await guarded([...groups, '--oidc-allowed-claims', '/groups=admin+/groups=staff'], (guard) =>
      promise('of claims joined with + all are needed', async () => {
        await areLetIn(guard, 'ann');
        await areRefused(guard, 'ben', 'cat');
      }),
    );
    await guarded(['--oidc-user-id-field', '/sub', '--oidc-allowed-users', 'ben,ca'], (guard) =>
      promise('users may be named by another claim', async () => {
        await areLetIn(guard, 'ben');
        await areRefused(guard, 'ann', 'cat');
      }),
    );
    await provider.becomes({ inIdToken: false });
    await guarded([...groups, '--oidc-allowed-users', 'ann@corp.example,ben@corp.example'], (guard) =>
      promise('what the issuer says at its userinfo endpoint alone counts as well', async () => {
        await areLetIn(guard, 'ann');
        await areRefused(guard, 'ben');
      }),
    );
  });
}

async function array(checks) {
  const subject = 'oidc: aud as an array is understood (PyPI oidc-provider-mock)';
  if (!hasPython()) {
    checks.missing(subject, 'PyPI oidc-provider-mock');
    return;
  }
  const claims = { sub: 'ann', email: 'ann@corp.example', email_verified: true };
  const provider = await IdentityProvider.python({ claims });
  await withProviders([provider], () =>
    withFederation([provider], ['--oidc-allowed-users', claims.email], (guard) =>
      checks.promise(subject, () => isLetIn(guard, provider.person('ann'))),
    ),
  );
}

async function faults(checks) {
  const claims = { email: 'ann@corp.example', email_verified: true };
  const provider = await IdentityProvider.faulty({ claims, faults: FAULTS });
  await withProviders([provider], () =>
    withFederation([provider], ['--oidc-allowed-users', claims.email], async (guard) => {
      for (const fault of FAULTS) {
        await checks.promise(`oidc: an ID token ${fault} is refused (A-056)`, () =>
          refusal(guard, provider.person()),
        );
      }
      await checks.promise('oidc: and one without fault, of the same issuer, is not', () =>
        isLetIn(guard, provider.person()),
      );
    }),
  );
}
