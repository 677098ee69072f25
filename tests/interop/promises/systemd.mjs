// The service of docs/systemd.md under Debian's own systemd: the unit as it is in examples/, the
// drop-in for the secret, and what an administrator types. A client signs in through it, and stays
// signed in through a reload and a lost watchdog.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { expect, expectEqual } from '../lib/checks.mjs';
import { eventually, publishedPort } from '../lib/container.mjs';
import { BINARY, INTEROP_DIR, PASSWORD, REPOSITORY } from '../lib/guard.mjs';
import { SdkPerson, connect, streamableHttp } from '../lib/sdk_client.mjs';
import { EVERYTHING } from '../lib/servers.mjs';
import { Machine } from '../lib/systemd.mjs';

const SERVICE = 'mcp-guard.service';
const DOCUMENT = readFileSync(join(REPOSITORY, 'docs/systemd.md'), 'utf8');
/** Where the service may look, wherever this machine's Node and its packages are. */
const NODE = '/opt/node';
const SERVER = '/opt/server';
/** The unit's 30 s are long to wait for. */
const WATCHDOG = 'WatchdogSec=10';
const RESTARTED_WITHIN = 60_000;
const CANARY = 'sings in no journal';
const REFUSED = `pasword = "${CANARY}"`;
const REFUSED_EXIT = '78';

export async function systemd(checks) {
  const trouble = Machine.trouble();
  if (trouble) {
    checks.impossible('systemd', trouble);
    return;
  }
  const shared = [
    [dirname(dirname(process.execPath)), NODE],
    [join(INTEROP_DIR, 'node_modules'), `${SERVER}/node_modules`],
  ];
  const published = await publishedPort();
  let machine;
  try {
    machine = await Machine.boot(shared);
  } catch (error) {
    published.server.close();
    checks.impossible('systemd', error.message);
    return;
  }
  try {
    const url = `http://localhost:${published.port}`;
    await machine.publish(published.server, published.port);
    await served(checks, machine, { url, mcpUrl: `${url}/mcp` });
  } finally {
    await machine.remove();
  }
}

async function served(checks, machine, guard) {
  const person = new SdkPerson();
  guard.serving = `Serving ${guard.mcpUrl}`;
  await checks.promise('systemd: installed as docs/systemd.md says, the unit starts and says what it serves', async () => {
    install(machine, guard);
    await machine.run('systemctl', 'daemon-reload');
    await started(machine);
    expectEqual((await machine.run('systemctl', 'is-active', SERVICE)).trim(), 'active', 'is-active');
    expectEqual(await status(machine), guard.serving, 'status');
  }, { within: 90_000 });

  let client;
  await checks.promise('systemd: a client signs in with the password of the credential and calls a tool', async () => {
    client = await connect(streamableHttp(guard), person);
    await callsATool(client);
    expectEqual(person.visits, 1, 'visits to the browser');
  }, { within: 120_000 });
  if (!client) throw new Error(`the journal says:\n${await journal(machine)}`);

  await checks.promise('systemd: the guard and its server are a user of their own, without rights', () => confined(machine));
  await reloads(checks, machine, guard, client);
  await client.close();
  await ends(checks, machine, guard, person);
}

async function reloads(checks, machine, guard, client) {
  const reload = () => machine.run('systemctl', 'reload', SERVICE);
  await checks.promise('systemd: a reload is taken over, and the session works on', async () => {
    await reload();
    await eventually(async () => /"event":"reloaded"/.test(await journal(machine)), () => 'nothing was reloaded');
    expectEqual(await status(machine), guard.serving, 'status');
    await callsATool(client);
  });
  await checks.promise('systemd: the status says why a new configuration is refused, until it is mended', async () => {
    let text;
    const says = (isWanted) => eventually(
      async () => isWanted((text = await status(machine))),
      () => `the status is ${text}`,
    );
    const refused = `${guard.serving}; the new configuration is refused: `;
    configure(machine, guard, REFUSED);
    await reload();
    await says((text) => text.startsWith(refused) && text.includes('`pasword`'));
    await callsATool(client);
    configure(machine, guard);
    await reload();
    await says((text) => text === guard.serving);
    await callsATool(client);
  });
}

async function ends(checks, machine, guard, person) {
  const client = new Client({ name: 'interop', version: '1.0.0' });
  await checks.promise('systemd: the watchdog starts a guard anew that is stuck; nobody signs in again', async () => {
    await restartedByTheWatchdog(machine);
    expectEqual(await status(machine), guard.serving, 'status');
    await client.connect(streamableHttp(guard)(person));
    await callsATool(client);
    expectEqual(person.visits, 1, 'visits to the browser');
  }, { within: 2 * RESTARTED_WITHIN });
  await checks.promise('systemd: a stop waits for the call under way, and leaves no process', () => stopped(machine, client), {
    within: 90_000,
  });
  await client.close();
  await checks.promise('systemd: the journal has JSON, an event a line, and no secret', async () => {
    const lines = (await journal(machine)).trim().split('\n');
    for (const line of lines) expect(JSON.parse(line).level, line);
    const leak = lines.find((line) => line.includes(PASSWORD) || line.includes(CANARY));
    expect(!leak, leak);
  });
  await checks.promise('systemd: a configuration that is refused is not tried again', async () => {
    configure(machine, guard, REFUSED);
    expect((await machine.exitCode('systemctl', 'start', SERVICE)) !== 0, 'it was started');
    expectEqual(await machine.shows(SERVICE, 'ExecMainStatus'), REFUSED_EXIT, 'exit code');
    // One that is to be started again is "activating" meanwhile.
    expectEqual(await machine.shows(SERVICE, 'ActiveState'), 'failed', 'state');
  });
}

