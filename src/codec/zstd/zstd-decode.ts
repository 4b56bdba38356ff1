/**
 * Decodes a zstd file made by anybody: many frames, skippable frames anywhere, sizes told or not.
 *
 * The file is walked here, by its headers, and the engines see one frame at a time: decoders that are given a whole
 * file give only its first frame (nodejs/node#64741), or nothing where a skippable frame comes first. Walking also
 * tells how much output the next input can give, and that is what bounds a bomb: a small frame is decoded at once into
 * the size its header tells, any other in groups of a few blocks, of which none gives more than 128 KiB.
 */
import { ByteReader } from '../../shared/byte-reader.ts';
import { release } from '../../shared/bytes.ts';
import { VaultError } from '../../shared/errors.ts';
import type { Share } from '../../shared/isolate-memory.ts';
import type { Stage } from '../../shared/streams.ts';
import { plainBytes } from '../plain-bytes.ts';
import type { ZstdEngine } from './engine.ts';
import { LARGEST_BLOCK_BYTES, type ZstdFrameHeader } from './frame-header.ts';
import { checkFrame, readFrameHeader, scanBlock, scanFrame } from './frame-scan.ts';
import { MalformedZstd } from './malformed-zstd.ts';

/** What the blocks given to a decompressor at once hold at most, and give at most, but for one block more. */
const GROUP_BYTES = 7 * LARGEST_BLOCK_BYTES;

/** The content is larger than the caller will have. */
export class ZstdTooLarge extends VaultError {
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    super('file-too-large', `The zstd data holds more than the ${maxBytes} bytes that are allowed.`);
    this.maxBytes = maxBytes;
  }
}

export interface ZstdDecodeOptions {
  readonly engine: ZstdEngine;
  /** Content that may come out, in bytes; what would go over is refused with {@link ZstdTooLarge}, before it is made where a frame tells its size. */
  readonly maxBytes: number;
  /** Told of every frame before any of its content is given; what it throws ends the decoding. Skippable frames are none. */
  readonly onFrame?: (frame: FrameStart) => void;
  /** Called with each frame that is decoded at once, when its content is about to be given. */
  readonly onWholeFrame?: (frame: WholeFrame) => void;
  /**
   * Told of every frame, skippable frame and block; what it throws ends the decoding. Each takes time also where it
   * holds nothing, and may be three bytes: who decodes what strangers send, counts them.
   */
  readonly onStep?: () => void;
  /**
   * Borrows memory for a frame before its bytes are gathered, in bytes: its content where it is decoded at once, else its
   * window. The share is released behind the frame. For decoders at the pace of a sender, who may be slow.
   */
  readonly hold?: (bytes: number) => Promise<Share> | undefined;
  /**
   * Content of a frame up to which it is decoded at once, in bytes, where the caller can hold less than
   * `engine.oneShotBytes`, its default. Larger frames are decoded in groups of blocks, with their window in memory.
   */
  readonly oneShotBytes?: number;
}

/** A frame that was decoded at once. Its bytes are valid until the next pull. */
export interface WholeFrame {
  readonly bytes: Uint8Array;
  /** The chunk that is given. */
  readonly content: Uint8Array;
  /** RFC 8878, section 3.1.1. */
  readonly hasChecksum: boolean;
}

/** A frame as it is met. Offsets count from the start of the source, and of what it decodes to. */
export interface FrameStart {
  readonly encodedOffset: number;
  /** Where the frame ends; null where that is not known yet, because it is decoded in groups. */
  readonly encodedEnd: number | null;
  readonly contentOffset: number;
  /** What its header says; null where it says nothing. */
  readonly contentBytes: number | null;
}

/**
 * The content of a zstd file. Throws MalformedZstd or ZstdTooLarge; what was given before that is content from before
 * the fault (whole frames, or the checked part of a large one). Holds a frame's compressed bytes and its content.
 */
