import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, it } from 'vitest';
import { getBackup, insertBackup } from '../../../src/catalogue/backups.ts';
import { recordRun } from '../../../src/catalogue/jobs.ts';
import { rollBack } from '../../../src/ingest/commit-backup.ts';
import { deleteBackup, tidyDeletions } from '../../../src/ingest/deletion.ts';
import type { OrphanDeps } from '../../../src/ingest/orphans.ts';
import { reindex } from '../../../src/ingest/reindex.ts';
import { services } from '../../../src/services.ts';
import { DELETION_KEPT_MS, ORPHAN_KEPT_MS } from '../../../src/shared/limits.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { type StepHooks, withSteps } from '../../support/storage-steps.ts';
import { ask, put, sample, storedKeys } from '../../support/vault.ts';

const deps: OrphanDeps = services(env);
const keep = { sweep: false };
const sweep = { sweep: true };

function depsWith(hooks: StepHooks): OrphanDeps & { readonly names: readonly string[] } {
  const { bucket, catalogue, names } = withSteps(env.VAULT, env.CATALOGUE, hooks);
  return { ...deps, store: new ObjectStore(bucket), catalogue, names };
}

/** The storage and the catalogue of a Worker that is killed: from a step on nothing happens any more. */
function killedAt(at: number, answerLost: boolean): OrphanDeps & { readonly names: readonly string[] } {
  let dead = false;
  return depsWith({
    before(step) {
      if (dead || (step === at && !answerLost)) throw new Error('killed');
    },
    after(step) {
      dead ||= step >= at;
      if (dead) throw new Error('killed');
    },
  });
}

async function upload(): Promise<string> {
  return (await put('deleted.tar', sample(100))).backup_id;
}

async function ownKeys(id: string): Promise<string[]> {
  return (await storedKeys()).filter((key) => key.includes(id));
}

async function expectDeleted(id: string, why: string): Promise<void> {
  expect(await getBackup(env.CATALOGUE, id), why).toBeNull();
  expect((await ask(`/backup/${id}/download`)).status, why).toBe(404);
}

/** The catalogue as a new one: it knows nothing. */
async function loseCatalogue(): Promise<void> {
  await env.CATALOGUE.batch(
    ['backups', 'deleted_backups'].map((table) => env.CATALOGUE.prepare(`DELETE FROM ${table}`)),
  );
}

async function emptyVault(): Promise<void> {
  await loseCatalogue();
  const keys = await storedKeys();
  if (keys.length > 0) await env.VAULT.delete(keys);
}

beforeEach(emptyVault);

describe('a deletion that was acknowledged', () => {
  it('stays deleted, whatever reindex finds, also with a new catalogue', async () => {
    const id = await upload();
    const objects = await Promise.all((await ownKeys(id)).map(async (key) => [key, await bytesAt(key)] as const));
    expect(await deleteBackup(deps, id)).toBe(true);
    expect(await ownKeys(id)).toEqual([`deleted/${id}`]);
    expect(await env.VAULT.get(`deleted/${id}`).then((marker) => marker?.json())).toMatchObject({ backup_id: id });
    for (const lost of [false, true]) {
      // As if the deletion of the objects had been lost too.
      for (const [key, bytes] of objects) await env.VAULT.put(key, bytes);
      if (lost) await loseCatalogue();
      expect(await reindex(deps, keep)).toMatchObject({ receipts: 0, indexed: 0, deletions_finished: 1 });
      await expectDeleted(id, `new catalogue: ${lost}`);
      expect(await ownKeys(id)).toEqual([`deleted/${id}`]);
    }
  });

  it('stays deleted beside a reindex, at whichever of its steps the DELETE runs, with either catalogue', async () => {
    for (const lost of [false, true]) {
      for (let at = 1, last = at; at <= last; at++) {
        const id = await upload();
        if (lost) await loseCatalogue();
        const during = depsWith({
          async before(step) {
            if (step === at) expect(await deleteBackup(deps, id)).toBe(true);
          },
        });
        await reindex(during, keep);
        last = during.names.length;
        await expectDeleted(id, `step ${at} of ${during.names}`);
        await emptyVault();
      }
    }
  });

  it('stays deleted when that reindex dies, at any step after the DELETE', async () => {
    for (let later = 1, died = true; died; later++) {
      const id = await upload();
      await loseCatalogue();
      let deletedAt = Number.POSITIVE_INFINITY;
      const dying = depsWith({
        before(step) {
          if (step >= deletedAt + later) throw new Error('killed');
        },
        async after(step, name) {
          if (name !== 'get') return;
          deletedAt = step;
          expect(await deleteBackup(deps, id)).toBe(true);
        },
      });
      died = await reindex(dying, keep).then(
        () => false,
        () => true,
      );
      expect(dying.names).toContain('get');
      await expectDeleted(id, `killed ${later} steps after the DELETE: ${dying.names}`);
      await emptyVault();
    }
  });
});

