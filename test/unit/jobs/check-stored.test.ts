import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { Backup } from '../../../src/catalogue/backups.ts';
import { encodeSeekTable, parseSeekTable, type SeekEntry } from '../../../src/codec/seekable/seek-table.ts';
import { seekableEncode } from '../../../src/codec/seekable/seekable-encoder.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { checkStored, type StoredCheck } from '../../../src/jobs/check-stored.ts';
import { concat } from '../../../src/shared/bytes.ts';
import { FRAME_BYTES, MIB } from '../../../src/shared/limits.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { type ObjectRead, ObjectStore, type ReadOptions } from '../../../src/store/object-store.ts';
import { StoredDataLost } from '../../../src/store/stored-data-lost.ts';
import { sample, sha256Hex } from '../../support/vault.ts';
import { bothEngines } from '../codec/both-engines.ts';

/** One object, in memory, so that thousands of ways to be damaged take seconds. */
class OneObject extends ObjectStore {
  readonly bytes: Uint8Array | null;
  /** The object is another one from this read on. */
  readonly changedFrom: number;
  reads = 0;

  constructor(bytes: Uint8Array | null, changedFrom = Number.POSITIVE_INFINITY) {
    super(env.VAULT);
    this.bytes = bytes;
    this.changedFrom = changedFrom;
  }

  override async size(): Promise<number | null> {
    return this.bytes ? this.bytes.length : null;
  }

  override async read(_key: string, { span }: ReadOptions = {}): Promise<ObjectRead> {
    this.reads += 1;
    if (!this.bytes) return { kind: 'missing' };
    if (this.reads >= this.changedFrom) return { kind: 'changed' };
    const { offset, length } = span ?? { offset: 0, length: this.bytes.length };
    const bytes = this.bytes.slice(offset, offset + length);
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        if (bytes.length > 0) controller.enqueue(bytes);
        controller.close();
      },
    });
    return { kind: 'open', body, etag: 'one', size: this.bytes.length };
  }

  override async readBytes(key: string, { offset, length }: ByteSpan): Promise<Uint8Array> {
    if (!this.bytes) throw new StoredDataLost('missing', key);
    return this.bytes.slice(offset, offset + length);
  }
}

interface Sample {
  readonly backup: Backup;
  readonly stored: Uint8Array<ArrayBuffer>;
  readonly entries: readonly SeekEntry[];
  /** Where each frame begins, and behind them the table. */
  readonly offsets: readonly number[];
}

const ID = '01TEST00000000000000000000';

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > 0) yield bytes;
}

async function encoded(engine: ZstdEngine, content: Uint8Array<ArrayBuffer>, frameBytes: number): Promise<Sample> {
  let frames = 0;
  const pieces: Uint8Array[] = [];
  const encode = seekableEncode({
    engine,
    level: 1,
    frameBytes,
    onFrames: (made) => {
      frames = made.length;
    },
  });
  for await (const piece of encode(once(content))) pieces.push(piece.slice());
  const stored = concat(pieces) as Uint8Array<ArrayBuffer>;
  const entries = parseSeekTable(pieces.at(-1) ?? new Uint8Array());
  const offsets = [0];
  for (const { compressedBytes } of entries) offsets.push((offsets.at(-1) ?? 0) + compressedBytes);
  const backup: Backup = {
    backup_id: ID,
    job_id: ID,
    name: 'a.tar',
    filename: 'a.tar',
    content_type: 'application/x-tar',
    file_size: content.length,
    checksum: await sha256Hex(content),
    stored_size: stored.length,
    stored_checksum: await sha256Hex(stored),
    compression: { codec: 'zstd', level: 1, engine: engine.name, frames },
    encryption: null,
    archive: null,
    created_at: '2026-11-24T00:00:00.000Z',
    created_by: null,
    expires_at: null,
    verified_at: null,
    damage: null,
  };
  return { backup, stored, entries, offsets };
}

function check(engine: ZstdEngine, backup: Backup, bytes: Uint8Array | null): Promise<StoredCheck> {
  return checkStored({ store: new OneObject(bytes), engine, turn }, backup, () => undefined);
}

function flip(bytes: Uint8Array, at: number, mask = 1): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}

