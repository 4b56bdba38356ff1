import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { readStoredPoints } from '../../../src/codec/seekable/seek-table-points.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { openIndex } from '../../../src/delivery/archive.ts';
import { FRAME_BYTES, INDEX_TAIL_BYTES, KIB, MIB } from '../../../src/shared/limits.ts';
import { encodedSpan } from '../../../src/shared/seek-points.ts';
import { dataKey, indexKey } from '../../../src/store/object-keys.ts';
import { gzipped, manyFrames, tarOf } from '../../support/archives.ts';
import { countingBucket } from '../../support/counting-bucket.ts';
import { sample } from '../../support/vault.ts';
import { bytesOf, contentBody, memberBody, roomsOver, stored } from './rooms.ts';

/** An engine that tells how much content it made. */
function countingEngine(): { engine: ZstdEngine; frames: number[] } {
  const frames: number[] = [];
  const engine: ZstdEngine = {
    ...nativeEngine,
    decompressFrame(frame, contentBytes) {
      frames.push(contentBytes);
      return nativeEngine.decompressFrame(frame, contentBytes);
    },
  };
  return { engine, frames };
}

const content = sample(3 * FRAME_BYTES + 1000, 21);

describe('a member', () => {
  it('costs one read of the index and one of its frames, and only the latter when the index is known', async () => {
    const small = sample(10 * KIB, 5);
    const tar = tarOf([
      { path: 'a', content: content.slice(0, 2 * FRAME_BYTES) },
      { path: 'member', content: small },
      { path: 'z', content: content.slice(0, FRAME_BYTES) },
    ]);
    const backup = await stored('a.tar', tar);
    const { bucket, reads } = countingBucket(env.VAULT);
    const { engine, frames } = countingEngine();
    const rooms = roomsOver(bucket, engine);
    expect(await bytesOf(await memberBody(rooms, backup, 'member'))).toEqual(small);
    expect(reads.map(({ key }) => key)).toEqual([indexKey(backup.backup_id), dataKey(backup.backup_id)]);
    const index = await openIndex(rooms, backup);
    const place = { offset: 2 * FRAME_BYTES + 1024, length: small.length };
    const points = index.layers[0]?.points;
    if (!points) throw new Error('the backup is compressed');
    expect(reads[1]).toMatchObject(encodedSpan(points, place).span);
    expect(frames.filter((bytes) => bytes === FRAME_BYTES)).toHaveLength(1);
    reads.length = 0;
    expect(await bytesOf(await memberBody(rooms, backup, 'member', { offset: 5, length: 10 }))).toEqual(
      small.slice(5, 15),
    );
    expect(reads.map(({ key }) => key)).toEqual([dataKey(backup.backup_id)]);
  });

  it('of a large index costs three reads at first, and two after that', async () => {
    let state = 1;
    const name = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state.toString(36);
    };
    const entries = Array.from({ length: 20_000 }, (_, i) => ({
      path: `${name()}/${name()}/${name()}/${i}`,
      content: i % 100 === 0 ? `content ${i}` : '',
    }));
    const backup = await stored('many.tar', tarOf(entries));
    const { bucket, reads } = countingBucket(env.VAULT);
    const rooms = roomsOver(bucket);
    expect((await env.VAULT.head(indexKey(backup.backup_id)))?.size).toBeGreaterThan(3 * INDEX_TAIL_BYTES);
    let most = 0;
    for (let i = 0; i < entries.length; i += 1900) {
      reads.length = 0;
      const cold = roomsOver(bucket);
      expect(new TextDecoder().decode(await bytesOf(await memberBody(cold, backup, entries[i]?.path ?? '')))).toBe(
        `content ${i}`,
      );
      expect(reads.length).toBeLessThanOrEqual(3);
      most = Math.max(most, reads.length);
      await openIndex(rooms, backup);
      reads.length = 0;
      await bytesOf(await memberBody(rooms, backup, entries[i]?.path ?? ''));
      expect(reads.length).toBeLessThanOrEqual(2);
    }
    expect(most).toBe(3);
  });

  it('that is empty, or is none, is not looked for in the data', async () => {
    const backup = await stored('a.tar', tarOf([{ path: 'e', content: '' }]));
    const { bucket, reads } = countingBucket(env.VAULT);
    expect(await bytesOf(await memberBody(roomsOver(bucket), backup, 'e'))).toEqual(new Uint8Array());
    expect(reads.map(({ key }) => key)).toEqual([indexKey(backup.backup_id)]);
    await expect(memberBody(roomsOver(bucket), backup, 'none')).rejects.toMatchObject({ code: 'not-found' });
    expect(reads).toHaveLength(2);
  });

  it('of an uploaded file of many frames is read out of its own frames', async () => {
    const tar = tarOf([
      { path: 'a', content: content.slice(0, 8 * MIB) },
      { path: 'member', content: sample(10 * KIB, 6) },
    ]);
    const backup = await stored('a.tar.zst', await manyFrames(tar, MIB));
    expect(backup.compression.codec).toBe('none');
    const { bucket, reads } = countingBucket(env.VAULT);
    await bytesOf(await memberBody(roomsOver(bucket), backup, 'member'));
    expect(reads).toHaveLength(2);
    expect(reads[1]?.length).toBeLessThan(backup.stored_size / 4);
  });

  it('within gzip is found from the start, in one read', async () => {
    const tar = tarOf([
      { path: 'a', content: content.slice(0, MIB) },
      { path: 'member', content: 'm' },
    ]);
    const backup = await stored('a.tgz', await gzipped(tar));
    const { bucket, reads } = countingBucket(env.VAULT);
    expect(await bytesOf(await memberBody(roomsOver(bucket), backup, 'member'))).toEqual(Uint8Array.of(0x6d));
    expect(reads[1]).toMatchObject({ offset: 0, length: backup.stored_size });
    expect(reads).toHaveLength(2);
  });

  it('that was stored as it came costs its bytes and no more', async () => {
    const tar = tarOf([
      { path: 'a', content: 'before' },
      { path: 'member', content: sample(5000, 8) },
    ]);
    const backup = await stored('a.tar', tar, '?compression=none');
    const { bucket, reads } = countingBucket(env.VAULT);
    const part = await memberBody(roomsOver(bucket), backup, 'member', { offset: 100, length: 50 });
    expect(await bytesOf(part)).toEqual(sample(5000, 8).slice(100, 150));
    expect(reads[1]).toMatchObject({ offset: 1536 + 100, length: 50 });
  });
});

