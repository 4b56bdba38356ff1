/**
 * `npm run check`: format and lint, types, all tests, and a deployment that stops before it is sent, which shows the
 * bundle's size. All steps run whatever the ones before said; the exit code is 1 if any failed.
 */
import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exitCode, PROJECT_DIR, spawnWrangler } from './wrangler.ts';

/** The tests' report for programs; `.ci/run` counts from it. */
const REPORT = join(PROJECT_DIR, 'dist/test-report.json');

function node(program: string, ...args: string[]): Promise<number> {
  const path = join(PROJECT_DIR, 'node_modules', program);
  return exitCode(spawn(process.execPath, [path, ...args], { cwd: PROJECT_DIR, stdio: 'inherit' }));
}

const STEPS: readonly (readonly [string, () => Promise<number>])[] = [
  ['format and lint', () => node('@biomejs/biome/bin/biome', 'check', '.')],
  ['types of the Worker', () => node('typescript/bin/tsc', '--noEmit')],
  ['types of what runs on Node', () => node('typescript/bin/tsc', '--noEmit', '-p', 'src/cli')],
  [
    'tests',
    () => node('vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${REPORT}`),
  ],
  [
    'bundle',
    () =>
      exitCode(
        spawnWrangler(['deploy', '--dry-run', '--outdir', 'dist/worker'], { stdio: ['ignore', 'inherit', 'inherit'] }),
      ),
  ],
];

await rm(REPORT, { force: true });
const failed: string[] = [];
for (const [name, run] of STEPS) {
  console.log(`\n— ${name}`);
  if ((await run()) !== 0) failed.push(name);
}
console.log(failed.length === 0 ? '\nAll checks passed.' : `\nFailed: ${failed.join(', ')}.`);
process.exitCode = failed.length === 0 ? 0 : 1;
