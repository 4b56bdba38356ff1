import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { type Backup, getBackup, recordVerification } from '../../../src/catalogue/backups.ts';
import { deleteBackups } from '../../../src/catalogue/deleted-backups.ts';
import { CHECK_BYTES } from '../../../src/jobs/check-stored.ts';
import { verifyBackup } from '../../../src/jobs/verify.ts';
import type { JobUpdate } from '../../../src/progress/messages.ts';
import { type JobPublisher, type JobRooms, jobRooms } from '../../../src/progress/publisher.ts';
import { services } from '../../../src/services.ts';
import { Gate } from '../../../src/shared/isolate-memory.ts';
import { FRAME_BYTES } from '../../../src/shared/limits.ts';
import { type ObjectRead, ObjectStore, type ReadOptions } from '../../../src/store/object-store.ts';
import { faultyBucket } from '../../support/faulty-bucket.ts';
import { put, sample } from '../../support/vault.ts';

const WHOLE_BEFORE = { verified_at: '2026-11-01T00:00:00.000Z', damage: null };

/** A backup that was verified before, so that one sees what a failure leaves. */
async function stored(bytes = 2 * FRAME_BYTES + 10): Promise<Backup> {
  const { backup_id } = await put('a.tar', sample(bytes));
  await recordVerification(env.CATALOGUE, backup_id, WHOLE_BEFORE);
  const backup = await getBackup(env.CATALOGUE, backup_id);
  if (!backup) throw new Error('the backup is not listed');
  return backup;
}

function orderOf(backup: Backup) {
  return { job_id: `verify-${backup.backup_id}` };
}

async function jobOf(backup: Backup) {
  return services(env).jobs.snapshot(`verify-${backup.backup_id}`);
}

async function expectNothingRecorded(backup: Backup): Promise<void> {
  expect(await getBackup(env.CATALOGUE, backup.backup_id)).toMatchObject(WHOLE_BEFORE);
}

/** A store whose streams break after `after` bytes, `times` times in all. */
class Breaking extends ObjectStore {
  readonly after: number;
  left: number;

  constructor(after: number, times: number) {
    super(env.VAULT);
    this.after = after;
    this.left = times;
  }

  override async read(key: string, options: ReadOptions = {}): Promise<ObjectRead> {
    const object = await super.read(key, options);
    if (object.kind !== 'open' || this.left <= 0) return object;
    this.left -= 1;
    const bytes = new Uint8Array(await new Response(object.body).arrayBuffer()).slice(0, this.after);
    let given = bytes.length === 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (given) return controller.error(new Error('the disk went away'));
        given = true;
        controller.enqueue(bytes);
      },
    });
    return { ...object, body };
  }
}

/** Rooms whose publishers are changed by `change`. */
function roomsWith(change: (publisher: JobPublisher) => JobPublisher): JobRooms {
  const rooms = jobRooms(env.JOBS);
  return { ...rooms, publisher: (...ids) => change(rooms.publisher(...ids)) };
}

describe('verifyBackup', () => {
  it('tells how far it is, in stored bytes, and never back', async () => {
    const backup = await stored();
    const updates: JobUpdate[] = [];
    const jobs = roomsWith((publisher) => ({
      ...publisher,
      publish: (update) => {
        updates.push(update);
        publisher.publish(update);
      },
    }));
    await verifyBackup({ ...services(env), jobs }, backup, orderOf(backup));
    expect(updates.length).toBeGreaterThan(1);
    expect(new Set(updates.map(({ phase }) => phase))).toEqual(new Set(['verifying']));
    expect(new Set(updates.map(({ total }) => total))).toEqual(new Set([backup.stored_size]));
    const currents = updates.map(({ current }) => current);
    expect(currents).toEqual(currents.toSorted((a, b) => a - b));
    expect(currents.at(-1)).toBe(backup.stored_size);
  });

  it('takes a turn for each frame, among others, and holds nothing afterwards, also after a failure', async () => {
    const backup = await stored();
    const { memory } = services(env);
    const others = await Promise.all([1, 2, 3].map((n) => memory.turns.acquire(`other ${n}`)));
    const running = verifyBackup(services(env), backup, orderOf(backup));
    while (memory.turns.waiting === 0) await scheduler.wait(20);
    for (const other of others) other.release();
    expect(await running).toMatchObject({ ok: true });
    expect([memory.turns.used, memory.windows.used]).toEqual([0, 0]);
    const failing = { ...services(env), store: new Breaking(0, 1000) };
    await expect(verifyBackup(failing, backup, orderOf(backup))).rejects.toMatchObject({ code: 'storage-failed' });
    expect([memory.turns.used, memory.windows.used]).toEqual([0, 0]);
  });

  it('is rejected as busy where two others are under way for too long', async () => {
    const backup = await stored();
    const windows = new Gate({ units: 1, perHolder: CHECK_BYTES, waitMs: 50 });
    const busy = { ...services(env), memory: { ...services(env).memory, windows } };
    await expect(verifyBackup(busy, backup, orderOf(backup))).rejects.toMatchObject({ code: 'busy' });
    expect(await jobOf(backup)).toMatchObject({ phase: 'failed', code: 'busy' });
    await expectNothingRecorded(backup);
  });
});

