/** Single members and ranges out of large backups: what they read, decode and hold, and how long they take. */
import { type HeapSample, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { bareRead, bytesOf, type Reads, readsOf, readsUnder, type StorageRead } from '../support/reads.ts';
import { kib, mib, ms, type Row } from '../support/report.ts';
import { alternate, median, type Ratio } from '../support/rounds.ts';
import { MixedArchive, type MixedMember, randomNumbers } from '../support/tars.ts';
import { get, putPieces } from '../support/transfer.ts';
import { type BenchVault, bearer, INSTRUMENTED_VAULT, type Receipt, startVault, uploadUrl } from '../support/vault.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const FRAME_BYTES = 4 * MIB;
/** The larger archive, in periods of the smaller. */
const PERIODS = 4;
const AT_ONCE = 8;
const LIMIT_MIB = 100;
/** Two archives on one machine are never measured alike to the last percent. */
const NOISE = 1.1;

interface Stored {
  readonly id: string;
  readonly bytes: number;
  readonly periods: number;
}

interface Scene {
  readonly vault: BenchVault;
  readonly archive: MixedArchive;
  readonly targets: readonly MixedMember[];
  readonly small: Stored;
  readonly large: Stored;
  readonly pairs: number;
}

/** A member, as it was fetched. */
interface Fetched {
  readonly url: string;
  readonly reads: Reads;
  /** The one read of the stored object. */
  readonly data: StorageRead;
}

export const randomAccess: Part = async (bench) => {
  const state = bench.fresh('random-access-vault');
  const archive = new MixedArchive(bench.file, bench.quick ? 64 * MIB : GIB);
  const uploaded = await withVault(state, async (vault) => ({
    small: await store(vault, archive, 1),
    large: await store(vault, archive, PERIODS),
  }));
  // Started again: the isolate that answers has never seen these backups.
  return withVault(state, async (vault) => {
    const pairs = bench.quick ? 6 : 40;
    const scene = { vault, archive, targets: archive.targets(pairs + 1), ...uploaded, pairs };
    const rows = [...(await memberRows(scene)), ...(await rangeRows(scene))];
    return { rows: [...rows, ...(await memoryRows(bench, scene))] };
  });
};

async function withVault<T>(state: string, work: (vault: BenchVault) => Promise<T>): Promise<T> {
  const vault = await startVault(INSTRUMENTED_VAULT, state);
  try {
    return await work(vault);
  } finally {
    await vault.stop();
  }
}

async function store(vault: BenchVault, archive: MixedArchive, periods: number): Promise<Stored> {
  const { body } = await putPieces(uploadUrl(vault), archive.pieces(periods), vault.token);
  const { backup_id, file_size, archive: found } = JSON.parse(body) as Receipt;
  if (found?.members !== periods * archive.members.length) throw new Error(`an index of ${found?.members} members`);
  return { id: backup_id, bytes: file_size, periods };
}

async function memberRows(scene: Scene): Promise<Row[]> {
  const { small, large } = scene;
  const cold = [await fetchMember(scene, small, 0), await fetchMember(scene, large, 0)];
  const ofSmall = await fetchAll(scene, small);
  const ofLarge = await fetchAll(scene, large);
  const name = (stored: Stored) => `one 10 KB member out of a tar of ${mib(stored.bytes)}`;
  return [
    readsRow(name(small), ofSmall, cold.slice(0, 1)),
    bytesRow(name(small), ofSmall),
    await timeRow(scene, name(small), ofSmall),
    readsRow(name(large), ofLarge, cold.slice(1)),
    bytesRow(name(large), ofLarge),
    await timeRow(scene, name(large), ofLarge),
    await sizesRow(scene, ofSmall, ofLarge),
  ];
}

/** The `i`-th target; in the larger archive those lie in all of its periods by turns. Its bytes are checked. */
async function fetchMember({ vault, archive, targets }: Scene, stored: Stored, i: number): Promise<Fetched> {
  const target = targets[i];
  if (!target) throw new Error('too few members to fetch');
  const url = `${vault.url}/backup/${stored.id}/files/${archive.pathIn(i % stored.periods, target)}`;
  const reads = await readsOf(vault, async () => {
    const content = await content200(vault, url);
    if (!content.equals(archive.contentOf(target))) throw new Error(`${url} answered other bytes`);
  });
  const [data, ...more] = readsUnder(reads, 'data');
  if (!data || more.length > 0) throw new Error(`${more.length + 1} reads of the stored object`);
  return { url, reads, data };
}

async function fetchAll(scene: Scene, stored: Stored): Promise<Fetched[]> {
  const all: Fetched[] = [];
  for (let i = 0; i < scene.targets.length; i++) all.push(await fetchMember(scene, stored, i));
  return all;
}

/** `cold`: the first fetches of an isolate that has just begun; the others follow, each of another member. */
function readsRow(what: string, warm: readonly Fetched[], cold: readonly Fetched[]): Row {
  const most = mostReads(warm);
  const mostCold = mostReads(cold);
  return {
    what: `${what}: R2 reads (in a fresh isolate)`,
    bar: 'at most 2 (3)',
    measured: `${most} (${mostCold})`,
    passes: most <= 2 && mostCold <= 3,
    facts: { warm: warm.map(({ reads }) => reads), cold: cold.map(({ reads }) => reads) },
  };
}

function bytesRow(what: string, fetched: readonly Fetched[]): Row {
  const frames = Math.max(...fetched.map(({ reads }) => framesOf(reads)));
  const blocks = fetched.map(({ reads }) => bytesOf(readsUnder(reads, 'index')));
  const data = fetched.map((member) => member.data.bytes);
  const readBlocks = Math.max(...fetched.map(({ reads }) => readsUnder(reads, 'index').length));
  return {
    what: `${what}: bytes read`,
    bar: 'at most 2 frames and a block of the index',
    measured:
      `at most ${frames} and ${readBlocks}; ` +
      `median ${kib(median(data))} of frames and ${kib(median(blocks))} of index`,
    passes: frames <= 2 && readBlocks <= 1,
    facts: { data, blocks },
  };
}

/** Frames of content that were decoded; the index has its own, and much smaller ones. */
function framesOf({ frames }: Reads): number {
  return frames.filter((bytes) => bytes === FRAME_BYTES).length;
}

async function timeRow({ vault, pairs }: Scene, what: string, fetched: readonly Fetched[]): Promise<Row> {
  const firstByte = inTurn(fetched, async ({ url }) => (await get(url, vault.token)).firstByteSeconds);
  const bare = inTurn(fetched, async ({ data }) => (await get(bareRead(vault, data))).seconds);
  const times = await alternate(pairs, firstByte, bare);
  return slowerRow(`${what}: time to first byte / bare R2 get of the same frames`, 3, times);
}

/** The same members in the same frames, once out of the larger archive and once out of the smaller. */
async function sizesRow(
  { vault, pairs, small, large }: Scene,
  ofSmall: readonly Fetched[],
  ofLarge: readonly Fetched[],
) {
  const firstByte = ({ url }: Fetched) => get(url, vault.token).then(({ firstByteSeconds }) => firstByteSeconds);
  const times = await alternate(pairs, inTurn(ofLarge, firstByte), inTurn(ofSmall, firstByte));
  const reads = [mostReads(ofLarge), mostReads(ofSmall)] as const;
  const bytes = median(ofLarge.map(totalBytes)) / median(ofSmall.map(totalBytes));
  const time = 1 / times.ratio;
  return {
    what: `the same member out of ${mib(large.bytes)} / out of ${mib(small.bytes)}: R2 reads; bytes read; time to first byte`,
    bar: `no larger (noise: ${NOISE})`,
    measured: `${reads[0]} / ${reads[1]}; ${bytes.toFixed(2)}; ${time.toFixed(2)}`,
    passes: reads[0] <= reads[1] && bytes <= NOISE && time <= NOISE,
    facts: times,
  };
}

function mostReads(fetched: readonly Fetched[]): number {
  return Math.max(...fetched.map(({ reads }) => reads.gets.length));
}

function totalBytes({ reads }: Fetched): number {
  return bytesOf(reads.gets);
}

/** A row whose bar is how many times as long as the control something may take. */
function slowerRow(what: string, atMost: number | null, times: Ratio): Row {
  const ratio = 1 / times.ratio;
  return {
    what,
    bar: atMost === null ? '' : `at most ${atMost}`,
    measured: `${ratio.toFixed(2)} (${ms(times.seconds)} / ${ms(times.controlSeconds)})`,
    ...(atMost === null ? {} : { passes: ratio <= atMost }),
    facts: times,
  };
}

/** Goes through the items, one a call. */
function inTurn<T>(items: readonly T[], run: (item: T) => Promise<number>): () => Promise<number> {
  let next = 0;
  return () => {
    const item = items[next++ % items.length];
    if (item === undefined) throw new Error('nothing to measure');
    return run(item);
  };
}

interface FetchedRange {
  readonly range: string;
  readonly reads: Reads;
}

async function rangeRows(scene: Scene): Promise<Row[]> {
  const { vault, large, pairs } = scene;
  const url = `${vault.url}/backup/${large.id}/download`;
  const [cold] = await fetchRanges(scene, url, 1);
  const ranges = await fetchRanges(scene, url, pairs + 1);
  const decoded = Math.max(...ranges.map(({ reads }) => sum(reads.frames)));
  const most = Math.max(...ranges.map(({ reads }) => reads.gets.length));
  const times = await alternate(
    pairs,
    inTurn(ranges, async ({ range }) => (await get(url, vault.token, '/dev/null', range)).seconds),
    inTurn(ranges, async ({ reads }) => (await get(bareReadOf(vault, reads))).seconds),
  );
  const what = `1 MiB at random out of ${mib(large.bytes)}`;
  return [
    {
      what: `${what}: bytes decoded; R2 reads (in a fresh isolate)`,
      bar: 'at most 2 frames',
      measured: `at most ${mib(decoded)} = ${decoded / FRAME_BYTES} frames; ${most} (${cold?.reads.gets.length})`,
      passes: decoded <= 2 * FRAME_BYTES,
      facts: ranges,
    },
    slowerRow(`${what}: time to last byte / bare R2 get of the same frames`, null, times),
  ];
}

async function fetchRanges({ vault, large }: Scene, url: string, count: number): Promise<FetchedRange[]> {
  const random = randomNumbers(count);
  const ranges: FetchedRange[] = [];
  while (ranges.length < count) {
    const range = rangeOf(Math.floor(random() * (large.bytes - MIB)));
    const reads = await readsOf(vault, async () => {
      const { length } = await content206(vault, url, range);
      if (length !== MIB) throw new Error(`${length} bytes for the range ${range}`);
    });
    ranges.push({ range, reads });
  }
  return ranges;
}

function rangeOf(from: number): string {
  return `${from}-${from + MIB - 1}`;
}

function bareReadOf(vault: BenchVault, reads: Reads): string {
  const data = reads.gets.at(-1);
  if (!data) throw new Error('a range without a read');
  return bareRead(vault, data);
}

/** Eight clients at once, one request after the other: members, then ranges. */
async function memoryRows(bench: Bench, scene: Scene): Promise<Row[]> {
  const { vault, archive, targets, large } = scene;
  const requests = bench.quick ? 20 : 100;
  const random = randomNumbers(8);
  const files = `${vault.url}/backup/${large.id}/files`;
  const download = `${vault.url}/backup/${large.id}/download`;
  const members = () => {
    const target = targets[Math.floor(random() * targets.length)];
    if (!target) throw new Error('no members to fetch');
    return content200(vault, `${files}/${archive.pathIn(Math.floor(random() * large.periods), target)}`);
  };
  const ranges = () => content206(vault, download, rangeOf(Math.floor(random() * (large.bytes - MIB))));
  return [
    await memoryRow(vault, `isolate, 10 KB members, ${AT_ONCE} at once, ${requests} each`, requests, members),
    await memoryRow(vault, `isolate, ranges of 1 MiB, ${AT_ONCE} at once, ${requests} each`, requests, ranges),
  ];
}

/**
 * Flat is what is left after a collection. Garbage of short requests grows until the collector comes, which is seldom:
 * it counts for the most that is held, and not for this.
 */
async function memoryRow(
  vault: BenchVault,
  what: string,
  requests: number,
  request: () => Promise<unknown>,
): Promise<Row> {
  const began = performance.now();
  const { first, last, samples } = await watchedClients(vault, requests, request);
  const each = (performance.now() - began) / 1000 / (AT_ONCE * requests);
  const most = Math.max(...[first, ...samples, last].map(heldBytes));
  return {
    what,
    bar: `under ${LIMIT_MIB} MiB, flat`,
    measured:
      `at most ${mib(most)}; after a collection ${mib(heldBytes(first))} at the start, ${mib(heldBytes(last))} at the ` +
      `end; one every ${ms(each)}`,
    passes: samples.length > 4 && most < LIMIT_MIB * MIB && heldBytes(last) <= heldBytes(first) + 4 * MIB,
    facts: { first, last, samples },
  };
}

async function watchedClients(vault: BenchVault, requests: number, request: () => Promise<unknown>) {
  const sampler = await sampleHeap(vault);
  const client = async (times: number) => {
    for (let i = 0; i < times; i++) await request();
  };
  const clients = (times: number) => Promise.all(Array.from({ length: AT_ONCE }, () => client(times)));
  try {
    await clients(2);
    const first = await sampler.collect();
    await clients(requests);
    const last = await sampler.collect();
    return { first, last, samples: await sampler.stop() };
  } catch (error) {
    await sampler.stop();
    throw error;
  }
}

function heldBytes({ heap, buffers }: HeapSample): number {
  return heap + buffers;
}

async function content200(vault: BenchVault, url: string): Promise<Buffer> {
  return content(url, 200, bearer(vault));
}

async function content206(vault: BenchVault, url: string, range: string): Promise<Buffer> {
  return content(url, 206, { ...bearer(vault), range: `bytes=${range}` });
}

async function content(url: string, status: number, headers: Record<string, string>): Promise<Buffer> {
  const answer = await fetch(url, { headers: { ...headers, 'accept-encoding': 'identity' } });
  if (answer.status !== status) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return Buffer.from(await answer.arrayBuffer());
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
