import { env } from 'cloudflare:workers';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it } from 'vitest';
import type { Backup } from '../../../../src/catalogue/backups.ts';
import { readBack } from '../../../../src/ingest/resumable/read-back.ts';
import type { SessionOrder, StoredObject } from '../../../../src/ingest/resumable/upload-record.ts';
import { upload } from '../../../../src/ingest/upload.ts';
import { services } from '../../../../src/services.ts';
import { bytesFromBase64 } from '../../../../src/shared/bytes.ts';
import { FRAME_BYTES, KIB, MIB } from '../../../../src/shared/limits.ts';
import { dataKey, indexKey } from '../../../../src/store/object-keys.ts';
import { ObjectStore } from '../../../../src/store/object-store.ts';
import { faultyBodies, faultyBucket } from '../../../support/faulty-bucket.ts';
import { sha256Hex } from '../../../support/vault.ts';
import { ageVectors } from '../../../vectors/age.ts';
import { firstDifference, noise } from '../../codec/bytes.ts';
import { tarOf } from '../archives.ts';
import { newId } from './orders.ts';
import { inStorage, Writers, writeAll } from './writers.ts';

const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);
const content = new Uint8Array(noise(FRAME_BYTES + 300_000));

interface Stored {
  readonly writers: Writers;
  readonly object: StoredObject;
  readonly key: string;
  /** Reads it back, through that bucket. */
  readonly back: (bucket?: R2Bucket, onRead?: (bytes: number) => void) => Promise<Backup>;
}

/** An upload whose object is whole and stands in the vault. */
function stored(
  bytes: Uint8Array,
  order: Partial<SessionOrder>,
  work: (stored: Stored) => Promise<void>,
): Promise<void> {
  return inStorage(async (storage) => {
    const writers = new Writers(storage, env.VAULT, order);
    const writer = writers.next();
    await writeAll(writer, bytes);
    writers.note(writer);
    const object = await writers.seal(writer);
    const { sealing } = writers.store;
    const back = (bucket = env.VAULT, onRead: (read: number) => void = () => undefined) => {
      const rooms = { store: new ObjectStore(bucket), engine: services(env).engine, memory: writers.memory };
      return readBack(rooms, writers.store.known, object, sealing, onRead, async () => undefined);
    };
    await work({ writers, object, key: dataKey(writers.order.backup_id), back });
  });
}

const FORMS: readonly (readonly [string, Partial<SessionOrder>])[] = [
  ['none', { compression: 'none' }],
  ['zstd', { compression: 'zstd' }],
  ['none and encrypted', { compression: 'none', recipients: [recipient] }],
  ['zstd and encrypted', { compression: 'zstd', recipients: [recipient] }],
];
const CORRUPT = { code: 'stored-data-corrupt' };

async function bytesAt(key: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array((await (await env.VAULT.get(key))?.arrayBuffer()) ?? new ArrayBuffer(0));
}

