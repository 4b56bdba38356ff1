import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ObjectStore, type OpenUpload, storageCallEnded } from '../../../src/store/object-store.ts';
import { StorageFailed } from '../../../src/store/r2-errors.ts';
import { readResuming } from '../../../src/store/resuming-read.ts';
import { faultyBodies, faultyBucket } from '../../support/faulty-bucket.ts';

const CALL_MS = 40;
const NEVER = new Promise<void>(() => undefined);
const OPEN: OpenUpload = { key: 'some', upload_id: 'upload' };
const BYTES = new Uint8Array([1, 2, 3]);

/** Every call of the bucket that the vault makes. */
const OPERATIONS: Record<string, (store: ObjectStore) => Promise<unknown>> = {
  put: (store) => store.put('some', BYTES),
  read: (store) => store.read('some'),
  readBytes: (store) => store.readBytes('some', { offset: 0, length: 3 }),
  readTail: (store) => store.readTail('some', 3),
  readJson: (store) => store.readJson('some'),
  size: (store) => store.size('some'),
  requireSize: (store) => store.requireSize('some', 3),
  remove: (store) => store.remove(['some']),
  removeAll: (store) => store.removeAll('some'),
  list: (store) => store.list('some').next(),
  prefixes: (store) => store.prefixes(),
  openUpload: (store) => store.openUpload('some'),
  putPart: (store) => store.putPart(OPEN, 1, BYTES),
  completeUpload: (store) => store.completeUpload(OPEN, [], 3),
  abortUpload: (store) => store.abortUpload(OPEN),
};

describe('a storage that never answers', () => {
  it.each(Object.entries(OPERATIONS))(
    'fails %s with storage-failed after its deadline, without another try',
    async (_, call) => {
      const { bucket, calls } = faultyBucket(env.VAULT, { at: 1, times: 99, until: NEVER });
      const failure = await call(new ObjectStore(bucket, { callMs: CALL_MS })).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(StorageFailed);
      expect(failure).toMatchObject({ code: 'storage-failed' });
      expect(calls).toHaveLength(1);
    },
  );

  it('is covered for every method of the store', () => {
    const methods = Object.getOwnPropertyNames(ObjectStore.prototype).filter((name) => name !== 'constructor');
    expect(Object.keys(OPERATIONS).sort()).toEqual(methods.sort());
  });

  it('holds the bytes of a part until the call has really ended', async () => {
    const answer = Promise.withResolvers<void>();
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 99, match: /uploadPart/, until: answer.promise });
    const store = new ObjectStore(bucket, { callMs: CALL_MS });
    const open = await store.openUpload('parts');
    const failure = await store.putPart(open, 1, BYTES).catch((error: unknown) => error);
    let ended = false;
    const end = storageCallEnded(failure).then(() => {
      ended = true;
    });
    await scheduler.wait(10);
    expect(ended).toBe(false);
    answer.resolve();
    await end;
    await store.abortUpload(open);
  });

  it('holds nothing after a failure that was an answer', async () => {
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 99 });
    const store = new ObjectStore(bucket, { callMs: CALL_MS });
    await storageCallEnded(await store.size('some').catch((error: unknown) => error));
  });
});

describe('a body that comes after the deadline', () => {
  it('is cancelled, so that it keeps no connection', async () => {
    const answer = Promise.withResolvers<void>();
    await env.VAULT.put('late', new Uint8Array(100));
    const { bucket, reads } = faultyBodies(env.VAULT, async () => {
      await answer.promise;
      return null;
    });
    const failure = await new ObjectStore(bucket, { callMs: CALL_MS }).read('late').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StorageFailed);
    answer.resolve();
    await expect.poll(() => reads[0]?.cancelled).toBe(true);
  });

  it('fails a resuming read that no try of opening it answers', async () => {
    const { bucket, calls } = faultyBucket(env.VAULT, { at: 1, times: 99, until: NEVER });
    const store = new ObjectStore(bucket, { callMs: CALL_MS });
    const options = { pieceBytes: 10, policy: { tries: 2, firstWaitMs: 1 } };
    const reading = readResuming(store, 'late', { offset: 0, length: 100 }, options).next();
    await expect(reading).rejects.toMatchObject({ code: 'storage-failed' });
    expect(calls.filter((name) => name === 'get')).toHaveLength(2);
  });
});
