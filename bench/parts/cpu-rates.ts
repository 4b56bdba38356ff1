/**
 * What a core computes, by the byte: the rates that docs/decisions/0021-cpu-limit.md has and src/codec/cpu-pace.ts is made
 * of. Counted in the processor time of the runtime, so that a busy machine changes little.
 */
import { copyFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalWorker, startWorker } from '../support/local-worker.ts';
import type { Part } from '../support/part.ts';
import type { Table } from '../support/report.ts';
import { computedSeconds, runtimeProcesses } from '../support/runtime-processes.ts';
import { putFile } from '../support/transfer.ts';

const CONFIG = 'bench/workers/codec.wrangler.toml';
const MIB = 1024 * 1024;
const CONTENT_MIB = 32;
const LIMIT_SECONDS = 300;

const packed = (query: string) => `/pack?codec=${query}`;

/** Requests by what they compute; the second of two is what counts, the first prepares it. */
const WORK: readonly (readonly [what: string, ...requests: string[]])[] = [
  ...[1, 3, 6, 9, 10, 12, 15, 17, 19, 22].map(
    (level) => [`zstd ${level}, native`, packed(`zstd&engine=native&level=${level}`)] as const,
  ),
  ...[1, 3, 5].map((level) => [`zstd ${level}, wasm`, packed(`zstd&engine=wasm&level=${level}`)] as const),
  ...['native', 'wasm'].map(
    (engine) =>
      [
        `decode zstd, ${engine}`,
        packed(`zstd&engine=${engine}&level=3`),
        `/unpack?codec=zstd&engine=${engine}`,
      ] as const,
  ),
  ['gzip 6', packed('gzip&level=6')],
  ['decode gzip', packed('gzip&level=6'), '/unpack?codec=gzip&level=6'],
  ['SHA-256', '/rate?what=sha256'],
  ['CRC-32', '/rate?what=crc32'],
  ['age, sealed', '/rate?what=age-seal'],
  ['age, sealed and opened', '/rate?what=age-seal-open'],
  ['members of a tar', '/rate?what=tar'],
  ['rows of JSON', '/rate?what=json'],
];

export const cpuRates: Part = async (bench) => {
  const worker = await startWorker(CONFIG, bench.fresh('cpu-rates-state'));
  try {
    const file = join(bench.directory, 'cpu-rates.tar');
    copyFileSync(bench.file, file);
    truncateSync(file, Math.min(CONTENT_MIB * MIB, bench.fileBytes));
    await putFile(`${worker.url}/source`, file);
    const rows: string[][] = [];
    for (const [what, ...requests] of WORK) rows.push(await rateOf(worker, what, requests));
    const title = `What one core computes, ${CONTENT_MIB} MiB of mixed tar, processor time of the runtime`;
    const table: Table = { title, head: ['what', 'MiB/s', `GiB in ${LIMIT_SECONDS} s`], rows };
    return { rows: [], tables: [table] };
  } finally {
    await worker.stop();
  }
};

async function rateOf({ url, pid }: LocalWorker, what: string, requests: readonly string[]): Promise<string[]> {
  let seconds = 0;
  let content = 0;
  for (const request of requests) {
    const before = computedSeconds(runtimeProcesses(pid));
    const answer = await fetch(`${url}${request}`);
    if (!answer.ok) throw new Error(`${request} answered ${answer.status}: ${await answer.text()}`);
    ({ content } = (await answer.json()) as { content: number });
    seconds = computedSeconds(runtimeProcesses(pid)) - before;
  }
  const rate = content / MIB / seconds;
  return [what, rate.toFixed(rate < 10 ? 1 : 0), ((rate * LIMIT_SECONDS) / 1024).toFixed(rate < 10 ? 1 : 0)];
}
