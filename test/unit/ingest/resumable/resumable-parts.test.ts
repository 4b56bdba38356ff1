import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it } from 'vitest';
import type { ResumableWriter } from '../../../../src/ingest/resumable/resumable-writer.ts';
import type { SessionOrder } from '../../../../src/ingest/resumable/upload-record.ts';
import { concat } from '../../../../src/shared/bytes.ts';
import { FRAME_BYTES, KIB, MIB, PART_BYTES, R2_PART_NUMBERS } from '../../../../src/shared/limits.ts';
import { noise } from '../../codec/bytes.ts';
import { numbers, quiet, turns } from '../../shared/chance.ts';
import { type BucketCall, PartsBucket } from './parts-bucket.ts';
import { expectObject, inStorage, objectOf, Writers, writeAll } from './writers.ts';

const content = concat([noise(2 * PART_BYTES + FRAME_BYTES + 12_345), new Uint8Array(FRAME_BYTES).fill(97)]);
const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);
const FORMS: readonly (readonly [string, Partial<SessionOrder>])[] = [
  ['none', { compression: 'none' }],
  ['zstd', { compression: 'zstd' }],
  ['none and encrypted', { compression: 'none', recipients: [recipient] }],
  ['zstd and encrypted', { compression: 'zstd', recipients: [recipient] }],
];

/** What a bucket says that does nothing for now. */
function away(): never {
  throw new Error('We encountered an internal error. Please try again. (10001)');
}

/** Does something at every turn until the work is over; gives what it rejected with, or null. */
async function meanwhile(work: Promise<void>, each: () => void): Promise<unknown> {
  let over = false;
  let failure: unknown = null;
  work
    .catch((error: unknown) => {
      failure = error;
    })
    .finally(() => {
      over = true;
    });
  for (let turn = 1; !over; turn++) {
    each();
    await undefined;
    if (turn % 50 === 0) await scheduler.wait(0);
  }
  return failure;
}

/** The rest of the content, by the next writer, and the end. */
async function goOn(writers: Writers, bucket: PartsBucket, form: Partial<SessionOrder>): Promise<void> {
  const writer = writers.next();
  await writeAll(writer, content.subarray(writers.written.offset));
  writers.note(writer);
  await writers.seal(writer);
  await expectObject(writers, bucket, await objectOf(content, writers.order), form.recipients ? identity : undefined);
}

/** Gives a writer up as a session does: without waiting for what is on its way. */
function leave(writer: ResumableWriter): void {
  writer.fence();
  void writer.close();
}

describe('a checkpoint', () => {
  it.each(FORMS)('may be taken at every moment of a write, and of resuming one (%s)', (_, form) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      bucket.before = () => turns(7);
      const writers = new Writers(storage, bucket.bucket, form);
      for (const [from, to] of [
        [0, PART_BYTES + 5_000_000],
        [PART_BYTES + 5_000_000, PART_BYTES + 5_000_001],
        [PART_BYTES + 5_000_001, content.length],
      ]) {
        const writer = writers.next();
        const failure = await meanwhile(writeAll(writer, content.subarray(from, to)), () => writers.note(writer));
        expect(failure).toBeNull();
        writers.note(writer);
        leave(writer);
      }
      await goOn(writers, bucket, form);
    }),
  );

  it.each(FORMS)('that the storage refuses changes nothing, and the next one notes it all (%s)', (_, form) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, form);
      const writer = writers.next();
      for (let at = 0; at < content.length; at += 3 * MIB) {
        await writer.write(content.subarray(at, at + 3 * MIB));
        const before = writers.written;
        const refused = () =>
          writer.checkpoint(() => {
            throw new Error('the disk is full');
          });
        expect(refused).toThrow('the disk is full');
        expect(writers.written).toEqual(before);
        writers.check();
        if (at % (2 * MIB) === 0) writers.note(writer);
      }
      writers.note(writer);
      leave(writer);
      await goOn(writers, bucket, form);
    }),
  );
});

