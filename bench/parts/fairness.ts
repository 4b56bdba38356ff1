/**
 * Slow and stopped clients beside honest ones, in one isolate: who makes progress, what honest transfers take, and what
 * the isolate holds. The bars are those of docs/decisions/0017.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Member, openRequest, slowDownload, slowUpload } from '../support/crowd.ts';
import { type HeapSample, type HeapSampler, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { mib, type Row } from '../support/report.ts';
import { median } from '../support/rounds.ts';
import { get, putFile } from '../support/transfer.ts';
import { type BenchVault, bearer, type Receipt, removeBackup, startVault, VAULT } from '../support/vault.ts';

const MIB = 1024 * 1024;
const UPLOADS = 12;
const DOWNLOADS = 24;
const RATE = 200 * 1000;
/** What proxy and kernel take before a reader's slowness reaches the vault: up to 30 MiB each. */
const SETTLE_MS = 20_000;
const WATCH_MS = 15_000;
const ROUNDS = 5;

const HELD_MIB = 90;
const PEAK_MIB = 115;
const HONEST_RATIO = 0.45;
const FIRST_BYTE_SECONDS = 1;
const SMALL_UPLOAD_SECONDS = 3;

interface Stage {
  readonly vault: BenchVault;
  readonly large: string;
  readonly medium: string;
  /** Path of a download of 3 MB, and of one that a slow reader never ends. */
  readonly small: string;
  readonly long: string;
}

export const fairness: Part = async (bench) => {
  const rows: Row[] = [];
  const tar = readFileSync(bench.file).subarray(0, 16 * MIB);
  for (const [name, content] of [
    ['of a tar', tar],
    ['of incompressible bytes', randomBytes(16 * MIB)],
  ] as const) {
    rows.push(...(await onStage(bench, (stage) => slowCrowd(stage, name, content, bench.quick))));
    rows.push(...(await onStage(bench, (stage) => stoppedCrowd(stage, name, content))));
  }
  rows.push(...(await onStage(bench, unread)));
  return { rows };
};

/** A vault of its own for each stage, so that none inherits another's garbage. */
async function onStage(bench: Bench, play: (stage: Stage) => Promise<Row[]>): Promise<Row[]> {
  const vault = await startVault(VAULT, bench.fresh('fairness-vault'));
  try {
    const content = readFileSync(bench.file);
    const file = (name: string, bytes: number) => {
      const path = join(bench.directory, name);
      writeFileSync(path, content.subarray(0, bytes));
      return path;
    };
    const [large, medium] = [file('50MB.tar', 50_000_000), file('5MB.tar', 5_000_000)];
    const small = await stored(vault, file('3MB.tar', 3_000_000));
    const long = await stored(vault, bench.file);
    return await play({ vault, large, medium, small, long });
  } finally {
    await vault.stop();
  }
}

async function stored(vault: BenchVault, file: string): Promise<string> {
  const { body } = await putFile(`${vault.url}/backup/upload/stored.tar?compression=zstd`, file, vault.token);
  return `/backup/${(JSON.parse(body) as Receipt).backup_id}/download`;
}

interface Crowd {
  readonly uploads: readonly (Member & { readonly job: string })[];
  readonly downloads: readonly Member[];
  stop(): void;
  close(): void;
}

function crowd({ vault, long }: Stage, content: Uint8Array): Crowd {
  const uploads = Array.from({ length: UPLOADS }, (_, n) => {
    const job = `slow-${n}`;
    const client = slowUpload(vault, `/backup/upload/slow-${n}.tar?job_id=${job}`, content, RATE);
    return {
      job,
      stop: client.stop,
      close: client.close,
      get moved() {
        return client.moved;
      },
    };
  });
  const downloads = Array.from({ length: DOWNLOADS }, () => slowDownload(vault, long, RATE));
  const all: readonly Member[] = [...uploads, ...downloads];
  return {
    uploads,
    downloads,
    stop: () => {
      for (const each of all) each.stop();
    },
    close: () => {
      for (const each of all) each.close();
    },
  };
}

/** How many of the clients moved on between two looks: uploads as their jobs say it, readers by what reached them. */
async function moving(vault: BenchVault, { uploads, downloads }: Crowd, forMs: number): Promise<[number, number]> {
  const inVault = async (job: string) => {
    const answer = await fetch(`${vault.url}/jobs/${job}`, { headers: bearer(vault) });
    return ((await answer.json()) as { current: number }).current;
  };
  const look = async () => ({
    received: await Promise.all(uploads.map(({ job }) => inVault(job))),
    taken: downloads.map(({ moved }) => moved),
  });
  const before = await look();
  await wait(forMs);
  const after = await look();
  const grown = (from: readonly number[], to: readonly number[]) => to.filter((n, i) => n > (from[i] ?? 0)).length;
  return [grown(before.received, after.received), grown(before.taken, after.taken)];
}

