import type { IndexFacts } from '../../../src/archive/index-root.ts';
import type { IndexRuns } from '../../../src/archive/index-runs.ts';
import { MemberIndexWriter, type MemberIndexWriterOptions } from '../../../src/archive/index-writer.ts';
import type { Member, MemberType } from '../../../src/archive/member.ts';
import { MemberIndex } from '../../../src/archive/member-index.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { hex, utf8 } from '../../../src/shared/bytes.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { collect } from '../codec/bytes.ts';

export function member(path: string | Uint8Array, headerOffset: number, more: Partial<Member> = {}): Member {
  const size = more.size ?? 0;
  return {
    path: typeof path === 'string' ? utf8(path) : path,
    type: 'file',
    size,
    mode: 0o644,
    uid: 1000,
    gid: 1000,
    mtime: { seconds: 1_700_000_000, nanos: 0 },
    linkTarget: null,
    device: null,
    headerOffset,
    dataOffset: headerOffset + 512,
    dataBytes: size,
    ...more,
  };
}

/** The same numbers at every run: from 0 up to `below`. */
export function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const TYPES = ['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo', 'sparse'] as const;
const NUMBERS = [0, 1, 63, 64, 127, 128, 8191, 8192, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 48, 2 ** 53 - 1];

/** Members of every kind in the order of an archive: few paths, so that many are there twice; all numbers' boundaries. */
export function randomMembers(count: number, seed: number): Member[] {
  const roll = dice(seed);
  const number = () => NUMBERS[roll(NUMBERS.length)] ?? 0;
  const sign = () => (roll(2) === 0 ? 1 : -1);
  let headerOffset = 0;
  return Array.from({ length: count }, () => {
    headerOffset += 512 * (1 + roll(40));
    const size = roll(3) === 0 ? number() : roll(100_000);
    const odd = roll(4) === 0;
    return member(randomPath(roll), headerOffset, {
      type: TYPES[roll(TYPES.length)] satisfies MemberType | undefined,
      size,
      ...(roll(3) === 0 && { mode: number(), uid: number(), gid: number() }),
      ...(roll(2) === 0 && { mtime: { seconds: sign() * number(), nanos: roll(2) * roll(1_000_000_000) } }),
      linkTarget: roll(5) === 0 ? randomPath(roll) : null,
      device: roll(9) === 0 ? { major: number(), minor: number() } : null,
      ...(odd && { dataOffset: headerOffset + roll(5000), dataBytes: number() }),
    });
  });
}

const LONG = 'd'.repeat(4096 - 20);
const STEMS = ['', 'a', 'a/', 'src/lib/', 'src/lib-x/', 'node_modules/babel/lib/', '../', '/etc/', '\0', LONG];

function randomPath(roll: (below: number) => number): Uint8Array {
  const stem = utf8(STEMS[roll(STEMS.length)] ?? '');
  const tail = Array.from({ length: roll(4) }, () => (roll(2) === 0 ? 0x61 + roll(3) : [0x2f, 0xff, 0xc3, 0][roll(4)]));
  return Uint8Array.from([...stem, ...tail.map((byte) => byte ?? 0)]);
}

export function bytesOrder(a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? a.length - b.length : (a[at] ?? 0) - (b[at] ?? -1);
}

export function sortedMembers(members: readonly Member[]): Member[] {
  return members.toSorted((a, b) => bytesOrder(a.path, b.path) || a.headerOffset - b.headerOffset);
}

/** A line that says all of a member. */
export function told({ path, linkTarget, ...rest }: Member): string {
  const link = linkTarget && hex(linkTarget);
  const { type, size, mode, uid, gid, mtime, device, headerOffset, dataOffset, dataBytes } = rest;
  return JSON.stringify([
    hex(path),
    ...[type, size, mode, uid, gid, mtime.seconds, mtime.nanos, link, device?.major, device?.minor],
    ...[headerOffset, dataOffset, dataBytes],
  ]);
}

export class MemoryRuns implements IndexRuns {
  readonly runs: Uint8Array[] = [];
  reads = 0;
  mostAtOnce = 0;
  largestRead = 0;
  #now = 0;

  async put(run: number, bytes: Uint8Array): Promise<void> {
    this.runs[run] = bytes.slice();
    await Promise.resolve();
  }

  async read(run: number, { offset, length }: ByteSpan): Promise<Uint8Array> {
    this.reads++;
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#now);
    this.largestRead = Math.max(this.largestRead, length);
    await Promise.resolve();
    this.#now--;
    return this.runs[run]?.slice(offset, offset + length) ?? new Uint8Array(0);
  }
}

export const NO_FACTS: IndexFacts = { stopped: null, layers: [] };

export function compress(bytes: Uint8Array): Uint8Array {
  return nativeEngine.compressFrame(bytes, 3);
}

export async function writeIndex(
  members: Iterable<Member>,
  { facts = NO_FACTS, ...options }: Partial<MemberIndexWriterOptions> & { facts?: IndexFacts } = {},
): Promise<Uint8Array> {
  const writer = new MemberIndexWriter({ runs: new MemoryRuns(), ...options });
  for (const each of members) await writer.add(each);
  return await collect(writer.finish(facts, compress));
}

/** A source of an index in memory that counts its reads; `tailBytes` bounds what the first one gives. */
export function sourceOf(object: Uint8Array, tailBytes = Number.POSITIVE_INFINITY) {
  const source = {
    reads: 0,
    readTail: async (bytes: number) => {
      source.reads++;
      return { bytes: object.slice(-Math.min(bytes, tailBytes)), size: object.length };
    },
    read: async ({ offset, length }: ByteSpan) => {
      source.reads++;
      return object.slice(offset, offset + length);
    },
    decompress: nativeEngine.decompressFrame,
  };
  return source;
}

export async function openIndex(object: Uint8Array, tailBytes?: number): Promise<MemberIndex> {
  const index = await MemberIndex.open(sourceOf(object, tailBytes));
  if (!index) throw new Error('there is an index');
  return index;
}

export async function listed(members: AsyncIterable<Member> | Iterable<Member>): Promise<string[]> {
  const lines: string[] = [];
  for await (const each of members) lines.push(told(each));
  return lines;
}
