import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { getBackup } from '../../../../src/catalogue/backups.ts';
import type { SessionRooms } from '../../../../src/ingest/resumable/session-rooms.ts';
import { withWritten } from '../../../../src/ingest/resumable/upload-record.ts';
import type { JobPublisher, JobRooms } from '../../../../src/progress/publisher.ts';
import { services } from '../../../../src/services.ts';
import { IsolateBudget } from '../../../../src/shared/isolate-budget.ts';
import {
  MEMORY,
  MIB,
  R2_PART_NUMBERS,
  SESSION_LONGEST_RETRY_MS,
  SESSION_RETRY_MS,
} from '../../../../src/shared/limits.ts';
import { backupPrefix, dataKey } from '../../../../src/store/object-keys.ts';
import { ObjectStore } from '../../../../src/store/object-store.ts';
import { faultyBodies, faultyBucket } from '../../../support/faulty-bucket.ts';
import { sample, sha256Hex, storedKeys } from '../../../support/vault.ts';
import { noise } from '../../codec/bytes.ts';
import { orderOf } from './orders.ts';
import { bodyOf, GRANTED, type OwnSession, ownSession, pieceAt, roomsWith, Sender } from './sessions.ts';

const content = sample(9 * MIB);

// What is tried again is logged each time.
beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
});
afterEach(() => void vi.restoreAllMocks());

const order = () => orderOf({ compression: 'none' });

function overBucket(bucket: R2Bucket): SessionRooms {
  return roomsWith({ store: new ObjectStore(bucket) });
}

async function sendAll({ append }: OwnSession, bytes = content) {
  return append(pieceAt(0), bodyOf(bytes));
}

async function expectDone({ record }: OwnSession): Promise<void> {
  const { backup_id, job_id, phase, settled } = record();
  expect([phase, settled]).toEqual(['done', true]);
  expect(await getBackup(env.CATALOGUE, backup_id)).toMatchObject({ checksum: await sha256Hex(content) });
  expect(await services(env).jobs.snapshot(job_id)).toMatchObject({ phase: 'done', backup_id });
}

async function expectFailed({ record, session }: OwnSession, code: string): Promise<void> {
  const { backup_id, job_id, phase, settled } = record();
  expect([phase, settled]).toEqual(['failed', true]);
  expect((await storedKeys()).filter((key) => key.startsWith(backupPrefix(backup_id)))).toEqual([]);
  expect(await getBackup(env.CATALOGUE, backup_id)).toBeNull();
  expect(await services(env).jobs.snapshot(job_id)).toMatchObject({ phase: 'failed', code });
  expect(await session.describe(GRANTED)).toMatchObject({
    kind: 'refused',
    code: 'upload-failed',
    facts: { reason: code },
  });
}

