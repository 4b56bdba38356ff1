/** RFC 9110 for a body of bytes: conditions, then the range, then the answer. Downloads and members share it. */
import type { Damage } from '../catalogue/backups.ts';
import type { Reader } from '../delivery/body.ts';
import { VaultError } from '../shared/errors.ts';
import type { ByteSpan } from '../shared/seek-points.ts';
import type { ByteStream } from '../shared/streams.ts';
import type { AppContext } from './app-env.ts';
import { evaluateConditions } from './conditional.ts';
import { INERT_HEADERS } from './content-type.ts';
import { parseRange } from './range.ts';
import { beginTransfer, transferUntil } from './transfers.ts';

export interface ByteRepresentation {
  /** Everything that describes it; `etag` and `last-modified` among them. */
  readonly headers: Headers;
  readonly lastModified: Date;
  /** Bytes of the body; null where it is known only at its end, and there are no ranges then. */
  readonly length: number | null;
  /** Whether a byte range can be served. */
  readonly ranges: boolean;
  /** What is known to be broken in the stored data; null: nothing. */
  readonly damage: Damage | null;
  /** Throws where the stored data is lost. Called for HEAD in place of `open`: it opens nothing. */
  check(): Promise<void>;
  /** The body, or a span of it. Not called for HEAD. */
  open(span: ByteSpan | undefined): Promise<ByteStream>;
}

/**
 * The client of this request, as a body's reader: it shares turns with the other requests of its token or link, among
 * whose transfers it counts. Throws TooManyTransfers.
 */
export function readerOf(c: AppContext): Reader {
  beginTransfer(c);
  return { holder: c.get('holder') ?? '', keepAlive: (pump) => transferUntil(c, pump) };
}

const DAMAGE_HEADER = 'coldstream-damage';

/** Where a backup is damaged, as far as it is known: `frame 17, byte 71303168` (bytes of the stored object). */
function placeOf({ frame, offset }: Damage): string {
  const places = [frame !== null && `frame ${frame}`, offset !== null && `byte ${offset}`].filter(
    (place) => place !== false,
  );
  return places.length > 0 ? places.join(', ') : 'place unknown';
}

class PreconditionFailed extends VaultError {
  constructor() {
    super('precondition-failed', 'What is stored is not the version that the request asks for.');
  }
}

/** 200, 206, 304; throws for 412 and 416. */
export async function byteResponse(c: AppContext, representation: ByteRepresentation): Promise<Response> {
  const { headers, lastModified, damage } = representation;
  if (damage) {
    headers.set(DAMAGE_HEADER, placeOf(damage));
    // A problem that is thrown from here on says so too.
    c.header(DAMAGE_HEADER, placeOf(damage));
  }
  const verdict = evaluateConditions({
    method: c.req.raw.method,
    headers: c.req.raw.headers,
    etag: headers.get('etag') ?? '',
    lastModified,
    sharedDate: headers.has('vary'),
  });
  if (verdict.kind === 'failed') throw new PreconditionFailed();
  if (verdict.kind === 'not-modified') return notModified(headers);
  return answer(c, representation, verdict.useRange);
}

async function answer(c: AppContext, representation: ByteRepresentation, useRange: boolean): Promise<Response> {
  const { length, headers } = representation;
  const range = parseRange(useRange && representation.ranges ? (c.req.header('range') ?? null) : null, length ?? 0);
  if (range.kind === 'unsatisfiable') {
    c.header('content-range', `bytes */${length}`);
    throw new VaultError('range-not-satisfiable', `There are ${length} bytes; the range begins after their end.`);
  }
  let span: ByteSpan | undefined;
  if (range.kind === 'part') {
    span = range;
    headers.set('content-range', `bytes ${range.offset}-${range.offset + range.length - 1}/${length}`);
  }
  const bodyBytes = span?.length ?? length;
  if (bodyBytes !== null) headers.set('content-length', String(bodyBytes));
  for (const [name, value] of Object.entries(INERT_HEADERS)) headers.set(name, value);
  const status = span ? 206 : 200;
  if (c.req.raw.method === 'HEAD') {
    await representation.check();
    return new Response(null, { status, headers });
  }
  const body = await representation.open(span);
  // 'manual': what has a content encoding is encoded already; without it the runtime would encode it.
  return new Response(body, { status, headers, encodeBody: headers.has('content-encoding') ? 'manual' : 'automatic' });
}

/** RFC 9110, section 15.4.5: what a cache needs, and nothing that describes a body. */
function notModified(headers: Headers): Response {
  const kept = new Headers();
  for (const name of ['etag', 'last-modified', 'cache-control', 'vary', DAMAGE_HEADER]) {
    const value = headers.get(name);
    if (value) kept.set(name, value);
  }
  return new Response(null, { status: 304, headers: kept });
}
