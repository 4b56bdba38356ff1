import { env } from 'cloudflare:workers';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it, vi } from 'vitest';
import { getBackup } from '../../../src/catalogue/backups.ts';
import { readContent } from '../../../src/delivery/download.ts';
import { type UploadOrder, upload } from '../../../src/ingest/upload.ts';
import { services } from '../../../src/services.ts';
import { type IsolateMemory, isolateMemory, RestLedger } from '../../../src/shared/isolate-memory.ts';
import { MIB } from '../../../src/shared/limits.ts';
import type { Pieces } from '../../../src/shared/streams.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { type Fault, faultyBucket } from '../../support/faulty-bucket.ts';
import { withSteps } from '../../support/storage-steps.ts';
import { sample, storedKeys } from '../../support/vault.ts';
import { collect, noise } from '../codec/bytes.ts';

let next = 0;

/** An id like those of the vault, one after the other. */
function newId(): string {
  next += 1;
  return `01TEST${String(next).padStart(20, '0')}`;
}

async function* piecesOf(bytes: Uint8Array, failAt = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += MIB) {
    if (at >= failAt) throw new Error('the cable was pulled');
    yield bytes.subarray(at, at + MIB);
  }
}

function order(content: Pieces, more: Partial<UploadOrder> = {}): UploadOrder {
  const backup_id = newId();
  return {
    backup_id,
    job_id: backup_id,
    name: 'a/a.tar',
    filename: 'a.tar',
    content_type: 'application/x-tar',
    token_id: null,
    level: 1,
    compression: 'none',
    codings: [],
    keep_frames: false,
    recipients: null,
    allow_empty: false,
    require_archive: false,
    expiry: null,
    max_bytes: 64 * MIB,
    total: 0,
    exact: false,
    content,
    ending: async () => undefined,
    ...more,
  };
}

const big = sample(18 * MIB);

async function expectNothing(backupId: string): Promise<void> {
  expect((await storedKeys()).filter((key) => key.includes(backupId))).toEqual([]);
  expect(await getBackup(env.CATALOGUE, backupId)).toBeNull();
}

