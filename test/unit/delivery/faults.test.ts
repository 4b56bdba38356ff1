import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { Backup } from '../../../src/catalogue/backups.ts';
import { openIndex } from '../../../src/delivery/archive.ts';
import { dataKey, indexKey } from '../../../src/store/object-keys.ts';
import { gzipped, manyFrames, oneFrame, tarOf } from '../../support/archives.ts';
import { faultyBodies } from '../../support/faulty-bucket.ts';
import { sample } from '../../support/vault.ts';
import { listed } from '../archive/index-samples.ts';
import { noise } from '../codec/bytes.ts';
import { bytesOf, contentBody, heldShares, memberBody, type Rooms, roomsOver, stored } from './rooms.ts';

const small = sample(300, 9);
const tar = tarOf([
  { path: 'member', content: small },
  { path: 'soft', type: 'symlink', linkTarget: 'x' },
]);

/** Every place of a read, in steps that leave no kind of byte out. */
function places(bytes: number): number[] {
  const step = Math.max(1, Math.floor(bytes / 60));
  return Array.from({ length: Math.ceil(bytes / step) }, (_, i) => i * step);
}

/** The same uploaded in every form, and what is stored of it. */
const FORMS = [
  ['our own form', '', async () => tar],
  ['what came', '?compression=none', async () => tar],
  ['gzip', '', () => gzipped(tar)],
  ['gzip within our form', '?compression=zstd', () => gzipped(tar)],
  ['a zstd file', '', async () => oneFrame(tar)],
] as const;

/** Opens the index through the bucket as it is, so that the faults meet the data alone. */
async function knowing(rooms: Rooms, backup: Backup): Promise<Rooms> {
  const opened = roomsOver(env.VAULT);
  await openIndex(opened, backup);
  return { ...rooms, indexes: opened.indexes };
}

describe.each(FORMS)('a member of an archive in the form of %s', (_, query, make) => {
  it.each(['break', 'end'] as const)('comes whole though the storage streams %s, at any byte', async (how) => {
    const backup = await stored('a.tar', await make(), query);
    await Promise.all(
      places(backup.stored_size).map(async (after) => {
        const { bucket, reads } = faultyBodies(env.VAULT, (read) => (read < 2 ? { after, how } : null), {
          chunkBytes: 50,
        });
        const rooms = await knowing(roomsOver(bucket), backup);
        expect(await bytesOf(await memberBody(rooms, backup, 'member')), `after ${after}`).toEqual(small);
        expect(reads.length).toBeLessThanOrEqual(3);
        expect(heldShares(rooms)).toBe(0);
      }),
    );
  });
});

describe('a range of decoded content', () => {
  it.each(['break', 'end'] as const)('comes whole though the storage streams %s, at any byte', async (how) => {
    const backup = await stored('a.tar', tar);
    await Promise.all(
      places(backup.stored_size).map(async (after) => {
        const { bucket } = faultyBodies(env.VAULT, (read) => (read === 0 || read === 2 ? { after, how } : null), {
          chunkBytes: 50,
        });
        const rooms = roomsOver(bucket);
        const span = { offset: 500, length: 200 };
        expect(await bytesOf(await contentBody(rooms, backup, span))).toEqual(tar.slice(500, 700));
        expect(heldShares(rooms)).toBe(0);
      }),
    );
  });

  it('is refused before the answer when the streams never last', async () => {
    const backup = await stored('a.tar', tar);
    for (const match of [1, 0]) {
      const { bucket } = faultyBodies(env.VAULT, (read) => (read >= match ? { after: 0, how: 'break' } : null));
      const rooms = roomsOver(bucket);
      const opening = contentBody(rooms, backup, { offset: 0, length: 10 });
      await expect(opening).rejects.toMatchObject({ code: 'storage-failed' });
      expect(heldShares(rooms)).toBe(0);
    }
  });

  it('is refused where the object is replaced by another one meanwhile', async () => {
    const backup = await stored('a.tar', tar);
    const { bucket } = faultyBodies(env.VAULT, async (read) => {
      if (read === 2) await env.VAULT.put(dataKey(backup.backup_id), new Uint8Array(backup.stored_size));
      return read === 1 ? { after: 20, how: 'break' } : null;
    });
    const opening = contentBody(roomsOver(bucket), backup, { offset: 0, length: 10 });
    await expect(opening).rejects.toMatchObject({ code: 'stored-data-lost', how: 'changed' });
  });
});

