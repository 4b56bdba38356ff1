/**
 * `npm run bench`: every figure that the README quotes, as ratios to a control in the same run on the same machine.
 *
 *   npm run bench                      all of it: about twenty minutes
 *   npm run bench -- --quick           small and coarse: does it work
 *   npm run bench -- --only uploads    one part (may be given again)
 *   npm run bench -- --rounds 9        more pairs a ratio
 *
 * Three parts run by their names alone:
 *
 *   npm run bench -- --only large-upload    10 GiB in pieces: three minutes, 1 GiB of disk
 *   npm run bench -- --only misbehaving     honest transfers beside clients that misbehave: twelve minutes
 *   npm run bench -- --only before-and-after --before ../old --rounds 21    transfers against another checkout
 *
 * Prints Markdown tables and writes bench/results/TIME.json. Wants curl, tar and the zstd command; lz4 if it is there.
 * Exits 1 where a bar is missed or a part fails.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { beforeAndAfter } from './parts/before-and-after.ts';
import { codecAlone, codecTable } from './parts/codec.ts';
import { cpuRates } from './parts/cpu-rates.ts';
import { encryption } from './parts/encryption.ts';
import { fairness } from './parts/fairness.ts';
import { jsonExport } from './parts/json-export.ts';
import { jsonImport } from './parts/json-import.ts';
import { largeUpload } from './parts/large-upload.ts';
import { longFlows } from './parts/long-flows.ts';
import { indexedUploads, manyFiles } from './parts/member-index.ts';
import { memory } from './parts/memory.ts';
import { misbehaving } from './parts/misbehaving.ts';
import { pieces } from './parts/pieces.ts';
import { fanOut, slowSubscriber } from './parts/progress.ts';
import { randomAccess } from './parts/random-access.ts';
import { downloads, uploads } from './parts/transfers.ts';
import { mixedTar } from './support/material.ts';
import type { Bench, Part } from './support/part.ts';
import { type Findings, markdown } from './support/report.ts';

const MIB = 1024 * 1024;
const RESULTS = join(dirname(fileURLToPath(import.meta.url)), 'results');

const PARTS: Readonly<Record<string, Part>> = {
  uploads,
  downloads,
  pieces,
  'codec-alone': codecAlone,
  'codec-table': codecTable,
  'cpu-rates': cpuRates,
  memory,
  fairness,
  export: jsonExport,
  import: jsonImport,
  encryption,
  'long-flows': longFlows,
  'fan-out': fanOut,
  'slow-subscriber': slowSubscriber,
  'random-access': randomAccess,
  'indexed-uploads': indexedUploads,
  'many-files': manyFiles,
};
/** Too long to be run with the others. */
const BY_NAME: Readonly<Record<string, Part>> = {
  'large-upload': largeUpload,
  misbehaving,
  'before-and-after': beforeAndAfter,
};
const ALL: Readonly<Record<string, Part>> = { ...PARTS, ...BY_NAME };

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: Object.keys(PARTS) },
    rounds: { type: 'string' },
    before: { type: 'string' },
  },
});

const unknown = options.only.filter((name) => !Object.hasOwn(ALL, name));
if (unknown.length > 0) {
  console.error(`no part ${unknown.join(', ')}; there are ${Object.keys(ALL).join(', ')}`);
  process.exit(2);
}

const directory = mkdtempSync(join(tmpdir(), 'coldstream-bench-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const findings = await runParts(options.only, prepare());
console.log(`\n${markdown(Object.values(findings))}\n`);
console.log(`Written to ${writeResults(findings)}`);
if (process.exitCode === undefined) {
  process.exitCode = Object.values(findings).some(({ rows }) => rows.some((row) => row.passes === false)) ? 1 : 0;
}

function prepare(): Bench {
  const fileBytes = (options.quick ? 64 : 256) * MIB;
  return {
    directory,
    rounds: Number(options.rounds ?? (options.quick ? 2 : 5)),
    quick: options.quick,
    file: mixedTar(directory, fileBytes),
    fileBytes,
    before: options.before ?? null,
    fresh: (name) => mkdtempSync(join(directory, `${name}-`)),
  };
}

/** One part that fails does not take the others' figures with it. */
async function runParts(names: readonly string[], bench: Bench): Promise<Record<string, Findings>> {
  const found: Record<string, Findings> = {};
  for (const name of names) {
    const part = ALL[name];
    if (!part) continue;
    const began = Date.now();
    try {
      found[name] = await part(bench);
      for (const { what, measured, passes } of found[name].rows) {
        console.error(`${passes === false ? 'MISSES' : '      '} ${what}: ${measured}`);
      }
    } catch (error) {
      console.error(`${name} failed:`, error);
      process.exitCode = 1;
    }
    console.error(`${name}: ${((Date.now() - began) / 1000).toFixed(0)} s`);
  }
  return found;
}

function writeResults(findings: Record<string, Findings>): string {
  mkdirSync(RESULTS, { recursive: true });
  const now = new Date().toISOString();
  const file = join(RESULTS, `${now.replaceAll(':', '-')}.json`);
  const machine = { cpus: cpus().length, model: cpus()[0]?.model, platform: process.platform, node: process.version };
  writeFileSync(file, JSON.stringify({ at: now, machine, options, findings }, null, 2));
  return file;
}