describe.each([false, true])('a deletion that is killed at any of its steps (the answer lost: %s)', (answerLost) => {
  /** Runs a deletion for each step at which it can be killed, and `check` after it. */
  async function eachDeath(check: (id: string, marked: boolean, why: string) => Promise<void>): Promise<void> {
    for (let at = 1, died = true; died; at++) {
      const id = await upload();
      await env.VAULT.put(`tmp/${id}/0`, 'left');
      const killed = killedAt(at, answerLost);
      died = await deleteBackup(killed, id).then(
        () => false,
        () => true,
      );
      expect(died || at > 4, 'row, marker, catalogue, objects').toBe(true);
      const marked = (await ownKeys(id)).includes(`deleted/${id}`);
      await check(id, marked, `killed at step ${at} of ${killed.names}`);
      await emptyVault();
    }
  }

  it('is finished by reindex once it has a marker, and by the next DELETE in any case', () =>
    eachDeath(async (id, marked, why) => {
      const unlisted = (await getBackup(env.CATALOGUE, id)) === null;
      await reindex(deps, keep);
      if (marked) await expectDeleted(id, why);
      expect(!unlisted || marked, why).toBe(true);
      const status = (await ask(`/backup/${id}`, { method: 'DELETE' })).status;
      expect(status, why).toBe(marked ? 404 : 204);
      await loseCatalogue();
      await reindex(deps, keep);
      await expectDeleted(id, why);
      expect(await ownKeys(id), why).toEqual([`deleted/${id}`]);
    }));

  it('is finished by the daily run once it has a marker', () =>
    eachDeath(async (id, marked, why) => {
      await tidyDeletions(deps);
      if (marked) await expectDeleted(id, why);
      expect((await ownKeys(id)).length, why).toBe(marked ? 1 : 3);
    }));

  it('is finished by the next DELETE, also without a run in between', () =>
    eachDeath(async (id, _, why) => {
      const left = (await ownKeys(id)).some((key) => !key.startsWith('deleted/'));
      expect((await ask(`/backup/${id}`, { method: 'DELETE' })).status, why).toBe(left ? 204 : 404);
      await expectDeleted(id, why);
      expect(await ownKeys(id), why).toEqual([`deleted/${id}`]);
    }));
});

