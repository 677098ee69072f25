// Published stdio servers, each with one call that has a known answer.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { INTEROP_DIR } from './guard.mjs';

/** Some programs need a newer Node than this run does; npm's `node` package brings one. */
export const NODE_22 = join(INTEROP_DIR, 'node_modules/node/bin/node');

export const hasNode22 = () => existsSync(NODE_22);

/** Where `requirements.txt` was installed. */
export const PYTHON =
  process.env.INTEROP_PYTHON ?? join(process.env.VIRTUAL_ENV ?? '/nonexistent', 'bin/python');

export const hasPython = () => existsSync(PYTHON);

export const EVERYTHING = {
  name: 'server-everything',
  command: ['npx', '-y', '@modelcontextprotocol/server-everything'],
  call: { name: 'echo', arguments: { message: 'through the guard' } },
  answers: /through the guard/,
};

export const SERVERS = [
  EVERYTHING,
  {
    name: 'server-filesystem',
    command: ['npx', '-y', '@modelcontextprotocol/server-filesystem', INTEROP_DIR],
    call: { name: 'read_text_file', arguments: { path: join(INTEROP_DIR, 'requirements.txt') } },
    answers: /mcp-server-time/,
  },
  {
    name: 'server-memory',
    command: ['npx', '-y', '@modelcontextprotocol/server-memory'],
    call: { name: 'search_nodes', arguments: { query: 'nobody' } },
    answers: /entities/,
  },
  {
    name: 'mcp-server-time',
    command: [PYTHON, '-m', 'mcp_server_time'],
    needs: hasPython,
    call: { name: 'get_current_time', arguments: { timezone: 'Etc/UTC' } },
    answers: /Etc\/UTC/,
  },
];
