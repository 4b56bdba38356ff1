import { DigestCheck } from '../codec/digest.ts';
import { UPLOAD_READ_BYTES } from '../shared/limits.ts';
import { sentChunks } from '../shared/sender.ts';
import type { AppContext } from './app-env.ts';
import { contentDigests, reprDigests } from './digest-fields.ts';

/** The body as it comes. What is not read of it stays for the drain. Throws UploadStalled. */
export function bodyPieces(c: AppContext): AsyncGenerator<Uint8Array, void, undefined> {
  const body = c.req.raw.body;
  return body ? sentChunks(body, UPLOAD_READ_BYTES, c.get('services').senderLimits) : nothing();
}

/**
 * The body of an upload in one request, compared with the digests in its headers (they cover the bytes as sent): call
 * `checkDigests` when the body has ended. Throws at once where such a header cannot be used.
 */
export function checkedBody(c: AppContext) {
  const digests = new DigestCheck([...contentDigests(c.req.raw.headers), ...reprDigests(c.req.raw.headers)]);
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of bodyPieces(c)) {
      digests.update(piece);
      yield piece;
    }
  }
  return { pieces: pieces(), checkDigests: () => digests.check() };
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

/** Bytes that the client announced; 0 where it did not. */
export function contentLength(c: AppContext): number {
  const header = c.req.header('content-length') ?? '';
  return /^\d{1,15}$/.test(header) ? Number(header) : 0;
}
