/** Upload sessions: whole ones through their client, and single ones over rooms of a test's own. */
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Piece } from '../../../../src/ingest/resumable/piece-run.ts';
import type { SessionRooms } from '../../../../src/ingest/resumable/session-rooms.ts';
import { SessionStore } from '../../../../src/ingest/resumable/session-store.ts';
import type { UploadRecord } from '../../../../src/ingest/resumable/upload-record.ts';
import {
  PIECE_HEADER,
  type SessionAccess,
  type SessionAnswer,
  uploadSession,
} from '../../../../src/ingest/resumable/upload-session.ts';
import { services } from '../../../../src/services.ts';
import { IsolateBudget } from '../../../../src/shared/isolate-budget.ts';
import { MEMORY } from '../../../../src/shared/limits.ts';
import { newId } from './orders.ts';

export const GRANTED: SessionAccess = { kind: 'granted' };

export function pieceAt(offset: number, more: Partial<Piece> = {}): Piece {
  return { offset, bytes: null, length: null, checksum: null, ...more };
}

/** A body whose sender does what the test says, and until then nothing. */
export class Sender {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor() {
    this.body = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
    });
  }

  send(bytes: Uint8Array): this {
    this.#controller?.enqueue(bytes.slice());
    return this;
  }

  end(): this {
    this.#controller?.close();
    return this;
  }

  /** The connection breaks. */
  break(): this {
    this.#controller?.error(new Error('the cable was pulled'));
    return this;
  }
}

export function bodyOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new Sender().send(bytes).end().body;
}

export interface OwnSession {
  readonly session: InstanceType<ReturnType<typeof uploadSession>>;
  readonly store: SessionStore;
  readonly storage: DurableObjectStorage;
  readonly record: () => UploadRecord;
  readonly append: (piece: Piece, body: ReadableStream<Uint8Array> | null) => Promise<SessionAnswer>;
}

/** Rooms that share no budget with others, but for what is given. */
export function roomsWith(more: Partial<SessionRooms> = {}): SessionRooms {
  return { ...services(env), budget: new IsolateBudget(MEMORY.isolateBytes), ...more };
}

/**
 * A session over these rooms. Its storage is that of an object of another class, whose alarm does nothing where it finds
 * no job: so that it is the test that calls the session's.
 */
export function ownSession(rooms: SessionRooms, work: (own: OwnSession) => Promise<void>): Promise<void> {
  return runInDurableObject(env.JOBS.get(env.JOBS.idFromName(newId())), async (_, state) => {
    const session = new (uploadSession(() => rooms))(state, env);
    const store = new SessionStore(state.storage);
    const append = async (piece: Piece, body: ReadableStream<Uint8Array> | null): Promise<SessionAnswer> => {
      const headers = { [PIECE_HEADER]: JSON.stringify({ access: GRANTED, piece }) };
      return (await session.fetch(new Request('https://session.invalid/', { method: 'POST', headers, body }))).json();
    };
    await work({ session, store, storage: state.storage, record: () => store.known, append });
    await state.storage.deleteAll();
  });
}
