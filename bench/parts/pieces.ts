/**
 * Uploads in pieces by tus against uploads in one request, from the same client, over a connection that stays open; and
 * what the isolate holds meanwhile.
 */
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type HeapSample, type HeapSampler, heapRow, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { mib, type Row, speed } from '../support/report.ts';
import { alternate, median } from '../support/rounds.ts';
import { sendInPieces, UploadClient } from '../support/tus.ts';
import { type BenchVault, type Receipt, startVault, uploadUrl, VAULT } from '../support/vault.ts';
import { ratioRow } from './transfers.ts';

const MIB = 1024 * 1024;
const PIECE_BYTES = 16 * MIB;
const SIZES = [
  { pieceBytes: PIECE_BYTES, bar: 0.85 },
  { pieceBytes: 64 * MIB, bar: 0.95 },
];
const FORMS = [
  { compression: 'zstd', level: '3' },
  { compression: 'none', level: '3' },
];
const STATUS_EVERY_MS = 10;

const ISOLATE_MIB = 100;
/** Copies of the file that go into the long upload: 2 GiB. */
const LONG_COPIES = 8;
const OBJECT_MIB = 64;
const LOOK_EVERY_MS = 50;
/** Looks at an isolate that has next to nothing to do, of which the least counts: what it gave back is told once it works again. */
const RESTING_LOOKS = 20;

type Form = (typeof FORMS)[number];

export const pieces: Part = async (bench) => {
  const content = readFileSync(bench.file);
  return { rows: [...(await speeds(bench, content)), ...(await memoryRows(bench, content))] };
};

async function speeds(bench: Bench, content: Uint8Array): Promise<Row[]> {
  const vault = await startVault(VAULT, bench.fresh('pieces-vault'));
  const client = new UploadClient(vault);
  try {
    const rows: Row[] = [];
    for (const { pieceBytes, bar } of SIZES) {
      for (const form of FORMS) rows.push(...(await speedRows(bench, client, vault, content, form, pieceBytes, bar)));
    }
    return rows;
  } finally {
    client.close();
    await vault.stop();
  }
}

/** Until every byte is durable, which the last piece's answer tells; and until the upload is a backup that was read back. */
async function speedRows(
  { rounds }: Bench,
  client: UploadClient,
  vault: BenchVault,
  content: Uint8Array,
  form: Form,
  pieceBytes: number,
  bar: number,
): Promise<Row[]> {
  const runs: InPieces[] = [];
  const ours = async () => {
    const run = await uploadInPieces(client, content, form, pieceBytes);
    runs.push(run);
    return run.durableSeconds;
  };
  const inOne = async () => {
    const began = performance.now();
    const { backup_id } = await client.put(uploadUrl(vault, form), content);
    const seconds = secondsSince(began);
    await client.remove(`/backup/${backup_id}`);
    return seconds;
  };
  const durable = await alternate(rounds, ours, inOne);
  // The first one was to warm up.
  const measured = runs.slice(1);
  const ratios = measured.map((run, i) => ((durable.ratios[i] ?? Number.NaN) * run.durableSeconds) / run.doneSeconds);
  const done = { ...durable, ratio: median(ratios), ratios, seconds: median(measured.map((run) => run.doneSeconds)) };
  const what = `tus upload in pieces of ${mib(pieceBytes)} / the same in one request, ${form.compression === 'zstd' ? 'zstd 3' : '`compression=none`'}`;
  return [
    ratioRow(what, bar, content.length, durable),
    {
      what: 'the same until it is read back, checked and indexed',
      bar: '',
      measured: `${done.ratio.toFixed(2)} (${speed(content.length, done.seconds)})`,
      facts: done,
    },
  ];
}

interface InPieces {
  readonly durableSeconds: number;
  readonly doneSeconds: number;
}

async function uploadInPieces(
  client: UploadClient,
  content: Uint8Array,
  form: Form,
  pieceBytes: number,
): Promise<InPieces> {
  const began = performance.now();
  const address = await client.create(content.length, { filename: 'mixed.tar', ...form });
  await sendInPieces(client, address, content, pieceBytes);
  const durableSeconds = secondsSince(began);
  const receipt = await client.untilDone(address, STATUS_EVERY_MS);
  const doneSeconds = secondsSince(began);
  await removeUpload(client, address, receipt, content.length);
  return { durableSeconds, doneSeconds };
}

