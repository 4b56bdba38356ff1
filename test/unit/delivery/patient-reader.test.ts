import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { patientReader } from '../../../src/delivery/patient-reader.ts';
import { SlowReaders } from '../../../src/shared/isolate-memory.ts';
import { FRAME_BYTES, KIB, MOST_KEPT_BYTES, READER_CHUNK_BYTES } from '../../../src/shared/limits.ts';
import type { ByteSpan } from '../../../src/shared/seek-points.ts';
import { firstDifference, noise } from '../codec/bytes.ts';

const SLOW_MS = 40;
const STOPPED_MS = 160;
const content = noise(2 * FRAME_BYTES + 300 * KIB, 5);

interface Source {
  /** The frames that each opening of the source gives at most. */
  readonly frameBytes?: number;
  /** Offset of the content at which the source fails. */
  readonly failsAt?: number;
}

/** A reader over content in frames, which counts what it holds: turns, open sources and frames. */
function watchedReader({ frameBytes = FRAME_BYTES, failsAt = Number.POSITIVE_INFINITY }: Source = {}) {
  const seen = { wanted: true, turns: 0, turnsTaken: 0, open: 0, frames: 0, opened: [] as ByteSpan[] };
  async function* source({ offset, length }: ByteSpan): AsyncGenerator<Uint8Array, void, undefined> {
    seen.open += 1;
    seen.opened.push({ offset, length });
    try {
      for (let at = offset; at < offset + length; ) {
        if (at >= failsAt) throw new Error('the frame is broken');
        const end = Math.min(offset + length, at - (at % frameBytes) + frameBytes);
        // A Buffer, as node:zlib gives it, whose memory goes with the next pull.
        const frame = Buffer.from(content.slice(at, end).buffer);
        seen.frames += 1;
        try {
          yield frame;
        } finally {
          seen.frames -= 1;
          frame.buffer.transfer(0);
        }
        at = end;
      }
    } finally {
      seen.open -= 1;
    }
  }
  const turn = async () => {
    seen.turns += 1;
    seen.turnsTaken += 1;
    let held = true;
    return {
      release: () => {
        if (held) seen.turns -= 1;
        held = false;
      },
      wanted: () => seen.wanted,
    };
  };
  const read = patientReader(source, { turn, slowReaders: new SlowReaders(), slowMs: SLOW_MS, stoppedMs: STOPPED_MS });
  return { read, seen };
}

/** Everything of a span, by a consumer that pauses for `pauses[i]` ms after its i-th chunk, and then at no chunk. */
async function taken(read: ReturnType<typeof patientReader>, span: ByteSpan, pauses: readonly number[] = []) {
  const all = new Uint8Array(span.length);
  let filled = 0;
  let chunks = 0;
  for await (const chunk of read(span)) {
    expect(chunk.length).toBeLessThanOrEqual(READER_CHUNK_BYTES);
    const pause = pauses[chunks++];
    // Looked at after the pause: the chunk that is pending stays as it is, whatever is dropped behind it.
    if (pause) await scheduler.wait(pause);
    all.set(chunk, filled);
    filled += chunk.length;
  }
  return all.subarray(0, filled);
}

const whole = { offset: 0, length: content.length };

