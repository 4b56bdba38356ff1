/** gzip, RFC 1952. */
import { crc32, createGzip } from 'node:zlib';
import { ByteReader } from '../shared/byte-reader.ts';
import { VaultError } from '../shared/errors.ts';
import { GZIP_LEVEL, GZIP_PIECE_BYTES } from '../shared/limits.ts';
import type { Stage } from '../shared/streams.ts';
import { PushTransform } from './push-transform.ts';
import { RawInflater } from './raw-inflater.ts';

const CHUNK_BYTES = 64 * 1024;
/** Compressed bytes given to the inflater at once. */
const SLICE_BYTES = 64 * 1024;

const MAGIC = [0x1f, 0x8b] as const;
const FIXED_HEADER_BYTES = 10;
const METHOD_DEFLATE = 8;
const TRAILER_BYTES = 8;
const FLAG = { headerCrc: 0x02, extra: 0x04, name: 0x08, comment: 0x10, reserved: 0xe0 } as const;

/** Bytes that are no gzip file, or a broken one. `offset` counts the compressed bytes before the fault. */
export class MalformedGzip extends VaultError {
  readonly offset: number;
  readonly reason: string;

  constructor(reason: string, offset: number, options?: ErrorOptions) {
    super('malformed-gzip', `The gzip data cannot be decoded at byte ${offset}: ${reason}.`, options);
    this.offset = offset;
    this.reason = reason;
  }
}

/** The content is larger than the caller will have. */
export class GzipTooLarge extends VaultError {
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    super('file-too-large', `The gzip data holds more than the ${maxBytes} bytes that are allowed.`);
    this.maxBytes = maxBytes;
  }
}

/**
 * Content as one gzip member. What a piece of input gives is given before the next is pulled, which CompressionStream
 * does not promise: there a slow reader's output queues up.
 *
 * @param othersWait whether other transfers share the isolate. Compressing takes most of a second for 50 MB, and without a
 *   pause a reader that takes all at once leaves them no time before its end
 */
export function gzipEncode(othersWait: () => boolean = () => false): Stage {
  return async function* gzipEncoded(source) {
    const gzip = new PushTransform(createGzip({ level: GZIP_LEVEL, chunkSize: CHUNK_BYTES }));
    try {
      for await (const piece of source) {
        for (let at = 0; at < piece.length; at += GZIP_PIECE_BYTES) {
          yield* await gzip.push(piece.subarray(at, at + GZIP_PIECE_BYTES));
          if (othersWait()) await scheduler.wait(1);
        }
      }
      yield* await gzip.finish();
    } finally {
      gzip.close();
    }
  };
}

export interface GunzipOptions {
  /** Content that may come out, in bytes; a piece that would go over is refused with {@link GzipTooLarge}. No bound by default. */
  readonly maxBytes?: number;
  /**
   * Told of every member before its content is given; what it throws ends the decoding. A member costs 0.1 ms, and may
   * be 20 bytes that hold nothing: who decodes what strangers send, counts them.
   */
  readonly onMember?: () => void;
  /** What follows the last member and is none: left unread (default), as gzip(1) does, or refused as malformed. */
  readonly trailing?: 'unread' | 'refused';
}

/**
 * The content of a gzip file of one member or many, one after the other. Throws MalformedGzip or GzipTooLarge; what was
 * given before that is content from before the fault. A member's checksum and length are checked at its end.
 *
 * The members are walked here, because the transform of node:zlib loses content where what follows the last member is
 * none. That, zeros of a tape or anything else, is left unread, as gzip(1) does. A file that ends where a member begins
 * to be recognised is cut, and refused.
 *
 * Holds a piece of its source and 256 KiB of content, whatever the ratio.
 */
export function gunzip(options: GunzipOptions = {}): Stage {
  const { maxBytes = Number.POSITIVE_INFINITY, onMember, trailing = 'unread' } = options;
  return async function* gunzipped(source) {
    const reader = new ByteReader(source);
    try {
      let made = 0;
      if (!(await memberFollows(reader))) throw new MalformedGzip('no gzip member begins here', 0);
      do {
        await skipHeader(reader);
        onMember?.();
        for await (const piece of inflateMember(reader)) {
          made += piece.length;
          if (made > maxBytes) throw new GzipTooLarge(maxBytes);
          yield piece;
        }
      } while (await memberFollows(reader));
      if (trailing === 'refused' && (await reader.fill(1)).length > 0) {
        throw new MalformedGzip('what follows the last member is none', reader.position);
      }
    } finally {
      await reader.close();
    }
  };
}