/** What docs/systemd.md has typed, from nothing to `systemctl daemon-reload`. */
function install(machine, guard) {
  const program = machine.path('/usr/local/bin/mcp-guard');
  copyFileSync(BINARY, program);
  chmodSync(program, 0o755);
  machine.write(`/etc/systemd/system/${SERVICE}`, readFileSync(join(REPOSITORY, 'examples', SERVICE)));
  configure(machine, guard);
  // The server's own: on a machine with Node.js from the distribution it is where it is looked for.
  machine.write('/etc/mcp-guard/guard.env', `PATH=${NODE}/bin:/usr/bin:/bin\n`, 0o600);
  const hash = execFileSync(BINARY, ['hash-password'], { input: PASSWORD });
  machine.write('/etc/mcp-guard/password-hash', hash, 0o600);
  const [, path, dropIn] = DOCUMENT.match(/^# (\S+\/override\.conf)\n([^]*?)^```$/m);
  expect(dropIn.includes('LoadCredential=password-hash:/etc/mcp-guard/password-hash'), dropIn);
  machine.write(path, dropIn);
  machine.write(`/etc/systemd/system/${SERVICE}.d/watchdog.conf`, `[Service]\n${WATCHDOG}\n`);
}

function configure(machine, guard, more = '') {
  const lines = [
    `external-url = "${guard.url}"`,
    // npx finds the server here, without a download.
    `working-dir = "${SERVER}"`,
    `command = ${JSON.stringify(EVERYTHING.command)}`,
    more,
  ];
  machine.write('/etc/mcp-guard/guard.toml', `${lines.join('\n')}\n`);
}

/** systemctl itself says no more than where to look. */
async function started(machine) {
  try {
    await machine.run('systemctl', 'enable', '--now', SERVICE);
  } catch (error) {
    throw new Error(await machine.run('journalctl', '--output', 'cat'), { cause: error });
  }
}

/** The line that `systemctl status` shows. */
function status(machine) {
  return machine.shows(SERVICE, 'StatusText');
}

/** What the guard has written. */
function journal(machine) {
  return machine.run('journalctl', '--output', 'cat', `_SYSTEMD_UNIT=${SERVICE}`);
}

async function callsATool(client) {
  const { content } = await client.callTool(EVERYTHING.call);
  expect(EVERYTHING.answers.test(JSON.stringify(content)), JSON.stringify(content));
}

async function confined(machine) {
  const processes = await machine.processesOf(SERVICE);
  expect(processes.length > 1, 'the guard has no server');
  const { uid: owner, mode } = statSync(machine.path('/var/lib/private/mcp-guard'));
  expect(owner !== 0, "the data is root's");
  expectEqual(mode & 0o7777, 0o700, 'mode of the data');
  for (const pid of processes) {
    const text = readFileSync(`/proc/${pid}/status`, 'latin1');
    const field = (name) => text.match(new RegExp(`^${name}:\\s+(.*)$`, 'm'))[1];
    const program = field('Name');
    expectEqual(field('Uid'), Array(4).fill(owner).join('\t'), `the user of ${program}`);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      expect(/^0+$/.test(field(set)), `${set} of ${program}: ${field(set)}`);
    }
    expectEqual(field('NoNewPrivs'), '1', `NoNewPrivs of ${program}`);
    expectEqual(field('Seccomp'), '2', `Seccomp of ${program}`);
  }
}

async function restartedByTheWatchdog(machine) {
  const before = await machine.shows(SERVICE, 'MainPID');
  expectEqual(await machine.shows(SERVICE, 'NRestarts'), '0', 'restarts until now');
  await machine.run('systemctl', 'kill', '--kill-whom=main', '--signal=STOP', SERVICE);
  const again = async () =>
    (await machine.shows(SERVICE, 'NRestarts')) === '1' && (await machine.shows(SERVICE, 'ActiveState')) === 'active';
  await eventually(again, () => 'it was not started again', RESTARTED_WITHIN);
  expect((await machine.shows(SERVICE, 'MainPID')) !== before, 'it is still the same');
  const said = await machine.run('journalctl', '--output', 'cat', '--unit', SERVICE);
  expect(/Watchdog timeout/.test(said), `it was not the watchdog: ${said.slice(-1000)}`);
}

async function stopped(machine, client) {
  const processes = await machine.processesOf(SERVICE);
  expect(processes.length > 1, 'the guard has no server');
  const call = { name: 'trigger-long-running-operation', arguments: { duration: 4, steps: 4 } };
  let stop;
  // With the first sign of progress it is under way.
  const onprogress = () => (stop ??= machine.run('systemctl', 'stop', SERVICE));
  const { content } = await client.callTool(call, undefined, { onprogress });
  expect(/completed/.test(JSON.stringify(content)), JSON.stringify(content));
  expect(stop, 'it was over before it was stopped');
  await stop;
  expectEqual(await machine.shows(SERVICE, 'ActiveState'), 'inactive', 'state');
  // Not what systemd had to kill when its patience was over.
  expectEqual(await machine.shows(SERVICE, 'Result'), 'success', 'result');
  expectEqual(await machine.shows(SERVICE, 'ExecMainStatus'), '0', 'exit code');
  const left = [...processes, ...(await machine.processesOf(SERVICE))].filter((pid) => existsSync(`/proc/${pid}`));
  expectEqual(left.join(), '', 'processes that are left');
}
