import { UPLOAD_READ_BYTES } from '../shared/limits.ts';
import { readPieces } from '../shared/streams.ts';
import type { AppContext } from './app-env.ts';

/** The body as it comes. Leaves what is not read for the drain. */
export function bodyPieces(c: AppContext): AsyncGenerator<Uint8Array, void, undefined> {
  const body = c.req.raw.body;
  return body ? readPieces(body, UPLOAD_READ_BYTES, { whenLeft: 'release' }) : nothing();
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

/** Bytes that the client announced; 0 where it did not. */
export function contentLength(c: AppContext): number {
  const header = c.req.header('content-length') ?? '';
  return /^\d{1,15}$/.test(header) ? Number(header) : 0;
}