async function memberFollows(reader: ByteReader): Promise<boolean> {
  const held = await reader.fill(MAGIC.length);
  return held.length > 0 && MAGIC.every((byte, i) => i >= held.length || held[i] === byte);
}

/** Section 2.3. Name, comment and extra field are stepped over, whatever their length. */
async function skipHeader(reader: ByteReader): Promise<void> {
  const start = reader.position;
  let crc = 0;
  const take = async (bytes: number): Promise<Uint8Array> => {
    const held = await reader.fill(bytes);
    if (held.length < bytes) throw new MalformedGzip('the data ends inside a member header', start + held.length);
    const taken = held.slice(0, bytes);
    crc = crc32(taken, crc);
    reader.consume(bytes);
    return taken;
  };
  const fixed = await take(FIXED_HEADER_BYTES);
  const flags = fixed[3] ?? 0;
  if (fixed[2] !== METHOD_DEFLATE) throw new MalformedGzip('a member is not compressed by deflate', start);
  if ((flags & FLAG.reserved) !== 0) throw new MalformedGzip('a member header has a reserved bit set', start);
  if ((flags & FLAG.extra) !== 0) await take(littleEndian16(await take(2)));
  for (const flag of [FLAG.name, FLAG.comment]) {
    while ((flags & flag) !== 0) {
      const end = (await reader.fill(1)).indexOf(0);
      await take(end < 0 ? Math.max(reader.buffered.length, 1) : end + 1);
      if (end >= 0) break;
    }
  }
  if ((flags & FLAG.headerCrc) === 0) return;
  const expected = crc & 0xffff;
  if (littleEndian16(await take(2)) !== expected) throw new MalformedGzip('a member header is corrupt', start);
}

/** The content of the member whose header has been read. The reader stands behind its trailer afterwards. */
async function* inflateMember(reader: ByteReader): AsyncGenerator<Uint8Array, void, undefined> {
  const start = reader.position;
  const inflater = new RawInflater();
  let crc = 0;
  let size = 0;
  try {
    for (let ended = false; !ended; ) {
      const input = (await reader.fill(1)).subarray(0, SLICE_BYTES);
      if (input.length === 0) throw new MalformedGzip('the data ends inside a member', reader.position);
      for await (const piece of inflated(inflater, input, start)) {
        crc = crc32(piece, crc);
        size += piece.length;
        yield piece;
      }
      // A trailer must follow, so a stream that took everything has not ended, or says so at the next slice.
      const taken = inflater.taken();
      ended = taken < input.length;
      reader.consume(taken);
    }
  } finally {
    inflater.close();
  }
  await checkTrailer(reader, crc, size);
}

async function* inflated(
  inflater: RawInflater,
  input: Uint8Array,
  start: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = inflater.push(input);
  while (true) {
    const { done, value } = await pieces.next().catch((cause: unknown) => {
      throw new MalformedGzip('a member is corrupt', start, { cause });
    });
    if (done) return;
    yield value;
  }
}

/** Section 2.3.1: CRC-32 of the content, and its length modulo 2^32. */
async function checkTrailer(reader: ByteReader, crc: number, size: number): Promise<void> {
  const start = reader.position;
  const held = await reader.fill(TRAILER_BYTES);
  if (held.length < TRAILER_BYTES) throw new MalformedGzip('the data ends inside a member', start + held.length);
  const view = new DataView(held.buffer, held.byteOffset, TRAILER_BYTES);
  const matches = view.getUint32(0, true) === crc && view.getUint32(4, true) === size % 2 ** 32;
  if (!matches) throw new MalformedGzip('the checksum of a member does not match its content', start);
  reader.consume(TRAILER_BYTES);
}

function littleEndian16(bytes: Uint8Array): number {
  return (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
}
