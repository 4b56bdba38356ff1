import { MalformedAge } from '../codec/age.ts';
import { MalformedGzip } from '../codec/gzip.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import { MalformedZstd } from '../codec/zstd/malformed-zstd.ts';
import { ZstdTooLarge } from '../codec/zstd/zstd-decode.ts';
import { VaultError } from '../shared/errors.ts';
import { type IsolateBudget, withShare } from '../shared/isolate-budget.ts';
import { MEMORY, READER_STALL_MS } from '../shared/limits.ts';
import { type ByteStream, type Pieces, pumpPieces } from '../shared/streams.ts';
import type { ObjectStore } from '../store/object-store.ts';

export interface DeliveryRooms {
  readonly store: ObjectStore;
  readonly engine: ZstdEngine;
  readonly budget: IsolateBudget;
}

/** Takes the promise of a pump that works behind an answer; it never rejects. */
export type KeepAlive = (pump: Promise<void>) => void;

export interface BodyPlan {
  /** For the log. */
  readonly backup_id: string;
  /** Exact bytes of the body, enforced by the runtime; null where they are known only at the end. */
  readonly length: number | null;
  /** What is done, and so what the pieces hold of the isolate's memory while they flow. */
  readonly operation: keyof typeof MEMORY.operations;
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
export async function openBody(budget: IsolateBudget, plan: BodyPlan, keepAlive: KeepAlive): Promise<ByteStream> {
  const { length, operation, pieces } = plan;
  const { budgetBytes } = MEMORY.operations[operation];
  const { readable, writable } = length === null ? new IdentityTransformStream() : new FixedLengthStream(length);
  const begun = Promise.withResolvers<void>();
  const pumping = pumpPieces(
    (signal) => announced(withShare(budget, budgetBytes, signal, pieces(signal)), begun.resolve),
    writable,
    { stallMs: READER_STALL_MS },
  );
  keepAlive(
    pumping.catch((error: unknown) => {
      begun.reject(asStored(error));
      const event = { level: 'warn', event: 'download-broken', backup_id: plan.backup_id, cause: String(error) };
      console.warn(JSON.stringify(event));
    }),
  );
  await begun.promise;
  return readable;
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