describe('upload', () => {
  it('takes everything back when the sender breaks off, at any piece', async () => {
    for (const failAt of [0, MIB, 9 * MIB, 17 * MIB]) {
      const cut = order(piecesOf(big, failAt));
      await expect(upload(services(env), cut)).rejects.toMatchObject({ code: 'upload-interrupted' });
      await expectNothing(cut.backup_id);
      const job = await services(env).jobs.snapshot(cut.job_id);
      expect(job).toMatchObject({ phase: 'failed', code: 'upload-interrupted' });
    }
  });

  it('takes back what it encrypted, when the sender breaks off and when the storage fails', async () => {
    const recipients = [await identityToRecipient(await generateX25519Identity())];
    const cut = order(piecesOf(big, 17 * MIB), { recipients });
    await expect(upload(services(env), cut)).rejects.toMatchObject({ code: 'upload-interrupted' });
    await expectNothing(cut.backup_id);
    const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 1000, match: /uploadPart/ });
    const dead = order(piecesOf(big), { recipients });
    await expect(upload({ ...services(env), store: new ObjectStore(bucket) }, dead)).rejects.toMatchObject({
      code: 'storage-failed',
    });
    await expectNothing(dead.backup_id);
  });

  describe('whose unfinished bytes are put aside while its sender is idle', () => {
    /** Pieces that come once everything before them was put aside. */
    async function* pausing(bytes: Uint8Array, memory: IsolateMemory, pauses: readonly number[], failAt = Infinity) {
      for (const [i, at] of [0, ...pauses].entries()) {
        if (at > 0) await vi.waitFor(() => expect(memory.rest.usedBytes).toBe(0), 10_000);
        if (at >= failAt) throw new Error('the cable was pulled');
        yield bytes.subarray(at, pauses[i] ?? bytes.length);
      }
    }
    const pauses = [3 * MIB, 3.5 * MIB, 6 * MIB, 9 * MIB];
    const content = noise(11 * MIB);

    it.each(['zstd', 'none'] as const)(
      'stores the same object with compression %s, and no other',
      async (compression) => {
        const memory = { ...isolateMemory(), rest: new RestLedger(() => 0) };
        const { bucket, calls } = faultyBucket(env.VAULT, { at: Infinity });
        const idle = order(pausing(content, memory, pauses), { compression });
        const backup = await upload({ ...services(env), memory, store: new ObjectStore(bucket) }, idle);
        const plain = await upload(services(env), order(piecesOf(content), { compression }));
        expect(backup.stored_checksum).toBe(plain.stored_checksum);
        expect(calls.filter((name) => name === 'put').length, 'segments and the receipt').toBeGreaterThan(
          pauses.length,
        );
        const keys = (await storedKeys()).filter((key) => key.includes(backup.backup_id));
        expect(keys.filter((key) => key.startsWith('tmp/'))).toEqual([]);
        expect([memory.rest.usedBytes, memory.flights.used, memory.turns.used]).toEqual([0, 0, 0]);
      },
    );

    it('leaves nothing when its sender breaks off', async () => {
      const memory = { ...isolateMemory(), rest: new RestLedger(() => 0) };
      for (const failAt of pauses) {
        const cut = order(pausing(content, memory, pauses, failAt), { compression: 'zstd' });
        await expect(upload({ ...services(env), memory }, cut)).rejects.toMatchObject({ code: 'upload-interrupted' });
        await expectNothing(cut.backup_id);
      }
      expect(memory.rest.usedBytes).toBe(0);
    });
  });

  it('is held to the rate of the vault', async () => {
    const began = Date.now();
    await upload({ ...services(env), uploadRate: 8 * MIB }, order(piecesOf(sample(3 * MIB))));
    expect(Date.now() - began, 'two waits of an eighth of a second').toBeGreaterThanOrEqual(248);
  });

  it('takes fewer bytes than were promised for a cut', async () => {
    const short = order(piecesOf(sample(1000)), { total: 1001, exact: true });
    await expect(upload(services(env), short)).rejects.toMatchObject({ code: 'upload-interrupted' });
    await expectNothing(short.backup_id);
  });

  it('stops at the cap while bytes arrive', async () => {
    const over = order(piecesOf(big), { max_bytes: 10 * MIB });
    await expect(upload(services(env), over)).rejects.toMatchObject({ code: 'file-too-large' });
    await expectNothing(over.backup_id);
    await upload(services(env), order(piecesOf(sample(1000)), { max_bytes: 1000 }));
    await expect(upload(services(env), order(piecesOf(sample(1001)), { max_bytes: 1000 }))).rejects.toMatchObject({
      code: 'file-too-large',
    });
  });

  it('survives any one failure of the storage, whichever call it hits', async () => {
    const count = await uploadThrough({ at: Number.POSITIVE_INFINITY });
    for (let at = 1; at <= count.calls.length; at++) {
      const { order: done } = await uploadThrough({ at });
      expect(await getBackup(env.CATALOGUE, done.backup_id)).not.toBeNull();
    }
  });

  it.each([/put/, /createMultipartUpload/, /uploadPart/, /complete/])(
    'leaves nothing when %s keeps failing',
    async (match) => {
      const { bucket } = faultyBucket(env.VAULT, { at: 1, times: 1000, match });
      const dead = order(piecesOf(big));
      const rooms = { ...services(env), store: new ObjectStore(bucket) };
      await expect(upload(rooms, dead)).rejects.toMatchObject({ code: 'storage-failed' });
      await expectNothing(dead.backup_id);
    },
  );

  it('leaves the rest to the alarm when not even the cleanup can be done', async () => {
    const { bucket } = faultyBucket(env.VAULT, { at: 4, times: 1000 });
    const dead = order(piecesOf(big));
    const rooms = { ...services(env), store: new ObjectStore(bucket) };
    await expect(upload(rooms, dead)).rejects.toMatchObject({ code: 'storage-failed' });
    const job = await services(env).jobs.snapshot(dead.job_id);
    expect(job.phase).not.toBe('failed');
    expect(await services(env).jobDeps.reclaim(dead)).toBe('removed');
    await expectNothing(dead.backup_id);
  });

  it('is never acknowledged when its job has been taken over', async () => {
    const stolen = order(piecesOf(big));
    const { jobs } = services(env);
    const rooms = {
      ...services(env),
      jobs: { ...jobs, publisher: (...ids: [string, string]) => ({ ...jobs.publisher(...ids), alive: () => false }) },
    };
    await expect(upload(rooms, stolen)).rejects.toMatchObject({ code: 'upload-superseded' });
    await expectNothing(stolen.backup_id);
  });
});

describe('a level that one request has no time for', () => {
  const content = sample(12 * MIB);
  const slow = { level: 9, compression: 'zstd', max_bytes: content.length } as const;
  // Level 9 takes 0.24 s for the content by the table of rates, level 3 takes 0.12 s.
  const deps = () => ({ ...services(env), cpuLimitMs: 200 });

  it('is rejected at once where the length is known, and nothing is read or stored', async () => {
    let read = 0;
    async function* counted() {
      for await (const piece of piecesOf(content)) {
        read += piece.length;
        yield piece;
      }
    }
    const known = order(counted(), { ...slow, total: content.length, exact: true });
    await expect(upload(deps(), known)).rejects.toMatchObject({
      code: 'level-too-slow',
      facts: { highest_level: 3 },
    });
    expect(read).toBeLessThanOrEqual(2 * MIB);
    await expectNothing(known.backup_id);
    expect(await services(env).jobs.snapshot(known.job_id)).toMatchObject({ phase: 'failed', code: 'level-too-slow' });
  });

  it('is accepted where the content is stored as it came', async () => {
    const known = order(piecesOf(content), { ...slow, compression: 'none', total: content.length, exact: true });
    expect(await upload(deps(), known)).toMatchObject({ compression: { codec: 'none' } });
  });

  it('gives way to a faster one where the length is unknown, and receipt and row say so', async () => {
    const unknown = order(piecesOf(content), slow);
    const backup = await upload(deps(), unknown);
    expect(backup.compression).toMatchObject({ level: 9, lowest_level: 3, frames: 3 });
    expect(await getBackup(env.CATALOGUE, backup.backup_id)).toEqual(backup);
    const downloaded = await collect(readContent(services(env), backup, null));
    expect(downloaded).toEqual(content);
  });

  it('is kept where there is time, and the receipt names no other', async () => {
    const backup = await upload(services(env), order(piecesOf(content), slow));
    expect(backup.compression).toEqual({ codec: 'zstd', level: 9, engine: 'native', frames: 3 });
  });
});

