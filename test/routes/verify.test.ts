import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import type { JobMessage } from '../../src/progress/messages.ts';
import { jobRooms } from '../../src/progress/publisher.ts';
import { FRAME_BYTES } from '../../src/shared/limits.ts';
import { ask, expectProblem, put, type Receipt, sample, storedKeys } from '../support/vault.ts';

interface Damage {
  found_at: string;
  reason: string;
  frame: number | null;
  offset: number | null;
}

interface Verification {
  backup_id: string;
  job_id: string;
  ok: boolean;
  verified_at: string | null;
  damage: Damage | null;
  frames_checked: number;
  broken_frames: number;
}

async function verify(backupId: string, query = ''): Promise<Verification> {
  const response = await ask(`/backup/${backupId}/verify${query}`, { method: 'POST' });
  const found = await response.json<Verification & { code?: string }>();
  expect([response.status, found.code], JSON.stringify(found)).toEqual(
    found.ok ? [200, undefined] : [422, 'stored-data-corrupt'],
  );
  return found;
}

async function job(jobId: string): Promise<JobMessage> {
  return (await ask(`/jobs/${jobId}`)).json();
}

async function shown(backupId: string): Promise<{ verified_at: string | null; damage: Damage | null }> {
  return (await ask(`/backup/${backupId}`)).json();
}

/** Puts other bytes in the place of what is stored. */
async function damage(backupId: string, change: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  const key = `data/${backupId}`;
  const object = await env.VAULT.get(key);
  await env.VAULT.put(key, change(new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer())));
}

function flipped(at: number, mask = 1) {
  return (bytes: Uint8Array) => {
    const place = at < 0 ? bytes.length + at : at;
    bytes[place] = (bytes[place] ?? 0) ^ mask;
    return bytes;
  };
}

/** Three frames, the last of them short, which compress. */
function threeFrames(): Promise<Receipt> {
  return put('three.tar', sample(2 * FRAME_BYTES + 1000));
}

describe('a whole backup', () => {
  it.each([
    ['of three frames', 2 * FRAME_BYTES + 1000, '', 3],
    ['of one frame exactly', FRAME_BYTES, '', 1],
    ['of one byte', 1, '', 1],
    ['of nothing', 0, '?allow_empty=true', 1],
    ['as it came', 3_000_000, '?compression=none', 0],
    ['of nothing, as it came', 0, '?compression=none&allow_empty=true', 0],
  ])('%s is verified', async (_, bytes, query, frames) => {
    const { backup_id, stored_size } = await put('whole.tar', sample(bytes), query);
    const found = await verify(backup_id);
    expect(found).toEqual({
      backup_id,
      job_id: `verify-${backup_id}`,
      ok: true,
      verified_at: expect.stringMatching(/^\d{4}-.*Z$/),
      damage: null,
      frames_checked: frames,
      broken_frames: 0,
    });
    expect(await shown(backup_id)).toMatchObject({ verified_at: found.verified_at, damage: null });
    expect(await job(`verify-${backup_id}`)).toMatchObject({
      phase: 'done',
      backup_id,
      current: stored_size,
      total: stored_size,
      message: `Verified whole.tar: ${frames ? 'every frame and the SHA-256 agree' : 'the SHA-256 agrees'}`,
    });
  });

  it('that does not compress is verified', async () => {
    const random = new Uint8Array(FRAME_BYTES + 12_345);
    for (let at = 0; at < random.length; at += 65_536) crypto.getRandomValues(random.subarray(at, at + 65_536));
    const { backup_id } = await put('random.tar', random, '?compression=zstd');
    expect(await verify(backup_id)).toMatchObject({ ok: true, frames_checked: 2 });
  });

  it('says so on a job of another name, which also stands in the export', async () => {
    const { backup_id } = await threeFrames();
    expect(await verify(backup_id, '?job_id=nightly-check')).toMatchObject({ ok: true, job_id: 'nightly-check' });
    expect(await job('nightly-check')).toMatchObject({ phase: 'done', backup_id });
    const jobs = await (await ask('/export/stream?table=jobs')).json<{ job_id: string }[]>();
    expect(jobs).toContainEqual(expect.objectContaining({ job_id: 'nightly-check', phase: 'done', backup_id }));
  });

  it('is watched by a subscriber who came before', async () => {
    const { backup_id } = await threeFrames();
    const { webSocket } = await ask('/ws/backup/watched', { headers: { upgrade: 'websocket' } });
    const phases = new Set<string>();
    webSocket?.addEventListener('message', ({ data }) => {
      phases.add((JSON.parse(String(data)) as JobMessage).phase);
    });
    webSocket?.accept();
    await verify(backup_id, '?job_id=watched');
    await vi.waitFor(() => expect([...phases]).toEqual(['waiting', 'verifying', 'done']), { timeout: 5000 });
  });
});

