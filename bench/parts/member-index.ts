/** What the index of an archive's members costs the upload, and what an index of a million of them takes and gives. */
import { closeSync, copyFileSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type HeapSample, sampleHeap } from '../support/heap-sampler.ts';
import { pack } from '../support/material.ts';
import type { Bench, Part } from '../support/part.ts';
import { bytesOf, forget, type Reads, readsOf } from '../support/reads.ts';
import { kib, mib, ms, type Row } from '../support/report.ts';
import { alternate, median } from '../support/rounds.ts';
import { CHECKSUM_AT, manyMembers, notAnArchive, pathOf, randomNumbers } from '../support/tars.ts';
import { putFile, putPieces } from '../support/transfer.ts';
import {
  type BenchVault,
  bearer,
  INSTRUMENTED_VAULT,
  type Receipt,
  removeBackup,
  startVault,
  uploadUrl,
  VAULT,
} from '../support/vault.ts';
import { ratioRow } from './transfers.ts';

const MIB = 1024 * 1024;
const MANY = 1_000_000;
const LIMIT_MIB = 64;
const LOOKUPS = 100;

export const indexedUploads: Part = async (bench) => {
  const vault = await startVault(VAULT, bench.fresh('indexed-uploads-vault'));
  try {
    const rows: Row[] = [];
    for (const pair of uploadPairs(bench)) rows.push(await uploadRow(vault, pair));
    return { rows };
  } finally {
    await vault.stop();
  }
};

interface UploadPair {
  readonly what: string;
  readonly compression: string;
  readonly bar: number | null;
  readonly rounds: number;
  /** Of content: what the speed counts. */
  readonly bytes: number;
  readonly archive: string;
  /** The same but for one header's checksum. */
  readonly noArchive: string;
}

function uploadPairs(bench: Bench): UploadPair[] {
  const { directory, file, fileBytes } = bench;
  const rounds = Math.min(bench.rounds, 3);
  const count = bench.quick ? 10_000 : 100_000;
  const small = smallFiles(bench, count);
  const broken = withoutArchive(directory, file);
  const mixed = { bytes: fileBytes, archive: file, noArchive: broken };
  const packed = (suffix: 'zst' | 'gz') => ({
    what: `the same as a tar.${suffix}, decoded along`,
    compression: 'auto',
    bar: null,
    rounds,
    bytes: fileBytes,
    archive: pack(file, suffix),
    noArchive: pack(broken, suffix),
  });
  return [
    { ...mixed, what: `a tar of ${mib(fileBytes)}, zstd 3`, compression: 'zstd', bar: 0.95, rounds: 2 * bench.rounds },
    { ...mixed, what: 'the same, `compression=none`', compression: 'none', bar: null, rounds },
    packed('zst'),
    packed('gz'),
    {
      what: `a tar of ${count.toLocaleString('en')} files of 1 KB, zstd 3`,
      compression: 'zstd',
      bar: null,
      rounds,
      bytes: small.bytes,
      archive: small.file,
      noArchive: withoutArchive(directory, small.file),
    },
  ];
}

async function uploadRow(vault: BenchVault, pair: UploadPair): Promise<Row> {
  const { what, compression, rounds, bytes, bar } = pair;
  const timed = (file: string, isArchive: boolean) => async () => {
    const { seconds, body } = await putFile(uploadUrl(vault, { compression }), file, vault.token);
    const { backup_id, archive } = JSON.parse(body) as Receipt;
    if ((archive !== null) !== isArchive) throw new Error(`${file}: an index where there should be none, or none`);
    await removeBackup(vault, backup_id);
    return seconds;
  };
  const ratio = await alternate(rounds, timed(pair.archive, true), timed(pair.noArchive, false));
  const row = ratioRow(`upload with an index / without: ${what}`, bar ?? 0, bytes, ratio);
  const { passes: _passes, ...told } = row;
  return bar === null ? { ...told, bar: '' } : row;
}

/** A copy whose first header has a wrong checksum: the vault sees no archive in it. */
function withoutArchive(directory: string, file: string): string {
  const copy = join(directory, `no-archive-${file.replace(/.*\//, '')}`);
  copyFileSync(file, copy);
  const opened = openSync(copy, 'r+');
  const digit = Buffer.alloc(1);
  readSync(opened, digit, 0, 1, CHECKSUM_AT);
  digit[0] = (digit[0] ?? 0) ^ 1;
  writeSync(opened, digit, 0, 1, CHECKSUM_AT);
  closeSync(opened);
  return copy;
}

/** Files of 1 KB, cut out of the material. */
function smallFiles(bench: Bench, count: number): { file: string; bytes: number } {
  const file = join(bench.directory, 'small-files.tar');
  const [input, output] = [openSync(bench.file, 'r'), openSync(file, 'w')];
  const material = Buffer.alloc(32 * MIB);
  readSync(input, material, 0, material.length, 0);
  const random = randomNumbers();
  const contentOf = () => {
    const from = Math.floor(random() * (material.length - 1024));
    return material.subarray(from, from + 1024);
  };
  let bytes = 0;
  for (const piece of manyMembers(count, contentOf)) bytes += writeSync(output, piece);
  closeSync(input);
  closeSync(output);
  return { file, bytes };
}

export const manyFiles: Part = async (bench) => {
  const count = bench.quick ? MANY / 20 : MANY;
  const state = bench.fresh('many-files-vault');
  const plain = await uploadWatched(state, count, false);
  const indexed = await uploadWatched(state, count, true);
  // Started again: the isolate that looks up has never seen the index.
  const vault = await startVault(INSTRUMENTED_VAULT, state);
  try {
    const what = `index of ${count.toLocaleString('en')} members`;
    const rows = [...memoryRows(what, plain, indexed), await lookupRow(vault, what, indexed.id, count)];
    return { rows: [...rows, await pageRow(vault, what, indexed.id)] };
  } finally {
    await vault.stop();
  }
};

