// Sign-in with GitHub, played by the GitHub API simulator: who is let in, who is not, and what
// the wrapped server is told.

import { join } from 'node:path';

import { expect } from '../lib/checks.mjs';
import { isLetIn, isRefused, signsIn, withFederation } from '../lib/federated.mjs';
import { INTEROP_DIR } from '../lib/guard.mjs';
import { IdentityProvider, withProviders } from '../lib/identity_providers.mjs';
import { run } from '../lib/processes.mjs';
import { PYTHON, hasNode22, hasPython } from '../lib/servers.mjs';

const OCTO_ANN = { id: 583231, login: 'octo-ann', email: 'ann@corp.example' };

export async function github(checks) {
  if (!hasNode22()) {
    checks.missing('github', "npm's node");
    return;
  }
  const provider = await IdentityProvider.gitHub({ user: OCTO_ANN, teams: { corp: ['ops'] } });
  const person = provider.person();
  const subject = `github:${provider.host}:${provider.port}/583231`;
  const guarded = (flags, use) => withFederation([provider], flags, use);

  await withProviders([provider], async () => {
    await guarded(['--github-allowed-users', 'somebody,Octo-Ann'], async (guard) => {
      await checks.promise('github: a listed user signs in, calls a tool, refreshes (sdk 1.x)', () =>
        signsIn(guard, person, `${subject} octo-ann ann@corp.example []`),
      );
      await python(checks, guard, person);
      await checks.promise('github: the same login is refused once another account has it (A-062)', async () => {
        await provider.becomes({ user: { ...OCTO_ANN, id: 99 } });
        await isRefused(guard, person, 'octo-ann', 'another account, which had it before');
        await provider.becomes({ user: OCTO_ANN });
        await isLetIn(guard, person);
      });
    });
    await guarded(['--github-allowed-users', 'octo-ben,octo'], (guard) =>
      checks.promise('github: who is not listed reads so, and the client hears of it', () =>
        isRefused(guard, person, 'octo-ann', 'not on the list of allowed users'),
      ),
    );
    await guarded(['--github-allowed-orgs', 'Corp:ops'], (guard) =>
      checks.promise('github: a member of an allowed team signs in, and the server is told of the team', () =>
        signsIn(guard, person, `${subject} octo-ann ann@corp.example [corp:ops]`),
      ),
    );
    await guarded(['--github-allowed-orgs', 'corp:finance,other'], (guard) =>
      checks.promise('github: a member of another team is refused', () =>
        isRefused(guard, person, 'octo-ann', 'corp:finance'),
      ),
    );
  });
}

async function python(checks, guard, person) {
  const subject = 'github: a listed user signs in, calls a tool, refreshes (python mcp 1.x)';
  if (!hasPython()) {
    checks.missing(subject, 'PyPI mcp');
    return;
  }
  await checks.promise(subject, async () => {
    const script = join(INTEROP_DIR, 'promises/python_mcp.py');
    const browser = join(INTEROP_DIR, 'lib/open_browser.mjs');
    const call = JSON.stringify({ name: 'get-env', arguments: {} });
    const said = await run(PYTHON, [script, guard.mcpUrl, browser, call, 'streamable-http'], {
      env: { INTEROP_PERSON: JSON.stringify(person) },
    });
    expect(said.includes('ok refreshes and calls again'), said);
  });
}
