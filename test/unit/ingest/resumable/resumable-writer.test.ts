import { env } from 'cloudflare:workers';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it, vi } from 'vitest';
import type { SessionOrder } from '../../../../src/ingest/resumable/upload-record.ts';
import { upload } from '../../../../src/ingest/upload.ts';
import { services } from '../../../../src/services.ts';
import { bytesFromBase64, concat } from '../../../../src/shared/bytes.ts';
import { isolateMemory, RestLedger } from '../../../../src/shared/isolate-memory.ts';
import { FRAME_BYTES, KIB, MIB, PART_BYTES } from '../../../../src/shared/limits.ts';
import { dataKey } from '../../../../src/store/object-keys.ts';
import { ageVectors } from '../../../vectors/age.ts';
import { firstDifference, noise } from '../../codec/bytes.ts';
import { numbers } from '../../shared/chance.ts';
import { gzip } from '../archives.ts';
import { PartsBucket } from './parts-bucket.ts';
import { expectObject, inStorage, objectOf, Writers, writeAll } from './writers.ts';

/** More than two parts, however it is stored. */
const content = concat([noise(2 * PART_BYTES + FRAME_BYTES + 12_345), new Uint8Array(FRAME_BYTES).fill(97)]);
const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);

/** Lengths of pieces; the last takes what is left. */
type Splitting = readonly number[];

const SPLITTINGS: readonly (readonly [string, Splitting])[] = [
  ['as a whole', []],
  ['in pieces of a byte, over what tells its form', Array.from({ length: 40 }, () => 1)],
  ['with nothing in between', [0, 10, 0, 14, 0, 1, 0, 9_000_000, 0]],
  ['a byte before frames', [FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES - 1]],
  ['a byte after frames', [FRAME_BYTES + 1, FRAME_BYTES, FRAME_BYTES + 1]],
  ['at frames', [FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, FRAME_BYTES]],
  ['a byte before parts', [PART_BYTES - 1, PART_BYTES]],
  ['a byte after parts', [PART_BYTES + 1, PART_BYTES]],
  ['at parts', [PART_BYTES, PART_BYTES]],
  ['at the last byte', [content.length - 1]],
  ...[1, 2, 3].map((seed) => [`by chance (${seed})`, byChance(seed)] as const),
];

const FORMS: readonly (readonly [string, Partial<SessionOrder>])[] = [
  ['none', { compression: 'none' }],
  ['zstd', { compression: 'zstd' }],
  ['auto', { compression: 'auto' }],
  ['none and encrypted', { compression: 'none', recipients: [recipient] }],
  ['zstd and encrypted by default', { compression: 'zstd', default_recipients: [recipient] }],
];

function byChance(seed: number): Splitting {
  const below = numbers(seed);
  return Array.from({ length: 12 }, () => below(below(3) === 0 ? 100 : 4 * MIB));
}

function piecesOf(bytes: Uint8Array, splitting: Splitting): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const length of splitting) {
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...pieces, bytes.subarray(at)];
}

const identityOf = (form: Partial<SessionOrder>) => (form.recipients || form.default_recipients ? identity : undefined);

describe.each(FORMS)('an object that came in pieces (%s)', (_, form) => {
  it.each(SPLITTINGS)('%s is the one of one request, and a new writer makes it from every piece on', (_, splitting) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, form);
      for (const piece of piecesOf(content, splitting)) {
        const writer = writers.next();
        await writeAll(writer, piece);
        writers.note(writer);
        await writer.close();
      }
      await writers.seal(writers.next());
      await expectObject(writers, bucket, await objectOf(content, writers.order), identityOf(form));
    }),
  );

  it('with one writer for all pieces is the same', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, form);
      const writer = writers.next();
      for (const piece of piecesOf(content, byChance(4))) {
        await writeAll(writer, piece);
        writers.note(writer);
      }
      await writers.seal(writer);
      await expectObject(writers, bucket, await objectOf(content, writers.order), identityOf(form));
      expect(bucket.uploads.length).toBe(1);
    }));

  it.each([0, 1, 23, 24, 25, FRAME_BYTES, PART_BYTES - 1, PART_BYTES])('of %i bytes', (length) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, form);
      const short = content.subarray(0, length);
      const writer = writers.next();
      await writeAll(writer, short);
      writers.note(writer);
      await writer.close();
      await writers.seal(writers.next());
      await expectObject(writers, bucket, await objectOf(short, writers.order), identityOf(form));
    }),
  );
});