/** A catalogue that fails so many times before it answers. */
function failingCatalogue(times: number): D1Database {
  let left = times;
  return new Proxy(env.CATALOGUE, {
    get(target, name) {
      if (name === 'prepare' && left-- > 0) {
        return () => {
          throw new Error('D1 is away');
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Jobs whose publishers end them as told. */
function jobsThatFinish(
  finish: (publisher: JobPublisher, end: Parameters<JobPublisher['finish']>[0]) => Promise<boolean>,
) {
  const { jobs } = services(env);
  const publisher: JobRooms['publisher'] = (...ids) => {
    const made = jobs.publisher(...ids);
    return { ...made, finish: (end) => finish(made, end) };
  };
  return { ...jobs, publisher };
}

describe('the end of an upload', () => {
  it.each([/complete/, /^get$/, /^put$/, /uploadPart/])('comes once the storage is back (%s)', async (match) => {
    // As many as the store tries for one piece of work.
    const { bucket } = faultyBucket(env.VAULT, { at: match.test('uploadPart') ? 2 : 1, times: 3, match });
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), content.length);
      expect(await sendAll(own)).toMatchObject({ kind: 'view', view: { offset: content.length } });
      expect(['storing', 'verifying']).toContain(own.record().phase);
      const alarm = await own.storage.getAlarm();
      expect(alarm).toBeGreaterThan(Date.now());
      expect(alarm).toBeLessThanOrEqual(Date.now() + SESSION_RETRY_MS);
      await own.session.alarm();
      await expectDone(own);
    });
  });

  it('is tried again after longer and longer waits, for as long as it takes', async () => {
    const fault = { at: 1, times: 5, match: /complete/ };
    const { bucket } = faultyBucket(env.VAULT, fault);
    const store = new ObjectStore(bucket);
    const once = Object.assign(Object.create(store), {
      completeUpload: (...args: Parameters<ObjectStore['completeUpload']>) =>
        fault.times-- > 0 ? Promise.reject(new Error('away')) : new ObjectStore(env.VAULT).completeUpload(...args),
      put: store.put.bind(store),
      read: store.read.bind(store),
      readBytes: store.readBytes.bind(store),
      openUpload: store.openUpload.bind(store),
      putPart: store.putPart.bind(store),
    });
    await ownSession(roomsWith({ store: once }), async (own) => {
      await own.session.create(order(), content.length);
      await sendAll(own);
      const waits: number[] = [];
      while (own.record().phase !== 'done') {
        waits.push(Math.round(((await own.storage.getAlarm()) ?? 0) - Date.now()) / SESSION_RETRY_MS);
        await own.session.alarm();
      }
      expect(waits.map((wait) => Math.ceil(wait - 0.1))).toEqual([1, 2, 4, 8, 16]);
      expect(SESSION_LONGEST_RETRY_MS).toBeGreaterThan(16 * SESSION_RETRY_MS);
      await expectDone(own);
    });
  });

  it.each([1, 2, 3])('comes once the catalogue is back, which was away %i times', (times) =>
    ownSession(roomsWith({ catalogue: failingCatalogue(times) }), async (own) => {
      await own.session.create(order(), content.length);
      await sendAll(own);
      for (let i = 1; i < times; i++) await own.session.alarm();
      expect(own.record().phase).toBe('verifying');
      await own.session.alarm();
      await expectDone(own);
    }),
  );

  it('is told to its job, also where that cannot be reached at first', async () => {
    let away = 2;
    const jobs = jobsThatFinish((publisher, end) => (away-- > 0 ? Promise.resolve(false) : publisher.finish(end)));
    await ownSession(roomsWith({ jobs }), async (own) => {
      await own.session.create(order(), content.length);
      expect(await sendAll(own)).toMatchObject({ view: { phase: 'done' } });
      expect(own.record().settled).toBe(false);
      expect(await own.storage.getAlarm()).toBeLessThanOrEqual(Date.now() + SESSION_RETRY_MS);
      await own.session.alarm();
      expect(own.record().settled).toBe(false);
      await own.session.alarm();
      await expectDone(own);
    });
  });

  it('that is no good one takes everything back, once that can be done', async () => {
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 3, match: /^list$/ });
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(orderOf({ compression: 'none', sha256: 'ab'.repeat(32) }), content.length);
      expect(await sendAll(own)).toMatchObject({ kind: 'refused', code: 'checksum-mismatch' });
      expect(own.record()).toMatchObject({ phase: 'failed', settled: false });
      await own.session.alarm();
      await expectFailed(own, 'checksum-mismatch');
    });
  });

  it('is one for all who wait for it', () =>
    ownSession(roomsWith(), async (own) => {
      const noted = vi.spyOn(ObjectStore.prototype, 'completeUpload');
      await own.session.create(order(), content.length);
      const last = sendAll(own);
      await vi.waitFor(() => expect(own.record().phase).not.toBe('receiving'), { interval: 1 });
      const asked = own.append(pieceAt(content.length, { bytes: 0 }), null);
      await own.session.alarm();
      for (const answer of [await last, await asked]) expect(answer).toMatchObject({ view: { phase: 'done' } });
      expect(noted).toHaveBeenCalledTimes(1);
      await expectDone(own);
    }));
});

