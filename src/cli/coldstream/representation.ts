import type { Headers } from 'undici';
import { CommandFailed, StoredDataDamaged } from './failures.ts';
import { type Patience, waitFor } from './patience.ts';
import type { RateLimit } from './rate-limit.ts';
import { isPassing, type VaultClient, VaultRefused, VaultUnreachable } from './vault-client.ts';

/** What HEAD says of something that can be downloaded. */
export interface Representation {
  /** Address with query, as it was asked for. */
  readonly path: string;
  /** As the vault names it: the last segment only, whatever it says. */
  readonly filename: string;
  /** null: known only at its end. */
  readonly length: number | null;
  readonly etag: string | null;
  /** Whether it can be resumed in the middle. */
  readonly hasRanges: boolean;
  /** Lower-case hex of the bytes of the body; null where the answer has none. */
  readonly sha256: string | null;
  /** Where a verification found damage: "frame 17, byte 71303168" of the stored bytes; null: none is known. */
  readonly damage: string | null;
  readonly headers: Headers;
}

/** No byte came for so long: the connection is dead. */
const STALL_MS = 60_000;

/** The bytes themselves, not an encoding of them that Node would undo: ranges and lengths are of these. */
const AS_THEY_ARE = { 'accept-encoding': 'identity' };

export async function representationAt(client: VaultClient, path: string): Promise<Representation> {
  const { headers } = await client
    .request(path, { method: 'HEAD', headers: AS_THEY_ARE })
    .catch(async (error: unknown) => {
      // A refusal of HEAD has no words; that of GET has.
      if (!(error instanceof VaultRefused)) throw error;
      const response = await client.request(path, { headers: AS_THEY_ARE });
      await response.body?.cancel();
      throw error;
    });
  const length = headers.get('content-length');
  return {
    path,
    filename: filenameIn(headers.get('content-disposition') ?? ''),
    length: length === null ? null : Number(length),
    etag: headers.get('etag'),
    hasRanges: headers.get('accept-ranges') === 'bytes' && headers.has('etag') && length !== null,
    sha256: digestIn(headers.get('repr-digest') ?? ''),
    damage: headers.get('coldstream-damage'),
    headers,
  };
}

/** RFC 6266. Only the last segment of a path: a vault does not choose the folder of a file. */
export function filenameIn(disposition: string): string {
  const extended = /filename\*=UTF-8''([^;]+)/i.exec(disposition)?.[1];
  const plain = /filename="([^"]*)"/i.exec(disposition)?.[1] ?? '';
  const name = extended === undefined ? plain : decodeURIComponent(extended);
  const last = name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1).replace(/\p{Cc}/gu, '_');
  return last === '.' || last === '..' ? '' : last;
}

/** RFC 9530 */
function digestIn(field: string): string | null {
  const base64 = /(?:^|,\s*)sha-256=:([A-Za-z0-9+/=]+):/.exec(field)?.[1];
  return base64 === undefined ? null : Buffer.from(base64, 'base64').toString('hex');
}

export interface ReadOptions {
  readonly client: VaultClient;
  readonly patience: Patience;
  readonly signal: AbortSignal;
  readonly limit: RateLimit;
  /** The backup, and which frame of it holds a byte of this representation; null: unknown. */
  readonly backup: { readonly id: string; frameOf(byte: number): number | null };
  note(text: string): void;
}

/**
 * The bytes from `offset` to the end, over as many requests as it takes: where a connection breaks, the next one
 * continues at the next byte of the same representation. Throws VaultUnreachable where it has no ranges or patience is
 * over, and StoredDataDamaged at once where the vault cannot read its own bytes.
 */
export async function* readRepresentation(
  representation: Representation,
  offset: number,
  options: ReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { client, patience, signal, limit, note } = options;
  const { length, hasRanges } = representation;
  let at = offset;
  let failures = 0;
  while (length === null || at < length || length === 0) {
    try {
      const end = failures === 0 || length === null ? length : spanEnd(at, length, failures);
      for await (const chunk of bytesFrom(client, representation, { at, end }, signal)) {
        at += chunk.length;
        patience.renew();
        await limit.pass(chunk.length);
        yield chunk;
      }
      if (length === null || at === length) return;
      if (at !== end) throw new VaultUnreachable(client, new Error(`it ended after ${at} of ${length} bytes`));
      failures = 0;
    } catch (error) {
      failures += 1;
      if (error instanceof VaultRefused && error.isDamage) throw damagedAt(at, options, error);
      const leastMs = error instanceof VaultRefused ? error.waitMs : 0;
      const waitMs = hasRanges && isPassing(error) ? patience.nextWaitMs(leastMs) : null;
      if (waitMs === null) throw error;
      note(`${(error as Error).message} Trying again.`);
      await waitFor(waitMs, signal);
    }
  }
}

const LONGEST_SPAN_BYTES = 4 * 1024 * 1024;

/**
 * After a break the next request asks for a span only, shorter each time, that ends where a frame may end. The vault
 * refuses a span that begins in a damaged frame with a word; a body that runs into one is cut, perhaps before any byte of
 * it came, which alone looks like a bad network for ever.
 */
function spanEnd(at: number, length: number, failures: number): number {
  const span = Math.max(1, Math.floor(LONGEST_SPAN_BYTES / 8 ** (failures - 1)));
  return Math.min(length, (Math.floor(at / span) + 1) * span);
}

function damagedAt(byte: number, { backup }: ReadOptions, cause: VaultRefused): CommandFailed {
  if (cause.code === 'stored-data-lost') return cause;
  const frame = backup.frameOf(byte);
  const place = `${frame === null ? '' : `frame ${frame}, `}byte ${byte}`;
  return new StoredDataDamaged(
    `${backup.id} is damaged in the vault at ${place} of its content; no retry helps. Use another backup. ` +
      `"coldstream verify ${backup.id}" checks all of it.`,
    { cause },
  );
}

/** One request's share of it. */
async function* bytesFrom(
  client: VaultClient,
  { path, etag, length }: Representation,
  { at, end }: { readonly at: number; readonly end: number | null },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const last = end === null || end === length ? '' : end - 1;
  const range = at === 0 && last === '' ? null : { range: `bytes=${at}-${last}`, 'if-range': etag ?? '' };
  const response = await client.request(path, { headers: { ...AS_THEY_ARE, ...range } });
  const goesOn = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${at}-`);
  if (range && !goesOn) {
    await response.body?.cancel();
    throw new CommandFailed('The vault has another version of it now. Start again.');
  }
  const reader = response.body?.getReader();
  let waits = false;
  const timer = setTimeout(() => {
    // The reader may be slow; only the silence of the vault counts.
    if (waits) void reader?.cancel(new Error('stalled'));
    else timer.refresh();
  }, STALL_MS);
  try {
    while (reader) {
      waits = true;
      const { done, value } = await reader.read();
      waits = false;
      if (done) return;
      timer.refresh();
      yield value;
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : new VaultUnreachable(client, error);
  } finally {
    clearTimeout(timer);
    await reader?.cancel().catch(() => undefined);
  }
}