describe('a storage that fails', () => {
  it('once, at any call, changes nothing', async () => {
    const backup = await stored();
    for (let at = 1; at <= 3; at++) {
      const { bucket, calls } = faultyBucket(env.VAULT, { at });
      const store = new ObjectStore(bucket);
      expect(await verifyBackup({ ...services(env), store }, backup, orderOf(backup))).toMatchObject({ ok: true });
      expect(calls).toHaveLength(4);
    }
  });

  it.each([/head/, /get/])('for good (%s) fails the job and is not taken for damage', async (match) => {
    const backup = await stored();
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 1000, match });
    const rooms = { ...services(env), store: new ObjectStore(bucket) };
    await expect(verifyBackup(rooms, backup, orderOf(backup))).rejects.toMatchObject({ code: 'storage-failed' });
    await expectNothingRecorded(backup);
    expect(await jobOf(backup)).toMatchObject({ phase: 'failed', code: 'storage-failed' });
  });

  it.each([0, 1, 100, 1_000_000])('in a stream after %i bytes is taken up at the next byte', async (after) => {
    const backup = await stored();
    const rooms = { ...services(env), store: new Breaking(after, 2) };
    expect(await verifyBackup(rooms, backup, orderOf(backup))).toMatchObject({ ok: true, frames_checked: 3 });
  });

  it('in every stream fails the job and is not taken for damage', async () => {
    const backup = await stored();
    const rooms = { ...services(env), store: new Breaking(0, 1000) };
    await expect(verifyBackup(rooms, backup, orderOf(backup))).rejects.toMatchObject({ code: 'storage-failed' });
    await expectNothingRecorded(backup);
    expect(await jobOf(backup)).toMatchObject({ phase: 'failed', code: 'storage-failed' });
  });
});

describe('a verification that does not come to its end', () => {
  it('by its signal says so and records nothing', async () => {
    const backup = await stored();
    const rooms = services(env);
    const before = { ...orderOf(backup), signal: AbortSignal.abort() };
    await expect(verifyBackup(rooms, backup, before)).rejects.toMatchObject({ code: 'verify-interrupted' });
    await expectNothingRecorded(backup);
    expect(await jobOf(backup)).toMatchObject({ phase: 'failed', code: 'verify-interrupted' });
  });

  it('because its job was taken over records nothing', async () => {
    const backup = await stored();
    const rooms = { ...services(env), jobs: roomsWith((publisher) => ({ ...publisher, alive: () => false })) };
    await expect(verifyBackup(rooms, backup, orderOf(backup))).rejects.toMatchObject({ code: 'verify-interrupted' });
    await expectNothingRecorded(backup);
  });

  it('because the backup was removed brings no row back', async () => {
    const backup = await stored();
    await deleteBackups(env.CATALOGUE, [backup.backup_id], '2026-11-25T00:00:00.000Z');
    const running = verifyBackup(services(env), backup, orderOf(backup));
    await expect(running).rejects.toMatchObject({ code: 'not-found' });
    expect(await getBackup(env.CATALOGUE, backup.backup_id)).toBeNull();
    expect(await jobOf(backup)).toMatchObject({ phase: 'failed', code: 'not-found' });
  });

  it('because the catalogue is away fails its job without a word of the inside', async () => {
    const backup = await stored();
    const catalogue = new Proxy(env.CATALOGUE, {
      get: () => () => {
        throw new Error('SQLITE_BUSY at table backups');
      },
    });
    await expect(verifyBackup({ ...services(env), catalogue }, backup, orderOf(backup))).rejects.toThrow('SQLITE_BUSY');
    const { detail, code } = await jobOf(backup);
    expect(code).toBe('internal-error');
    expect(detail).toBe('The verification failed. Start it again.');
  });
});
