// Somebody at a terminal: a shell with nothing of this machine's owner in it, in a copy of the
// checkout. Lines are typed, and what is on the screen is read.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { REPOSITORY } from './guard.mjs';
import { MARK, Program } from './processes.mjs';

const PROMPT = 'newcomer> ';
/** The way to the internet, and where Rust is installed, are the machine's. */
const KEPT = /^(path|.*_proxy|npm_config_.*|node_extra_ca_certs|ssl_cert_.*|rustup_.*|cargo_home)$/i;
// Colours, cursor movements and the like (ECMA-48), and what sets a window's title.
const CONTROLS = /\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07)|\r/g;

const SHELL = `exec script -qefc 'PS1="${PROMPT}" exec bash --noprofile --norc' /dev/null`;
/**
 * The copy takes the checkout's place for this shell alone, with what is built already in it: cargo
 * knows sources by their path, and finds nothing to do.
 */
const IN_ITS_PLACE = `
mount --bind "$0/target" "$1/target" &&
mount --rbind "$1" "$0" &&
cd "$0" &&
${SHELL}
`;
/** Where that is not permitted: in another place, and the guard itself is built once more. */
const BESIDE_IT = `
rmdir "$1/target" 2>/dev/null
ln -sfn "$0/target" "$1/target" &&
cd "$1" &&
${SHELL}
`;
// Who is root needs no user namespace, which may be forbidden.
const UNSHARE = ['unshare', ...(process.getuid() === 0 ? [] : ['--map-root-user']), '--mount'];

/** Files of the project as git knows them, as they are now, in `folder`. */
export const COPY = 'git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$0"';

export class Terminal {
  #seen = 0;

  /** In `copy` of the checkout, at home in `home`. */
  static async open(copy, home) {
    mkdirSync(`${REPOSITORY}/target`, { recursive: true });
    if (!existsSync(`${copy}/target`)) mkdirSync(`${copy}/target`);
    const kept = Object.entries(process.env).filter(([name]) => KEPT.test(name));
    const env = {
      CARGO_HOME: `${process.env.HOME}/.cargo`,
      RUSTUP_HOME: `${process.env.HOME}/.rustup`,
      ...Object.fromEntries(kept),
      HOME: home,
      LANG: 'C.UTF-8',
      TERM: 'xterm',
      INTEROP_RUN: MARK,
    };
    const variables = Object.entries(env).map((pair) => pair.join('='));
    const bash = (script) => ['bash', '-c', script, REPOSITORY, copy];
    const shell = mayUnshare() ? [...UNSHARE, ...bash(IN_ITS_PLACE)] : bash(BESIDE_IT);
    const terminal = new Terminal();
    terminal.program = new Program('env', ['-i', ...variables, ...shell], { name: 'the terminal', input: true });
    await terminal.shows(PROMPT);
    return terminal;
  }

  /** What stands on the screen, without colours. */
  get screen() {
    return this.program.output.replaceAll(CONTROLS, '');
  }

  type(line) {
    this.#seen = this.screen.length;
    this.program.child.stdin.write(`${line}\n`);
  }

  /** Ctrl-C, and the prompt again. */
  async interrupt() {
    this.#seen = this.screen.length;
    this.program.child.stdin.write('\x03');
    await this.shows(PROMPT, 30_000);
  }

  /**
   * Waits for one of some texts behind what was last typed, and gives it. Without any it waits for
   * the prompt.
   */
  async shows(texts = PROMPT, within = 30_000) {
    const wanted = [texts].flat();
    const deadline = Date.now() + within;
    while (Date.now() < deadline && !this.program.end) {
      const found = wanted.find((text) => this.screen.slice(this.#seen).includes(text));
      if (found) return found;
      await delay(50);
    }
    throw new Error(`the terminal never showed ${wanted.join(' or ')}:\n${this.screen.slice(-3000)}`);
  }

  async close() {
    await this.program.stop(2_000);
  }
}

Terminal.PROMPT = PROMPT;

function mayUnshare() {
  const [program, ...flags] = UNSHARE;
  return spawnSync(program, [...flags, 'mount', '--bind', '/tmp', '/tmp']).status === 0;
}
