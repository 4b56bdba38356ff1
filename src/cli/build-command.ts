/**
 * Makes the `coldstream` command, one file of JavaScript with all it needs: it runs on any Node from 20 on, and can be
 * copied to a machine that has nothing else. Run by npm after an installation.
 */
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PROJECT_DIR } from './wrangler.ts';

const outfile = join(PROJECT_DIR, 'dist/coldstream.cjs');

await build({
  entryPoints: [join(PROJECT_DIR, 'src/cli/coldstream.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  banner: { js: '#!/usr/bin/env node' },
  // Of ws, and only where somebody installed them.
  external: ['bufferutil', 'utf-8-validate'],
  logLevel: 'warning',
});
await chmod(outfile, 0o755);
