// Programs that the run starts: each in its own process group, each ended by that group,
// none left behind however the run ends.

import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

/** In the environment of everything that this run starts, so that leftovers can be found. */
export const MARK = `interop-${randomUUID()}`;
const MARK_NAME = 'INTEROP_RUN';
const KEPT_OUTPUT = 64 * 1024;

const running = new Set();

export class Program {
  constructor(command, args, { cwd, env = {}, name = command, input = false } = {}) {
    this.name = name;
    this.output = '';
    this.child = spawn(command, args, {
      cwd,
      detached: true,
      env: { ...process.env, [MARK_NAME]: MARK, ...env },
      stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    running.add(this);
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => resolve({ error }));
      this.child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.ended.then((end) => {
      this.end = end;
      running.delete(this);
    });
    this.child.stdout.on('data', (chunk) => this.#keep(chunk));
    this.child.stderr.on('data', (chunk) => this.#keep(chunk));
  }

  get pid() {
    return this.child.pid;
  }

  #keep(chunk) {
    this.output = (this.output + chunk).slice(-KEPT_OUTPUT);
  }

  /** Resolves to the match as soon as the output has it. */
  async says(pattern, within = 30_000) {
    const deadline = Date.now() + within;
    while (Date.now() < deadline) {
      const match = this.output.match(pattern);
      if (match) return match;
      if (this.end) break;
      await delay(20);
    }
    throw new Error(`${this.name} never said ${pattern}; it said:\n${this.output.slice(-2000)}`);
  }

  async finish(within) {
    const end = await Promise.race([this.ended, delay(within, null, { ref: false })]);
    if (end) return end;
    this.kill();
    throw new Error(`${this.name} still ran after ${within / 1000} s:\n${this.output.slice(-2000)}`);
  }

  /** Asks the program alone to stop, then ends its whole group. */
  async stop(grace = 10_000) {
    if (!this.end) this.signal('SIGTERM');
    await Promise.race([this.ended, delay(grace, null, { ref: false })]);
    this.kill();
  }

  signal(name) {
    try {
      process.kill(this.pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  kill() {
    if (!this.pid) return;
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

/** Runs a program to its end and gives its output; throws when it fails. */
export async function run(command, args, { within = 60_000, ...rest } = {}) {
  const program = new Program(command, args, rest);
  const { code, signal, error } = await program.finish(within);
  if (error) throw error;
  if (code !== 0) {
    throw new Error(`${program.name} ended with ${signal ?? code}:\n${program.output.slice(-2000)}`);
  }
  return program.output;
}

export function killAll() {
  for (const program of running) program.kill();
}

/** Processes other than this one whose environment has the mark of this run and this value. */
export function processesWith(name, value) {
  const wanted = `${name}=${value}`;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(wanted))
    .map((pid) => ({ pid, command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() }))
    .filter(({ pid }) => !/^State:\s+Z/m.test(read(`/proc/${pid}/status`)));
}

/** A process may end while it is being looked at. */
function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
