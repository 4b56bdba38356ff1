import { gunzip } from '../codec/gzip.ts';
import { compressedAs } from '../codec/sniff.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { zstdDecode } from '../codec/zstd/zstd-decode.ts';
import { SCAN_CONTENT_BYTES, SCAN_ONE_SHOT_BYTES } from '../shared/limits.ts';
import type { Pieces, Stage } from '../shared/streams.ts';

/** A document without the gzip or zstd that it came in, told by its first bytes, with which no JSON begins. */
export function plainDocument(engine: ZstdEngine): Stage {
  const decoders = {
    gzip: gunzip({ maxBytes: SCAN_CONTENT_BYTES }),
    zstd: zstdDecode({ engine, maxBytes: SCAN_CONTENT_BYTES, oneShotBytes: SCAN_ONE_SHOT_BYTES }),
  };
  return async function* plain(source) {
    const pieces = source[Symbol.asyncIterator]();
    try {
      const first = await pieces.next();
      if (first.done) return;
      const whole = joined(first.value, pieces);
      const codec = compressedAs(first.value);
      yield* codec === null ? whole : decoders[codec](whole);
    } finally {
      await pieces.return?.();
    }
  };
}

async function* joined(first: Uint8Array, rest: AsyncIterator<Uint8Array>): Pieces & AsyncGenerator<Uint8Array> {
  yield first;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}
