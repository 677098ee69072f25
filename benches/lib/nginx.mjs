// Debian's nginx beside the guard: as many workers, its files in a folder of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freePort } from '../../tests/interop/lib/guard.mjs';
import { Program } from '../../tests/interop/lib/processes.mjs';
import { WORKERS } from './measuring.mjs';

export class Nginx {
  /** With the `http` directives that `http(port)` gives; `null` if it is not installed. */
  static async start(http) {
    const nginx = new Nginx();
    nginx.port = await freePort();
    nginx.folder = mkdtempSync(join(tmpdir(), 'mcp-guard-nginx-'));
    const file = join(nginx.folder, 'nginx.conf');
    writeFileSync(file, configuration(nginx.folder, http(nginx.port)));
    try {
      execFileSync('nginx', ['-t', '-q', '-c', file], { stdio: 'pipe' });
    } catch (error) {
      nginx.stop();
      if (error.code !== 'ENOENT') throw error;
      return null;
    }
    nginx.program = new Program('nginx', ['-c', file], { name: 'nginx' });
    return nginx;
  }

  stop() {
    this.program?.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function configuration(folder, http) {
  return `
daemon off;
worker_processes ${WORKERS};
pid ${folder}/pid;
error_log ${folder}/error.log crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${folder};
  proxy_temp_path ${folder};
  fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder};
  scgi_temp_path ${folder};
${http}}
`;
}
