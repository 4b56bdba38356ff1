import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { getBackup } from '../../src/catalogue/backups.ts';
import { deleteExpired } from '../../src/ingest/expiry.ts';
import { services } from '../../src/services.ts';
import { tarOf } from '../support/archives.ts';
import { ask, expectProblem, put, sample, storedKeys } from '../support/vault.ts';
import { rejected, stored, WAYS_IN } from '../support/ways-in.ts';

const content = sample(300);
const DAY_MS = 24 * 60 * 60 * 1000;

async function ownKeys(id: string): Promise<string[]> {
  return (await storedKeys()).filter((key) => key.includes(id));
}

/** Lets a backup have expired a second ago, in its row and nowhere else. */
async function expire(backupId: string): Promise<void> {
  await env.CATALOGUE.prepare('UPDATE backups SET expires_at = ? WHERE backup_id = ?')
    .bind(new Date(Date.now() - 1000).toISOString(), backupId)
    .run();
}

describe.each(WAYS_IN)('$way', ({ send }) => {
  it.each([
    [{ expires_in: '1.5h' }, 5_400_000],
    [{ expires_in: '30d' }, 30 * DAY_MS],
    [{ expires_in: '90' }, 90_000],
  ])('stores a backup that expires after %j', async (options, ms) => {
    const { created_at, expires_at } = await stored(send('expiring/a', content, options));
    expect(Date.parse(expires_at ?? '') - Date.parse(created_at)).toBe(ms);
  });

  it('stores a backup that expires at a time or a day, or never', async () => {
    const at = async (expires_at: string) => (await stored(send('expiring/b', content, { expires_at }))).expires_at;
    expect(await at('2099-12-31')).toBe('2099-12-31T00:00:00.000Z');
    expect(await at('2099-12-31T23:59:59.5+01:00')).toBe('2099-12-31T22:59:59.500Z');
    expect((await stored(send('expiring/b', content))).expires_at).toBeNull();
  });

  it.each<[Record<string, string>]>([
    [{ expires_in: '0' }],
    [{ expires_in: '-1d' }],
    [{ expires_in: 'soon' }],
    [{ expires_in: '6000w' }],
    [{ expires_in: '9999999d' }],
    [{ expires_at: '2020-01-01' }],
    [{ expires_at: '2026-02-30' }],
    [{ expires_at: '2999-01-01' }],
    [{ expires_at: 'tomorrow' }],
    [{ expires_in: '1d', expires_at: '2099-01-01' }],
  ])('rejects %j, and keeps nothing', async (options) => {
    const before = await storedKeys();
    const answer = await rejected(send('expiring/c', content, options));
    expect(['invalid-option', 'invalid-request']).toContain((await answer.clone().json<{ code: string }>()).code);
    expect(answer.status).toBe(400);
    expect(await storedKeys()).toEqual(before);
  });
});

describe('a backup that has expired', () => {
  it('is 404 at once in every route of a backup, and is not listed', async () => {
    const tar = tarOf([{ path: 'a', content: 'a' }]);
    const { backup_id } = await put('expired/etc.tar', tar);
    const made = await ask(`/backup/${backup_id}/links`, { method: 'POST' });
    const { url } = await made.json<{ url: string }>();
    await expire(backup_id);
    const document = await (await ask('/openapi.json')).json<{ paths: Record<string, Record<string, unknown>> }>();
    const routes = Object.entries(document.paths).filter(([path]) => path.includes('{backup_id}'));
    expect(routes.length).toBeGreaterThan(5);
    for (const [path, methods] of routes) {
      const address = path.replace('{backup_id}', backup_id).replace('{path}', 'a');
      for (const method of Object.keys(methods).filter((one) => !['delete', 'options'].includes(one))) {
        const response = await ask(`${address}${path.endsWith('/restore') ? '?database=sample&table=items' : ''}`, {
          method: method.toUpperCase(),
        });
        expect(response.status, `${method} ${path}`).toBe(404);
      }
    }
    await expectProblem(await ask(url, { token: null }), 404, 'not-found');
    await expectProblem(await ask('/latest/expired/etc.tar'), 404, 'not-found');
    for (const query of ['', 'prefix=expired/', 'name=expired/etc.tar', 'prefix=expired/&delimiter=/', 'delimiter=/']) {
      const text = await (await ask(`/backup?${query}`)).text();
      expect(text, query).not.toContain('expired/');
    }
    const exported = await (await ask('/export/stream')).text();
    expect(exported).not.toContain(backup_id);
  });

  it('is deleted by the scheduled run, with the marker of a deletion; others stay', async () => {
    const gone = await put('expired/a.tar', tarOf([{ path: 'a', content: 'a' }]));
    const kept = await put('expired/b.bin', content, '?expires_in=1d');
    await expire(gone.backup_id);
    expect(await ownKeys(gone.backup_id)).toHaveLength(3);
    await services(env).tidy();
    expect(await ownKeys(gone.backup_id)).toEqual([`deleted/${gone.backup_id}`]);
    expect(await ownKeys(kept.backup_id)).toHaveLength(2);
    const result = await (await ask('/reindex', { method: 'POST' })).json<{ orphans: { data: number } }>();
    expect(result.orphans.data).toBe(0);
    expect(await getBackup(env.CATALOGUE, gone.backup_id, 0)).toBeNull();
    expect(await getBackup(env.CATALOGUE, kept.backup_id)).not.toBeNull();
  });

  it('stays so when the catalogue is rebuilt from its receipt', async () => {
    const { backup_id } = await put('expired/c.bin', content, '?expires_in=1');
    await scheduler.wait(1_100);
    await env.CATALOGUE.prepare('DELETE FROM backups WHERE backup_id = ?').bind(backup_id).run();
    expect((await ask('/reindex', { method: 'POST' })).status).toBe(200);
    await expectProblem(await ask(`/backup/${backup_id}`), 404, 'not-found');
    expect(await getBackup(env.CATALOGUE, backup_id, 0)).not.toBeNull();
    await deleteExpired(services(env));
    expect(await ownKeys(backup_id)).toEqual([`deleted/${backup_id}`]);
  });

  it('can be deleted before the scheduled run', async () => {
    const { backup_id } = await put('expired/d.bin', content);
    await expire(backup_id);
    expect((await ask(`/backup/${backup_id}`, { method: 'DELETE' })).status).toBe(204);
    expect(await deleteExpired(services(env))).toBe(0);
    expect(await ownKeys(backup_id)).toEqual([`deleted/${backup_id}`]);
  });

  it('is deleted by the next run where one died at any marker', async () => {
    const ids = [];
    for (let n = 0; n < 12; n++) ids.push((await put(`expired/many/${n}`, content)).backup_id);
    for (const id of ids) await expire(id);
    const { store, catalogue } = services(env);
    let puts = 0;
    const dying = new Proxy(store, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          if (name === 'put' && ++puts > 7) throw new Error('killed');
          return Reflect.apply(member, target, args);
        };
      },
    });
    await expect(deleteExpired({ store: dying, catalogue })).rejects.toThrow('killed');
    expect(await deleteExpired({ store, catalogue })).toBe(12);
    for (const id of ids) expect(await ownKeys(id)).toEqual([`deleted/${id}`]);
  });
});