describe('a form that the first bytes decide', () => {
  it.each([
    ['is compressed already', gzip(noise(100_000)), 'none'],
    ['is not', noise(100_000), 'zstd'],
    ['is too short to tell', gzip(new Uint8Array()).subarray(0, 3), 'none'],
    ['is shorter than any mark', new Uint8Array(2), 'zstd'],
  ])('where the content %s', (_, bytes, codec) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, { compression: 'auto' });
      for (const piece of piecesOf(bytes, [1, 1, 1, 20])) {
        const writer = writers.next();
        await writer.write(piece);
        writers.note(writer);
        await writer.close();
      }
      const stored = await writers.seal(writers.next());
      expect(stored.compression.codec).toBe(codec);
      await expectObject(writers, bucket, await objectOf(bytes, writers.order));
    }),
  );

  it('is not encrypted again where it is an age file, unless somebody says so', async () => {
    const age = bytesFromBase64(ageVectors[0]?.base64 ?? '');
    for (const recipients of [null, [recipient]]) {
      await inStorage(async (storage) => {
        const bucket = new PartsBucket();
        const order = { compression: 'auto', default_recipients: [recipient], recipients } as const;
        const writers = new Writers(storage, bucket.bucket, order);
        const writer = writers.next();
        await writer.write(age);
        await writers.seal(writer);
        await expectObject(writers, bucket, age, recipients ? identity : undefined);
      });
    }
  });
});

describe('the vault', () => {
  it.each(['none', 'zstd'] as const)('stores in pieces what it stores in one request (%s)', async (compression) => {
    const one = await uploaded(content, compression);
    await inStorage(async (storage) => {
      const writers = new Writers(storage, env.VAULT, { compression });
      for (const piece of piecesOf(content, [9 * MIB, 3 * MIB, 1])) {
        const writer = writers.next();
        await writeAll(writer, piece);
        writers.note(writer);
        await writer.close();
      }
      const stored = await writers.seal(writers.next());
      const object = await bytesAt(dataKey(writers.order.backup_id));
      expect(stored.bytes).toBe(object.length);
      expect(firstDifference(object, one)).toBeNull();
    });
  });
});

describe('a writer whose sender is idle', () => {
  const crowded = () => ({ ...isolateMemory(), rest: new RestLedger(() => 0) });
  const stops = [3 * MIB, FRAME_BYTES + 2 * MIB, PART_BYTES + FRAME_BYTES, 2 * PART_BYTES + 100_000];

  it.each(['none', 'zstd'] as const)('gives its memory back, and makes the same object (%s)', (compression) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const memory = crowded();
      const writers = new Writers(storage, bucket.bucket, { compression }, memory);
      const writer = writers.next();
      for (const [i, to] of [...stops, content.length].entries()) {
        await writeAll(writer, content.subarray(stops[i - 1] ?? 0, to));
        await vi.waitFor(() => expect(memory.rest.usedBytes).toBeLessThan(64 * KIB), 5000);
      }
      expect(writers.written.offset, 'nothing of it is noted').toBe(0);
      writers.note(writer);
      await writer.close();
      expect(memory.rest.usedBytes).toBe(0);
      await writers.seal(writers.next());
      await expectObject(writers, bucket, await objectOf(content, writers.order));
    }),
  );

  it('leaves nothing of what was put aside to the next writer, if it was not noted', () =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const memory = crowded();
      const writers = new Writers(storage, bucket.bucket, { compression: 'zstd' }, memory);
      const first = writers.next();
      await writeAll(first, content.subarray(0, MIB));
      writers.note(first);
      await writeAll(first, noise(2 * MIB));
      await vi.waitFor(() => expect(memory.rest.usedBytes).toBe(0), 5000);
      first.fence();
      await first.close();
      const second = writers.next();
      await writeAll(second, content.subarray(MIB));
      writers.note(second);
      await writers.seal(second);
      await expectObject(writers, bucket, await objectOf(content, writers.order));
    }));
});

describe('one large write', () => {
  it.each(['none', 'zstd'] as const)('of more than the writer may hold goes through it (%s)', (compression) =>
    inStorage(async (storage) => {
      const bucket = new PartsBucket();
      const writers = new Writers(storage, bucket.bucket, { compression });
      const large = concat([content, content]);
      const writer = writers.next();
      await writer.write(large);
      await writers.seal(writer);
      await expectObject(writers, bucket, await objectOf(large, writers.order));
    }),
  );
});

async function uploaded(bytes: Uint8Array, compression: 'none' | 'zstd'): Promise<Uint8Array> {
  const backup_id = `01WHOLE${compression.toUpperCase().padStart(19, '0')}`;
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 512 * KIB) yield bytes.subarray(at, at + 512 * KIB);
  }
  await upload(services(env), {
    backup_id,
    job_id: backup_id,
    name: 'a/a.bin',
    filename: 'a.bin',
    content_type: 'application/octet-stream',
    token_id: null,
    level: 1,
    compression,
    codings: [],
    keep_frames: false,
    recipients: null,
    allow_empty: false,
    require_archive: false,
    expiry: null,
    max_bytes: 64 * MIB,
    total: bytes.length,
    exact: true,
    content: pieces(),
    ending: async () => undefined,
  });
  return bytesAt(dataKey(backup_id));
}

async function bytesAt(key: string): Promise<Uint8Array> {
  return new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer(0));
}