describe('a range of decoded content', () => {
  it('costs the seek table and its frames, in one read each, and only the latter when the table is known', async () => {
    const backup = await stored('a.bin.tar', content);
    const { compression, stored_size: storedBytes } = backup;
    if (compression.codec !== 'zstd') throw new Error('the backup is compressed');
    const { bucket, reads } = countingBucket(env.VAULT);
    const { engine, frames } = countingEngine();
    const rooms = roomsOver(bucket, engine);
    const points = await readStoredPoints((span) => rooms.store.readBytes(dataKey(backup.backup_id), span), {
      storedBytes,
      contentBytes: content.length,
      frames: compression.frames,
    });
    for (let i = 0, offset = 0; offset + MIB <= content.length; i++, offset += 700_001) {
      reads.length = 0;
      frames.length = 0;
      const span = { offset, length: MIB };
      expect(await bytesOf(await contentBody(rooms, backup, span))).toEqual(content.slice(offset, offset + MIB));
      const ofFrames = { key: dataKey(backup.backup_id), ...encodedSpan(points, span).span };
      if (i > 0) expect(reads).toEqual([ofFrames]);
      else expect(reads).toEqual([expect.objectContaining({ length: 4 * 12 + 17 }), ofFrames]);
      expect(frames.length).toBe(Math.floor((offset + MIB - 1) / FRAME_BYTES) - Math.floor(offset / FRAME_BYTES) + 1);
      expect(frames.length).toBeLessThanOrEqual(2);
    }
  });
});