describe.each(FORMS)('what is stored (%s)', (_, order) => {
  it('is told by its receipt', () =>
    stored(content, order, async ({ writers, object, key, back }) => {
      const seen: number[] = [];
      const { backup_id, job_id, name, filename, content_type } = writers.order;
      const at = await bytesAt(key);
      expect(await back(env.VAULT, (bytes) => seen.push(bytes))).toEqual({
        backup_id,
        job_id,
        name,
        filename,
        content_type,
        file_size: content.length,
        checksum: await sha256Hex(content),
        stored_size: at.length,
        stored_checksum: await sha256Hex(at),
        compression: object.compression,
        encryption: order.recipients ? { format: 'age', by: 'vault', recipients: [recipient] } : null,
        archive: null,
        created_at: object.stored_at,
        created_by: null,
        expires_at: null,
        verified_at: null,
        damage: null,
      });
      expect(seen).toEqual(seen.toSorted((a, b) => a - b));
      expect(seen.at(-1)).toBe(content.length);
    }));

  it.each([
    ['at its start', 2],
    ['behind its start', 180],
    ['in the middle', 2_000_000],
    ['in its last frame', FRAME_BYTES + 200_000],
  ])('with a bit flipped %s is not what was sent', (_, at) =>
    stored(content, order, async ({ key, back }) => {
      const bytes = await bytesAt(key);
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      await env.VAULT.put(key, bytes);
      await expect(back()).rejects.toMatchObject(CORRUPT);
    }),
  );

  it.each([
    ['cut by a byte', (bytes: Uint8Array) => bytes.subarray(0, -1)],
    ['cut to half', (bytes: Uint8Array) => bytes.subarray(0, bytes.length >> 1)],
    ['cut to a byte', (bytes: Uint8Array) => bytes.subarray(0, 1)],
    ['a byte longer', (bytes: Uint8Array) => Uint8Array.from({ length: bytes.length + 1 }, (_, i) => bytes[i] ?? 0)],
    ['other bytes of the same length', (bytes: Uint8Array) => noise(bytes.length, 99)],
  ])('that is %s is not what was sent', (_, change) =>
    stored(content, order, async ({ key, back }) => {
      await env.VAULT.put(key, change(await bytesAt(key)));
      await expect(back()).rejects.toMatchObject(CORRUPT);
    }),
  );

  it('that is missing is not what was sent', () =>
    stored(content, order, async ({ key, back }) => {
      await env.VAULT.delete(key);
      await expect(back()).rejects.toMatchObject(CORRUPT);
    }));

  it('as another upload of the same length has it, is not what was sent', () =>
    stored(noise(content.length, 5), order, async ({ key: otherKey }) =>
      stored(content, order, async ({ key, back }) => {
        const other = await bytesAt(otherKey);
        await env.VAULT.put(key, other);
        await expect(back()).rejects.toMatchObject(CORRUPT);
      }),
    ));

  it('is read on where the storage breaks in the middle of it', () =>
    stored(content, order, async ({ back }) => {
      const whole = await back();
      const breaks = [0, 1, 70_000, 1_500_000];
      const { bucket, reads } = faultyBodies(
        env.VAULT,
        (read) => (read < breaks.length ? { after: breaks[read] ?? 0, how: read % 2 === 0 ? 'break' : 'end' } : null),
        { chunkBytes: 64 * KIB },
      );
      expect(await back(bucket)).toEqual(whole);
      expect(reads.length).toBeGreaterThan(breaks.length);
    }));

  it('is not called corrupt where the storage does not answer', () =>
    stored(content, order, async ({ back }) => {
      const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 1000, match: /get/ });
      await expect(back(bucket)).rejects.toMatchObject({ code: 'storage-failed' });
      expect((await back()).file_size).toBe(content.length);
    }));

  it('is left where it is told to whom it no longer matters', () =>
    stored(content, order, async ({ back }) => {
      const stop = () => {
        throw new Error('it was terminated');
      };
      await expect(back(env.VAULT, stop)).rejects.toThrow('it was terminated');
    }));

  it('has the checksum that its sender expects, or is refused', async () => {
    await stored(content, { ...order, sha256: await sha256Hex(content) }, async ({ back }) => {
      expect((await back()).checksum).toBe(await sha256Hex(content));
    });
    await stored(content, { ...order, sha256: 'ab'.repeat(32) }, async ({ back }) => {
      await expect(back()).rejects.toMatchObject({ code: 'checksum-mismatch', received: await sha256Hex(content) });
    });
  });

  it('of no bytes has a receipt too', () =>
    stored(new Uint8Array(), order, async ({ back }) => {
      expect(await back()).toMatchObject({ file_size: 0, archive: null, checksum: await sha256Hex(new Uint8Array()) });
    }));
});

describe('a seek table', () => {
  it.each([
    ['its magic', -1],
    ['its number of frames', -9],
    ['the size of a frame', -9 - 2 * 12],
  ])('that is damaged in %s is found, also where the frames are whole', (_, at) =>
    stored(content, { compression: 'zstd' }, async ({ key, back }) => {
      const bytes = await bytesAt(key);
      const place = bytes.length + at;
      bytes[place] = (bytes[place] ?? 0) ^ 1;
      await env.VAULT.put(key, bytes);
      await expect(back()).rejects.toMatchObject(CORRUPT);
    }),
  );
});

describe('an archive', () => {
  const tar = tarOf([10, 0, 700_000, 5 * MIB, 1]);

  it.each(['none', 'zstd'] as const)('has the index of an upload in one request (%s)', async (compression) => {
    const one = await uploaded(tar, compression);
    await stored(tar, { compression }, async ({ writers, back }) => {
      const receipt = await back();
      expect(receipt.archive).toEqual(one.archive);
      expect(receipt.archive).toEqual({ format: 'tar', members: 5, stopped: null });
      const [mine, other] = await Promise.all(
        [writers.order.backup_id, one.backup_id].map((id) => bytesAt(indexKey(id))),
      );
      expect(mine?.length).toBeGreaterThan(0);
      expect(firstDifference(mine ?? new Uint8Array(), other ?? new Uint8Array())).toBeNull();
      // Whoever was cut off behind the index writes it again.
      expect(await back()).toEqual(receipt);
    });
  });

  it('that is encrypted has none: it would tell what the encryption hides', () =>
    stored(tar, { recipients: [recipient] }, async ({ writers, back }) => {
      expect((await back()).archive).toBeNull();
      expect(await env.VAULT.head(indexKey(writers.order.backup_id))).toBeNull();
    }));
});

describe('content that came encrypted', () => {
  it('is told as an age file of its sender, and as no archive', () =>
    stored(bytesFromBase64(ageVectors[0]?.base64 ?? ''), {}, async ({ back }) => {
      expect(await back()).toMatchObject({
        encryption: { format: 'age', by: 'sender', recipients: [] },
        archive: null,
      });
    }));
});

function uploaded(bytes: Uint8Array, compression: 'none' | 'zstd'): Promise<Backup> {
  const backup_id = newId();
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += MIB) yield bytes.subarray(at, at + MIB);
  }
  return upload(services(env), {
    backup_id,
    job_id: backup_id,
    name: 'a/a.tar',
    filename: 'a.tar',
    content_type: 'application/x-tar',
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
}
