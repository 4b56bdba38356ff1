import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { getBackup } from '../../../../src/catalogue/backups.ts';
import { reclaim } from '../../../../src/ingest/reclaim.ts';
import { withWritten } from '../../../../src/ingest/resumable/upload-record.ts';
import { type JobPublisher, type JobRooms, JobUnavailable } from '../../../../src/progress/publisher.ts';
import { services } from '../../../../src/services.ts';
import { MIB, R2_PART_NUMBERS, SESSION_LONGEST_RETRY_MS, SESSION_RETRY_MS } from '../../../../src/shared/limits.ts';
import { dataKey } from '../../../../src/store/object-keys.ts';
import { ObjectStore, type OpenUpload } from '../../../../src/store/object-store.ts';
import { faultyBodies, faultyBucket } from '../../../support/faulty-bucket.ts';
import { storedKeys } from '../../../support/vault.ts';
import { noise } from '../../codec/bytes.ts';
import { orderOf } from './orders.ts';
import {
  bodyOf,
  CONTENT as content,
  expectDone,
  GRANTED,
  held,
  type OwnSession,
  overBucket,
  ownSession,
  pieceAt,
  roomsWith,
  sendAll,
} from './sessions.ts';

// What is tried again is logged each time.
beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
});
afterEach(() => void vi.restoreAllMocks());

const order = () => orderOf({ compression: 'none' });

async function expectFailed({ record, session }: OwnSession, code: string): Promise<void> {
  const { backup_id, job_id, phase, settled } = record();
  expect([phase, settled]).toEqual(['failed', true]);
  expect((await storedKeys()).filter((key) => key.includes(backup_id))).toEqual([]);
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
    const completing = vi.spyOn(ObjectStore.prototype, 'completeUpload');
    for (let time = 1; time <= 5; time++) completing.mockRejectedValueOnce(new Error('the storage is away'));
    await ownSession(roomsWith(), async (own) => {
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

  it('comes at once where its job could not be begun, which may have begun all the same', async () => {
    const { jobs } = services(env);
    const begin: JobRooms['begin'] = async (start) => {
      await jobs.begin(start);
      throw new JobUnavailable(start.job_id, new Error('the answer was lost'));
    };
    await ownSession(roomsWith({ jobs: { ...jobs, begin } }), async (own) => {
      expect(await own.session.create(order(), 10)).toMatchObject({ kind: 'refused', code: 'job-unavailable' });
      await expectFailed(own, 'job-unavailable');
    });
  });

  it('comes while it is received, where the storage has given up its parts', () =>
    ownSession(roomsWith(), async (own) => {
      await own.session.create(order(), null);
      await own.append(pieceAt(0), bodyOf(content.subarray(0, 9 * MIB)));
      const open = own.storage.kv.get<OpenUpload>('open');
      if (!open) throw new Error('no part was sent');
      await services(env).store.abortUpload(open);
      for (const _ of ['kept', 'not believed', 'believed']) {
        const { offset } = own.record().written;
        await own.append(pieceAt(offset), bodyOf(noise(17 * MIB)));
      }
      await expectFailed(own, 'stored-data-corrupt');
    }));

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
        expect((await storedKeys()).filter((key) => key.includes(id))).toEqual([]);
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

describe('a resumable upload whose object dies between its commit and the record of it', () => {
  async function committed(own: OwnSession): Promise<string> {
    // The answer of the commit is lost, and the object with it: the record still says that the end is to be made.
    await own.session.create(order(), content.length);
    await sendAll(own);
    await expectDone(own);
    const record = own.record();
    own.store.record = { ...record, phase: 'verifying', ended_at: null, settled: false };
    return record.backup_id;
  }

  async function expectKept(id: string): Promise<void> {
    expect(await getBackup(env.CATALOGUE, id)).not.toBeNull();
    expect(await env.VAULT.head(dataKey(id))).not.toBeNull();
  }

  it('is kept where its sender terminates it then, as after the end; the upload itself is gone', () =>
    ownSession(roomsWith(), async (own) => {
      const id = await committed(own);
      expect(await reclaim(services(env).store, env.CATALOGUE, { backup_id: id })).toBe('kept');
      expect(await own.session.terminate(GRANTED)).toMatchObject({ kind: 'view' });
      await own.session.alarm();
      expect(own.record()).toMatchObject({ phase: 'done', settled: true });
      expect(await own.session.describe(GRANTED)).toMatchObject({ code: 'upload-gone' });
      await expectKept(id);
    }));

  it('is kept where reading it back a second time fails for good', () =>
    ownSession(roomsWith(), async (own) => {
      const id = await committed(own);
      own.store.record = { ...own.record(), sha256: 'ab'.repeat(32) };
      await own.session.alarm();
      expect(own.record()).toMatchObject({ phase: 'done', settled: true, failure: null });
      await expectKept(id);
    }));
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
