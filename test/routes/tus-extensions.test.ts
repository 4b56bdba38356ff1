/** Checksum, expiration and termination: extensions of tus 1.0.0; names begin with the section. */

import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MIB, PART_BYTES } from '../../src/shared/limits.ts';
import {
  create,
  creating,
  eventually,
  handFed,
  jobOf,
  noise,
  PIECE_TYPE,
  patch,
  receiptOf,
  rows,
  send,
  sessionOf,
  standing,
  tus,
  type Upload,
} from '../support/tus.ts';
import { ask, expectProblem, put, sample, sha256Hex, storedKeys } from '../support/vault.ts';

const content = sample(50_000);

let before: string[];
let listed: number;
beforeEach(async () => {
  before = await storedKeys();
  listed = await rows();
});

async function expectNothingLeft(): Promise<void> {
  expect(await storedKeys()).toEqual(before);
  expect(await rows()).toBe(listed);
}

function sum(algorithm: string, bytes: Uint8Array): string {
  return `${algorithm} ${createHash(algorithm).update(bytes).digest('base64')}`;
}

function withSum(value: string) {
  return { headers: { 'upload-checksum': value } };
}

describe('Upload-Checksum (checksum)', () => {
  it.each(['sha1', 'sha256'])('by %s lets a piece count that has it', async (algorithm) => {
    const upload = await create({ length: content.length });
    const pieces = [content.subarray(0, 20_000), content.subarray(20_000)];
    let at = 0;
    for (const piece of pieces) {
      const answer = await patch(upload, at, piece, withSum(sum(algorithm, piece)));
      at += piece.length;
      expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, String(at)]);
    }
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it.each(['sha1', 'sha256'])('by %s that differs is 460, and the piece is discarded', async (algorithm) => {
    const upload = await create({ length: content.length });
    await send(upload, [content.subarray(0, 10_000)]);
    const other = sum(algorithm, sample(40_000, 2));
    for (const piece of [content.subarray(10_000), content.subarray(10_000, 10_001), content.subarray(0, 0)]) {
      const refused = await patch(upload, 10_000, piece, withSum(other));
      await expectProblem(refused, 460, 'chunk-checksum-mismatch');
      expect(await standing(upload)).toEqual({ offset: 10_000, length: content.length, phase: 'receiving' });
    }
    await send(upload, [content.subarray(10_000)], 10_000);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('discards a piece of several parts too, of which some had been stored', async () => {
    const big = noise(2 * PART_BYTES + 3 * MIB);
    for (const compression of ['none', 'zstd']) {
      const upload = await create({ length: big.length, metadata: { compression } });
      await send(upload, [big.subarray(0, MIB + 1)]);
      const wrong = new Uint8Array(big.subarray(MIB + 1));
      wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
      for (let tries = 0; tries < 2; tries++) {
        const refused = await patch(upload, MIB + 1, wrong, withSum(sum('sha1', big.subarray(MIB + 1))));
        await expectProblem(refused, 460, 'chunk-checksum-mismatch');
        expect((await standing(upload)).offset).toBe(MIB + 1);
      }
      const right = await patch(upload, MIB + 1, big.subarray(MIB + 1), withSum(sum('sha1', big.subarray(MIB + 1))));
      expect(right.status).toBe(204);
      expect(await receiptOf(upload)).toMatchObject({ file_size: big.length, checksum: await sha256Hex(big) });
    }
  });

  it.each(['md5', 'crc32', 'SHA1', 'sha512', 'constructor'])('by %s is not supported', async (algorithm) => {
    const upload = await create({ length: content.length });
    const refused = await patch(upload, 0, content, withSum(`${algorithm} ${'A'.repeat(27)}=`));
    expect([400]).toContain(refused.status);
    await refused.body?.cancel();
    expect((await standing(upload)).offset).toBe(0);
  });

  it('of an algorithm that is not there says so', async () => {
    const upload = await create({ length: content.length });
    await expectProblem(await patch(upload, 0, content, withSum('crc32 AAAAAA==')), 400, 'checksum-unsupported');
  });

  it.each([
    '',
    'sha1',
    'sha1 ',
    'sha1 !!!!',
    'sha1 AAAA',
    `sha1 ${createHash('sha1').digest('hex')}`,
    `sha256 ${createHash('sha1').digest('base64')}`,
    `sha1 ${createHash('sha1').digest('base64')} more`,
  ])('that is malformed is refused: %j', async (value) => {
    const upload = await create({ length: content.length });
    await expectProblem(await patch(upload, 0, content, withSum(value)), 400, 'invalid-upload-header');
    expect((await standing(upload)).offset).toBe(0);
  });

  it('of a piece that is cut discards the whole piece', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content.subarray(0, 10_000)]);
    const piece = content.subarray(10_000);
    const sending = handFed(piece.length);
    const answer = patch(upload, 10_000, sending.body, withSum(sum('sha1', piece)));
    await sending.give(piece.subarray(0, 30_000));
    expect((await standing(upload)).offset).toBe(10_000);
    await sending.cut();
    await expectProblem(await answer, 499, 'upload-interrupted');
    expect((await standing(upload)).offset).toBe(10_000);
    await send(upload, [piece], 10_000);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('holds for the first piece that comes with the creation', async () => {
    const first = content.subarray(0, 20_000);
    const headers = { 'content-type': PIECE_TYPE, 'upload-checksum': sum('sha1', first) };
    const made = await creating({ length: content.length, headers, body: first });
    expect([made.status, made.headers.get('upload-offset')]).toEqual([201, '20000']);
    const refused = await creating({ length: content.length, headers, body: content.subarray(1, 20_001) });
    expect(refused.headers.get('location')).toBeNull();
    await expectProblem(refused, 460, 'chunk-checksum-mismatch');
    await expectNothingLeft();
  });
});

describe('Upload-Expires (expiration)', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Only what asks for the date lives in that time; alarms and waits go on as ever. */
  function inDays(days: number): void {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + days * 24 * 60 * 60 * 1000 });
  }

  const HTTP_DATE =
    /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/;

  it('is an HTTP date in every answer, as long as the upload may go on: six days from its creation', async () => {
    const made = await creating({ length: content.length });
    const upload: Upload = { url: made.headers.get('location') ?? '', id: '', jobId: '', secret: '' };
    const answers = [
      made,
      await tus('HEAD', upload.url),
      await patch(upload, 0, content.subarray(0, 10)),
      await patch(upload, 10, null),
    ];
    const told = answers.map(({ headers }) => headers.get('upload-expires') ?? '');
    expect(new Set(told).size).toBe(1);
    expect(told[0]).toMatch(HTTP_DATE);
    const days = (Date.parse(told[0] ?? '') - Date.now()) / (24 * 60 * 60 * 1000);
    expect(days).toBeGreaterThan(5.99);
    expect(days).toBeLessThanOrEqual(6);
    const last = await patch(upload, 10, content.subarray(10));
    expect([last.status, last.headers.get('upload-expires')]).toEqual([204, null]);
  });

  it('is kept: by its alarm everything of the upload is removed, and 410 says that it expired', async () => {
    const big = noise(PART_BYTES + MIB);
    const upload = await create({ length: 2 * big.length, metadata: { compression: 'none', job_id: 'expires' } });
    await send(upload, [big]);
    inDays(6.01);
    expect(await runDurableObjectAlarm(sessionOf(upload))).toBe(true);
    const head = await tus('HEAD', upload.url);
    expect([head.status, head.headers.get('upload-offset')]).toEqual([410, null]);
    await expectProblem(await patch(upload, big.length, big), 410, 'upload-expired');
    await expectProblem(await ask(upload.url), 410, 'upload-expired');
    await expectProblem(await tus('DELETE', upload.url), 410, 'upload-expired');
    await expectNothingLeft();
    expect(await jobOf(upload)).toMatchObject({ phase: 'failed', code: 'upload-expired' });
    // Also what waited in the object for the rest of a part.
    expect(await keptBytes(upload)).toBe(0);
    vi.useRealTimers();
    await put('a.tar', content, '?job_id=expires');
  });

  it('is kept though the alarm is late: what comes after the time finds the upload expired', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content.subarray(0, 10)]);
    inDays(6.01);
    await expectProblem(await patch(upload, 10, content.subarray(10)), 410, 'upload-expired');
    expect((await tus('HEAD', upload.url)).status).toBe(410);
    await expectNothingLeft();
  });

  it('comes not before its time: an alarm that rings early changes nothing', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content.subarray(0, 10)]);
    inDays(5.99);
    await runDurableObjectAlarm(sessionOf(upload));
    await send(upload, [content.subarray(10)], 10);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('never comes to a finished upload, of which the record goes after a week and the backup stays', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content]);
    const { download_url } = await receiptOf(upload);
    inDays(6.5);
    await runDurableObjectAlarm(sessionOf(upload));
    expect(await standing(upload)).toEqual({ offset: 50_000, length: 50_000, phase: 'done' });
    inDays(7.5);
    await runDurableObjectAlarm(sessionOf(upload));
    await expectProblem(await ask(upload.url), 404, 'not-found');
    expect(await (await ask(download_url)).bytes()).toEqual(content);
    expect(await leavings(upload)).toEqual(NOTHING);
  });

  it('is remembered for a week, and then the upload is unknown', async () => {
    const upload = await create({ length: content.length });
    inDays(6.01);
    await runDurableObjectAlarm(sessionOf(upload));
    inDays(6.9);
    await runDurableObjectAlarm(sessionOf(upload));
    await expectProblem(await ask(upload.url), 410, 'upload-expired');
    inDays(7.1);
    await runDurableObjectAlarm(sessionOf(upload));
    await expectProblem(await ask(upload.url), 404, 'not-found');
  });
});

