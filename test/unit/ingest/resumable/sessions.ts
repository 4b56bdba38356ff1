/** Upload sessions: whole ones through their client, and single ones over rooms of a test's own. */
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect } from 'vitest';
import { getBackup } from '../../../../src/catalogue/backups.ts';
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
import { isolateMemory } from '../../../../src/shared/isolate-memory.ts';
import { MIB } from '../../../../src/shared/limits.ts';
import { ObjectStore } from '../../../../src/store/object-store.ts';
import { sample, sha256Hex } from '../../../support/vault.ts';
import { newId } from './orders.ts';

export const GRANTED: SessionAccess = { kind: 'granted' };

export function pieceAt(offset: number, more: Partial<Piece> = {}): Piece {
  return { offset, bytes: null, length: null, digests: [], ...more };
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

/** Rooms that share no memory with others, but for what is given. */
export function roomsWith(more: Partial<SessionRooms> = {}): SessionRooms {
  return { ...services(env), memory: isolateMemory(), ...more };
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

export function overBucket(bucket: R2Bucket): SessionRooms {
  return roomsWith({ store: new ObjectStore(bucket) });
}

/** What sessions over faulty rooms are sent: more than a part. */
export const CONTENT = sample(9 * MIB);

/** All of {@link CONTENT} in one piece. */
export async function sendAll({ append }: OwnSession, bytes = CONTENT): Promise<SessionAnswer> {
  return append(pieceAt(0), bodyOf(bytes));
}

/** It ended as a backup of {@link CONTENT}, and everybody was told. */
export async function expectDone({ record }: OwnSession): Promise<void> {
  const { backup_id, job_id, phase, settled } = record();
  expect([phase, settled]).toEqual(['done', true]);
  expect(await getBackup(env.CATALOGUE, backup_id)).toMatchObject({ checksum: await sha256Hex(CONTENT) });
  expect(await services(env).jobs.snapshot(job_id)).toMatchObject({ phase: 'done', backup_id });
}

/** A bucket whose calls of a name, or those of them that are meant, wait before they are carried out. */
export function held(
  bucket: R2Bucket,
  match: RegExp,
  reached: () => void,
  goOn: Promise<void>,
  meant: () => boolean = () => true,
): R2Bucket {
  goOn.catch(() => undefined);
  const wrap = <T extends object>(object: T): T =>
    new Proxy(object, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        if (name === 'resumeMultipartUpload') return (...args: unknown[]) => wrap(Object(value.apply(target, args)));
        return async (...args: unknown[]) => {
          if (match.test(String(name)) && meant()) {
            reached();
            await goOn;
          }
          return value.apply(target, args);
        };
      },
    });
  return wrap(bucket);
}
