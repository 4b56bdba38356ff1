import { describe, expect, it } from 'vitest';
import { wantedBackup } from '../../src/cli/coldstream/backup-name.ts';
import { type Receipt, same } from './clients.ts';
import { coldstream, files, pushed, succeeds, vault, withVault } from './coldstream.ts';
import { type Meddling, throughProxy } from './meddling-proxy.ts';

withVault();

describe('a backup on the line of the command', () => {
  const id = '01M8437Y4XDDR8XMJBHQDRR4N8';
  it.each([
    [id, { kind: 'id', id }],
    ['web1/etc.tar', { kind: 'version', name: 'web1/etc.tar', number: 1, before: null }],
    ['web1/etc.tar@2', { kind: 'version', name: 'web1/etc.tar', number: 2, before: null }],
    ['etc.tar@2026-11-24', { kind: 'version', name: 'etc.tar', number: 1, before: '2026-11-25T00:00:00.000Z' }],
    ['etc.tar@2024-02-29', { kind: 'version', name: 'etc.tar', number: 1, before: '2024-03-01T00:00:00.000Z' }],
    ['etc.tar@2026-13-40', { kind: 'version', name: 'etc.tar@2026-13-40', number: 1, before: null }],
    ['me@host.tar', { kind: 'version', name: 'me@host.tar', number: 1, before: null }],
    ['etc.tar@0', { kind: 'version', name: 'etc.tar@0', number: 1, before: null }],
    ['@2', { kind: 'version', name: '@2', number: 1, before: null }],
    [id.toLowerCase(), { kind: 'version', name: id.toLowerCase(), number: 1, before: null }],
  ])('%s', (text, wanted) => {
    expect(wantedBackup(text)).toEqual(wanted);
  });
});

