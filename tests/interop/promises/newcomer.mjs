// The README's and the quickstart's commands, typed word for word by somebody who has just got
// the source: in a copy of it, with a clean home. What they are told to expect is on the screen, and
// a client signs in with the password that stands there and calls a tool.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Browser } from '../lib/browser.mjs';
import { expect } from '../lib/checks.mjs';
import { REPOSITORY } from '../lib/guard.mjs';
import { run } from '../lib/processes.mjs';
import { SdkPerson, connect, streamableHttp } from '../lib/sdk_client.mjs';
import { EVERYTHING } from '../lib/servers.mjs';
import { COPY, Terminal } from '../lib/terminal.mjs';

/** As in the documents. */
const PORT = 8080;
const READY = 'MCP URL    ';
/** After the downloads, which are the build's. */
const FIVE_MINUTES = 5 * 60_000;
const BUILD = 15 * 60_000;
/** Typed where the guard asks for a new password. */
const CHOSEN = 'anna has a long password';

const WALKS = [
  { document: 'README.md', sections: ['Try it'] },
  { document: 'docs/quickstart.md', sections: ['On this machine', 'A password for each person'] },
];

export async function newcomer(checks) {
  const busy = await portTrouble();
  if (busy) {
    checks.notOk('newcomer: the port of the documents is free', busy);
    return;
  }
  const room = mkdtempSync(join(tmpdir(), 'mcp-guard-newcomer-'));
  try {
    const copy = mkdtempSync(join(room, 'copy-'));
    await run('bash', ['-c', COPY, copy], { cwd: REPOSITORY });
    for (const walk of WALKS) await follow(checks, walk, copy, room);
  } finally {
    rmSync(room, { recursive: true, force: true });
  }
}

/** The documents say 8080, so 8080 is typed. */
function portTrouble() {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', resolve);
    probe.listen(PORT, () => probe.close(() => resolve(undefined)));
  });
}

async function follow(checks, { document, sections }, copy, room) {
  const reader = new Reader(copy, mkdtempSync(join(room, 'home-')));
  const blocks = blocksOf(readFileSync(join(copy, document), 'utf8'));
  try {
    await checks.promise(`newcomer: builds as ${document} says`, () => reader.build(), { within: BUILD });
    for (const section of sections) {
      const its = blocks.filter((block) => block.section === section);
      await checks.promise(`newcomer: types what ${document} says, ${section}`, () => reader.follows(its), {
        within: FIVE_MINUTES,
      });
      await checks.promise(`newcomer: signs in and calls a tool, ${document}, ${section}`, () => reader.calls());
    }
  } finally {
    await reader.leaves();
  }
}

/** Somebody who types what they read. */
class Reader {
  #terminals = [];
  #running;

  constructor(copy, home) {
    this.copy = copy;
    this.home = home;
  }

  /** What the first command does anyway; apart, because it is as long as the machine is slow. */
  async build() {
    const terminal = await this.#sit();
    terminal.type('cargo build --release');
    await terminal.shows(Terminal.PROMPT, BUILD);
    expect(terminal.screen.includes('Finished'), terminal.screen.slice(-3000));
  }

  async follows(blocks) {
    expect(blocks.some(isCommand), 'there is nothing to type');
    if (this.#running) await this.#running.terminal.interrupt();
    this.#running = undefined;
    let terminal = this.#terminals[0];
    for (const { language, text } of blocks) {
      if (language === 'console') expectLines(terminal, text);
      if (language !== 'sh') continue;
      // "Leave it running and open a second terminal."
      if (this.#running) terminal = await this.#sit();
      for (const line of text.trim().split('\n')) await this.#types(terminal, line);
    }
  }

  async #types(terminal, line) {
    terminal.type(line);
    let password = line.match(/--password '([^']+)'/)?.[1];
    for (;;) {
      const shown = await terminal.shows([READY, 'Password: ', 'Once more: ', Terminal.PROMPT], FIVE_MINUTES);
      if (shown === Terminal.PROMPT) return;
      if (shown === READY) {
        await terminal.shows('Inspector');
        this.#running = { terminal, person: password ? { user: 'owner', password } : this.#anna };
        return;
      }
      password = CHOSEN;
      this.#anna = { user: 'anna', password };
      terminal.type(password);
    }
  }

  #anna;

  async calls() {
    expect(this.#running, 'no guard was started');
    const { terminal, person: someone } = this.#running;
    const mcpUrl = terminal.screen.split(READY).at(-1).split('\n')[0].trim();
    const person = new SdkPerson((url) => new Browser().signIn(url, someone));
    const client = await connect(streamableHttp({ mcpUrl }), person);
    try {
      const result = await client.callTool(EVERYTHING.call);
      const text = JSON.stringify(result.content);
      expect(EVERYTHING.answers.test(text), `the answer was ${text}`);
    } finally {
      await client.close();
    }
  }

  async #sit() {
    const terminal = await Terminal.open(this.copy, this.home);
    this.#terminals.push(terminal);
    return terminal;
  }

  async leaves() {
    if (this.#running) await this.#running.terminal.interrupt().catch(() => undefined);
    for (const terminal of this.#terminals) await terminal.close();
  }
}

function isCommand({ language }) {
  return language === 'sh';
}

function expectLines(terminal, text) {
  for (const line of text.trim().split('\n')) {
    expect(terminal.screen.includes(line), `not on the screen: ${line}\n${terminal.screen.slice(-2000)}`);
  }
}

/** The fenced blocks of a document, with the heading that each stands under. */
function blocksOf(markdown) {
  const blocks = [];
  let section = '';
  let open;
  for (const line of markdown.split('\n')) {
    if (open && line.startsWith('```')) open = void blocks.push(open);
    else if (open) open.text += `${line}\n`;
    else if (line.startsWith('```')) open = { section, language: line.slice(3), text: '' };
    else if (line.startsWith('#')) section = line.replace(/^#+ */, '');
  }
  return blocks;
}