describe('what is stored otherwise', () => {
  /** Bodies of the vault that are other bytes, so many times. */
  function lying(times: number): R2Bucket {
    let left = times;
    return new Proxy(env.VAULT, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (name !== 'get' || left-- <= 0) return typeof value === 'function' ? value.bind(target) : value;
        return async (key: string) => {
          const size = (await target.head(key))?.size ?? 0;
          return { body: bodyOf(noise(size, 77)), etag: 'another', size };
        };
      },
    });
  }

  it('is not believed at once', () =>
    ownSession(overBucket(lying(1)), async (own) => {
      await own.session.create(order(), content.length);
      expect(await sendAll(own)).toMatchObject({ kind: 'view', view: { phase: 'verifying' } });
      await own.session.alarm();
      await expectDone(own);
    }));

  it('is believed the second time', () =>
    ownSession(overBucket(lying(2)), async (own) => {
      await own.session.create(order(), content.length);
      await sendAll(own);
      await own.session.alarm();
      await expectFailed(own, 'stored-data-corrupt');
    }));

  it('also where the storage has given up the parts', () =>
    ownSession(roomsWith(), async (own) => {
      await own.session.create(order(), content.length);
      await own.append(pieceAt(0), bodyOf(content.subarray(0, -1)));
      const { open } = own.store;
      if (open) await services(env).store.abortUpload(open);
      const end = pieceAt(content.length - 1);
      expect(await own.append(end, bodyOf(content.subarray(-1)))).toMatchObject({ view: { phase: 'storing' } });
      await own.session.alarm();
      await expectFailed(own, 'stored-data-corrupt');
    }));

  it('and what can be stored no more, since no number of a part is left, ends too', () =>
    ownSession(roomsWith(), async (own) => {
      await own.session.create(order(), content.length);
      await own.append(pieceAt(0), bodyOf(content.subarray(0, -1)));
      own.store.nextPartNumber = R2_PART_NUMBERS + 1;
      const end = own.append(pieceAt(content.length - 1), bodyOf(content.subarray(-1)));
      expect(await end).toMatchObject({ kind: 'refused', code: 'upload-failed' });
      await expectFailed(own, 'upload-failed');
    }));
});

describe('a sender that terminates', () => {
  it.each([/complete/, /^get$/, /^put$/])(
    'while the end is made waits for it to stop, and has all removed (%s)',
    async (match) => {
      const reached = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      const store = new ObjectStore(held(env.VAULT, match, reached.resolve, goOn.promise));
      await ownSession(roomsWith({ store }), async (own) => {
        const id = order().backup_id;
        await own.session.create({ ...order(), backup_id: id, job_id: id }, content.length);
        const last = sendAll(own);
        await reached.promise;
        const terminated = own.session.terminate(GRANTED);
        await scheduler.wait(20);
        goOn.resolve();
        expect(await terminated).toMatchObject({ kind: 'view', view: { phase: 'failed' } });
        expect(await last).toMatchObject({ kind: 'refused', code: 'upload-gone' });
        expect((await storedKeys()).filter((key) => key.startsWith(backupPrefix(id)))).toEqual([]);
        expect(await own.session.describe(GRANTED)).toMatchObject({ code: 'upload-gone' });
        await own.session.alarm();
        expect(own.record()).toMatchObject({ phase: 'failed', settled: true, failure: { code: 'upload-gone' } });
      });
    },
  );

  it('is not forgotten by who tells the end of a finished upload at the same time', async () => {
    const goOn = Promise.withResolvers<void>();
    let calls = 0;
    const jobs = jobsThatFinish(async (publisher, end) => {
      calls += 1;
      if (calls === 1) return false;
      if (calls === 2) await goOn.promise;
      return publisher.finish(end);
    });
    await ownSession(roomsWith({ jobs }), async (own) => {
      await own.session.create(order(), content.length);
      await sendAll(own);
      const telling = own.session.alarm();
      await own.session.terminate(GRANTED);
      expect(await own.session.describe(GRANTED)).toMatchObject({ code: 'upload-gone' });
      goOn.resolve();
      await telling;
      expect(await own.session.describe(GRANTED)).toMatchObject({ code: 'upload-gone' });
      expect(await getBackup(env.CATALOGUE, own.record().backup_id)).not.toBeNull();
    });
  });

  it('has it done later where the storage is away', async () => {
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 3, match: /abort/ });
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), content.length);
      await own.append(pieceAt(0), bodyOf(content.subarray(0, -1)));
      expect(await own.session.terminate(GRANTED)).toMatchObject({ kind: 'view' });
      expect(own.record()).toMatchObject({ phase: 'failed', settled: false });
      await own.session.alarm();
      expect(own.record()).toMatchObject({ phase: 'failed', settled: true });
    });
  });
});

