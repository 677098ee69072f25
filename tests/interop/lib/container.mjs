// An image that `tests/docker/build` has left, started as a container engine would do it: as what
// the image says about itself, with a root that is read-only, no capability, its own processes and
// its own network, of which one port is published on loopback. No engine is needed, only root.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';

import { MARK, Program } from './processes.mjs';

const IMAGES = process.env.INTEROP_IMAGES ?? '/nonexistent';
const START = fileURLToPath(new URL('container.sh', import.meta.url));
const PUBLISH = fileURLToPath(new URL('publish_port.mjs', import.meta.url));
/** What the images publish. */
const INNER_PORT = 8080;

export class Image {
  constructor(name) {
    this.root = join(IMAGES, name, 'root');
    this.config = JSON.parse(readFileSync(join(IMAGES, name, 'image.json'), 'utf8')).Docker.config;
  }

  static isBuilt(name) {
    return process.getuid() === 0 && existsSync(join(IMAGES, name, 'image.json'));
  }

  /** Where processes of the image may write, each empty and whose it is in the image. */
  volumes() {
    const folder = mkdtempSync(join(tmpdir(), 'interop-volumes-'));
    const mounts = Object.keys(this.config.Volumes).map((target) => {
      const { uid, gid, mode } = statSync(join(this.root, target));
      const source = join(folder, target);
      mkdirSync(source);
      chmodSync(source, mode & 0o7777);
      chownSync(source, uid, gid);
      return [source, target];
    });
    return { folder, mounts, remove: () => rmSync(folder, { recursive: true, force: true }) };
  }
}

export class Container {
  /**
   * @param {string[]} args  what stands behind the image's name
   * @param {object} options
   * @param {object} options.volumes  of `Image.volumes`
   * @param {Record<string, string>} [options.env]
   * @param {[string, string][]} [options.files]  from here, to there, read-only
   */
  static async start(image, args, { volumes, env = {}, files = [] }) {
    const container = new Container();
    container.image = image;
    container.env = { ...Object.fromEntries(image.config.Env.map(pair)), ...env, INTEROP_RUN: MARK };
    const mounts = [
      ...volumes.mounts.map(([source, target]) => `rw:${source}:${target}`),
      ...files.map(([source, target]) => `ro:${source}:${target}`),
    ];
    const variables = Object.entries(container.env).map((entry) => entry.join('='));
    const command = [...image.config.Entrypoint, ...args];
    const namespaces = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child=SIGKILL'];
    container.program = new Program(
      'unshare',
      [...namespaces, 'bash', START, image.root, image.config.User, ...mounts, '--', ...variables, '--', ...command],
      { name: 'container' },
    );
    return container;
  }

  /** Process 1, as this machine counts. */
  get pid() {
    return firstChild(this.program);
  }

  /** Publishes the port, as `-p 127.0.0.1:PORT:8080`; `server` listens where that is to be. */
  async publish(server) {
    this.publisher = await publish(this.pid, INNER_PORT, server);
  }

  /** A program of this machine's in the container's network, as a neighbour in a pod. */
  beside(command, args, options) {
    return new Program('nsenter', ['--net', '--target', String(this.pid), command, ...args], options);
  }

  /** As `docker exec` does: a further process in the container, by the same user. */
  exec(command, ...args) {
    const [uid, gid] = this.image.config.User.split(':');
    const enter = ['--target', String(this.pid), '--mount', '--pid', '--net', '--root', '--wd=/'];
    const line = [...enter, '--setuid', uid, '--setgid', gid, '--', command, ...args];
    return new Program('/usr/bin/env', ['-i', ...Object.entries(this.env).map((entry) => entry.join('=')), '/usr/bin/nsenter', ...line]);
  }

  /** Everything that runs in it, zombies included. */
  processes() {
    const own = namespace(this.pid);
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map((pid) => ({ pid: Number(pid), status: status(pid) }))
      .filter(({ status }) => status?.namespace === own)
      .map(({ pid, status }) => ({ pid, ...status }));
  }

  signal(name) {
    process.kill(this.pid, name);
  }

  async remove() {
    await this.publisher?.stop();
    this.program.kill();
    await this.program.ended;
  }
}

/** What `unshare` has started, as this machine counts; `undefined` if it has not yet. */
export function firstChild({ pid, end }) {
  const list = `/proc/${pid}/task/${pid}/children`;
  if (end || !existsSync(list)) return undefined;
  const children = readFileSync(list, 'latin1').trim().split(' ');
  return Number(children[0]) || undefined;
}

/** Hands what comes in at `server` to a port of the loopback of the network that `pid` is in. */
export async function publish(pid, port, server) {
  const args = ['--net', '--target', String(pid), process.execPath, PUBLISH, String(port)];
  const publisher = spawn('nsenter', args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  await new Promise((resolve, reject) => {
    publisher.once('error', reject);
    publisher.once('message', resolve);
    publisher.send('port', server, (error) => error && reject(error));
  });
  // Until it is closed here, clients could still come to nobody here.
  await new Promise((resolve) => server.close(resolve));
  const stop = async () => {
    const gone = once(publisher, 'exit');
    publisher.kill();
    await gone;
  };
  return { stop };
}

/** A server on a port of loopback, for `publish`. */
export async function publishedPort(port = 0) {
  const server = createServer();
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return { server, port: server.address().port };
}

export async function eventually(holds, complaint, within = 10_000) {
  const deadline = Date.now() + within;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(complaint());
    await delay(50);
  }
}

function pair(text) {
  const split = text.indexOf('=');
  return [text.slice(0, split), text.slice(split + 1)];
}

function namespace(pid) {
  return readlinkSync(`/proc/${pid}/ns/pid`);
}

/** `undefined` for what has ended meanwhile. A zombie has no namespace but its parent's word. */
function status(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'latin1');
    const field = (name) => text.match(new RegExp(`^${name}:\\s+(.*)$`, 'm'))?.[1];
    const inner = field('NSpid').split('\t');
    return {
      name: field('Name'),
      state: field('State')[0],
      parent: Number(field('PPid')),
      inner: Number(inner.at(-1)),
      uid: field('Uid'),
      capabilities: ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'].map(field),
      noNewPrivileges: field('NoNewPrivs'),
      namespace: inner.length > 1 ? namespaceOf(pid, field('PPid')) : '',
    };
  } catch {
    return undefined;
  }
}

function namespaceOf(pid, parent) {
  try {
    return namespace(pid);
  } catch {
    return namespace(parent);
  }
}
