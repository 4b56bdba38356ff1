/**
 * Imports random documents into random tables, dry and not, and their exports: `node bench/import-seeds.ts [SEEDS] [FIRST]`,
 * 500 seeds from 1 on by default. The tests of the suite run the first few dozen.
 */
import { spawnSync } from 'node:child_process';

const [seeds = '500', first = '1'] = process.argv.slice(2);
const test = ['run', '--project', 'unit', 'test/unit/databases/import-seeds.test.ts', '--reporter=dot'];
const { status } = spawnSync('npx', ['vitest', ...test], {
  stdio: 'inherit',
  env: { ...process.env, IMPORT_SEEDS: seeds, IMPORT_FIRST_SEED: first },
});
process.exitCode = status ?? 1;