describe('a piece', () => {
  it.each([/createMultipartUpload/, /uploadPart/])(
    'that the storage refuses (%s) counts as far as it is kept',
    async (match) => {
      const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 3, match });
      await ownSession(overBucket(bucket), async (own) => {
        await own.session.create(order(), content.length);
        const refused = await own.append(pieceAt(0), bodyOf(content.subarray(0, -1)));
        const { offset } = own.record().written;
        // A part on its way that is refused is kept, and nobody need hear of it.
        if (refused.kind === 'refused') expect(refused.code).toBe('storage-failed');
        expect(offset).toBeGreaterThan(7 * MIB);
        expect(await own.append(pieceAt(offset), bodyOf(content.subarray(offset)))).toMatchObject({
          view: { phase: 'done' },
        });
        await expectDone(own);
      });
    },
  );

  it('does not fail of a part that was refused after the one before', async () => {
    const answered = Promise.withResolvers<void>();
    const refuse = Promise.withResolvers<void>();
    let parts = 0;
    const bucket = held(
      env.VAULT,
      /uploadPart/,
      () => undefined,
      refuse.promise,
      () => ++parts === 1,
    );
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), null);
      // What is kept rather than waited for: the part is on its way when the piece is answered.
      await own.append(pieceAt(0), bodyOf(content.subarray(0, 8 * MIB - 100_000)));
      await own.append(pieceAt(8 * MIB - 100_000), bodyOf(content.subarray(8 * MIB - 100_000, 8 * MIB)));
      refuse.reject(new Error('part too small (10011)'));
      await scheduler.wait(10);
      const rest = pieceAt(8 * MIB, { length: content.length });
      expect(await own.append(rest, bodyOf(content.subarray(8 * MIB)))).toMatchObject({ view: { phase: 'done' } });
      await expectDone(own);
      answered.resolve();
    });
  });

  it('that waits for its share of the isolate gives way to a newer one', async () => {
    const budget = new IsolateBudget(MEMORY.isolateBytes);
    const share = await budget.reserve(MEMORY.isolateBytes);
    await ownSession(roomsWith({ budget }), async (own) => {
      await own.session.create(order(), content.length);
      const old = own.append(pieceAt(0), bodyOf(new Uint8Array(content.length)));
      await scheduler.wait(10);
      expect(await own.session.describe(GRANTED), 'nobody waits to be told').toMatchObject({ view: { offset: 0 } });
      const newer = sendAll(own);
      await scheduler.wait(10);
      share.release();
      expect(await old).toMatchObject({ kind: 'refused', code: 'upload-superseded' });
      expect(await newer).toMatchObject({ view: { phase: 'done' } });
      await expectDone(own);
      await vi.waitFor(() => expect(budget.usedBytes).toBe(0));
    });
  });

  it('whose checkpoint the storage refuses leaves the upload where it stood', () =>
    ownSession(roomsWith(), async (own) => {
      await own.session.create(order(), content.length);
      await own.append(pieceAt(0), bodyOf(content.subarray(0, 1000)));
      const full = vi.spyOn(own.storage, 'transactionSync').mockImplementation(() => {
        throw new Error('the disk is full');
      });
      await expect(own.append(pieceAt(1000), bodyOf(content.subarray(1000, 5000)))).rejects.toThrow('the disk is full');
      full.mockRestore();
      expect(own.record().written.offset).toBe(1000);
      expect(await own.append(pieceAt(1000), bodyOf(content.subarray(1000)))).toMatchObject({
        view: { phase: 'done' },
      });
      await expectDone(own);
    }));

  it('that is superseded says so, whatever else it meets', async () => {
    const reached = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    let parts = 0;
    const bucket = held(env.VAULT, /createMultipartUpload/, reached.resolve, goOn.promise, () => ++parts === 1);
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), content.length);
      const sender = new Sender().send(new Uint8Array(content.length));
      const old = own.append(pieceAt(0), sender.body);
      await reached.promise;
      const newer = sendAll(own);
      await scheduler.wait(5);
      goOn.reject(new Error('no (10011)'));
      sender.end();
      expect(await old).toMatchObject({ kind: 'refused', code: 'upload-superseded' });
      expect(await newer).toMatchObject({ view: { phase: 'done' } });
      await expectDone(own);
    });
  });
});

