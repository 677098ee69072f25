// The compose examples: each is a file that Compose accepts, and each of its guards would start with
// what the file tells it.

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

import { parse } from 'yaml';

import { expect, expectEqual } from '../lib/checks.mjs';
import { BINARY, REPOSITORY } from '../lib/guard.mjs';
import { run } from '../lib/processes.mjs';

const EXAMPLES = join(REPOSITORY, 'examples/compose');
/** A hash that a users file may hold; of no password that anybody knows. */
const USERS = 'anna:$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u\n';
const SECRETS = '/run/secrets/';

export async function compose(checks) {
  const hasCompose = !spawnSync('docker-compose', ['version']).error;
  for (const name of readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))) {
    const subject = `compose, ${name}`;
    const file = join(EXAMPLES, name);
    if (hasCompose) {
      await checks.promise(`${subject}: is accepted`, () => run('docker-compose', ['--file', file, 'config', '--quiet']));
    } else {
      checks.missing(`${subject}: is accepted`, 'docker-compose');
    }
    const { services } = parse(readFileSync(file, 'utf8'));
    const guards = Object.values(services).filter(({ image }) => /^mcp-guard(:|$)/.test(image));
    await checks.promise(`${subject}: its guard would start`, async () => {
      expectEqual(guards.length, 1, 'guards');
      for (const guard of guards) await starts(guard);
    });
    await checks.promise(`${subject}: its guard has no more rights than it needs, and its secrets in files`, () => {
      for (const guard of guards) confined(guard);
    });
  }
}

/** As `check` says, with the secrets where they are here. */
async function starts({ command, environment, secrets = [] }) {
  const folder = mkdtempSync(join(tmpdir(), 'interop-compose-'));
  try {
    for (const secret of secrets) writeFileSync(join(folder, secret), USERS, { mode: 0o600 });
    const here = (text) => text.replaceAll(SECRETS, `${folder}/`);
    const given = Object.entries(environment).map(([name, value]) => [name, here(String(value))]);
    const image = { MCP_GUARD_LISTEN: '[::]:8080', MCP_GUARD_DATA_PATH: join(folder, 'data') };
    const env = { ...image, ...Object.fromEntries(given) };
    await run(BINARY, ['check', ...command.map(here)], { env, cwd: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function confined(guard) {
  expect(guard.read_only, 'the root file system can be written');
  expectEqual(guard.cap_drop?.join(), 'ALL', 'cap_drop');
  expectEqual(guard.security_opt?.join(), 'no-new-privileges:true', 'security_opt');
  expect(guard.volumes.includes('data:/data'), 'what is to be kept is not');
  const secret = /(PASSWORD|SECRET|TOKEN|KEY|HASH)$/;
  for (const name of Object.keys(guard.environment)) expect(!secret.test(name), `${name} is in the file`);
}