describe('a reclaim beside its upload', () => {
  it('decides with it, at whichever step it comes: both keep the backup, or both remove it', async () => {
    const outcomes = new Set<string>();
    for (let at = 1; !outcomes.has('kept'); at++) {
      const raced = order(piecesOf(sample(MIB)));
      let reclaimed: 'kept' | 'removed' | undefined;
      const reclaimIf = async (now: boolean) => {
        if (now) reclaimed ??= await services(env).jobDeps.reclaim(raced);
      };
      // Last of all behind the commit, which is the one batch.
      const { bucket, catalogue, names } = withSteps(env.VAULT, env.CATALOGUE, {
        before: (step) => reclaimIf(step === at),
        after: (_, name) => reclaimIf(name === 'batch'),
      });
      const deps = { ...services(env), store: new ObjectStore(bucket), catalogue };
      const result = await upload(deps, raced).then(
        ({ backup_id }) => backup_id,
        (error: unknown) => error,
      );
      const why = `reclaimed at step ${at} of ${names}`;
      if (reclaimed === 'kept') {
        expect(result, why).toBe(raced.backup_id);
        expect(await getBackup(env.CATALOGUE, raced.backup_id), why).not.toBeNull();
        expect((await storedKeys()).filter((key) => key.includes(raced.backup_id))).toHaveLength(2);
      } else {
        expect(result, why).toMatchObject({ code: 'upload-cancelled' });
        await expectNothing(raced.backup_id);
      }
      outcomes.add(String(reclaimed));
    }
    expect([...outcomes].sort()).toEqual(['kept', 'removed']);
  });

  it('that kept the backup is not undone by an upload that learns at its end that it was superseded', async () => {
    const whole = order(piecesOf(sample(1000)));
    const { jobs } = services(env);
    let alive = true;
    const superseded: typeof jobs = {
      ...jobs,
      publisher: (...ids) => ({
        ...jobs.publisher(...ids),
        alive: () => alive,
        async finish() {
          expect(await services(env).jobDeps.reclaim(whole)).toBe('kept');
          alive = false;
          return true;
        },
      }),
    };
    expect(await upload({ ...services(env), jobs: superseded }, whole)).toMatchObject({ backup_id: whole.backup_id });
    expect(await getBackup(env.CATALOGUE, whole.backup_id)).not.toBeNull();
    expect((await storedKeys()).filter((key) => key.includes(whole.backup_id))).toHaveLength(2);
  });

  it.each([
    ['whose answer is lost is a backup', true],
    ['that fails leaves nothing', false],
  ])('and a commit %s', async (_, answerLost) => {
    const lost = order(piecesOf(sample(1000)));
    let commits = 0;
    const fail = (_: number, name: string) => {
      if (name === 'batch' && ++commits === 1) throw new Error('D1_ERROR: Network connection lost.');
    };
    const { catalogue } = withSteps(env.VAULT, env.CATALOGUE, answerLost ? { after: fail } : { before: fail });
    const result = upload({ ...services(env), catalogue }, lost);
    if (answerLost) {
      expect(await result).toMatchObject({ backup_id: lost.backup_id });
      expect(await services(env).jobDeps.reclaim(lost)).toBe('kept');
      expect(await services(env).jobs.snapshot(lost.job_id)).toMatchObject({ phase: 'done' });
    } else {
      await expect(result).rejects.toThrow('Network connection lost');
      await expectNothing(lost.backup_id);
    }
  });

  it('has removed an upload for good: its id is never listed, not by a receipt that is found later', async () => {
    const dead = order(piecesOf(sample(1000)));
    expect(await services(env).jobDeps.reclaim(dead)).toBe('removed');
    await expect(upload(services(env), dead)).rejects.toMatchObject({ code: 'upload-cancelled' });
    await expectNothing(dead.backup_id);
  });
});

describe('reclaim', () => {
  it('keeps what has a row, and removes what has none', async () => {
    const whole = order(piecesOf(sample(1000)));
    await upload(services(env), whole);
    expect(await services(env).jobDeps.reclaim(whole)).toBe('kept');
    await env.CATALOGUE.prepare('DELETE FROM backups WHERE backup_id = ?').bind(whole.backup_id).run();
    expect(await services(env).jobDeps.reclaim(whole)).toBe('removed');
    await expectNothing(whole.backup_id);
    expect(await services(env).jobDeps.reclaim(whole)).toBe('removed');
  });
});

async function uploadThrough(fault: Fault) {
  const { bucket, calls } = faultyBucket(env.VAULT, fault);
  const done = order(piecesOf(big));
  await upload({ ...services(env), store: new ObjectStore(bucket) }, done);
  return { calls, order: done };
}
