import { availableParallelism } from 'node:os';
import zlib from 'node:zlib';

/** The content of a frame: as the vault has it, so that a file within an archive costs as little to read. */
const FRAME_BYTES = 4 * 1024 * 1024;
/** Frames made at once; libuv has four threads unless told otherwise. */
const AT_ONCE = Math.min(4, availableParallelism());

/** https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md, 0.1.0 */
const SKIPPABLE_MAGIC = 0x184d2a5e;
const SEEKABLE_MAGIC = 0x8f92eab1;
const HAS_CHECKSUMS = 0x80;
const HEADER_BYTES = 8;
const ENTRY_BYTES = 12;
const FOOTER_BYTES = 9;
const CHECKSUM_BYTES = 4;

/** Node has zstd since 22.15. */
export function hasZstd(): boolean {
  return typeof zlib.zstdCompress === 'function';
}

/**
 * A zstd file in the seekable format: independent frames with a checksum, and at the end a table of them, which a
 * decoder that does not know it steps over. Always the same bytes for the same content, level and version of zstd.
 *
 * `onFrame` hears how many bytes were made so far, and of how much content.
 */
export async function* zstdFrames(
  content: AsyncIterable<Buffer>,
  level: number,
  onFrame: (made: number, read: number) => void = () => undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const entries: Buffer[] = [];
  let made = 0;
  let read = 0;
  const frames = inOrder(blocks(content), async (block) => ({ frame: await compress(block, level), of: block.length }));
  for await (const { frame, of } of frames) {
    made += frame.length;
    read += of;
    entries.push(entry(frame, of));
    onFrame(made, read);
    yield frame;
  }
  yield seekTable(entries);
}

/** Bytes of the frame, of its content, and the low half of the content's XXH64, with which the frame itself ends. */
function entry(frame: Buffer, contentBytes: number): Buffer {
  const fields = Buffer.alloc(ENTRY_BYTES);
  fields.writeUInt32LE(frame.length, 0);
  fields.writeUInt32LE(contentBytes, 4);
  frame.copy(fields, 8, frame.length - CHECKSUM_BYTES);
  return fields;
}

function seekTable(entries: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  header.writeUInt32LE(entries.length * ENTRY_BYTES + FOOTER_BYTES, 4);
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeUInt32LE(entries.length, 0);
  footer.writeUInt8(HAS_CHECKSUMS, 4);
  footer.writeUInt32LE(SEEKABLE_MAGIC, 5);
  return Buffer.concat([header, ...entries, footer]);
}

function compress(block: Buffer, level: number): Promise<Buffer> {
  const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zlib.constants;
  const params = { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: 1 };
  return new Promise((resolve, reject) => {
    // The frame's header tells its size only where that is pledged.
    zlib.zstdCompress(block, { params, pledgedSrcSize: block.length }, (error, frame) =>
      error ? reject(error) : resolve(frame),
    );
  });
}

/** The same bytes in blocks of FRAME_BYTES, the last one as long as it is; of nothing one empty block. */
async function* blocks(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let parts: Buffer[] = [];
  let held = 0;
  let any = false;
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + FRAME_BYTES - held);
      parts.push(part);
      held += part.length;
      at += part.length;
      if (held < FRAME_BYTES) continue;
      yield Buffer.concat(parts);
      any = true;
      parts = [];
      held = 0;
    }
  }
  if (held > 0 || !any) yield Buffer.concat(parts);
}

/** Does `work` on a few items at once and gives the results in the items' order. */
async function* inOrder<Item, Result>(
  items: AsyncIterable<Item>,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, undefined> {
  const running: Promise<Result>[] = [];
  for await (const item of items) {
    const result = work(item);
    // It is awaited in its turn; until then a failure must not count as unhandled.
    result.catch(() => undefined);
    running.push(result);
    const first = running.length < AT_ONCE ? undefined : running.shift();
    if (first) yield await first;
  }
  for (const result of running) yield await result;
}