describe('DELETE (termination)', () => {
  it('answers 204 and frees everything; every later request is told that the upload is gone', async () => {
    const big = noise(PART_BYTES + MIB);
    const upload = await create({ length: 2 * big.length, metadata: { compression: 'none', job_id: 'terminated' } });
    await send(upload, [big]);
    const answer = await tus('DELETE', upload.url);
    expect([answer.status, await answer.text()]).toEqual([204, '']);
    const head = await tus('HEAD', upload.url);
    expect([head.status, head.headers.get('upload-offset')]).toEqual([410, null]);
    await expectProblem(await patch(upload, big.length, big), 410, 'upload-gone');
    await expectProblem(await ask(upload.url), 410, 'upload-gone');
    await expectProblem(await tus('DELETE', upload.url), 410, 'upload-gone');
    await expectNothingLeft();
    expect(await keptBytes(upload)).toBe(0);
    expect(await jobOf(upload)).toMatchObject({ phase: 'failed', code: 'upload-gone' });
    await put('a.tar', content, '?job_id=terminated');
  });

  it('of a finished upload takes its record alone: the backup stays', async () => {
    const upload = await create({ length: content.length });
    await send(upload, [content]);
    const { backup_id, download_url } = await receiptOf(upload);
    expect((await tus('DELETE', upload.url)).status).toBe(204);
    await expectProblem(await ask(upload.url), 410, 'upload-gone');
    expect(await (await ask(download_url)).bytes()).toEqual(content);
    expect(await jobOf(upload)).toMatchObject({ phase: 'done', backup_id });
  });

  it('ends a PATCH that is under way, which writes no more', async () => {
    const upload = await create({ length: content.length });
    const sending = handFed();
    const answer = patch(upload, 0, sending.body);
    await sending.give(content.subarray(0, 20_000));
    await eventually(
      () => standing(upload),
      ({ offset }) => offset === 20_000,
    );
    expect((await tus('DELETE', upload.url)).status).toBe(204);
    await sending.end().catch(() => undefined);
    const ended = await answer;
    expect([409, 410]).toContain(ended.status);
    await ended.body?.cancel();
    await expectProblem(await ask(upload.url), 410, 'upload-gone');
    await expectNothingLeft();
  });

  it('of what never was is 404, and stores nothing', async () => {
    await expectProblem(await tus('DELETE', '/tus/none'), 404, 'not-found');
    await expectProblem(await tus('DELETE', '/tus/01JC8Z5V3M9QK2T7W4X6Y8B0CD'), 404, 'not-found');
    expect(await leavings({ url: '', id: '01JC8Z5V3M9QK2T7W4X6Y8B0CD', jobId: '', secret: '' })).toEqual(NOTHING);
  });
});

const NOTHING = { values: 0, alarm: null, tables: [] };

/** What the storage of an upload's object holds. */
function leavings(upload: Upload): Promise<unknown> {
  return runInDurableObject(sessionOf(upload), async (_, { storage }) => ({
    values: (await storage.list()).size,
    alarm: await storage.getAlarm(),
    tables: storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
  }));
}

/** Bytes of content that the object of an upload holds. */
function keptBytes(upload: Upload): Promise<number> {
  return runInDurableObject(sessionOf(upload), (_, { storage }) =>
    Number(storage.sql.exec('SELECT coalesce(sum(length(bytes)), 0) AS n FROM kept').one().n),
  );
}
