// The official conformance suite, on the project's own stdio server behind the guard.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { Browser } from '../lib/browser.mjs';
import { expect, expectEqual } from '../lib/checks.mjs';
import { FIXTURE, INTEROP_DIR, freePort, withGuard } from '../lib/guard.mjs';
import { obtainTokens, register } from '../lib/oauth_client.mjs';
import { Program } from '../lib/processes.mjs';
import { NODE_22, hasNode22 } from '../lib/servers.mjs';

const SUITE = join(INTEROP_DIR, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');
const REVISION = '2025-11-25';

/** Run and reported by the suite for this revision, but not counted by it. We count them. */
const ALSO_REQUIRED = ['server-session-lifecycle', 'json-schema-2020-12'];

export const hasSuite = () => hasNode22() && existsSync(SUITE);

export async function conformance(checks) {
  if (!hasSuite()) {
    checks.missing('conformance', 'the conformance suite');
    return;
  }
  await withGuard([FIXTURE], {}, async (guard) => {
    await checks.group(`conformance ${REVISION}`, () => server(checks, guard));
    await checks.group('conformance, authorization server', () => authorizationServer(checks, guard));
  });
}

async function server(checks, guard) {
  const { access_token: token } = await obtainTokens(guard);
  const { scenarios, output, code } = await serverSuite(guard.mcpUrl, token);
  for (const [name, { passed, failed }] of scenarios) {
    await checks.promise(`conformance ${REVISION}: ${name}`, async () => {
      expectEqual(failed, 0, `failed checks${detailOf(output, name)}`);
      expect(passed > 0 || name === 'server-sse-polling', 'no check passed');
    });
  }
  for (const name of [...ALSO_REQUIRED, 'dns-rebinding-protection']) {
    expect(scenarios.has(name), `${name} was not run`);
  }
  await checks.promise(`conformance ${REVISION}: the suite's own verdict`, async () => {
    expectEqual(code, 0, `exit code (${output.match(/^Total: .*$/m)})`);
  });
}

/** What the suite says of the server at `url`, asked with `token` if there is one. */
export async function serverSuite(url, token) {
  const preload = join(INTEROP_DIR, 'lib/inject_token.mjs');
  const args = ['--import', preload, SUITE, 'server', '--url', url, '--requirements', REVISION];
  const env = token ? { INJECT_TOKEN: token, INJECT_ORIGIN: new URL(url).origin } : {};
  const suite = new Program(NODE_22, args, { name: 'conformance', env });
  const { code } = await suite.finish(380_000);
  const scenarios = scenariosOf(suite.output);
  expect(scenarios.size > 0, `no result in:\n${suite.output.slice(-2000)}`);
  return { scenarios, output: suite.output, code };
}

/** Lines such as `✓ ping: 2 passed, 0 failed`. */
function scenariosOf(output) {
  const lines = output.matchAll(/^[✓✗~] (\S+): (\d+) passed, (\d+) failed/gm);
  return new Map([...lines].map(([, name, passed, failed]) => [name, { passed: +passed, failed: +failed }]));
}

export function detailOf(output, name) {
  const begin = output.indexOf(`=== Running scenario: ${name} ===`);
  return begin < 0 ? '' : `\n${output.slice(begin, output.indexOf('\n===', begin + 4)).slice(0, 1500)}\n`;
}

async function authorizationServer(checks, guard) {
  const port = await freePort();
  const client = await register(guard, { redirectUris: [`http://127.0.0.1:${port}/callback`] });
  const args = ['authorization', '--url', guard.url, '--client-id', client.client_id, '--resource', guard.mcpUrl];
  const suite = new Program(NODE_22, [SUITE, ...args, '--port', String(port)], { name: 'conformance' });
  try {
    const [url] = await suite.says(/^http\S+[?]\S*code_challenge\S+$/m);
    const browser = new Browser();
    await browser.deliver(await browser.signIn(url));
    await suite.finish(60_000);
  } finally {
    suite.kill();
  }
  const scenarios = scenariosOf(suite.output);
  for (const name of ['authorization-server-metadata-endpoint', 'authorization-code-grant']) {
    await checks.promise(`conformance, authorization server: ${name}`, async () => {
      const result = scenarios.get(name);
      expect(result?.passed > 0 && result.failed === 0, suite.output.slice(-2500));
    });
  }
}