describe('a question', () => {
  it('is answered while a refused piece leaves its parts to arrive', async () => {
    const reached = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const bucket = held(env.VAULT, /uploadPart/, reached.resolve, goOn.promise);
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), content.length);
      const sender = new Sender().send(content.subarray(0, 8 * MIB + 1000));
      const over = own.append(pieceAt(0), sender.body);
      await reached.promise;
      await vi.waitFor(() =>
        expect(own.session.describe(GRANTED)).resolves.toMatchObject({ view: { offset: 8 * MIB + 1000 } }),
      );
      sender.send(new Uint8Array(2 * MIB)).end();
      await scheduler.wait(20);
      expect(await own.session.describe(GRANTED)).toMatchObject({ kind: 'view', view: { phase: 'receiving' } });
      goOn.resolve();
      expect(await over).toMatchObject({ kind: 'refused', code: 'file-too-large' });
      const { offset } = own.record().written;
      expect(await own.append(pieceAt(offset), bodyOf(content.subarray(offset)))).toMatchObject({
        view: { phase: 'done' },
      });
      await expectDone(own);
    });
  });
});

describe('a storage that breaks while the object is read back', () => {
  it('is read on', async () => {
    const { bucket } = faultyBodies(env.VAULT, (read) => (read < 3 ? { after: 100_000, how: 'break' } : null), {
      chunkBytes: 65_536,
    });
    await ownSession(overBucket(bucket), async (own) => {
      await own.session.create(order(), content.length);
      expect(await sendAll(own)).toMatchObject({ view: { phase: 'done' } });
      await expectDone(own);
    });
  });
});

describe('a session that ended in the middle of its end', () => {
  it.each(['storing', 'verifying'] as const)('goes on from %s', (phase) =>
    ownSession(roomsWith(), async (own) => {
      await own.session.create(order(), null);
      await own.append(pieceAt(0), bodyOf(content));
      own.store.record = withWritten({ ...own.record(), length: content.length }, own.record().written);
      expect(own.record().phase).toBe('storing');
      if (phase === 'verifying') {
        // The object is whole, and its end was lost.
        const complete = vi.spyOn(ObjectStore.prototype, 'completeUpload').mockRejectedValueOnce(new Error('killed'));
        await own.session.alarm();
        complete.mockRestore();
        const { stored } = own.record();
        if (stored?.open) await services(env).store.completeUpload(stored.open, own.store.parts(), stored.bytes);
        expect(await env.VAULT.head(dataKey(own.record().backup_id))).not.toBeNull();
      }
      await own.session.alarm();
      await expectDone(own);
    }),
  );
});

/** A bucket whose calls of a name, or those of them that are meant, wait before they are carried out. */
function held(
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
