// The server that the pages are looked at and tried on: at a name of its own, and guarded in each
// of the ways that change the consent page.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch } from './chromium.mjs';
import { Front } from './front.mjs';
import { INTEROP_DIR } from './guard.mjs';
import { IdentityProvider, withProviders } from './identity_providers.mjs';
import { authorization, register } from './oauth_client.mjs';

const HOST = 'files.example.com';
const SERVER = ['npx', '-y', '@modelcontextprotocol/server-filesystem', INTEROP_DIR];
const USERS = {
  ann: { email: 'ann@example.com', email_verified: true },
  eve: { email: 'eve@example.org', email_verified: true },
};
/** Users whose password nobody knows. */
const HASH = '$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u';
const USERS_FILE = `anna:${HASH}\nbert:${HASH}\n`;

export const WEBSITE = 'https://app.example.com/callback';
export const PROGRAM = 'http://localhost:33418/callback';
export const LINKS = 'cursor://anysphere.cursor-mcp/oauth/callback';

export class Example {
  static async open() {
    const example = new Example();
    example.front = await Front.open(HOST);
    example.oidc = await IdentityProvider.oidc({ guard: example.front.url, users: USERS, name: 'Acme' });
    example.directory = mkdtempSync(join(tmpdir(), 'interop-example-'));
    example.usersFile = join(example.directory, 'users');
    writeFileSync(example.usersFile, USERS_FILE, { mode: 0o600 });
    // What the pages of `oidc-provider` load from the internet is not there.
    example.browser = await launch([example.front.rule, 'MAP *.googleapis.com ~NOTFOUND']);
    return example;
  }

  /** One person, one password. `path`: where below the host. */
  withPassword(use, path) {
    return this.front.withGuard(SERVER, { path }, use);
  }

  /** Accounts elsewhere, and nothing else. */
  withAccounts(use) {
    return this.#elsewhere([], use);
  }

  /** Accounts elsewhere, and users with names and passwords. */
  withEverything(use) {
    return this.#elsewhere(['--users-file', this.usersFile], use);
  }

  #elsewhere(local, use) {
    const gitHub = ['--github-client-id', 'guard', '--github-allowed-users', 'octo-ann'];
    const flags = [...gitHub, ...this.oidc.flags, '--oidc-allowed-users', 'ann@example.com', ...local];
    const env = { ...this.oidc.env, MCP_GUARD_GITHUB_CLIENT_SECRET: 'never used', MCP_GUARD_PASSWORD: undefined };
    return withProviders([this.oidc], () => this.front.withGuard(SERVER, { flags, env }, use));
  }

  async close() {
    await this.browser.close();
    this.front.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Takes the browser to the consent page that a client of this name and redirect URI asks for. */
export async function ask(guard, page, { name = 'Example Assistant', redirectUri = WEBSITE } = {}) {
  const client = await register(guard, { name, redirectUris: [redirectUri] });
  const request = await authorization(guard, client);
  await page.goto(request.url.href);
  return { client, request };
}