describe('patientReader', () => {
  it('reads through one open source for a fast consumer, with a turn for each frame', async () => {
    const { read, seen } = watchedReader();
    seen.wanted = false;
    expect(firstDifference(await taken(read, whole), content)).toBeNull();
    expect(seen).toMatchObject({ turns: 0, turnsTaken: 3, open: 0, frames: 0, opened: [whole] });
  });

  it('opens a source for each frame while others wait for turns', async () => {
    const { read, seen } = watchedReader();
    expect(
      firstDifference(await taken(read, { offset: 10, length: content.length - 10 }), content.slice(10)),
    ).toBeNull();
    expect(seen.opened.map(({ offset }) => offset)).toEqual([10, FRAME_BYTES, 2 * FRAME_BYTES]);
    expect(seen).toMatchObject({ turns: 0, open: 0, frames: 0 });
  });

  it('keeps the frame for a slow consumer as long as nobody waits for the turn', async () => {
    const { read, seen } = watchedReader();
    seen.wanted = false;
    expect(firstDifference(await taken(read, whole, [2 * SLOW_MS, 0, 2 * SLOW_MS]), content)).toBeNull();
    expect(seen.opened).toEqual([whole]);
  });

  it('keeps a copy of a part for a slow consumer where others wait, and gives back the frame, the source and the turn', async () => {
    const { read, seen } = watchedReader();
    const chunks = read(whole)[Symbol.asyncIterator]();
    const first = await chunks.next();
    expect(seen).toMatchObject({ turns: 1, open: 1, frames: 1 });
    await scheduler.wait(2 * SLOW_MS);
    expect(seen).toMatchObject({ turns: 0, open: 0, frames: 0, turnsTaken: 1 });
    expect(firstDifference(first.value ?? new Uint8Array(), content.slice(0, READER_CHUNK_BYTES))).toBeNull();
    for (let kept = 0; kept < MOST_KEPT_BYTES; kept += READER_CHUNK_BYTES) await chunks.next();
    expect(seen.turnsTaken).toBe(1);
    await chunks.next();
    expect(seen.turnsTaken).toBe(2);
    await chunks.return?.();
    expect(seen).toMatchObject({ turns: 0, open: 0, frames: 0 });
  });

  it('keeps nothing but the pending chunk for a consumer that stopped, and goes on where it stands', async () => {
    const { read, seen } = watchedReader();
    expect(firstDifference(await taken(read, whole, [1.5 * STOPPED_MS]), content)).toBeNull();
    expect(seen.opened[1]).toEqual({ offset: READER_CHUNK_BYTES, length: (FRAME_BYTES - READER_CHUNK_BYTES) / 2 });
    expect(seen).toMatchObject({ turns: 0, open: 0, frames: 0 });
  });

  it('opens the source to the end again once the consumer takes a whole frame without a wait', async () => {
    const { read, seen } = watchedReader();
    const chunks = read(whole)[Symbol.asyncIterator]();
    await chunks.next();
    await scheduler.wait(2 * SLOW_MS);
    seen.wanted = false;
    while (!(await chunks.next()).done);
    const last = seen.opened.at(-1);
    expect(last && last.offset + last.length).toBe(content.length);
    expect(last?.length).toBeGreaterThan(MOST_KEPT_BYTES);
    expect(seen.opened.length).toBeLessThan(8);
  });

  it.each([64 * KIB, 100_000, FRAME_BYTES])(
    'gives the same bytes for any pauses, in frames of %i',
    async (frameBytes) => {
      const span = { offset: 1_234_567, length: 3 * MOST_KEPT_BYTES + 77 };
      const expected = content.slice(span.offset, span.offset + span.length);
      const [slow, stopped] = [1.5 * SLOW_MS, 1.5 * STOPPED_MS];
      const patterns = [
        [slow],
        [stopped],
        [0, slow, slow],
        [0, 0, stopped, slow, 0, stopped],
        [slow, 0, 0, 0, 0, 0, 0, 0, 0, slow],
      ];
      await Promise.all(
        patterns.map(async (pauses) => {
          const { read, seen } = watchedReader({ frameBytes });
          expect(firstDifference(await taken(read, span, pauses), expected), pauses.join()).toBeNull();
          expect(seen, pauses.join()).toMatchObject({ turns: 0, open: 0, frames: 0 });
        }),
      );
    },
  );

  it('gives everything back when the consumer leaves, at any moment', async () => {
    for (const pause of [0, 1.5 * SLOW_MS, 1.5 * STOPPED_MS]) {
      const { read, seen } = watchedReader();
      for await (const _ of read(whole)) {
        await scheduler.wait(pause);
        break;
      }
      expect(seen, `after ${pause} ms`).toMatchObject({ turns: 0, open: 0, frames: 0 });
    }
  });

  it('throws what the source throws, and holds nothing then', async () => {
    const { read, seen } = watchedReader({ failsAt: FRAME_BYTES });
    await expect(taken(read, whole)).rejects.toThrow('the frame is broken');
    expect(seen).toMatchObject({ turns: 0, open: 0, frames: 0 });
  });

  it('closes the source while it waits for its next turn', async () => {
    const { read, seen } = watchedReader();
    const waiting = patientReader(read, {
      turn: async () => {
        await scheduler.wait(100);
        if (seen.turnsTaken > 0) expect(seen).toMatchObject({ open: 0, frames: 0 });
        return { release: () => undefined, wanted: () => true };
      },
      slowReaders: new SlowReaders(),
    });
    const span = { offset: 0, length: 4 * READER_CHUNK_BYTES };
    expect(firstDifference(await taken(waiting, span), content.slice(0, span.length))).toBeNull();
  });

  it('refuses a source that ends early, or has more than was asked for', async () => {
    const turn = async () => ({ release: () => undefined, wanted: () => false });
    const slowReaders = new SlowReaders();
    async function* three() {
      yield Uint8Array.of(1, 2, 3);
    }
    await expect(taken(patientReader(three, { turn, slowReaders }), { offset: 0, length: 4 })).rejects.toThrow(
      '1 bytes early',
    );
    async function* twice() {
      yield* three();
      yield* three();
    }
    await expect(taken(patientReader(twice, { turn, slowReaders }), { offset: 0, length: 3 })).rejects.toThrow(
      'more content',
    );
  });
});
