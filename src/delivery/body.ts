import type { Backup } from '../catalogue/backups.ts';
import { MalformedAge } from '../codec/age.ts';
import { MalformedGzip } from '../codec/gzip.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { ZstdTooLarge } from '../codec/zstd/zstd-decode.ts';
import { VaultError } from '../shared/errors.ts';
import { type IsolateMemory, sharesInTurn } from '../shared/isolate-memory.ts';
import { FIRST_FRAME_OPERATIONS } from '../shared/limits.ts';
import { type ByteStream, type Pieces, pumpPieces } from '../shared/streams.ts';
import type { PeerLimits } from '../shared/watchdog.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { PatientReaderOptions, Turn } from './patient-reader.ts';

export interface DeliveryDeps {
  readonly store: ObjectStore;
  readonly engine: ZstdEngine;
  readonly memory: Pick<IsolateMemory, 'turns' | 'small' | 'windows' | 'slowReaders'>;
  /** What a reader must take to be waited for. */
  readonly readerLimits: PeerLimits;
}

/** One client that a body goes to. */
export interface Reader {
  /** Who shares the isolate's turns with others: a token, a link. */
  readonly holder: string;
  /** Takes the promise of a pump that works behind an answer; it never rejects. */
  readonly keepAlive: (pump: Promise<void>) => void;
}

/** What the log says of a download that broke. */
export function brokenDownload({ backup_id }: Backup): BodyPlan['log'] {
  return { event: 'download-broken', backup_id };
}

export interface BodyPlan {
  /** What the log says of a body that broke. */
  readonly log: Readonly<Record<string, string>> & { readonly event: string };
  /** Exact bytes of the body, enforced by the runtime; null where they are known only at the end. */
  readonly length: number | null;
  /** The body; `signal` aborts when the client has gone. */
  readonly pieces: (signal: AbortSignal) => Pieces;
}

/** What is stored cannot be what was stored. Decoders say it as of a client's input, which here it is not. */
export class StoredDataCorrupt extends VaultError {
  constructor(cause: unknown) {
    super(
      'stored-data-corrupt',
      'The stored data of this backup is damaged here. POST /backup/{id}/verify tells what of it is.',
      { cause },
    );
  }
}

/**
 * A body that a pump of ours fills. Resolves when its first piece is there (or it has none): what is wrong up to then
 * is thrown, so that it can be told. What goes wrong later breaks the body, so that a short one never looks whole.
 */
export async function openBody(
  limits: PeerLimits,
  plan: BodyPlan,
  keepAlive: Reader['keepAlive'],
): Promise<ByteStream> {
  const { length, pieces } = plan;
  const { readable, writable } = length === null ? new IdentityTransformStream() : new FixedLengthStream(length);
  const begun = Promise.withResolvers<void>();
  const pumping = pumpPieces((signal) => announced(pieces(signal), begun.resolve), writable, { limits });
  keepAlive(
    pumping.catch((error: unknown) => {
      begun.reject(asStored(error));
      console.warn(JSON.stringify({ level: 'warn', ...plan.log, cause: String(error) }));
    }),
  );
  await begun.promise;
  return readable;
}

/** What decoded content for one client borrows of the isolate. */
export function patienceOf(deps: DeliveryDeps, holder: string, signal: AbortSignal): PatientReaderOptions {
  return { turn: turnsOf(deps, holder, signal), slowReaders: deps.memory.slowReaders };
}

/**
 * Turns to read and decode a frame each. The first is one of those for what is small, so that a small download never
 * waits behind the rest of large ones.
 */
function turnsOf({ memory }: DeliveryDeps, holder: string, signal: AbortSignal): () => Promise<Turn> {
  const { small, turns } = memory;
  let gate = small;
  const next = sharesInTurn(
    () => small.acquire(holder, signal, FIRST_FRAME_OPERATIONS),
    () => turns.acquire(holder, signal),
  );
  return async () => {
    const share = await next();
    const lender = gate;
    gate = turns;
    return { release: share.release, wanted: () => lender.waiting > 0 };
  };
}

/** What a decoder says of bytes that were stored here. */
export function asStored(error: unknown): unknown {
  const malformed = [MalformedZstd, MalformedGzip, MalformedAge, ZstdTooLarge].some((kind) => error instanceof kind);
  return malformed ? new StoredDataCorrupt(error) : error;
}

/** Tells when the first piece, or the end, is there. */
async function* announced(pieces: Pieces, begun: () => void): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of pieces) {
    begun();
    yield piece;
  }
  begun();
}
