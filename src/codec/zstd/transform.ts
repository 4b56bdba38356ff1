/** zstd as pairs for `pipeThrough`. The flows use the stages themselves; both do the same work. */
import { FRAME_BYTES, KIB } from '../../shared/limits.ts';
import { type StreamPair, stagePair } from '../../shared/streams.ts';
import { type SeekableEncodeOptions, seekableEncode } from '../seekable/seekable-encoder.ts';
import { type ZstdDecodeOptions, zstdDecode } from './zstd-decode.ts';

export { zstdDecode };

/** Compressed bytes read at once: the cost is a read, and a slow sender's frame should not wait for much more. */
const COMPRESSED_PIECE_BYTES = 256 * KIB;

/** Content in, the seekable zstd file out. Throws LevelUnsupported at once. */
export function zstdEncoder(options: SeekableEncodeOptions): StreamPair {
  return stagePair(seekableEncode(options), { pieceBytes: options.frameBytes ?? FRAME_BYTES });
}

/**
 * A zstd file in, its content out. Where it is malformed or holds more than `maxBytes`, `readable` is aborted with that.
 *
 * @param options.length the exact number of content bytes, if known: `readable` then has a length
 */
export function zstdDecoder({ length, ...options }: ZstdDecodeOptions & { length?: number }): StreamPair {
  const pieceBytes = COMPRESSED_PIECE_BYTES;
  return stagePair(zstdDecode(options), length === undefined ? { pieceBytes } : { pieceBytes, length });
}
