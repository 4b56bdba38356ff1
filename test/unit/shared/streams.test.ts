import { describe, expect, it } from 'vitest';
import { unlessAborted } from '../../../src/shared/abort.ts';
import { ByteReader } from '../../../src/shared/byte-reader.ts';
import { concat } from '../../../src/shared/bytes.ts';
import {
  type Pieces,
  pumpPieces,
  readAhead,
  readPieces,
  type Stage,
  stagePair,
  untilAborted,
} from '../../../src/shared/streams.ts';
import { PeerStalled } from '../../../src/shared/watchdog.ts';

const content = Uint8Array.from({ length: 10_000 }, (_, i) => i & 255);

function scripted(chunk: number, failAt = Number.POSITIVE_INFINITY) {
  const seen = { pulled: 0, cancelled: false };
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const at = seen.pulled * chunk;
        if (at >= failAt) return controller.error(new Error('source failed'));
        if (at >= content.length) return controller.close();
        seen.pulled += 1;
        controller.enqueue(content.slice(at, at + chunk));
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, seen };
}

function native(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  const { body } = new Response(bytes);
  if (!body) throw new Error('no body');
  return body;
}

async function collect(pieces: Pieces): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece.slice());
  return all;
}

const same: Stage = async function* (source) {
  yield* source;
};

describe('readPieces', () => {
  it.each([1, 7, 999, 5000, 10_000, 20_000])('gives pieces of exactly %i bytes, but the last', async (size) => {
    for (const stream of [native(content), scripted(13).stream, scripted(4096).stream]) {
      const pieces = await collect(readPieces(stream, size));
      expect(concat(pieces)).toEqual(content);
      expect(pieces.slice(0, -1).every((piece) => piece.length === size)).toBe(true);
      expect(pieces.at(-1)?.length).toBeGreaterThan(0);
    }
  });

  it('cancels the stream when the consumer leaves', async () => {
    const left = scripted(100);
    for await (const _ of readPieces(left.stream, 100)) break;
    expect(left.seen.cancelled).toBe(true);
  });

  it('throws what the source threw', async () => {
    await expect(collect(readPieces(scripted(100, 500).stream, 64))).rejects.toThrow('source failed');
  });

  it('pulls nothing ahead of the consumer but what fills a piece', async () => {
    const { stream, seen } = scripted(100);
    const pieces = readPieces(stream, 300);
    await pieces.next();
    expect(seen.pulled).toBe(3);
    await pieces.return();
  });
});

describe('untilAborted', () => {
  const reason = new Error('enough');

  /** Pieces of a number each; from `stallAt` on the next one waits until it is let go. */
  function numbers(stallAt = Number.POSITIVE_INFINITY) {
    const seen = { left: false, go: Promise.withResolvers<void>() };
    async function* pieces() {
      try {
        for (let n = 0; n < 5; n++) {
          if (n === stallAt) await seen.go.promise;
          yield Uint8Array.of(n);
        }
      } finally {
        seen.left = true;
      }
    }
    return { pieces: pieces(), seen };
  }

  it('gives what the source gives, to its end or its error', async () => {
    const { signal } = new AbortController();
    expect(concat(await collect(untilAborted(numbers().pieces, signal)))).toEqual(Uint8Array.of(0, 1, 2, 3, 4));
    await expect(collect(untilAborted(readPieces(scripted(100, 500).stream, 64), signal))).rejects.toThrow(
      'source failed',
    );
  });

  it('leaves the source with its consumer', async () => {
    const { pieces, seen } = numbers();
    for await (const _ of untilAborted(pieces, new AbortController().signal)) break;
    expect(seen.left).toBe(true);
  });

  it.each([0, 1, 4])('throws the reason while piece %i is waited for, and leaves the source after it', async (at) => {
    const abort = new AbortController();
    const { pieces, seen } = numbers(at);
    const given = untilAborted(pieces, abort.signal);
    for (let n = 0; n < at; n++) expect((await given.next()).value).toEqual(Uint8Array.of(n));
    const waiting = given.next();
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(seen.left).toBe(false);
    seen.go.resolve();
    await pieces.return();
    expect(seen.left).toBe(true);
    expect(await given.next()).toEqual({ done: true, value: undefined });
  });

  it('gives nothing of a source whose signal has aborted', async () => {
    const { pieces, seen } = numbers();
    await expect(untilAborted(pieces, AbortSignal.abort(reason)).next()).rejects.toBe(reason);
    await pieces.return();
    expect(seen.left).toBe(true);
  });
});