describe('a crash', () => {
  const runs = FORMS.flatMap(([name, form]) => [1, 2, 3, 4].map((seed) => [name, seed, form] as const));

  it.each(runs)('at any moment costs what came after the last checkpoint, and nothing else (%s, %i)', (_, seed, form) =>
    inStorage(async (storage) => {
      const below = numbers(seed);
      const bucket = new PartsBucket();
      // Some parts arrive at once, some long after their writer was left, and some never.
      bucket.before = ({ name }: BucketCall) => {
        const kind = name === 'part' ? below(4) : 0;
        if (kind === 1) return scheduler.wait(below(20));
        return kind === 2 ? turns(below(40)) : undefined;
      };
      const writers = new Writers(storage, bucket.bucket, form);
      for (let crash = 0; crash < 12; crash++) {
        const { offset } = writers.written;
        const writer = writers.next();
        expect(writer.offset).toBe(offset);
        const lives = below(150);
        let turn = 0;
        const rest = content.subarray(offset, offset + below(9 * MIB));
        const dead = Promise.withResolvers<unknown>();
        const written = meanwhile(writeAll(writer, rest, 100_000 + below(600 * KIB)), () => {
          turn += 1;
          if (turn < lives && below(20) === 0) writers.note(writer);
          if (turn === lives) dead.resolve(null);
        });
        expect(await Promise.race([written, dead.promise])).toBeNull();
        if (below(2) === 0) writers.note(writer);
        leave(writer);
      }
      await goOn(writers, bucket, form);
    }),
  );
});

describe('a part', () => {
  it('of a writer that was left changes nothing where it arrives late, with other bytes for the same place', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const late = Promise.withResolvers<void>();
      bucket.before = ({ name }) => (name === 'part' ? late.promise : undefined);
      const writers = new Writers(storage, bucket.bucket);
      const old = writers.next();
      await writeAll(old, content.subarray(1, PART_BYTES + 1000));
      leave(old);
      expect(writers.written.offset).toBe(0);
      bucket.before = () => undefined;
      const writer = writers.next();
      await writeAll(writer, content);
      await writer.settle();
      late.resolve();
      await quiet();
      await scheduler.wait(1);
      expect(bucket.uploads[0]?.arrived.at(-1), 'the first number arrives last').toBe(1);
      writers.note(writer);
      await writers.seal(writer);
      await expectObject(writers, bucket, content);
    }));

  it('has a number of its own, however often it is sent', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      bucket.before = ({ name }) => (name === 'part' ? away() : undefined);
      const writers = new Writers(storage, bucket.bucket);
      for (let i = 0; i < 4; i++) {
        const writer = writers.next();
        const piece = content.subarray(writers.written.offset, writers.written.offset + PART_BYTES);
        await expect(writeAll(writer, piece).then(() => writer.settle())).resolves.toBeUndefined();
        writers.note(writer);
        await writer.close();
        if (i === 0) bucket.before = () => undefined;
      }
      const sent = bucket.calls.filter(({ name }) => name === 'part').map(({ number }) => number);
      // The store tries a part that failed again, under the same number.
      expect(new Set(sent).size).toBe(sent.length - 2);
      const [opened] = bucket.uploads;
      expect(opened?.arrived).toEqual([...new Set(opened?.arrived)]);
    }));

  it('is refused once all numbers are used, and what came before stays', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket);
      writers.store.nextPartNumber = R2_PART_NUMBERS;
      const writer = writers.next();
      await expect(writeAll(writer, content)).rejects.toMatchObject({ code: 'upload-failed' });
      await writer.settle();
      writers.note(writer);
      await writer.close();
      expect(writers.written.offset).toBeGreaterThanOrEqual(PART_BYTES);
      expect(writers.written.parts).toBe(1);
      expect(bucket.uploads[0]?.arrived).toEqual([R2_PART_NUMBERS]);
    }));
});

describe('a storage that fails for good', () => {
  it.each(FORMS)('at any call leaves a prefix, from which the next writer goes on (%s)', async (_, form) => {
    for (let at = 1; ; at++) {
      const reached = await inStorage(async (storage) => {
        const bucket = new PartsBucket();
        let calls = 0;
        bucket.before = () => (++calls >= at ? away() : undefined);
        const writers = new Writers(storage, bucket.bucket, form);
        const writer = writers.next();
        const failure = await writeAll(writer, content).then(
          () => null,
          (error: unknown) => error,
        );
        await writer.settle();
        writers.note(writer);
        await writer.close();
        if (failure) expect(failure).toMatchObject({ code: 'storage-failed' });
        expect(writers.written.offset).toBeGreaterThanOrEqual((at - 2) * PART_BYTES);
        bucket.before = () => undefined;
        await goOn(writers, bucket, form);
        return calls >= at;
      });
      if (!reached) break;
      expect(at).toBeLessThan(10);
    }
  });
});