describe('a damaged backup', () => {
  it('tells frame and byte, goes on with the next frame, and records it in place of the time', async () => {
    const { backup_id } = await threeFrames();
    await verify(backup_id);
    const tableFrames = await frameOffsets(backup_id);
    // The magic of the second frame: every engine notices.
    await damage(backup_id, flipped(tableFrames[1] ?? 0));
    const found = await verify(backup_id);
    expect(found).toMatchObject({ ok: false, verified_at: null, frames_checked: 3, broken_frames: 1 });
    expect(found.damage).toEqual({
      found_at: expect.stringMatching(/Z$/),
      reason: 'no zstd frame begins here',
      frame: 1,
      offset: tableFrames[1],
    });
    expect(await shown(backup_id)).toMatchObject({ verified_at: null, damage: found.damage });
    const ended = await job(`verify-${backup_id}`);
    expect(ended).toMatchObject({ phase: 'failed', code: 'stored-data-corrupt', message: 'three.tar is damaged' });
    expect(ended.detail).toBe(
      `Frame 1, which begins at byte ${tableFrames[1]} of the stored object, is broken: no zstd frame begins here. ` +
        '1 of 3 frames that were checked is broken.',
    );
  });

  it('is whole again in the catalogue once its bytes are', async () => {
    const { backup_id } = await threeFrames();
    await damage(backup_id, flipped(0));
    expect((await verify(backup_id)).ok).toBe(false);
    await damage(backup_id, flipped(0));
    const found = await verify(backup_id);
    expect(found.ok).toBe(true);
    expect(await shown(backup_id)).toMatchObject({ verified_at: found.verified_at, damage: null });
  });

  it('is found out by one bit, wherever it lies', async () => {
    const { backup_id, stored_size } = await put('bits.tar', sample(20_000));
    const places = new Set([0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 40, stored_size >> 1]);
    for (let back = 1; back <= 36; back++) places.add(stored_size - back);
    for (const at of places) {
      await damage(backup_id, flipped(at, 1 << (at % 8)));
      const found = await verify(backup_id);
      expect(found, `byte ${at} of ${stored_size}`).toMatchObject({ ok: false, verified_at: null });
      expect(found.damage?.reason.length).toBeGreaterThan(10);
      await damage(backup_id, flipped(at, 1 << (at % 8)));
    }
    expect((await verify(backup_id)).ok).toBe(true);
  }, 120_000);

  it.each([
    ['its last byte', -1],
    ['its number of frames', -9],
    ['its first byte', 'start' as const],
  ])('names the seek table where that is broken in %s, and says that the content is whole', async (_, at) => {
    const { backup_id, stored_size, compression } = await threeFrames();
    const start = (await frameOffsets(backup_id)).at(-1) ?? 0;
    expect(start).toBe(stored_size - 17 - 3 * (compression.engine === 'native' ? 12 : 8));
    await damage(backup_id, flipped(at === 'start' ? start : at));
    const found = await verify(backup_id);
    expect(found).toMatchObject({ ok: false, frames_checked: 3, broken_frames: 0 });
    expect(found.damage).toMatchObject({ frame: null, offset: start });
    expect(found.damage?.reason).toMatch(/seek table.*; the content is whole$/);
  });

  it('with broken sizes in the seek table still has its frames checked', async () => {
    const { backup_id } = await threeFrames();
    const start = (await frameOffsets(backup_id)).at(-1) ?? 0;
    await damage(backup_id, flipped(start + 8));
    expect(await verify(backup_id)).toMatchObject({
      ok: false,
      frames_checked: 3,
      broken_frames: 0,
      damage: { frame: null, offset: start },
    });
  });

  it('with a broken frame and a broken seek table names the frame', async () => {
    const { backup_id } = await threeFrames();
    const [, second = 0] = await frameOffsets(backup_id);
    await damage(backup_id, (bytes) => flipped(-1)(flipped(second)(bytes)));
    expect(await verify(backup_id)).toMatchObject({
      ok: false,
      frames_checked: 2,
      broken_frames: 1,
      damage: { frame: 1, offset: second },
    });
  });

  it('counts every broken frame', async () => {
    const { backup_id } = await threeFrames();
    const [first = 0, , third = 0] = await frameOffsets(backup_id);
    await damage(backup_id, (bytes) => flipped(third)(flipped(first)(bytes)));
    expect(await verify(backup_id)).toMatchObject({
      frames_checked: 3,
      broken_frames: 2,
      damage: { frame: 0, offset: 0 },
    });
  });

  it('is found out where two frames of one length have changed places', async () => {
    // Content of the same pattern with other letters compresses to frames of the same length.
    const one = sample(FRAME_BYTES);
    const content = new Uint8Array(2 * FRAME_BYTES + 10);
    content.set(one);
    content.set(
      one.map((byte) => byte + 1),
      FRAME_BYTES,
    );
    const { backup_id, compression } = await put('swapped.tar', content);
    const [, second = 0, third = 0] = await frameOffsets(backup_id);
    await damage(backup_id, (bytes) => {
      const swapped = bytes.slice();
      swapped.set(bytes.subarray(second, third), 0);
      swapped.set(bytes.subarray(0, second), third - second);
      return swapped;
    });
    const found = await verify(backup_id);
    expect(found.ok).toBe(false);
    // Without checksums, and where the lengths agree, nothing tells the frames apart but the whole.
    if (compression.engine === 'native' || third - second !== second) {
      expect(found.damage).toMatchObject({ frame: 0, offset: 0 });
      expect(found.broken_frames).toBeGreaterThanOrEqual(2);
    } else {
      expect(found.damage).toMatchObject({ frame: null, offset: null });
      expect(found.damage?.reason).toContain('another SHA-256');
    }
  });

  it.each([1, 9, 17, 60, 1000, 100_000])('is found out where its last %i bytes are cut off', async (cut) => {
    const { backup_id, stored_size } = await threeFrames();
    await damage(backup_id, (bytes) => bytes.slice(0, -cut));
    const found = await verify(backup_id);
    expect(found).toMatchObject({ ok: false, verified_at: null });
    if (found.damage?.frame === null) expect(found.damage.offset).toBe(stored_size - cut);
    else expect(found.damage?.reason).toMatch(/ends inside a frame/);
  });

  it('is found out where it is empty or too long', async () => {
    const { backup_id, stored_size } = await threeFrames();
    await damage(backup_id, (bytes) => {
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      return longer;
    });
    expect(await verify(backup_id)).toMatchObject({
      ok: false,
      frames_checked: 3,
      broken_frames: 0,
      damage: {
        frame: null,
        offset: stored_size,
        reason: `the stored object has ${stored_size + 1} bytes instead of ${stored_size}`,
      },
    });
    await damage(backup_id, () => new Uint8Array());
    expect(await verify(backup_id)).toMatchObject({ ok: false, damage: { frame: 0, offset: 0 } });
  });

  it('is found out where it is gone', async () => {
    const { backup_id } = await threeFrames();
    await env.VAULT.delete(`data/${backup_id}`);
    await expectProblem(await ask(`/backup/${backup_id}/verify`, { method: 'POST' }), 410, 'stored-data-lost');
    expect(await (await ask(`/backup/${backup_id}`)).json()).toMatchObject({
      verified_at: null,
      damage: { reason: 'the data is missing', frame: null, offset: null },
    });
    expect(await job(`verify-${backup_id}`)).toMatchObject({
      phase: 'failed',
      code: 'stored-data-lost',
      detail: 'The backup is damaged: the data is missing.',
    });
  });

  it('that is stored as it came is found out by its digest', async () => {
    const { backup_id } = await put('plain.tar', sample(3_000_000), '?compression=none');
    await damage(backup_id, flipped(2_999_999));
    expect(await verify(backup_id)).toMatchObject({
      ok: false,
      frames_checked: 0,
      damage: {
        frame: null,
        offset: null,
        reason: 'the stored bytes have another SHA-256 than when they were written',
      },
    });
    await damage(backup_id, (bytes) => bytes.slice(0, 1_000_000));
    expect(await verify(backup_id)).toMatchObject({ ok: false, damage: { offset: 1_000_000 } });
  });

  it('stays known as damaged when the catalogue is rebuilt', async () => {
    const { backup_id } = await threeFrames();
    await damage(backup_id, flipped(0));
    const found = await verify(backup_id);
    expect((await ask('/reindex', { method: 'POST' })).status).toBe(200);
    expect(await shown(backup_id)).toMatchObject({ verified_at: null, damage: found.damage });
  });
});