/** The same every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** How often somebody else of the isolate has a turn meanwhile. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 0);
  try {
    await work();
    return turns;
  } finally {
    clearInterval(timer);
  }
}

const WHOLE = { missing: false, fault: null, broken_frames: 0 };

describe.each(bothEngines)('what is stored, with the $name engine', (engine) => {
  it.each([
    [0, 100],
    [1, 100],
    [99, 100],
    [100, 100],
    [101, 100],
    [5000, 100],
    [FRAME_BYTES + 1, FRAME_BYTES],
    [3 * FRAME_BYTES, FRAME_BYTES],
  ])('is whole: %i bytes in frames of %i', async (bytes, frameBytes) => {
    const { backup, stored, entries } = await encoded(engine, sample(bytes), frameBytes);
    const read: number[] = [];
    const found = await checkStored({ store: new OneObject(stored), engine, turn }, backup, (now) => read.push(now));
    expect(found).toEqual({ ...WHOLE, frames_checked: entries.length });
    expect(read).toEqual(read.toSorted((a, b) => a - b));
    expect(read.at(-1)).toBe(stored.length);
  });

  it('made by either engine is whole', async () => {
    for (const maker of bothEngines) {
      const { backup, stored } = await encoded(maker, sample(2 * FRAME_BYTES + 5), FRAME_BYTES);
      expect(await check(engine, backup, stored)).toEqual({ ...WHOLE, frames_checked: 3 });
    }
  });

  it('is damaged by a flip of any bit in any byte, and the place is that frame, the table, or unknown', async () => {
    const { backup, stored, offsets } = await encoded(engine, sample(500), 100);
    const table = offsets.at(-1) ?? 0;
    for (let at = 0; at < stored.length; at++) {
      for (const mask of [1 << (at % 8), 1 << ((at + 3) % 8)]) {
        const { fault, frames_checked } = await check(engine, backup, flip(stored, at, mask));
        const place = `byte ${at}, mask ${mask}: ${JSON.stringify(fault)}`;
        expect(fault, place).not.toBeNull();
        expect(frames_checked, place).toBe(5);
        if (fault?.frame === null) {
          const unknown = fault.offset === null && /another SHA-256/.test(fault.reason);
          expect(unknown || (at >= table && fault.offset === table), place).toBe(true);
        } else {
          expect(at, place).toBeLessThan(table);
          expect(fault?.offset, place).toBe(offsets[fault?.frame ?? -1]);
          expect(fault?.offset, place).toBe(offsets.findLast((offset) => offset <= at));
        }
      }
    }
  });

  it('is damaged where it is cut at any byte', async () => {
    const { backup, stored } = await encoded(engine, sample(300), 100);
    for (let length = 0; length < stored.length; length++) {
      const { fault, broken_frames } = await check(engine, backup, stored.subarray(0, length));
      expect(fault, `cut to ${length}`).not.toBeNull();
      expect(fault?.frame === null ? fault.offset : broken_frames, `cut to ${length}`).toBe(
        fault?.frame === null ? length : 1,
      );
    }
  });

  it('is damaged after any other change, and the check always comes to its end', async () => {
    const random = numbers(7);
    const { backup, stored } = await encoded(engine, sample(2000), 250);
    for (let round = 0; round < 400; round++) {
      const bytes = stored.slice();
      const from = random(bytes.length);
      const length = 1 + random(40);
      const kind = random(4);
      if (kind === 0) bytes.fill(random(256), from, from + length);
      else if (kind === 1) bytes.copyWithin(from, random(bytes.length), random(bytes.length) + length);
      else if (kind === 2) for (let at = from; at < from + length; at++) bytes[at] = random(256);
      else bytes.subarray(from).reverse();
      const same = bytes.every((byte, at) => byte === stored[at]);
      const found = await check(engine, backup, bytes.subarray(0, bytes.length));
      expect(found.fault === null, `round ${round}: ${JSON.stringify(found)}`).toBe(same);
    }
  });

  it('is damaged where its seek table lies, though all its frames are whole', async () => {
    const { backup, stored, entries, offsets } = await encoded(engine, sample(500), 100);
    const table = offsets.at(-1) ?? 0;
    const [first, second, ...others] = entries;
    if (!first || !second) throw new Error('two frames were made');
    const more = { ...first, compressedBytes: first.compressedBytes + 1 };
    const less = { ...second, compressedBytes: second.compressedBytes - 1 };
    const lies: readonly (readonly SeekEntry[])[] = [
      [],
      entries.slice(1),
      [...entries, { compressedBytes: 0, contentBytes: 0, ...(first.checksum !== undefined && { checksum: 0 }) }],
      [{ ...first, compressedBytes: 0xffffffff }, second, ...others],
      [{ ...first, contentBytes: 0xffffffff }, second, ...others],
      [{ ...first, contentBytes: first.contentBytes - 1 }, second, ...others],
      [{ ...first, contentBytes: FRAME_BYTES + MIB }, second, ...others],
    ];
    for (const lie of lies) {
      const { fault, frames_checked } = await check(
        engine,
        backup,
        concat([stored.subarray(0, table), encodeSeekTable(lie)]),
      );
      expect(frames_checked).toBe(5);
      expect(fault?.frame).toBeNull();
    }
    // These add up, so that only the frames can contradict.
    const shifted = concat([stored.subarray(0, table), encodeSeekTable([more, less, ...others])]);
    expect((await check(engine, backup, shifted)).fault).not.toBeNull();
  });

  it('is damaged where a number of frames is told that was never written', async () => {
    const { backup, stored } = await encoded(engine, sample(500), 100);
    const compression = { codec: 'zstd', level: 1, engine: engine.name } as const;
    for (const frames of [0, 4, 6]) {
      const { fault } = await check(engine, { ...backup, compression: { ...compression, frames } }, stored);
      expect(fault, `${frames}`).not.toBeNull();
    }
  });

  it('is damaged where content or stored bytes have another digest', async () => {
    const { backup, stored } = await encoded(engine, sample(500), 100);
    const other = '00'.repeat(32);
    expect((await check(engine, { ...backup, checksum: other }, stored)).fault).toEqual({
      reason: 'the content has another SHA-256 than what was uploaded',
      frame: null,
      offset: null,
    });
    expect((await check(engine, { ...backup, stored_checksum: other }, stored)).fault?.reason).toMatch(
      /^the stored bytes have another SHA-256.*; the content still has its own$/,
    );
  });

  it('is damaged where it is missing, or another one by the time it is read', async () => {
    const { backup, stored } = await encoded(engine, sample(500), 100);
    expect((await check(engine, backup, null)).fault?.reason).toBe('the data is missing');
    const changed = new OneObject(stored, 1);
    const { fault } = await checkStored({ store: changed, engine, turn }, backup, () => undefined);
    expect(fault?.reason).toBe('the data was replaced while it was read');
  });

  it('leaves others of the isolate their turns, also where little that is stored holds much', async () => {
    const { backup, stored } = await encoded(engine, new Uint8Array(16 * FRAME_BYTES), FRAME_BYTES);
    expect(stored.length).toBeLessThan(MIB);
    expect(await turnsDuring(() => check(engine, backup, stored))).toBeGreaterThanOrEqual(3);
  });

  it('is left at once when whoever is told throws', async () => {
    const { backup, stored } = await encoded(engine, sample(3 * FRAME_BYTES), FRAME_BYTES);
    const enough = new Error('enough');
    const stop = () => {
      throw enough;
    };
    await expect(checkStored({ store: new OneObject(stored), engine, turn }, backup, stop)).rejects.toBe(enough);
  });
});

/** A turn whenever it is asked for. */
const turn = async () => ({ release: () => undefined });

describe('what came as it is', () => {
  it('leaves others of the isolate their turns', async () => {
    const { backup } = await encoded(nativeEngine, new Uint8Array(0), FRAME_BYTES);
    const stored = new Uint8Array(80 * MIB);
    const digest = await sha256Hex(stored);
    const plain: Backup = {
      ...backup,
      compression: { codec: 'none' },
      file_size: stored.length,
      checksum: digest,
      stored_size: stored.length,
      stored_checksum: digest,
    };
    let found: StoredCheck | undefined;
    const turns = await turnsDuring(async () => {
      found = await check(nativeEngine, plain, stored);
    });
    expect(found).toMatchObject(WHOLE);
    expect(turns).toBeGreaterThanOrEqual(4);
  });
});
