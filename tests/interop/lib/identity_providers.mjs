// Identity providers to sign in at, each a published program on an address of its own (one
// host each, as cookies are kept by host), with the flags that make the guard use it.

import { join } from 'node:path';

import { INTEROP_DIR, freePort } from './guard.mjs';
import { Program } from './processes.mjs';
import { NODE_22, PYTHON } from './servers.mjs';

const SECRET = 'a secret that the guard and the provider share';

const HOSTS = { github: '127.0.0.2', google: '127.0.0.3', oidc: '127.0.0.4' };

export class IdentityProvider {
  /**
   * GitHub.
   * @param user  `id`, `login`, `email`: the simulator has one, who is signed in at once
   * @param teams  of which organizations and of which of their teams they are a member
   */
  static async gitHub({ user, teams = {} }) {
    const provider = await IdentityProvider.#of('github');
    // An Enterprise Server's host tells it from github.com.
    provider.name = `GitHub (${provider.host}:${provider.port})`;
    provider.flags = ['--github-client-id', 'guard', '--github-url', provider.url, '--github-api-url', provider.url];
    return provider.#by('github_api_simulator.mjs', { user, teams });
  }

  /** Google, as the OIDC issuer that it is. `users`: their claims, under their `sub`. */
  static async google({ guard, users }) {
    const provider = await IdentityProvider.#of('google', 'Google');
    provider.flags = ['--google-client-id', 'guard', '--google-issuer', provider.url];
    return provider.#certified(guard, users);
  }

  /** Any issuer. */
  static async oidc({ guard, users, name = 'Corp SSO', inIdToken }) {
    const provider = await IdentityProvider.#of('oidc', name);
    return provider.#anyIssuer().#certified(guard, users, inIdToken);
  }

  /** An issuer whose ID tokens have these `faults`, one after the other. */
  static async faulty({ claims, faults }) {
    const provider = await IdentityProvider.#of('oidc', 'Faulty SSO');
    return provider.#anyIssuer().#by('oauth2_mock_server.mjs', { claims, faults });
  }

  /** PyPI `oidc-provider-mock`: `aud` is an array, and no PKCE is announced. */
  static async python({ claims }) {
    const provider = await IdentityProvider.#of('oidc', 'Python SSO');
    provider.command = PYTHON;
    const { host, port } = provider;
    const address = ['--host', host, '--port', String(port)];
    provider.args = ['-m', 'oidc_provider_mock', ...address, '--user-claims', JSON.stringify(claims)];
    return provider.#anyIssuer();
  }

  static async #of(kind, name) {
    const provider = new IdentityProvider();
    provider.kind = kind;
    provider.name = name;
    provider.host = HOSTS[kind];
    provider.port = await freePort(provider.host);
    provider.url = `http://${provider.host}:${provider.port}`;
    provider.env = { [`MCP_GUARD_${kind.toUpperCase()}_CLIENT_SECRET`]: SECRET };
    return provider;
  }

  #anyIssuer() {
    const configuration = `${this.url}/.well-known/openid-configuration`;
    const client = ['--oidc-client-id', 'guard', '--oidc-provider-name', this.name];
    this.flags = ['--oidc-configuration-url', configuration, ...client];
    return this;
  }

  #certified(guard, users, inIdToken = true) {
    const redirectUris = [`${guard}/.auth/${this.kind}/callback`];
    return this.#by('oidc_provider.mjs', {
      client: { id: 'guard', secret: SECRET, redirectUris },
      users,
      inIdToken,
    });
  }

  #by(launcher, options) {
    const { host, port } = this;
    this.launcher = launcher;
    this.options = { host, port, ...options };
    this.command = NODE_22;
    this.args = [join(INTEROP_DIR, 'identity_providers', launcher), JSON.stringify(this.options)];
    return this;
  }

  async start() {
    this.program = new Program(this.command, this.args, { name: this.name, cwd: INTEROP_DIR });
    await this.program.says(/^open$|Uvicorn running/m);
    return this;
  }

  /** Nobody can reach it until `comeBack`; it forgets nothing. */
  async goAway() {
    await this.#toggle('closed');
  }

  async comeBack() {
    await this.#toggle('open');
  }

  async #toggle(wanted) {
    const count = () => this.program.output.match(new RegExp(`^${wanted}$`, 'gm'))?.length ?? 0;
    const times = count() + 1;
    this.program.signal('SIGUSR2');
    await this.program.says(new RegExp(`(?:^${wanted}$[^]*?){${times}}`, 'm'));
  }

  async stop() {
    await this.program?.stop();
  }

  /** Starts anew at the same place with these options changed. */
  async becomes(options) {
    await this.stop();
    await this.#by(this.launcher, { ...this.options, ...options }).start();
  }

  /** Who signs in here, for `Browser`. */
  person(user) {
    return { user, password: 'any will do', through: this.name, origins: [this.url] };
  }
}

/** Starts them, hands them to `use`, and stops them whatever happens. */
export async function withProviders(providers, use) {
  try {
    await Promise.all(providers.map((provider) => provider.start()));
    return await use();
  } finally {
    await Promise.all(providers.map((provider) => provider.stop()));
  }
}