describe('DELETE', () => {
  const remove = async (id: string) => (await ask(`/backup/${id}`, { method: 'DELETE' })).status;

  it.each(['data', 'receipt', 'index', 'tmp'])('deletes a backup that has no row, and only its %s', async (kind) => {
    const id = '01JC8Z5V3M9QK2T7W4X6Y8B0CD';
    await env.VAULT.put(kind === 'tmp' ? `tmp/${id}/7` : `${kind}/${id}`, 'left');
    expect(await remove(id)).toBe(204);
    expect(await ownKeys(id)).toEqual([`deleted/${id}`]);
    expect(await remove(id)).toBe(404);
  });

  it('answers 404 where there is nothing, and writes no marker', async () => {
    for (const id of ['01JC8Z5V3M9QK2T7W4X6Y8B0CD', 'nothing', '..', 'a%2Fb', 'x'.repeat(2000)]) {
      expect([404, 405], id).toContain(await remove(id));
    }
    expect(await storedKeys()).toEqual([]);
  });

  it('leaves its neighbours alone', async () => {
    const [one, other] = [await upload(), await upload()];
    expect(await remove(one)).toBe(204);
    expect((await ownKeys(other)).sort()).toEqual([`data/${other}`, `receipt/${other}`]);
    expect((await ask(`/backup/${other}/download`)).status).toBe(200);
  });
});

describe('the marker of a deletion', () => {
  it('is deleted after its time, with whatever was left, and the id is forgotten', async () => {
    const id = await upload();
    await deleteBackup(deps, id);
    await env.VAULT.put(`receipt/${id}`, 'back again');
    await tidyDeletions(deps, Date.now() + DELETION_KEPT_MS - 60_000);
    expect(await ownKeys(id)).toEqual([`deleted/${id}`]);
    await env.VAULT.put(`receipt/${id}`, 'back again');
    await tidyDeletions(deps, Date.now() + DELETION_KEPT_MS + 60_000);
    expect(await ownKeys(id)).toEqual([]);
    expect(await env.CATALOGUE.prepare('SELECT count(*) AS n FROM deleted_backups').first('n')).toBe(0);
  });
});