async function removeUpload(
  client: UploadClient,
  address: string,
  { backup_id, file_size }: Receipt,
  bytes: number,
): Promise<void> {
  if (file_size !== bytes) throw new Error(`${file_size} of ${bytes} bytes arrived`);
  await client.remove(address);
  await client.remove(`/backup/${backup_id}`);
}

async function memoryRows(bench: Bench, content: Uint8Array): Promise<Row[]> {
  const rows: Row[] = [];
  for (const form of FORMS) {
    const copies = bench.quick ? 2 : LONG_COPIES;
    const vault = await startVault(VAULT, bench.fresh('pieces-memory-vault'));
    const client = new UploadClient(vault);
    try {
      rows.push(await isolateRow(vault, client, content, form, copies));
      rows.push(await objectRow(vault, client, content, form));
    } finally {
      client.close();
      await vault.stop();
    }
  }
  return rows;
}

async function isolateRow(
  vault: BenchVault,
  client: UploadClient,
  content: Uint8Array,
  form: Form,
  copies: number,
): Promise<Row> {
  const bytes = copies * content.length;
  const what = `isolate during a tus upload of ${mib(bytes)} in pieces of ${mib(PIECE_BYTES)}, ${form.compression}, and while it is read back`;
  const sampler = await sampleHeap(vault);
  try {
    await uploadCopies(client, content, form, copies);
  } catch (error) {
    await sampler.stop();
    throw error;
  }
  return heapRow(what, ISOLATE_MIB, await sampler.stop());
}

/**
 * What is held beyond what is held at rest, at every look of a whole upload. The local runtime has the Worker and the
 * object in one isolate, so the Worker's share, which passes streams on, is counted too: it is the most that the object
 * can hold. A look is two collections, the lesser of which counts: an isolate at work makes garbage between a collection
 * and its count.
 */
async function objectRow(vault: BenchVault, client: UploadClient, content: Uint8Array, form: Form): Promise<Row> {
  const sampler = await sampleHeap(vault);
  const looks: number[] = [];
  try {
    let rest = Number.POSITIVE_INFINITY;
    for (let look = 0; look < RESTING_LOOKS; look++) {
      rest = Math.min(rest, await collected(sampler));
      await setTimeout(LOOK_EVERY_MS);
    }
    const ending = new AbortController();
    const looking = lookUntil(ending.signal, sampler, looks);
    try {
      await uploadCopies(client, content, form, 1);
    } finally {
      ending.abort();
      await looking;
    }
    const most = Math.max(...looks) - rest;
    return {
      what: `the object (and its Worker) after collections in the midst of such an upload of ${mib(content.length)}, ${form.compression}, less what is at rest`,
      bar: `under ${OBJECT_MIB} MiB`,
      measured: `at most ${mib(most)} at ${looks.length} looks; ${mib(rest)} at rest`,
      passes: looks.length > 4 && most < OBJECT_MIB * MIB,
      facts: { rest, looks },
    };
  } finally {
    await sampler.stop();
  }
}

async function lookUntil(ending: AbortSignal, sampler: HeapSampler, looks: number[]): Promise<void> {
  while (!ending.aborted) {
    looks.push(await collected(sampler));
    await setTimeout(LOOK_EVERY_MS);
  }
}

async function collected(sampler: HeapSampler): Promise<number> {
  return Math.min(bytesOf(await sampler.collect()), bytesOf(await sampler.collect()));
}

/** `copies` of the content as one file, until it is a backup. */
async function uploadCopies(client: UploadClient, content: Uint8Array, form: Form, copies: number): Promise<void> {
  const bytes = copies * content.length;
  const address = await client.create(bytes, { filename: 'mixed.tar', ...form });
  for (let at = 0; at < bytes; ) {
    const from = at % content.length;
    at = await client.patch(address, at, content.subarray(from, from + PIECE_BYTES));
  }
  await removeUpload(client, address, await client.untilDone(address, STATUS_EVERY_MS), bytes);
}

function bytesOf({ heap, buffers }: HeapSample): number {
  return heap + buffers;
}

function secondsSince(began: number): number {
  return (performance.now() - began) / 1000;
}