describe('a writer that was fenced', () => {
  it('throws where it would change something, and calls the storage no more', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket);
      const writer = writers.next();
      await writeAll(writer, content.subarray(0, 3 * MIB));
      writers.note(writer);
      writer.fence();
      const { length } = bucket.calls;
      const superseded = { code: 'upload-superseded' };
      await expect(writeAll(writer, content)).rejects.toMatchObject(superseded);
      expect(() => writers.note(writer)).toThrow(expect.objectContaining(superseded));
      await expect(writer.seal(() => expect.unreachable())).rejects.toMatchObject(superseded);
      await writer.close();
      expect(bucket.calls.length).toBe(length);
      expect([writers.written.offset, writers.store.open]).toEqual([3 * MIB, null]);
    }));

  it('aborts the upload that it was about to open', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const opening = Promise.withResolvers<void>();
      bucket.before = ({ name }) => (name === 'create' ? opening.promise : undefined);
      const writers = new Writers(storage, bucket.bucket);
      const writer = writers.next();
      const writing = writeAll(writer, content);
      await quiet();
      leave(writer);
      opening.resolve();
      await expect(writing).rejects.toMatchObject({ code: 'upload-superseded' });
      expect(bucket.uploads.map(({ state }) => state)).toEqual(['aborted']);
      expect(bucket.calls.map(({ name }) => name)).toEqual(['create', 'abort']);
      await goOn(writers, bucket, {});
    }));

  it.each(['none', 'zstd'] as const)('gives up at once, wherever it is (%s)', async (compression) => {
    for (const moment of [0, 1, 2, 3, 5, 8, 13, 21, 34]) {
      await inStorage(async (storage) => {
        const bucket = new PartsBucket();
        bucket.before = () => turns(5);
        const writers = new Writers(storage, bucket.bucket, { compression });
        const writer = writers.next();
        const writing = writeAll(writer, content).then(
          () => 'written',
          () => 'left',
        );
        await turns(10 * moment);
        leave(writer);
        const { nextPartNumber } = writers.store;
        expect(await Promise.race([writing, scheduler.wait(5_000)])).toBeDefined();
        expect(writers.store.nextPartNumber).toBe(nextPartNumber);
        await goOn(writers, bucket, { compression });
      });
    }
  });
});

describe('the seal', () => {
  it.each(FORMS)('that is cut off anywhere is made again (%s)', async (_, form) => {
    for (const size of [1000, content.length]) {
      for (let at = 1; ; at++) {
        const reached = await inStorage(async (storage) => {
          const bucket = new PartsBucket();
          const writers = new Writers(storage, bucket.bucket, form);
          const first = writers.next();
          await writeAll(first, content.subarray(0, size));
          writers.note(first);
          await first.close();
          let calls = 0;
          // Three tries each: what fails, fails for its writer.
          bucket.before = () => (++calls >= at && calls < at + 3 ? away() : undefined);
          const cut = writers.next();
          const failed = await writers.seal(cut).then(
            () => false,
            () => true,
          );
          leave(cut);
          const { stored } = writers.store.known;
          if (failed && stored) await writers.complete(stored);
          else if (failed) await writers.seal(writers.next());
          const whole = await objectOf(content.subarray(0, size), writers.order);
          await expectObject(writers, bucket, whole, form.recipients ? identity : undefined);
          return failed;
        });
        if (!reached) break;
        expect(at).toBeLessThan(10);
      }
    }
  });
});

describe('the rows of a session', () => {
  it('go with its end, but for the record', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, { compression: 'zstd', recipients: [recipient] });
      const writer = writers.next();
      await writeAll(writer, content);
      await writer.settle();
      writers.note(writer);
      await writer.close();
      const { record } = writers.store;
      const tables = ['kept', 'frames', 'parts'] as const;
      expect(tables.map((table) => writers.count(table) > 0)).toEqual([true, true, true]);
      expect(writers.store.sealing).not.toBeNull();
      writers.store.dropContent();
      expect(tables.map((table) => writers.count(table))).toEqual([0, 0, 0]);
      expect(writers.store.sealing).toBeNull();
      expect(writers.store.record).toEqual(record);
    }));
});
