// Pebble, Let's Encrypt's CA for tests, with a name server for which every name is this machine.

import { get } from 'node:https';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { freePort } from './guard.mjs';
import { Program, run } from './processes.mjs';

export class Pebble {
  /**
   * Starts one that looks for proofs at these ports; `null` if it is not installed.
   * @param {number} [options.validity]  of certificates, in seconds; otherwise years
   */
  static async visiting({ http, tls }, { validity } = {}) {
    const pebble = new Pebble();
    pebble.folder = mkdtempSync(join(tmpdir(), 'mcp-guard-pebble-'));
    const [port, management, names, namesManagement] = await Promise.all([1, 2, 3, 4].map(freePort));
    Object.assign(pebble, { port, management });
    const path = (name) => join(pebble.folder, name);
    await run('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=pebble', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE',
      '-keyout', path('key.pem'), '-out', pebble.trustFile,
    ]);
    const config = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: pebble.trustFile,
      privateKey: path('key.pem'),
      httpPort: http,
      tlsPort: tls,
      certificateValidityPeriod: validity,
    };
    writeFileSync(path('config.json'), JSON.stringify({ pebble: config }));
    const nowhere = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-management', `127.0.0.1:${namesManagement}`];
    pebble.programs = [
      new Program('pebble-challtestsrv', [
        ...nowhere, '-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-dns01', `127.0.0.1:${names}`,
      ]),
      new Program('pebble', ['-config', path('config.json'), '-dnsserver', `127.0.0.1:${names}`], {
        env: { PEBBLE_VA_NOSLEEP: '1' },
      }),
    ];
    if (await pebble.#answers()) return pebble;
    await pebble.stop();
    return null;
  }

  get directory() {
    return `https://127.0.0.1:${this.port}/dir`;
  }

  /** Whom to trust in order to talk to it. */
  get trustFile() {
    return join(this.folder, 'certificate.pem');
  }

  /** Whom to trust in order to trust what it issues, as a file. */
  async issuerFile() {
    const path = join(this.folder, 'issuer.pem');
    writeFileSync(path, await this.#fetch(`https://127.0.0.1:${this.management}/roots/0`));
    return path;
  }

  /** False if a program is not there. */
  async #answers() {
    for (let turn = 0; turn < 300; turn += 1) {
      for (const { end } of this.programs) {
        if (end?.error?.code === 'ENOENT') return false;
        if (end) throw new Error(`pebble ended: ${this.programs.map(({ output }) => output).join('\n')}`);
      }
      const answer = await this.#fetch(this.directory).catch(() => null);
      if (answer) return true;
      await delay(50);
    }
    throw new Error('pebble does not answer');
  }

  #fetch(url) {
    const ca = readFileSync(this.trustFile);
    return new Promise((resolve, reject) => {
      const request = get(url, { ca }, (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('end', () => resolve(Buffer.concat(parts).toString()));
      });
      request.on('error', reject);
    });
  }

  async stop() {
    await Promise.all(this.programs.map((program) => program.stop(1000)));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
