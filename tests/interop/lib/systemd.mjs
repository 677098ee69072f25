// A machine of its own, as far as systemd can tell: Debian's systemd is process 1 of new namespaces,
// over a copy of this machine's files that goes with it. It may be asked what an administrator asks.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { eventually, firstChild, publish } from './container.mjs';
import { Program, run } from './processes.mjs';

const SYSTEMD = '/lib/systemd/systemd';
const BOOT = fileURLToPath(new URL('systemd.sh', import.meta.url));
/** The machine may be busy. */
const BOOTED_WITHIN = 60_000;

export class Machine {
  #publisher;
  #state = 'it has not begun';

  /** Why none can be started here, if so. */
  static trouble() {
    if (!existsSync(SYSTEMD)) return `there is no ${SYSTEMD}`;
    if (process.getuid() !== 0) return 'it wants root';
    return cgroups() ? undefined : 'no cgroup2 is mounted';
  }

  /** @param {[string, string][]} shared  folders: from here, to there, read-only */
  static async boot(shared) {
    const machine = new Machine();
    machine.place = mkdtempSync(join(tmpdir(), 'interop-machine-'));
    machine.cgroup = join(cgroups(), basename(machine.place));
    process.once('exit', () => machine.#leave());
    try {
      mkdirSync(machine.cgroup);
      const mounts = shared.map((pair) => pair.join(':'));
      machine.program = new Program('bash', [BOOT, machine.cgroup, machine.place, ...mounts], { name: 'systemd' });
      const late = () => `systemd has not come up: ${machine.#state}`;
      await eventually(() => machine.#hasBooted(), late, BOOTED_WITHIN);
    } catch (error) {
      await machine.remove();
      throw error;
    }
    return machine;
  }

  async #hasBooted() {
    if (this.program.end) throw new Error(`systemd could not be started: ${this.program.output.trim()}`);
    // Until then it sets up what systemd is to find, and nobody can be asked.
    if (!commandOf(this.pid).startsWith(SYSTEMD)) return false;
    const asked = this.#inside('systemctl', 'is-system-running');
    await asked.finish(BOOTED_WITHIN);
    this.#state = asked.output.trim();
    return this.#state === 'running';
  }

  /** Process 1, as the machine around counts. */
  get pid() {
    return firstChild(this.program);
  }

  /** Where a file of its own is found from here. */
  path(path) {
    return `/proc/${this.pid}/root${path}`;
  }

  write(path, text, mode = 0o644) {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), text, { mode });
  }

  /** Runs a command as its root and gives its output; throws when it fails. */
  run(command, ...args) {
    return run('nsenter', this.#entering(command, args));
  }

  /** Where failing is an answer, too. */
  async exitCode(command, ...args) {
    const program = this.#inside(command, ...args);
    return (await program.finish(BOOTED_WITHIN)).code;
  }

  /** What `systemctl show` says of a service. */
  async shows(service, property) {
    return (await this.run('systemctl', 'show', '--value', '--property', property, service)).trim();
  }

  /** The processes of a service, as the machine around counts. */
  async processesOf(service) {
    const group = await this.shows(service, 'ControlGroup');
    return group ? processesIn(join(this.cgroup, group)) : [];
  }

  /** Makes a port of its loopback one of the loopback here; `server` listens where that is to be. */
  async publish(server, port) {
    this.#publisher = await publish(this.pid, port, server);
  }

  async remove() {
    await this.#publisher?.stop();
    this.program?.kill();
    await this.program?.ended;
    await eventually(() => isRemoved(this.cgroup), () => `${this.cgroup} is still in use`, BOOTED_WITHIN);
    rmSync(this.place, { recursive: true, force: true });
  }

  /** However the run ends; what ran is killed by then, but the kernel takes a moment over it. */
  #leave() {
    const nobody = new Int32Array(new SharedArrayBuffer(4));
    for (let turn = 0; turn < 50 && !isRemoved(this.cgroup); turn += 1) Atomics.wait(nobody, 0, 0, 100);
    rmSync(this.place, { recursive: true, force: true });
  }

  #inside(command, ...args) {
    return new Program('nsenter', this.#entering(command, args));
  }

  #entering(command, args) {
    const namespaces = ['--mount', '--pid', '--net', '--ipc', '--uts', '--cgroup'];
    return ['--target', String(this.pid), ...namespaces, '--', command, ...args];
  }
}

/** Empty if there is no such process (yet, or any more). */
function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/** The folder of the cgroup that this process is in. */
function cgroups() {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const mount = mounts.find((line) => line.includes(' - cgroup2 '))?.split(' ')[4];
  const own = readFileSync('/proc/self/cgroup', 'utf8').match(/^0::(.*)$/m)?.[1];
  return mount && own && join(mount, own);
}

function processesIn(cgroup) {
  if (!existsSync(cgroup)) return [];
  const own = readFileSync(join(cgroup, 'cgroup.procs'), 'latin1').split('\n').filter(Boolean).map(Number);
  return [...own, ...below(cgroup).flatMap(processesIn)];
}

/** A cgroup goes when nothing is in it any more. */
function isRemoved(cgroup) {
  if (!existsSync(cgroup)) return true;
  try {
    below(cgroup).forEach(isRemoved);
    rmdirSync(cgroup);
    return true;
  } catch (error) {
    if (error.code === 'EBUSY') return false;
    throw error;
  }
}

function below(cgroup) {
  const entries = readdirSync(cgroup, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(cgroup, entry.name));
}
