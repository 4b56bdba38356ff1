import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { getBackup } from '../../../../src/catalogue/backups.ts';
import { MIB } from '../../../../src/shared/limits.ts';
import { orderOf } from './orders.ts';
import { bodyOf, CONTENT, expectDone, ownSession, pieceAt, roomsWith, sendAll } from './sessions.ts';

describe('a level that one request has no time for', () => {
  // By the table of rates level 9 takes 0.08 s for a frame of 4 MiB, and level 3 takes 0.04 s.
  const cpuLimitMs = 140;
  const slow = () => orderOf({ level: 9, compression: 'zstd' });

  it('gives way to a faster one within one PATCH, and the receipt says so', async () => {
    await ownSession(roomsWith({ cpuLimitMs }), async (own) => {
      await own.session.create(slow(), CONTENT.length);
      await sendAll(own);
      await expectDone(own);
      const { compression } = (await getBackup(env.CATALOGUE, own.record().backup_id)) ?? {};
      expect(compression).toMatchObject({ level: 9, lowest_level: 3 });
    });
  });

  it('is kept over PATCHes that have the time for their own part', async () => {
    await ownSession(roomsWith({ cpuLimitMs }), async (own) => {
      await own.session.create(slow(), CONTENT.length);
      for (let at = 0; at < CONTENT.length; at += 3 * MIB) {
        await own.append(pieceAt(at, { bytes: 3 * MIB }), bodyOf(CONTENT.subarray(at, at + 3 * MIB)));
      }
      await expectDone(own);
      const { compression } = (await getBackup(env.CATALOGUE, own.record().backup_id)) ?? {};
      expect(compression).toEqual({ codec: 'zstd', level: 9, engine: 'native', frames: 3 });
    });
  });
});
