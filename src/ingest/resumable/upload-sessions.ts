import { TimedOut, withinTime } from '../../shared/abort.ts';
import { VaultError } from '../../shared/errors.ts';
import { BUSY_RETRY_SECONDS, UPLOAD_CALL_MS } from '../../shared/limits.ts';
import type { Piece } from './piece-run.ts';
import type { SessionOrder, SessionPhase } from './upload-record.ts';
import {
  PIECE_HEADER,
  type PieceRequest,
  type SessionAccess,
  type SessionAnswer,
  type SessionView,
} from './upload-session.ts';

/** What {@link uploadSession} is from outside. */
export interface SessionObject extends Rpc.DurableObjectBranded {
  create(order: SessionOrder, length: number | null): Promise<SessionAnswer>;
  describe(access: SessionAccess): Promise<SessionAnswer>;
  stop(access: SessionAccess): Promise<SessionAnswer>;
  terminate(access: SessionAccess): Promise<SessionAnswer>;
  cancel(): Promise<SessionPhase | null>;
  supersede(): Promise<void>;
}

/** The uploads in pieces, by their names. Every call gives where the upload stands then, or throws why not (VaultError). */
export interface UploadSessions {
  /** @param length of the content, where it is known */
  create(order: SessionOrder, length: number | null): Promise<SessionView>;
  describe(uploadId: string, access: SessionAccess): Promise<SessionView>;
  /** As describe, and the upload stays there until another piece comes: one that is under way is ended. */
  stop(uploadId: string, access: SessionAccess): Promise<SessionView>;
  /** Resolves once every byte of the body is durable. */
  append(
    uploadId: string,
    access: SessionAccess,
    piece: Piece,
    body: ReadableStream<Uint8Array> | null,
  ): Promise<SessionView>;
  terminate(uploadId: string, access: SessionAccess): Promise<SessionView>;
  /** Whether the upload has not ended; false where there never was one of that id. */
  isOpen(uploadId: string): Promise<boolean>;
  /** Ends an upload of anybody; resolves with the phase that it was in, null where there is none: an end stays as it is. */
  cancel(uploadId: string): Promise<SessionPhase | null>;
  /** Ends an upload whose job a newer one took over, unless all its bytes are here. */
  supersede(uploadId: string): Promise<void>;
}

/** @param callMs how long a call without a body may take, in milliseconds; then it throws `busy` */
export function uploadSessions(
  objects: DurableObjectNamespace<SessionObject>,
  callMs: number = UPLOAD_CALL_MS,
): UploadSessions {
  const session = (uploadId: string) => objects.get(objects.idFromName(uploadId));
  const inTime = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await withinTime(call, callMs, 'no answer of the upload');
    } catch (error) {
      throw error instanceof TimedOut ? new UploadUnavailable(error) : error;
    }
  };
  const answerOf = async (call: Promise<SessionAnswer>) => viewIn(await inTime(call));
  return {
    create: (order, length) => answerOf(session(order.backup_id).create(order, length)),
    describe: (uploadId, access) => answerOf(session(uploadId).describe(access)),
    stop: (uploadId, access) => answerOf(session(uploadId).stop(access)),
    terminate: (uploadId, access) => answerOf(session(uploadId).terminate(access)),
    cancel: (uploadId) => inTime(session(uploadId).cancel()),
    supersede: (uploadId) => inTime(session(uploadId).supersede()),
    // By fetch: a stream that goes as an argument of a call comes in pieces of 8 KiB (workerd 1.20261117).
    append: async (uploadId, access, piece, body) => {
      const request: PieceRequest = { access, piece };
      const headers = { [PIECE_HEADER]: JSON.stringify(request) };
      const response = await session(uploadId).fetch('https://session.invalid/', { method: 'POST', headers, body });
      return viewIn(await response.json());
    },
    isOpen: async (uploadId) => {
      const answer = await inTime(session(uploadId).describe({ kind: 'granted' }));
      return answer.kind === 'view' && answer.view.phase !== 'done';
    },
  };
}

/** The upload object did not answer. */
class UploadUnavailable extends VaultError {
  constructor(cause: unknown) {
    super('busy', 'The upload cannot be reached now. Try again in a few seconds.', {
      cause,
      facts: { retry_after_seconds: BUSY_RETRY_SECONDS },
    });
  }
}

function viewIn(answer: SessionAnswer): SessionView {
  if (answer.kind === 'view') return answer.view;
  throw new VaultError(answer.code, answer.detail, { facts: answer.facts });
}
