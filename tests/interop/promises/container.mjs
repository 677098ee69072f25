// The images, each as a container that gives nothing away: no capability, no root, a root file
// system that cannot be written. `slim` stands before a URL; `full` starts its servers itself.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, expectEqual } from '../lib/checks.mjs';
import { Container, Image, eventually, publishedPort } from '../lib/container.mjs';
import { INTEROP_DIR, PASSWORD, freePort } from '../lib/guard.mjs';
import { SdkPerson, connect, streamableHttp } from '../lib/sdk_client.mjs';
import { EVERYTHING } from '../lib/servers.mjs';
import { danceOver } from './typescript_sdk.mjs';

const MODULES = join(INTEROP_DIR, 'node_modules');
const GUARD = '65532';
/** Before a request under way is cut off, and the children's share on top. */
const GRACE = 45_000;
const UNDER_TEST = ['slim', 'full'];

export async function container(checks) {
  for (const name of UNDER_TEST) {
    if (!Image.isBuilt(name)) {
      checks.missing(`container, ${name}`, 'the image (tests/docker/build, root, INTEROP_IMAGES)');
      continue;
    }
    await checks.group(`container, ${name}`, () => (name === 'slim' ? slim(checks) : full(checks)));
  }
}

async function slim(checks) {
  const image = new Image('slim');
  await said(checks, image, 'slim');
  await checks.promise('container, slim: holds the guard, the roots and a name for its user, and nothing else', () => {
    const found = files(image.root);
    const wanted = ['/etc/group', '/etc/passwd', '/etc/ssl/certs/ca-certificates.crt', '/usr/local/bin/mcp-guard'];
    expectEqual(found.sort().join(), wanted.join(), 'files');
  });
  // The server is its neighbour, as in a pod.
  const server = ['http://127.0.0.1:3001/mcp'];
  await withContainer(image, server, {}, async (guard) => {
    const main = join(MODULES, '@modelcontextprotocol/server-everything/dist/index.js');
    const neighbour = guard.container.beside(process.execPath, [main, 'streamableHttp'], { env: { PORT: '3001' } });
    try {
      await neighbour.says(/3001/);
      await danceOver(streamableHttp(guard), checks, guard, EVERYTHING, 'container, slim');
      await contained(checks, guard, 'slim');
      await healthchecked(checks, guard, 'slim');
    } finally {
      await neighbour.stop();
    }
    await checks.promise('container, slim: ends in order at a SIGTERM', () => stopped(guard));
  });
}

async function full(checks) {
  const image = new Image('full');
  await said(checks, image, 'full');
  const volumes = image.volumes();
  // npx finds what it is to start in the working directory, without a download.
  const options = { volumes, files: [[MODULES, '/srv/node_modules']], port: await freePort() };
  const server = ['--working-dir', '/srv', '--', 'npx', '-y', '@modelcontextprotocol/server-everything'];
  const person = new SdkPerson();
  try {
    await withContainer(image, server, options, async (guard) => {
      await danceOver(streamableHttp(guard), checks, guard, EVERYTHING, 'container, full');
      await contained(checks, guard, 'full');
      await healthchecked(checks, guard, 'full');
      await checks.promise('container, full: process 1 reaps what others leave behind', () => reaped(guard));
      await checks.promise('container, full: ends in order at a SIGTERM, with a session open', async () => {
        await connect(streamableHttp(guard), person);
        await stopped(guard);
      }, { within: 2 * GRACE });
    });
    await checks.promise('container, full: the next one on the same volume knows who was signed in', async () => {
      await withContainer(image, server, options, async (guard) => {
        const client = new Client({ name: 'interop', version: '1.0.0' });
        await client.connect(streamableHttp(guard)(person));
        const { content } = await client.callTool(EVERYTHING.call);
        expect(EVERYTHING.answers.test(JSON.stringify(content)), JSON.stringify(content));
        expectEqual(person.visits, 1, 'visits to the browser');
      });
    }, { within: 120_000 });
    await checks.promise('container, full: what is kept is for the guard alone', () => {
      const [data] = volumes.mounts.find(([, target]) => target === '/data');
      expectEqual(statSync(data).mode & 0o7777, 0o700, 'mode of /data');
      for (const name of readdirSync(data)) {
        const { mode, uid } = statSync(join(data, name));
        expectEqual(`${mode & 0o7777} ${uid}`, `${0o600} ${GUARD}`, name);
      }
    });
  } finally {
    volumes.remove();
  }
}