async function slowCrowd(stage: Stage, name: string, content: Uint8Array, quick: boolean): Promise<Row[]> {
  const { vault, large } = stage;
  const rounds = quick ? 2 : ROUNDS;
  const alone = await uploadSeconds(vault, large, rounds);
  const heap = await sampleHeap(vault);
  const clients = crowd(stage, content);
  try {
    await wait(SETTLE_MS / 2);
    const [uploads, downloads] = await moving(vault, clients, WATCH_MS);
    const beside = await uploadSeconds(vault, large, rounds);
    const held = await heap.collect();
    const ratio = median(alone) / median(beside);
    const who = `${UPLOADS} uploads ${name} and ${DOWNLOADS} decoded downloads at 200 KB/s`;
    return [
      {
        what: `${who}: those that progress within ${WATCH_MS / 1000} s`,
        bar: 'all',
        measured: `${uploads} and ${downloads}`,
        passes: uploads === UPLOADS && downloads === DOWNLOADS,
      },
      {
        what: 'the same: an upload of 50 MB beside them / alone',
        bar: String(HONEST_RATIO),
        measured: `${ratio.toFixed(2)} (${median(beside).toFixed(1)} s / ${median(alone).toFixed(1)} s)`,
        passes: ratio >= HONEST_RATIO,
        facts: { alone, beside },
      },
      heldRow('the same', held, await heap.stop()),
    ];
  } finally {
    clients.close();
  }
}

async function stoppedCrowd(stage: Stage, name: string, content: Uint8Array): Promise<Row[]> {
  const { vault, medium, small } = stage;
  const heap = await sampleHeap(vault);
  const clients = crowd(stage, content);
  try {
    // Each sender stops within its first frame or later, as chance has it.
    await wait(SETTLE_MS / 2);
    clients.stop();
    await wait(SETTLE_MS);
    const firstBytes: number[] = [];
    const uploads: number[] = [];
    for (let round = 0; round < 3; round++) {
      firstBytes.push((await get(`${vault.url}${small}`, vault.token)).firstByteSeconds);
      uploads.push(...(await uploadSeconds(vault, medium, 1)));
    }
    const held = await heap.collect();
    const who = `${UPLOADS} uploads ${name} and ${DOWNLOADS} readers that stopped`;
    const worst = (seconds: readonly number[]) => Math.max(...seconds);
    return [
      {
        what: `${who}: first byte of a download of 3 MB`,
        bar: `under ${FIRST_BYTE_SECONDS} s`,
        measured: `at most ${worst(firstBytes).toFixed(2)} s`,
        passes: worst(firstBytes) < FIRST_BYTE_SECONDS,
        facts: firstBytes,
      },
      {
        what: 'the same: answer to an upload of 5 MB',
        bar: `under ${SMALL_UPLOAD_SECONDS} s`,
        measured: `at most ${worst(uploads).toFixed(2)} s`,
        passes: worst(uploads) < SMALL_UPLOAD_SECONDS,
        facts: uploads,
      },
      heldRow('the same', held, await heap.stop()),
    ];
  } finally {
    clients.close();
  }
}

const BOUNDARY = 'boundary-of-a-queued-form';

/** Bodies that no operation has asked for: what the isolate holds of them. */
async function unread({ vault }: Stage): Promise<Row[]> {
  const stranger = { ...vault, token: '' };
  const chunk = Buffer.alloc(900_000, 'x');
  const json = ['Content-Type: application/json', 'Content-Length: 150000000'];
  const form = [`Content-Type: multipart/form-data; boundary=${BOUNDARY}`, 'Content-Length: 200000000'];
  const file = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.tar"\r\n\r\n`;
  const inForm = Buffer.concat([Buffer.from(file), chunk]);
  const kinds: readonly (readonly [string, number, () => Member])[] = [
    [
      '200 bodies without a token',
      200,
      () => openRequest(stranger, 'PUT', '/backup/upload/x.tar', ['Content-Length: 200000000'], chunk),
    ],
    ['200 forms', 200, () => openRequest(vault, 'POST', '/backup/upload', form, inForm)],
    ['50 bodies of 150 MB to JSON routes', 50, () => openRequest(vault, 'POST', '/tokens', json, chunk)],
  ];
  const rows: Row[] = [];
  for (const [what, count, open] of kinds) {
    const heap: HeapSampler = await sampleHeap(vault);
    const clients = Array.from({ length: count }, open);
    await wait(8_000);
    const held = await heap.collect();
    rows.push(heldRow(what, held, await heap.stop()));
    for (const client of clients) client.close();
    await wait(2_000);
  }
  return rows;
}

async function uploadSeconds(vault: BenchVault, file: string, rounds: number): Promise<number[]> {
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const sent = await putFile(`${vault.url}/backup/upload/honest.tar`, file, vault.token);
    seconds.push(sent.seconds);
    await removeBackup(vault, (JSON.parse(sent.body) as Receipt).backup_id);
  }
  return seconds;
}

function heldRow(what: string, held: HeapSample, samples: readonly HeapSample[]): Row {
  const peak = Math.max(...samples.map(({ heap, buffers }) => heap + buffers));
  const after = held.heap + held.buffers;
  return {
    what: `${what}: heap and buffers of the isolate, after a collection; at most`,
    bar: `${HELD_MIB} MiB; ${PEAK_MIB} MiB`,
    measured: `${mib(after)}; ${mib(peak)}`,
    passes: after <= HELD_MIB * MIB && peak <= PEAK_MIB * MIB,
    facts: samples,
  };
}
