import { gunzip } from '../codec/gzip.ts';
import { compressedAs } from '../codec/sniff.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { zstdDecode } from '../codec/zstd/zstd-decode.ts';
import { SCAN_CONTENT_BYTES, SCAN_ONE_SHOT_BYTES } from '../shared/limits.ts';
import { peek, type Stage } from '../shared/streams.ts';

/** A document without the gzip or zstd that it came in, told by its first bytes, with which no JSON begins. */
export function plainDocument(engine: ZstdEngine): Stage {
  const decoders = {
    gzip: gunzip({ maxBytes: SCAN_CONTENT_BYTES }),
    zstd: zstdDecode({ engine, maxBytes: SCAN_CONTENT_BYTES, oneShotBytes: SCAN_ONE_SHOT_BYTES }),
  };
  return async function* plain(source) {
    const { first, pieces } = await peek(source);
    const codec = compressedAs(first);
    yield* codec === null ? pieces : decoders[codec](pieces);
  };
}
