import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isolateMemory } from '../../../../src/shared/isolate-memory.ts';
import { MIB, PART_BYTES } from '../../../../src/shared/limits.ts';
import { faultyBucket } from '../../../support/faulty-bucket.ts';
import { orderOf } from './orders.ts';
import {
  bodyOf,
  CONTENT as content,
  expectDone,
  GRANTED,
  held,
  overBucket,
  ownSession,
  pieceAt,
  roomsWith,
  Sender,
  sendAll,
} from './sessions.ts';

// What is refused is logged each time.
beforeEach(() => void vi.spyOn(console, 'warn').mockImplementation(() => undefined));
afterEach(() => void vi.restoreAllMocks());

const order = () => orderOf({ compression: 'none' });

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
        expect(offset).toBeGreaterThan(PART_BYTES - MIB);
        expect(await own.append(pieceAt(offset), bodyOf(content.subarray(offset)))).toMatchObject({
          view: { phase: 'done' },
        });
        await expectDone(own);
      });
    },
  );

  it('does not fail of a part that was refused after the one before', async () => {
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
      await own.append(pieceAt(0), bodyOf(content.subarray(0, PART_BYTES - 100_000)));
      await own.append(pieceAt(PART_BYTES - 100_000), bodyOf(content.subarray(PART_BYTES - 100_000, PART_BYTES)));
      refuse.reject(new Error('part too small (10011)'));
      await scheduler.wait(10);
      const rest = pieceAt(PART_BYTES, { length: content.length });
      expect(await own.append(rest, bodyOf(content.subarray(PART_BYTES)))).toMatchObject({ view: { phase: 'done' } });
      await expectDone(own);
    });
  });

  it('that waits for a part to be sent gives way to a newer one', async () => {
    const memory = isolateMemory();
    const others = await Promise.all(['a', 'a', 'b', 'b'].map((other) => memory.flights.acquire(other)));
    await ownSession(roomsWith({ memory }), async (own) => {
      await own.session.create(order(), content.length);
      const old = own.append(pieceAt(0), bodyOf(new Uint8Array(content.length)));
      await vi.waitFor(() => expect(memory.flights.waiting).toBe(1));
      expect(await own.session.stop(GRANTED), 'a question is answered meanwhile').toMatchObject({ kind: 'view' });
      for (const each of others) each.release();
      expect(await old).toMatchObject({ kind: 'refused', code: 'upload-superseded' });
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
