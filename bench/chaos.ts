/**
 * `node bench/chaos.ts`: uploads in pieces under everything that may happen to them: connections cut at any byte, kill -9
 * of the runtime, pieces that come twice, late, wrong or at once, clients that fall silent, time that runs out.
 *
 *   node bench/chaos.ts                     200 uploads of a new seed: some ten minutes
 *   node bench/chaos.ts --seed 7            the same plans again; when who meets whom is the machine's affair
 *   node bench/chaos.ts --only 12 --only 31 these of them alone, with all that they did
 *   node bench/chaos.ts --runs 40 --most 8  fewer, of 8 MiB at most
 *
 * It measures no speed. Wants the zstd command. Exits 1 where the vault did what it must never do, and says what led there.
 */
import { parseArgs } from 'node:util';
import { type StormReport, storm } from '../test/e2e/chaos/storm.ts';

const MIB = 1024 * 1024;

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '200' },
    seed: { type: 'string' },
    only: { type: 'string', multiple: true },
    'at-once': { type: 'string', default: '6' },
    most: { type: 'string', default: '40' },
    verbose: { type: 'boolean', default: false },
  },
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const seed = Number(options.seed ?? Math.floor(Math.random() * 1_000_000));
const only = options.only?.map(Number);
console.log(`Seed ${seed}`);
const began = Date.now();
const report = await storm({
  seed,
  runs: Number(options.runs),
  ...(only && { only }),
  atOnce: Number(options['at-once']),
  mostBytes: Number(options.most) * MIB,
  killEvery: 5,
  shortTtlSeconds: 20,
  say: (line) => console.error(line),
});
print(report);
process.exitCode = report.violations.length === 0 ? 0 : 1;

function print({ runs, violations, tally, kills, leftovers, complaints }: StormReport): void {
  for (const { plan, log } of runs) {
    if (log.violations.length === 0 && !options.verbose) continue;
    console.log(`\nUpload ${plan.number}:\n${log.lines.join('\n')}`);
  }
  if (complaints.length > 0) console.log(`\nThe runtime said:\n${[...new Set(complaints)].slice(0, 40).join('\n')}`);
  const rows: [string, number][] = [
    ['uploads', runs.length],
    ['MiB of content', Math.round(runs.reduce((sum, { plan }) => sum + plan.bytes, 0) / MIB)],
    ['became a backup, every byte of it', runs.filter(({ ended }) => ended.kind === 'backup').length],
    ['refused cleanly', runs.filter(({ ended }) => ended.kind === 'refused').length],
    ['kill -9 of the runtime', kills],
    ...tally.all(),
    ['left over', leftovers.orphans.length],
    ['files that the local R2 lost when it was killed', leftovers.lostFiles],
    ['multipart uploads without a part that nobody was told of', leftovers.emptyUploads],
    ['violations', violations.length],
  ];
  console.log(`\n| seed ${seed} | ${((Date.now() - began) / 1000).toFixed(0)} s |\n| --- | ---: |`);
  for (const [name, count] of rows) console.log(`| ${name} | ${count} |`);
  for (const violation of violations) console.log(`VIOLATION ${violation}`);
}