describe('a command that takes a name', () => {
  /** `GET /backup?name=` in pages of one, over what the vault lists by prefix; some versions damaged or of another day. */
  function versions(change: (receipt: Record<string, unknown>, index: number) => void): Meddling {
    return {
      answer: async ({ method, url = '' }, response) => {
        const { pathname, searchParams } = new URL(url, vault.url);
        const name = searchParams.get('name');
        if (method !== 'GET' || pathname !== '/backup' || name === null) return false;
        const answer = await fetch(`${vault.url}/backup?limit=1000&prefix=${encodeURIComponent(name)}`, {
          headers: { authorization: `Bearer ${vault.token}` },
        });
        const { backups } = (await answer.json()) as { backups: Record<string, unknown>[] };
        const named = backups.filter(({ filename }) => filename === name);
        for (const [index, receipt] of named.entries()) {
          receipt.name = name;
          change(receipt, index);
        }
        const before = searchParams.get('before');
        const found = named.filter(({ created_at }) => before === null || String(created_at) < before);
        const at = Number(searchParams.get('cursor') ?? 0);
        const page = { backups: found.slice(at, at + 1), cursor: at + 1 < found.length ? String(at + 1) : null };
        response.writeHead(200, { 'content-type': 'application/json', 'x-request-id': 'x' }).end(JSON.stringify(page));
        return true;
      },
    };
  }

  async function threeVersions(name: string): Promise<{ file: string; receipt: Receipt }[]> {
    const all: { file: string; receipt: Receipt }[] = [];
    for (let version = 1; version <= 3; version++) {
      const file = await files.random(`${version}-${name}`, 1000 + version);
      all.unshift({ file, receipt: await pushed([file, '--name', name]) });
    }
    return all;
  }

  it('takes the newest, @2 the second newest, a day the newest of it; and each command takes them', async () => {
    const [newest, second, oldest] = await threeVersions('nightly.bin');
    const ages: Meddling = versions((receipt, index) => {
      if (index > 0) receipt.created_at = `2026-11-${20 - index}T23:59:59.999Z`;
    });
    await throughProxy(vault.url, ages, async ({ url }) => {
      const at = ['--url', url];
      const idOf = async (wanted: string) =>
        (JSON.parse((await succeeds(['info', wanted, '--json', ...at])).stdout) as Receipt).backup_id;
      expect(await idOf('nightly.bin')).toBe(newest?.receipt.backup_id);
      expect(await idOf('nightly.bin@2')).toBe(second?.receipt.backup_id);
      expect(await idOf('nightly.bin@3')).toBe(oldest?.receipt.backup_id);
      expect(await idOf('nightly.bin@2026-11-19')).toBe(second?.receipt.backup_id);
      expect(await idOf('nightly.bin@2026-11-18')).toBe(oldest?.receipt.backup_id);
      await succeeds(['pull', 'nightly.bin@2', '-o', files.path('second'), ...at]);
      await same(files.path('second'), second?.file ?? '');
      expect((await succeeds(['verify', 'nightly.bin', ...at])).stdout).toContain('whole');
      expect((await succeeds(['link', 'nightly.bin', ...at])).stdout).toContain(newest?.receipt.backup_id);
      for (const none of ['nightly.bin@4', 'nightly.bin@2026-11-01', 'no-such-name', 'nightly']) {
        const { code, stderr } = await coldstream(['info', none, ...at]);
        expect({ code, lines: stderr.trim().split('\n').length }, stderr).toEqual({ code: 1, lines: 1 });
      }
      expect((await succeeds(['rm', 'nightly.bin@3', ...at])).stdout).toBe(
        `${oldest?.receipt.backup_id}  deleted  nightly.bin\n`,
      );
      expect((await coldstream(['info', oldest?.receipt.backup_id ?? ''])).code).toBe(1);
    });
  });

  it('never takes a damaged version, and says so where all are', async () => {
    const [, second] = await threeVersions('harmed.bin');
    const damage = { found_at: '2026-11-24T00:00:00Z', reason: 'x', frame: 0, offset: 0 };
    const newestOnly = versions((receipt, index) => {
      if (index === 0) receipt.damage = damage;
    });
    await throughProxy(vault.url, newestOnly, async ({ url }) => {
      const { stdout } = await succeeds(['info', 'harmed.bin', '--json', '--url', url]);
      expect(JSON.parse(stdout)).toMatchObject({ backup_id: second?.receipt.backup_id });
    });
    const all = versions((receipt) => {
      receipt.damage = damage;
    });
    await throughProxy(vault.url, all, async ({ url }) => {
      const { code, stderr } = await coldstream(['pull', 'harmed.bin', '-o', '-', '--url', url]);
      expect({ code, stderr }).toEqual({
        code: 6,
        stderr: expect.stringContaining('Every version of "harmed.bin" is damaged'),
      });
    });
  });

  it('push names a file by the path as given, and by the last segment of one that leads elsewhere', async () => {
    const names: string[] = [];
    const remembers: Meddling = {
      answer: ({ method, headers }) => {
        const encoded = /(?:^|,)filename ([^,]+)/.exec(String(headers['upload-metadata'] ?? ''))?.[1];
        if (method === 'POST' && encoded) names.push(Buffer.from(encoded, 'base64').toString());
        return false;
      },
    };
    const { mkdir, writeFile } = await import('node:fs/promises');
    await mkdir(files.path('db1/deep'), { recursive: true });
    await writeFile(files.path('db1/etc.tar'), 'x');
    await throughProxy(vault.url, remembers, async ({ url }) => {
      const push = (path: string, cwd: string) => succeeds(['push', path, '--url', url], { cwd });
      await push('db1/etc.tar', files.path(''));
      await push('./db1//etc.tar', files.path(''));
      await push('../etc.tar', files.path('db1/deep'));
      await push(files.path('db1/etc.tar'), '/');
      await push('db1/deep', files.path(''));
      await push('.', files.path('db1/deep'));
    });
    expect(names).toEqual(['db1/etc.tar', 'db1/etc.tar', 'etc.tar', 'etc.tar', 'db1/deep.tar', 'deep.tar']);
  });
});