/** What a container engine is told. */
async function said(checks, { config }, name) {
  await checks.promise(`container, ${name}: says how it is to be run, and holds no secret`, () => {
    expectEqual(config.User, `${GUARD}:${GUARD}`, 'user');
    expectEqual(config.Entrypoint.join(' '), 'mcp-guard', 'entry point');
    expectEqual((config.Cmd ?? []).join(' '), '', 'arguments');
    expectEqual(config.Healthcheck.Test.join(' '), 'CMD mcp-guard healthcheck', 'health check');
    expect('/data' in config.Volumes, `volumes ${Object.keys(config.Volumes)}`);
    const variables = config.Env.filter((variable) => variable.startsWith('MCP_GUARD_'));
    expectEqual(variables.sort().join(), 'MCP_GUARD_DATA_PATH=/data,MCP_GUARD_LISTEN=[::]:8080', 'variables');
  });
}

/** Started with a published port, as `docker run -p` does, and with its flags behind the image's name. */
async function withContainer(image, server, { volumes, files = [], port }, use) {
  const secrets = mkdtempSync(join(tmpdir(), 'interop-secrets-'));
  const own = volumes ? undefined : image.volumes();
  const published = await publishedPort(port);
  const url = `http://localhost:${published.port}`;
  let started;
  try {
    const secret = join(secrets, 'password');
    writeFileSync(secret, PASSWORD);
    chmodSync(secret, 0o444);
    started = await Container.start(
      image,
      ['--external-url', url, '--password-file', '/run/secrets/password', ...server],
      { volumes: volumes ?? own, files: [...files, [secret, '/run/secrets/password']] },
    );
    await started.program.says(/ready/);
    await started.publish(published.server);
    const guard = { url, mcpUrl: `${url}/mcp`, container: started, log: () => started.program.output.slice(-3000) };
    return await use(guard);
  } finally {
    await started?.remove();
    published.server.close();
    own?.remove();
    rmSync(secrets, { recursive: true, force: true });
  }
}

async function contained(checks, { container }, name) {
  await checks.promise(`container, ${name}: nothing in it is root or has a capability`, () => {
    for (const { name: program, uid, capabilities, noNewPrivileges } of container.processes()) {
      expectEqual(uid, Array(4).fill(GUARD).join('\t'), `the user of ${program}`);
      for (const set of capabilities) expectEqual(BigInt(`0x${set}`), 0n, `capabilities of ${program}`);
      expectEqual(noNewPrivileges, '1', `NoNewPrivs of ${program}`);
    }
  });
}

async function healthchecked(checks, { container }, name) {
  const healthcheck = () => container.exec('mcp-guard', 'healthcheck').finish(10_000);
  await checks.promise(`container, ${name}: is healthy, by what its guard was told`, async () => {
    const program = container.exec('mcp-guard', 'healthcheck');
    const { code } = await program.finish(10_000);
    expectEqual(code, 0, `exit code (${program.output})`);
  });
  await checks.promise(`container, ${name}: is not healthy while the guard does not answer`, async () => {
    const { pid } = guardOf(container);
    process.kill(pid, 'SIGSTOP');
    try {
      expectEqual((await healthcheck()).code, 1, 'exit code');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
}

/** The guard proper: what process 1 started. */
function guardOf(container) {
  const guard = container.processes().find(({ parent }) => parent === container.pid);
  expect(guard, 'process 1 has started no guard');
  return guard;
}

async function reaped({ container }) {
  // Without the pipe of the one who started it, which would wait for it.
  const program = container.exec('sh', '-c', 'sleep 3 >/dev/null 2>&1 & echo "orphan $!"');
  const [, inner] = await program.says(/orphan (\d+)/);
  await program.finish(10_000);
  const orphan = () => container.processes().find((process) => process.inner === Number(inner));
  expectEqual(orphan()?.parent, container.pid, 'who the orphan was handed to');
  await eventually(() => !orphan(), () => `still there: ${JSON.stringify(orphan())}`);
  const zombies = container.processes().filter(({ state }) => state === 'Z');
  expectEqual(zombies.length, 0, 'zombies');
}

async function stopped({ container }) {
  const before = container.processes().map(({ pid }) => pid);
  expect(before.length > 1, 'only process 1 runs');
  container.signal('SIGTERM');
  const { code } = await container.program.finish(GRACE);
  expectEqual(code, 0, `exit code (${container.program.output.slice(-500)})`);
}

/** Every file below a folder, as the image names it. */
function files(folder, below = '') {
  return readdirSync(join(folder, below), { withFileTypes: true }).flatMap((entry) => {
    const path = `${below}/${entry.name}`;
    return entry.isDirectory() ? files(folder, path) : [path];
  });
}
