/** The codec without a network or a storage: against the zstd command on the same bytes, and the table of codecs. */
import { copyFileSync, existsSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalWorker, startWorker } from '../support/local-worker.ts';
import type { Bench, Part } from '../support/part.ts';
import { type Row, speed, type Table } from '../support/report.ts';
import { alternate, median } from '../support/rounds.ts';
import { get, putFile, timeCommand } from '../support/transfer.ts';
import { ratioRow } from './transfers.ts';

const CONFIG = 'bench/workers/codec.wrangler.toml';
const TABLE_BYTES = 64 * 1024 * 1024;

export const codecAlone: Part = async (bench) => {
  const worker = await startWorker(CONFIG, bench.fresh('codec-state'));
  try {
    await putFile(`${worker.url}/source`, bench.file);
    const rows: Row[] = [];
    for (const engine of ['native', 'wasm']) rows.push(...(await alone(bench, worker, engine)));
    return { rows };
  } finally {
    await worker.stop();
  }
};

async function alone(
  { file, fileBytes, rounds, directory }: Bench,
  worker: LocalWorker,
  engine: string,
): Promise<Row[]> {
  const run = (way: string) => async () => (await get(`${worker.url}/${way}?engine=${engine}`)).seconds;
  const command =
    (...args: string[]) =>
    () =>
      timeCommand('zstd', ['-q', '-c', '--single-thread', ...args]);
  const wayIn = await alternate(rounds, run('in'), command('-3', file));
  await get(`${worker.url}/in?engine=${engine}&keep=1`);
  const stored = join(directory, `stored-${engine}.zst`);
  await get(`${worker.url}/stored`, '', stored);
  const wayOut = await alternate(rounds, run('out'), command('-d', stored));
  const rows = [
    ratioRow(`the way in alone, ${engine}: zstd 3 + SHA-256 / \`zstd -3\` of one thread`, 0.6, fileBytes, wayIn),
    ratioRow(`the way out alone, ${engine}: decoding / \`zstd -d\``, 0.6, fileBytes, wayOut),
  ];
  // The bar is for the engine that runs by default.
  return engine === 'native' ? rows : rows.map(({ passes: _, ...row }) => ({ ...row, bar: '' }));
}

interface Candidate {
  readonly name: string;
  readonly query: string;
}

const CANDIDATES: readonly Candidate[] = [
  ...[1, 3, 9].map((level) => ({ name: `zstd ${level}, native`, query: `codec=zstd&engine=native&level=${level}` })),
  ...[1, 3, 9].map((level) => ({ name: `zstd ${level}, wasm`, query: `codec=zstd&engine=wasm&level=${level}` })),
  { name: 'gzip 6', query: 'codec=gzip&level=6' },
  { name: 'brotli 4', query: 'codec=brotli&level=4' },
];

export const codecTable: Part = async (bench) => {
  const worker = await startWorker(CONFIG, bench.fresh('codec-table-state'));
  try {
    const file = join(bench.directory, 'table.tar');
    copyFileSync(bench.file, file);
    truncateSync(file, Math.min(TABLE_BYTES, bench.fileBytes));
    await putFile(`${worker.url}/source`, file);
    const { highest } = JSON.parse(await textOf(worker.url)) as { highest: { native: number; wasm: number } };
    const rows: string[][] = [];
    for (const candidate of CANDIDATES) {
      const query = new URLSearchParams(candidate.query);
      const holds = query.get('engine') !== 'wasm' || Number(query.get('level')) <= highest.wasm;
      rows.push(
        holds ? await codecRow(bench, worker, candidate) : [candidate.name, 'refused: over its memory', '', ''],
      );
    }
    rows.push(await lz4Row(bench, file));
    const head = ['codec', 'ratio', 'in', 'out'];
    const title = `Codecs in this runtime, ${statSync(file).size / 2 ** 20} MiB of mixed tar in pieces of 4 MiB, one thread`;
    const table: Table = { title, head, rows };
    return { rows: [], tables: [table] };
  } finally {
    await worker.stop();
  }
};

async function codecRow({ quick }: Bench, { url }: LocalWorker, { name, query }: Candidate): Promise<string[]> {
  const runs = quick ? 1 : 3;
  const packing: number[] = [];
  const unpacking: number[] = [];
  let sizes = { content: 0, packed: 0 };
  for (let run = 0; run < runs; run++) {
    const began = performance.now();
    sizes = JSON.parse(await textOf(`${url}/pack?${query}`));
    packing.push((performance.now() - began) / 1000);
    const turned = performance.now();
    await textOf(`${url}/unpack?${query}`);
    unpacking.push((performance.now() - turned) / 1000);
  }
  const { content, packed } = sizes;
  return [name, (packed / content).toFixed(3), speed(content, median(packing)), speed(content, median(unpacking))];
}

/** No lz4 in this runtime: the command, where the machine has one, with its own frame format. */
async function lz4Row({ directory, quick }: Bench, file: string): Promise<string[]> {
  const packed = join(directory, 'table.lz4');
  try {
    const runs = quick ? 1 : 3;
    const times: { pack: number; unpack: number }[] = [];
    for (let run = 0; run < runs; run++) {
      const pack = await timeCommand('lz4', ['-q', '-1', '-c', file], packed);
      times.push({ pack, unpack: await timeCommand('lz4', ['-q', '-d', '-c', packed]) });
    }
    const bytes = statSync(file).size;
    const pack = speed(bytes, median(times.map((time) => time.pack)));
    const unpack = speed(bytes, median(times.map((time) => time.unpack)));
    return ['lz4 1 (the command: this runtime has none)', (statSync(packed).size / bytes).toFixed(3), pack, unpack];
  } catch {
    if (existsSync(packed)) throw new Error('the lz4 command failed');
    return ['lz4 1', 'no lz4 on this machine', '', ''];
  }
}

async function textOf(url: string): Promise<string> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return answer.text();
}
