/**
 * Makes the package of the `coldstream` command in dist/coldstream: one file of JavaScript with all it needs, its man page
 * and completions. `npm pack ./dist/coldstream` makes one file of it that installs without dependencies. Run by npm after
 * an installation.
 */
import { chmod, copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { completion, SHELLS } from './coldstream/completion.ts';
import { manPage } from './coldstream/man-page.ts';
import { createProgram } from './coldstream/program.ts';
import { PROJECT_DIR } from './wrangler.ts';

const folder = join(PROJECT_DIR, 'dist/coldstream');
const outfile = join(folder, 'coldstream.cjs');

await rm(join(PROJECT_DIR, 'dist/coldstream.cjs'), { force: true });
await mkdir(join(folder, 'man'), { recursive: true });
await mkdir(join(folder, 'completions'), { recursive: true });
await build({
  entryPoints: [join(PROJECT_DIR, 'src/cli/coldstream.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  banner: { js: '#!/usr/bin/env node' },
  // Optional native addons of ws, which works without them.
  external: ['bufferutil', 'utf-8-validate'],
  logLevel: 'warning',
});
await chmod(outfile, 0o755);

const program = createProgram({
  open: () => {
    throw new Error('nothing runs here');
  },
  afterDashes: [],
});
await writeFile(join(folder, 'man/coldstream.1'), manPage(program));
for (const shell of SHELLS) {
  await writeFile(join(folder, `completions/coldstream.${shell}`), completion(program, shell));
}
await copyFile(join(PROJECT_DIR, 'LICENSE'), join(folder, 'LICENSE'));
await writeFile(
  join(folder, 'package.json'),
  `${JSON.stringify(
    {
      name: 'coldstream',
      version: program.version(),
      description: 'Backups in a Coldstream vault, from a terminal or a script',
      license: 'MIT',
      bin: { coldstream: 'coldstream.cjs' },
      man: ['man/coldstream.1'],
      files: ['coldstream.cjs', 'man', 'completions'],
      engines: { node: '>=20.18.1' },
    },
    null,
    2,
  )}\n`,
);