export function zstdDecode(options: ZstdDecodeOptions): Stage {
  const { engine, maxBytes, onFrame, onWholeFrame, onStep, hold, oneShotBytes } = options;
  const largestOneShot = Math.min(engine.oneShotBytes, oneShotBytes ?? engine.oneShotBytes);
  return async function* zstdDecoded(source) {
    const reader = new ByteReader(source);
    let share: Share | undefined;
    try {
      let made = 0;
      if ((await reader.fill(1)).length === 0) throw new MalformedZstd('there are no bytes', 0);
      while ((await reader.fill(1)).length > 0) {
        onStep?.();
        const frame = await readFrameHeader(reader);
        if (!frame) continue;
        checkFrame(frame, engine, reader.position);
        if (made + (frame.contentBytes ?? 0) > maxBytes) throw new ZstdTooLarge(maxBytes);
        share = await hold?.(heldBytes(frame, largestOneShot));
        const encodedOffset = reader.position;
        const encodedEnd = await frameEnd(reader, frame, largestOneShot, onStep);
        onFrame?.({ encodedOffset, encodedEnd, contentOffset: made, contentBytes: frame.contentBytes });
        for await (const piece of decodeFrame(reader, frame, engine, encodedEnd, { onStep, onWholeFrame })) {
          made += piece.length;
          if (made > maxBytes) throw new ZstdTooLarge(maxBytes);
          yield piece;
        }
        share?.release();
      }
    } finally {
      share?.release();
      await reader.close();
    }
  };
}

function heldBytes({ contentBytes, windowBytes }: ZstdFrameHeader, oneShotBytes: number): number {
  return contentBytes !== null && contentBytes <= oneShotBytes ? contentBytes : windowBytes;
}

/** Where a frame ends that is decoded at once, which is then buffered whole; null for any other. */
async function frameEnd(
  reader: ByteReader,
  frame: ZstdFrameHeader,
  oneShotBytes: number,
  onStep?: () => void,
): Promise<number | null> {
  const { contentBytes } = frame;
  if (contentBytes === null || contentBytes > oneShotBytes) return null;
  const frameBytes = await scanFrame(reader, frame, contentBytes, onStep);
  return frameBytes === null ? null : reader.position + frameBytes;
}

async function* decodeFrame(
  reader: ByteReader,
  frame: ZstdFrameHeader,
  engine: ZstdEngine,
  encodedEnd: number | null,
  { onStep, onWholeFrame }: Pick<ZstdDecodeOptions, 'onStep' | 'onWholeFrame'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { contentBytes } = frame;
  if (contentBytes === null || encodedEnd === null) return yield* decodeInGroups(reader, frame, engine, onStep);
  const frameBytes = encodedEnd - reader.position;
  const whole = reader.buffered.subarray(0, frameBytes);
  const content = await countedFrom(reader.position, () => engine.decompressFrame(whole, contentBytes));
  reader.consume(frameBytes);
  const plain = plainBytes(content);
  onWholeFrame?.({ bytes: whole, content: plain, hasChecksum: frame.hasChecksum });
  try {
    yield plain;
  } finally {
    // Also where the consumer leaves: who fetches one file wants a few bytes of a frame, and leaves it each time.
    release(content);
  }
}

/** Bytes of a large frame, a few blocks at a time. The reader stands behind the frame afterwards. */
async function* decodeInGroups(
  reader: ByteReader,
  frame: ZstdFrameHeader,
  engine: ZstdEngine,
  onStep?: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const start = reader.position;
  const decompressor = engine.decompressor(frame.windowBytes);
  let given: Uint8Array | undefined;
  try {
    let made = 0;
    let at = frame.headerBytes;
    for (let last = false; !last; at = 0) {
      let atMost = 0;
      while (!last && at < GROUP_BYTES && atMost < GROUP_BYTES) {
        onStep?.();
        const block = await scanBlock(reader, at, frame);
        last = block.last;
        at = block.end;
        atMost += block.atMostBytes;
      }
      const group = reader.buffered.subarray(0, at);
      for (const piece of await countedFrom(start, () => decompressor.push(group))) {
        made += piece.length;
        // Several pieces may be views of one chunk; once there is another one, the engine has left it for good.
        if (given && given.buffer !== piece.buffer) release(given);
        given = piece;
        yield piece;
      }
      reader.consume(at);
    }
    await countedFrom(start, () => decompressor.end());
    if (frame.contentBytes !== null && made !== frame.contentBytes) {
      throw new MalformedZstd('a frame does not hold what its header says', start);
    }
  } finally {
    decompressor.close();
    if (given) release(given);
  }
}

/** Engines count from the frame's start, files from theirs. */
async function countedFrom<T>(frameStart: number, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof MalformedZstd ? error.within(frameStart) : error;
  }
}