interface Watched {
  readonly id: string;
  readonly seconds: number;
  readonly bytes: number;
  readonly samples: readonly HeapSample[];
}

/** An upload of many members of one byte, in a runtime of its own: none inherits another's garbage. */
async function uploadWatched(state: string, count: number, asArchive: boolean): Promise<Watched> {
  const vault = await startVault(INSTRUMENTED_VAULT, state);
  try {
    const pieces = manyMembers(count, (i) => Uint8Array.of(i));
    const sampler = await sampleHeap(vault);
    const sent = putPieces(uploadUrl(vault), asArchive ? pieces : notAnArchive(pieces), vault.token);
    const { seconds, body } = await sent.catch(async (error: unknown) => {
      await sampler.stop();
      throw error;
    });
    const samples = await sampler.stop();
    const { backup_id: id, file_size: bytes, archive } = JSON.parse(body) as Receipt;
    if ((archive?.members ?? 0) !== (asArchive ? count : 0)) throw new Error(`an index of ${archive?.members} members`);
    return { id, seconds, bytes, samples };
  } finally {
    await vault.stop();
  }
}

function memoryRows(what: string, plain: Watched, indexed: Watched): Row[] {
  const [most, without] = [mostHeld(indexed), mostHeld(plain)];
  return [
    {
      what: `${what}: memory of the isolate beyond that of the same upload without an index`,
      bar: `under ${LIMIT_MIB} MiB`,
      measured: `${mib(most - without)} (at most ${mib(most)}; without ${mib(without)})`,
      passes: most - without < LIMIT_MIB * MIB && most < 100 * MIB,
      facts: { indexed: indexed.samples, plain: plain.samples },
    },
    {
      what: `upload of ${mib(indexed.bytes)} with an ${what} / without`,
      bar: '',
      measured: `${(plain.seconds / indexed.seconds).toFixed(2)} (${indexed.seconds.toFixed(1)} s; without ${plain.seconds.toFixed(1)} s)`,
    },
  ];
}

function mostHeld({ samples }: Watched): number {
  return Math.max(...samples.map(({ heap, buffers }) => heap + buffers));
}

/** Members from all over, by HEAD: the index alone answers it. */
async function lookupRow(vault: BenchVault, what: string, id: string, count: number): Promise<Row> {
  const random = randomNumbers();
  const lookUp = async () => {
    const i = Math.floor(random() * count);
    return lookUpOne(vault, `${vault.url}/backup/${id}/files/${pathOf(i)}`);
  };
  const cold: Lookup[] = [];
  const warm: Lookup[] = [];
  for (let i = 0; i < LOOKUPS / 10; i++) {
    await forget(vault);
    cold.push(await lookUp());
  }
  for (let i = 0; i < LOOKUPS; i++) warm.push(await lookUp());
  const most = (lookups: readonly Lookup[]) => Math.max(...lookups.map(({ reads }) => reads.gets.length));
  const bytes = (lookups: readonly Lookup[]) => kib(median(lookups.map(({ reads }) => bytesOf(reads.gets))));
  return {
    what: `${what}: lookup of a path, R2 reads (with nothing in memory)`,
    bar: 'at most 2',
    measured:
      `${most(warm)} (${most(cold)}); ${bytes(warm)} (${bytes(cold)}); ` +
      `${ms(median(warm.map(({ seconds }) => seconds)))} (${ms(median(cold.map(({ seconds }) => seconds)))})`,
    passes: most(warm) <= 2 && most(cold) <= 2,
    facts: { warm, cold },
  };
}

interface Lookup {
  readonly reads: Reads;
  readonly seconds: number;
}

async function lookUpOne(vault: BenchVault, url: string): Promise<Lookup> {
  let seconds = 0;
  const reads = await readsOf(vault, async () => {
    const began = performance.now();
    const answer = await fetch(url, { method: 'HEAD', headers: bearer(vault) });
    seconds = (performance.now() - began) / 1000;
    const length = Number(answer.headers.get('content-length'));
    if (answer.status !== 200 || length !== 1) throw new Error(`${url} answered ${answer.status}, ${length} bytes`);
  });
  return { reads, seconds };
}

/** The first page of the largest directory, and one from the middle, of a thousand each. */
async function pageRow(vault: BenchVault, what: string, id: string): Promise<Row> {
  const list = async (query: string) => {
    let seconds = 0;
    let found = 0;
    const reads = await readsOf(vault, async () => {
      const began = performance.now();
      const answer = await fetch(`${vault.url}/backup/${id}/files?limit=1000&${query}`, { headers: bearer(vault) });
      const { files, prefixes = [] } = (await answer.json()) as { files: unknown[]; prefixes?: unknown[] };
      seconds = (performance.now() - began) / 1000;
      found = files.length + prefixes.length;
    });
    return { seconds, found, reads: reads.gets.length };
  };
  const flat = await list('prefix=backup/8');
  const folded = await list('prefix=backup/&delimiter=/');
  const told = ({ found, reads, seconds }: typeof flat) => `${found} in ${reads} reads, ${ms(seconds)}`;
  return {
    what: `${what}: a page of 1,000 from the middle; of directories`,
    bar: '',
    measured: `${told(flat)}; ${told(folded)}`,
    facts: { flat, folded },
  };
}