/** Not of gzip, whose one checksum comes after its last byte, where a member's reader never gets; nor of bytes as they came. */
describe('one changed byte of what is stored', () => {
  it.each([
    ['our own form', '', async () => tar],
    ['gzip within our form', '?compression=zstd', () => gzipped(tar)],
    ['a zstd file', '', async () => oneFrame(tar)],
    ['a zstd file of many frames', '', () => manyFrames(tar, 300)],
  ] as const)('never gives other bytes of a member, wherever it is (%s)', async (_, query, make) => {
    const backup = await stored('a.tar', await make(), query);
    const object = await env.VAULT.get(dataKey(backup.backup_id));
    const data = new Uint8Array((await object?.arrayBuffer()) ?? []);
    const rooms = await knowing(roomsOver(env.VAULT), backup);
    let refused = 0;
    for (let at = 0; at < data.length; at++) {
      const changed = data.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await env.VAULT.put(dataKey(backup.backup_id), changed);
      try {
        expect(await bytesOf(await memberBody(rooms, backup, 'member')), `byte ${at}`).toEqual(small);
      } catch (error) {
        // What is found before the first piece is told; what is found later breaks the body.
        expect(error, `byte ${at}`).toMatchObject({
          code: expect.stringMatching(/^(stored-data-corrupt|malformed-zstd)$/),
        });
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(50);
    expect(heldShares(rooms)).toBe(0);
  });
});

describe('members and lists asked for at once', () => {
  it('get each its own', async () => {
    const entries = Array.from({ length: 40 }, (_, i) => ({ path: `m${i}`, content: sample(20_000 + i, i + 1) }));
    const backup = await stored('a.tar', tarOf(entries));
    const rooms = roomsOver(env.VAULT);
    await Promise.all(
      entries.map(async ({ path, content }, i) => {
        const span = { offset: i, length: 20_000 - i };
        expect(await bytesOf(await memberBody(rooms, backup, path, span))).toEqual(content.slice(i, 20_000));
      }),
    );
    expect(heldShares(rooms)).toBe(0);
  });
});

describe('a client that leaves', () => {
  const long = noise(6_000_000, 2);

  it.each([
    ['our own form', '', async () => tarOf([{ path: 'long', content: long }])],
    ['as it came', '?compression=none', async () => tarOf([{ path: 'long', content: long }])],
    ['a zstd file of many frames', '', () => manyFrames(tarOf([{ path: 'long', content: long }]), 100_000)],
    ['gzip', '', () => gzipped(tarOf([{ path: 'long', content: long }]))],
  ] as const)('ends the reads of a member and gives the memory back (%s)', async (_, query, make) => {
    const backup = await stored('a.tar', await make(), query);
    const { bucket, reads } = faultyBodies(env.VAULT, () => null, { chunkBytes: 10_000 });
    const rooms = await knowing(roomsOver(bucket), backup);
    const pumps: Promise<void>[] = [];
    const body = await memberBody(rooms, backup, 'long', undefined, (pump) => pumps.push(pump));
    const reader = body.getReader();
    expect((await reader.read()).done).toBe(false);
    // Bytes as they came hold a buffer, which is not worth a share.
    if (query === '') expect(heldShares(rooms)).toBeGreaterThan(0);
    await reader.cancel();
    await Promise.all(pumps);
    expect(heldShares(rooms)).toBe(0);
    expect(reads).toHaveLength(1);
    expect(reads[0]?.cancelled).toBe(true);
    expect(reads[0]?.given).toBeLessThan(backup.stored_size);
  });

  it('ends the reads of a range, also one that the storage would never have ended', async () => {
    const backup = await stored('a.tar', tarOf([{ path: 'long', content: long }]));
    const faultOf = (read: number) => (read === 1 ? { after: 5_500_000, how: 'hang' as const } : null);
    const { bucket, reads } = faultyBodies(env.VAULT, faultOf, { chunkBytes: 10_000 });
    const rooms = roomsOver(bucket);
    const pumps: Promise<void>[] = [];
    const body = await contentBody(rooms, backup, { offset: 0, length: 5_900_000 }, (pump) => pumps.push(pump));
    await body.cancel();
    await Promise.all(pumps);
    expect(heldShares(rooms)).toBe(0);
    expect(reads).toHaveLength(2);
    expect(reads[1]?.cancelled).toBe(true);
  });
});

describe('an index that is not what was written', () => {
  async function withIndex(harm: (index: Uint8Array) => Uint8Array | null) {
    const backup = await stored('a.tar', tar);
    return { backup, replace: () => replaceIndex(backup, harm) };
  }

  async function replaceIndex(backup: Backup, harm: (index: Uint8Array) => Uint8Array | null): Promise<void> {
    const key = indexKey(backup.backup_id);
    const object = await env.VAULT.get(key);
    const harmed = harm(new Uint8Array((await object?.arrayBuffer()) ?? []));
    if (harmed) await env.VAULT.put(key, harmed);
    else await env.VAULT.delete(key);
  }

  it.each([
    ['missing', () => null, 'stored-data-lost'],
    ['empty', () => new Uint8Array(), 'stored-data-corrupt'],
    ['cut at its end', (index: Uint8Array) => index.slice(0, -1), 'stored-data-corrupt'],
    ['cut at its start', (index: Uint8Array) => index.slice(1), 'stored-data-corrupt'],
    ['other bytes', (index: Uint8Array) => sample(index.length), 'stored-data-corrupt'],
    [
      'of a newer version',
      (index: Uint8Array) => index.map((byte, i) => (i === index.length - 12 ? byte + 1 : byte)),
      'index-too-new',
    ],
  ] as const)('is told: %s', async (_, harm, code) => {
    const { backup, replace } = await withIndex(harm);
    await replace();
    const work = async () => listed((await openIndex(roomsOver(env.VAULT), backup)).from(null));
    await expect(work()).rejects.toMatchObject({ code });
    await expect(bytesOf(await contentBody(roomsOver(env.VAULT), backup))).resolves.toEqual(tar);
  });

  it('never lists or gives other than what was stored, whichever byte is changed', async () => {
    const backup = await stored('a.tar', tar);
    const good = await listed((await openIndex(roomsOver(env.VAULT), backup)).from(null));
    const object = await env.VAULT.get(indexKey(backup.backup_id));
    const index = new Uint8Array((await object?.arrayBuffer()) ?? []);
    let refused = 0;
    for (let at = 0; at < index.length; at++) {
      const changed = index.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await env.VAULT.put(indexKey(backup.backup_id), changed);
      try {
        const rooms = roomsOver(env.VAULT);
        expect(await listed((await openIndex(rooms, backup)).from(null)), `byte ${at}`).toEqual(good);
        expect(await bytesOf(await memberBody(rooms, backup, 'member'))).toEqual(small);
      } catch (error) {
        expect(error, `byte ${at}`).toMatchObject({
          code: expect.stringMatching(/^(stored-data-corrupt|stored-data-lost|index-too-new)$/),
        });
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(index.length - 5);
  });
});