/** Where each frame begins, and the seek table behind them, by the table's own words. */
async function frameOffsets(backupId: string): Promise<number[]> {
  const { compression } = await (await ask(`/backup/${backupId}`)).json<Receipt>();
  const object = await env.VAULT.get(`data/${backupId}`);
  const bytes = new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer());
  const view = new DataView(bytes.buffer);
  const entryBytes = compression.engine === 'native' ? 12 : 8;
  const frames = view.getUint32(bytes.length - 9, true);
  const offsets = [0];
  for (let i = 0; i < frames; i++) {
    const entry = bytes.length - 9 - (frames - i) * entryBytes;
    offsets.push((offsets.at(-1) ?? 0) + view.getUint32(entry, true));
  }
  return offsets;
}

describe('a verification', () => {
  it('is for admins, of backups that there are, by names that jobs may have', async () => {
    const { backup_id } = await put('asked.tar', sample(10));
    const path = `/backup/${backup_id}/verify`;
    await expectProblem(await ask(path, { method: 'POST', token: null }), 401, 'unauthorized');
    const made = await ask('/tokens', {
      method: 'POST',
      body: JSON.stringify({ name: 'rw', scopes: ['read', 'write'] }),
      headers: { 'content-type': 'application/json' },
    });
    const { token } = await made.json<{ token: string }>();
    await expectProblem(await ask(path, { method: 'POST', token }), 403, 'forbidden');
    await expectProblem(await ask('/backup/01JC0000000000000000000000/verify', { method: 'POST' }), 404, 'not-found');
    await expectProblem(await ask(`${path}?job_id=a%20b`, { method: 'POST' }), 400, 'invalid-option');
    await expectProblem(await ask(path), 405, 'method-not-allowed');
    expect(await shown(backup_id)).toMatchObject({ verified_at: null, damage: null });
  });

  it('is refused while its job runs, whatever that does, and leaves it alone', async () => {
    const { backup_id } = await put('busy.tar', sample(10));
    const rooms = jobRooms(env.JOBS);
    const start = { backup_id, message: 'Running', total: 10 };
    await rooms.begin({ ...start, job_id: 'busy-upload' });
    await rooms.begin({ ...start, job_id: `verify-${backup_id}`, task: 'verify', run_id: 'other' });
    for (const query of ['?job_id=busy-upload', '']) {
      const refused = await ask(`/backup/${backup_id}/verify${query}`, { method: 'POST' });
      await expectProblem(refused, 409, 'job-running');
    }
    expect(await job('busy-upload')).toMatchObject({ phase: 'receiving', message: 'Running' });
    expect(await shown(backup_id)).toMatchObject({ verified_at: null, damage: null });
  });

  it('that died is failed by its alarm, and nothing of the backup is touched', async () => {
    const kept = await put('dead.tar', sample(100_000));
    const { verified_at } = await verify(kept.backup_id);
    const keys = (await storedKeys()).filter((key) => key.includes(kept.backup_id));
    const job_id = 'dead-verification';
    await jobRooms(env.JOBS).begin({
      task: 'verify',
      run_id: '01ZZ0000000000000000000000',
      job_id,
      backup_id: kept.backup_id,
      message: 'Waiting to verify dead.tar',
      total: kept.stored_size,
    });
    // Even without its row, which for an upload would mean that it never became whole.
    await env.CATALOGUE.prepare('DELETE FROM backups WHERE backup_id = ?').bind(kept.backup_id).run();
    const room = env.JOBS.get(env.JOBS.idFromName(job_id));
    for (let lease = 0; lease < 3; lease++) await runDurableObjectAlarm(room);
    const ended = await job(job_id);
    expect(ended).toMatchObject({ phase: 'failed', code: 'verify-interrupted' });
    expect(ended.detail).toContain('Start the verification again');
    expect((await storedKeys()).filter((key) => key.includes(kept.backup_id))).toEqual(keys);
    expect((await ask('/reindex', { method: 'POST' })).status).toBe(200);
    expect(await verify(kept.backup_id, `?job_id=${job_id}`)).toMatchObject({ ok: true });
    expect(verified_at).not.toBeNull();
  });

  it('goes on when its client has gone', async () => {
    const { backup_id } = await threeFrames();
    const client = new AbortController();
    const asked = ask(`/backup/${backup_id}/verify`, { method: 'POST', signal: client.signal });
    await vi.waitFor(async () => expect((await job(`verify-${backup_id}`)).phase).not.toBe('waiting'), {
      timeout: 5000,
      interval: 5,
    });
    client.abort();
    await asked.then((response) => response.body?.cancel()).catch(() => undefined);
    await vi.waitFor(async () => expect((await job(`verify-${backup_id}`)).phase).toBe('done'), { timeout: 10_000 });
    expect((await shown(backup_id)).verified_at).not.toBeNull();
  });
});
