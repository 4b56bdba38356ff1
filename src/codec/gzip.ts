import { createGzip } from 'node:zlib';
import type { Stage } from '../shared/streams.ts';
import { PushTransform } from './push-transform.ts';

const LEVEL = 6;
const CHUNK_BYTES = 64 * 1024;

/**
 * Content as one gzip member. What a piece of input gives is given before the next is pulled, which CompressionStream
 * does not promise: there a slow reader's output queues up.
 */
export function gzipEncode(): Stage {
  return async function* gzipEncoded(source) {
    const gzip = new PushTransform(createGzip({ level: LEVEL, chunkSize: CHUNK_BYTES }));
    try {
      for await (const piece of source) yield* await gzip.push(piece);
      yield* await gzip.finish();
    } finally {
      gzip.close();
    }
  };
}