describe('orphans', () => {
  const id = '01JC8Z5V3M9QK2T7W4X6Y8B0CD';
  const later = () => Date.now() + ORPHAN_KEPT_MS + 60_000;

  async function placeOrphans(): Promise<string> {
    const kept = await upload();
    for (const key of [`data/${id}`, `index/${id}`, `tmp/${id}/0`, `tmp/${id}/index-run/1`, `tmp/${kept}/0`])
      await env.VAULT.put(key, 'orphan');
    for (const key of ['data/not-an-id', `${id}/data`, 'readme.txt']) await env.VAULT.put(key, 'unknown');
    return kept;
  }

  it('are reported by kind, and stay without sweep and while they are young', async () => {
    const kept = await placeOrphans();
    const before = await storedKeys();
    for (const [how, now] of [[keep, later()] as const, [sweep, Date.now()] as const]) {
      const { orphans, receipts, refused } = await reindex(deps, how, now);
      expect({ receipts, refused }).toEqual({ receipts: 1, refused: [] });
      const { keys, ...counts } = orphans;
      expect(counts).toEqual({
        data: 1,
        receipt: 0,
        index: 1,
        tmp: 3,
        unknown: 3,
        bytes: 5 * 'orphan'.length,
        swept: 0,
      });
      const own = [`data/${id}`, `index/${id}`, `tmp/${id}/0`, `tmp/${id}/index-run/1`, `tmp/${kept}/0`];
      expect(keys.toSorted()).toEqual([...own, 'data/not-an-id', `${id}/`, 'readme.txt'].toSorted());
    }
    expect(await storedKeys()).toEqual(before);
    expect((await ask(`/backup/${kept}/download`)).status).toBe(200);
  });

  it('are swept when they are old, but for keys that the vault does not write', async () => {
    const kept = await placeOrphans();
    expect((await reindex(deps, sweep, later())).orphans).toMatchObject({ swept: 5 });
    const left = ['data/not-an-id', `${id}/data`, 'readme.txt', `data/${kept}`, `receipt/${kept}`];
    expect((await storedKeys()).toSorted()).toEqual(left.toSorted());
    expect((await reindex(deps, sweep, later())).orphans).toMatchObject({ data: 0, index: 0, tmp: 0, swept: 0 });
    expect((await ask(`/backup/${kept}/download`)).status).toBe(200);
  });

  it('are swept with the receipt of a failed upload, whose put was carried out after the rollback', async () => {
    const late = await upload();
    const receipt = await bytesAt(`receipt/${late}`);
    await env.CATALOGUE.prepare('DELETE FROM backups').run();
    expect(await rollBack(deps, late)).toBe('removed');
    await env.VAULT.put(`receipt/${late}`, receipt);
    expect(await reindex(deps, keep)).toMatchObject({ receipts: 0, refused: [], orphans: { receipt: 1, swept: 0 } });
    expect(await reindex(deps, sweep, later())).toMatchObject({ orphans: { receipt: 1, swept: 1 } });
    expect(await ownKeys(late)).toEqual([]);
  });

  it('are none of them: objects of an upload that is still open', async () => {
    await env.VAULT.put(`data/${id}`, 'being read back');
    await env.VAULT.put(`tmp/${id}/0`, 'unfinished');
    const open = { ...deps, uploads: { isOpen: async (upload: string) => upload === id } };
    expect((await reindex(open, sweep, later())).orphans).toMatchObject({ data: 0, tmp: 0, swept: 0, keys: [] });
    expect(await ownKeys(id)).toHaveLength(2);
  });

  it('are none of them: objects of an upload in one request whose run has not ended', async () => {
    await env.VAULT.put(`tmp/${id}/0`, 'unfinished');
    const run = { run_id: id, job_id: 'slow', task: 'upload', phase: 'receiving', backup_id: id, message: '' };
    const more = {
      filename: null,
      code: null,
      token_id: null,
      started_at: '2026-11-23T07:30:00.000Z',
      expires_at: null,
    };
    await recordRun(env.CATALOGUE, { ...run, ...more, ended_at: null });
    expect((await reindex(deps, sweep, later())).orphans).toMatchObject({ tmp: 0, swept: 0, keys: [] });
    expect(await ownKeys(id)).toHaveLength(1);
    await recordRun(env.CATALOGUE, { ...run, ...more, ended_at: '2026-11-24T07:30:00.000Z' });
    expect((await reindex(deps, sweep, later())).orphans).toMatchObject({ tmp: 1, swept: 1 });
  });

  it('are none of them: a backup whose receipt or data is missing, and one with a row', async () => {
    const [noData, noReceipt] = [await upload(), await upload()];
    await env.VAULT.delete([`data/${noData}`, `receipt/${noReceipt}`]);
    const { refused, orphans } = await reindex(deps, sweep, later());
    expect(refused).toEqual([noData]);
    expect(orphans).toMatchObject({ data: 0, keys: [], swept: 0 });
    expect((await ask(`/backup/${noReceipt}/download`)).status).toBe(200);
  });

  it('that become a backup while they are swept are that backup, whole, or nothing', async () => {
    const { backup_id } = await put('late.tar', sample(100));
    const row = await getBackup(env.CATALOGUE, backup_id);
    const receipt = await bytesAt(`receipt/${backup_id}`);
    await env.CATALOGUE.prepare('DELETE FROM backups').run();
    await env.VAULT.delete(`receipt/${backup_id}`);
    if (!row) throw new Error('no row');
    let listed: boolean | undefined;
    const during = depsWith({
      async before(_, name) {
        if (name !== 'batch' || listed !== undefined) return;
        await env.VAULT.put(`receipt/${backup_id}`, receipt);
        listed = await insertBackup(env.CATALOGUE, row);
      },
    });
    expect((await reindex(during, sweep, later())).orphans.swept).toBe(0);
    expect(listed).toBe(true);
    expect((await ask(`/backup/${backup_id}/download`)).status).toBe(200);
  });
});

async function bytesAt(key: string): Promise<ArrayBuffer> {
  const object = await env.VAULT.get(key);
  if (!object) throw new Error(`no object ${key}`);
  return object.arrayBuffer();
}