describe('stagePair', () => {
  it('passes everything, in order, with a slow reader', async () => {
    const pair = stagePair(same, { pieceBytes: 512, length: content.length });
    const out = scripted(77).stream.pipeThrough(pair);
    const got: Uint8Array[] = [];
    for await (const chunk of out) {
      got.push(chunk.slice());
      await scheduler.wait(1);
    }
    expect(concat(got)).toEqual(content);
  });

  it('breaks the readable when the source or the stage fails', async () => {
    const failing: Stage = async function* (source) {
      for await (const piece of source) {
        yield piece;
        throw new Error('stage failed');
      }
    };
    await expect(
      collect(readPieces(native(content).pipeThrough(stagePair(failing, { pieceBytes: 100 })), 10)),
    ).rejects.toThrow();
    await expect(
      collect(readPieces(scripted(100, 500).stream.pipeThrough(stagePair(same, { pieceBytes: 100 })), 10)),
    ).rejects.toThrow();
  });

  it('breaks when fewer bytes come than were announced', async () => {
    const pair = stagePair(same, { pieceBytes: 100, length: content.length + 1 });
    await expect(collect(readPieces(native(content).pipeThrough(pair), 100))).rejects.toThrow();
  });
});

/** Gives so many pieces of ten bytes, then hangs until the signal aborts. */
function hangingAfter(pieces: number) {
  const seen = { left: false };
  async function* source(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < pieces; i++) yield new Uint8Array(10);
    await unlessAborted(new Promise<never>(() => undefined), signal).finally(() => {
      seen.left = true;
    });
  }
  return { source, seen };
}

describe('pumpPieces', () => {
  it('leaves the source when the reader goes', async () => {
    const left = scripted(1000);
    const { readable, writable } = new IdentityTransformStream();
    const pumping = pumpPieces(readPieces(left.stream, 1000), writable);
    const reader = readable.getReader();
    await reader.read();
    await reader.cancel();
    await expect(pumping).rejects.toThrow();
    expect(left.seen.cancelled).toBe(true);
  });

  it('takes a reader that stalls for gone', async () => {
    const { readable, writable } = new IdentityTransformStream();
    await expect(
      pumpPieces(readPieces(native(content), 100), writable, { limits: { idleMs: 30, minRate: 1 } }),
    ).rejects.toThrow(PeerStalled);
    await expect(readable.getReader().read()).rejects.toThrow();
  });

  it('tells the source at once that the reader has gone while a piece is offered to it', async () => {
    for (let taken = 0; taken <= 3; taken++) {
      const { source, seen } = hangingAfter(taken + 1);
      const { readable, writable } = new FixedLengthStream(100);
      const pumping = pumpPieces((signal) => readAhead(source(signal)), writable);
      const reader = readable.getReader({ mode: 'byob' });
      for (let i = 0; i < taken; i++) await reader.readAtLeast(10, new Uint8Array(10));
      await reader.cancel(new Error('gone'));
      await expect(pumping).rejects.toThrow('gone');
      expect(seen.left).toBe(true);
    }
  });

  it('tells the source at once that its own caller has left, or that the reader stalls', async () => {
    const gone = new AbortController();
    const waiting = hangingAfter(0);
    const pumping = pumpPieces(waiting.source, new IdentityTransformStream().writable, { signal: gone.signal });
    gone.abort(new Error('gone'));
    await expect(pumping).rejects.toThrow('gone');
    expect(waiting.seen.left).toBe(true);

    const stalled = hangingAfter(1);
    const { writable } = new IdentityTransformStream();
    const ahead = pumpPieces((signal) => readAhead(stalled.source(signal)), writable, {
      limits: { idleMs: 20, minRate: 1 },
    });
    await expect(Promise.race([ahead, scheduler.wait(5000)])).rejects.toThrow(PeerStalled);
    expect(stalled.seen.left).toBe(true);
  });

  it('breaks the readable with what the source throws', async () => {
    const { readable, writable } = new IdentityTransformStream();
    const pumping = pumpPieces(() => readPieces(scripted(100, 500).stream, 100), writable);
    const reading = collect(readPieces(readable, 10));
    await expect(pumping).rejects.toThrow('source failed');
    await expect(reading).rejects.toThrow('source failed');
  });
});

describe('readAhead', () => {
  it('passes everything and what the source throws, one piece ahead, and leaves the source with the consumer', async () => {
    expect(concat(await collect(readAhead(readPieces(native(content), 77))))).toEqual(content);
    await expect(collect(readAhead(readPieces(scripted(100, 500).stream, 100)))).rejects.toThrow('source failed');
    const { stream, seen } = scripted(100);
    for await (const _ of readAhead(readPieces(stream, 100))) {
      await scheduler.wait(5);
      expect(seen.pulled).toBe(2);
      break;
    }
    expect(seen.cancelled).toBe(true);
  });
});

describe('ByteReader', () => {
  it('fill, consume and skip across pieces', async () => {
    const reader = new ByteReader(readPieces(native(content), 77), 16);
    expect((await reader.fill(10)).slice(0, 10)).toEqual(content.slice(0, 10));
    reader.consume(5);
    expect(await reader.skip(4000)).toBe(true);
    expect(reader.position).toBe(4005);
    expect((await reader.fill(3)).slice(0, 3)).toEqual(content.slice(4005, 4008));
    expect(await reader.skip(100_000)).toBe(false);
    expect(reader.position).toBe(content.length);
    expect((await reader.fill(1)).length).toBe(0);
  });
});
