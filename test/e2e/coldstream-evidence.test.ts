import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MIB, runs, same } from './clients.ts';
import { coldstream, files, pushed, succeeds, vault, withVault } from './coldstream.ts';
import { type Meddling, throughProxy } from './meddling-proxy.ts';

withVault();

const isDownload = ({ method, url = '' }: IncomingMessage) => method === 'GET' && url.includes('/download');

const dropsDigest: Meddling = {
  headers: (_request, headers) => {
    delete headers['repr-digest'];
  },
};

describe('coldstream pull, through something that changes answers,', () => {
  it('compares with the receipt where Repr-Digest is dropped, and keeps what is right', async () => {
    const file = await files.random('dropped.bin', 300_000);
    const { backup_id } = await pushed([file]);
    await throughProxy(vault.url, dropsDigest, async ({ url }) => {
      await succeeds(['pull', backup_id, '-o', files.path('dropped.back'), '--url', url]);
      await same(file, files.path('dropped.back'));
      await succeeds(['pull', backup_id, '--format', 'gz', '-o', files.path('dropped.gz'), '--url', url]);
    });
  });

  it.each([
    ['content', []],
    ['gzip', ['--format', 'gz']],
  ])('fails on a flipped byte of the %s without Repr-Digest, and leaves no file', async (_what, options) => {
    const { backup_id } = await pushed([await files.random('flipped.bin', 300_000)]);
    const folder = files.path(`flipped-${options.length}`);
    await mkdir(folder);
    const flips: Meddling = {
      ...dropsDigest,
      body: (request, chunk, at) => {
        if (isDownload(request) && at === 0) chunk[chunk.length >> 1] = (chunk[chunk.length >> 1] ?? 0) ^ 1;
      },
    };
    await throughProxy(vault.url, flips, async ({ url }) => {
      const { code, stderr } = await coldstream(['pull', backup_id, ...options, '--url', url], { cwd: folder });
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringContaining('do not have the SHA-256 of the receipt'),
      });
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('fails where nothing can be compared: the stored file without its digest', async () => {
    const { backup_id } = await pushed([await files.mixed('stored.sql', 300_000)]);
    const dropsBoth: Meddling = {
      ...dropsDigest,
      answer: async ({ method, url = '' }, response) => {
        if (method !== 'GET' || url !== `/backup/${backup_id}`) return false;
        const answer = await fetch(`${vault.url}${url}`, { headers: { authorization: `Bearer ${vault.token}` } });
        const { stored_checksum: _, ...receipt } = (await answer.json()) as Record<string, unknown>;
        response
          .writeHead(200, { 'content-type': 'application/json', 'x-request-id': 'x' })
          .end(JSON.stringify(receipt));
        return true;
      },
    };
    await throughProxy(vault.url, dropsBoth, async ({ url }) => {
      const out = files.path('stored.back');
      const { code, stderr } = await coldstream(['pull', backup_id, '--format', 'zst', '-o', out, '--url', url]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('nothing can be compared') });
      expect(existsSync(out)).toBe(false);
    });
  });

  it('takes no login page for a backup, a receipt or a file of an archive, whatever its headers', async () => {
    const { backup_id } = await pushed([await archive('login')]);
    const page = '<!doctype html><title>Sign in</title>';
    const types = ['text/html', 'application/octet-stream'];
    for (const [type, part] of types.flatMap((one) => [
      [one, '/download'] as const,
      [one, '/files/'] as const,
      [one, ''] as const,
    ])) {
      const login: Meddling = {
        answer: ({ url = '' }, response) => {
          if (!url.includes(`${backup_id}${part}`)) return false;
          const headers = { 'content-type': type, 'content-length': page.length, 'x-request-id': 'x' };
          response.writeHead(200, { ...headers, 'content-disposition': 'attachment; filename="x"' }).end(page);
          return true;
        },
      };
      await throughProxy(vault.url, login, async ({ url }) => {
        const out = files.path('login.back');
        for (const args of [
          ['pull', backup_id, '-o', out],
          ['cat', backup_id, 'dir/a.txt'],
        ]) {
          if (part === '/files/' ? args[0] === 'pull' : part === '/download' && args[0] === 'cat') continue;
          const { code, stdout } = await coldstream([...args, '--url', url, '--retry-for', '1s']);
          expect({ code, stdout: stdout.toString() }, `${args[0]} ${type} ${part}`).toEqual({ code: 1, stdout: '' });
          expect(existsSync(out)).toBe(false);
        }
      });
    }
  });
});

/** A tar with dir/a.txt, a symbolic link to it, a hard link to it and one to nothing. */
async function archive(name: string): Promise<string> {
  const script = `
import tarfile, io, sys
tar = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)
def add(name, type, link='', content=b''):
    entry = tarfile.TarInfo(name); entry.type = type; entry.linkname = link; entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
add('dir/a.txt', tarfile.REGTYPE, content=b'in the archive')
add('dir/hard', tarfile.LNKTYPE, 'dir/a.txt')
add('dir/lost', tarfile.LNKTYPE, 'dir/gone')
add('dir/soft', tarfile.SYMTYPE, 'a.txt')
tar.close()`;
  const path = files.path(`${name}.tar`);
  await runs('python3', ['-c', script, path]);
  return path;
}

describe('coldstream cat', () => {
  it('writes bytes of files only: a symbolic link, a directory and a hard link to nothing fail', async () => {
    const { backup_id } = await pushed([await archive('links')]);
    for (const path of ['dir/a.txt', 'dir/hard', '/dir/a.txt', './dir/a.txt']) {
      expect((await succeeds(['cat', backup_id, path])).stdout, path).toBe('in the archive');
    }
    for (const path of ['dir/lost', 'dir/soft', 'dir', 'dir/gone', '/dir/gone']) {
      const { code, stdout } = await coldstream(['cat', backup_id, path]);
      expect({ code, stdout: stdout.toString() }, path).toEqual({ code: 1, stdout: '' });
    }
  });
});

describe('coldstream push of a file that stat does not describe', () => {
  it.each(['/proc/cpuinfo', '/proc/self/status', '/sys/kernel/mm/transparent_hugepage/enabled'])(
    '%s: stores nothing',
    async (path) => {
      if (!existsSync(path)) return;
      const { code, stdout, stderr } = await coldstream(['push', path, '--name', 'of-the-kernel.txt']);
      expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/changed while it was read, so nothing was stored|cannot be read/);
      expect((await succeeds(['ls', 'of-the-kernel'])).stdout).toBe('');
    },
  );
});

describe('a backup that is damaged in the vault', () => {
  /** Flips a byte in the middle of the largest part in the storage: the simulator keeps each part in a file. */
  async function damageLargest(): Promise<void> {
    const root = files.path('vault');
    const names = (await readdir(root, { recursive: true })).filter((name) => /\/blobs\/[^/]+$/.test(name));
    const parts = await Promise.all(names.map(async (name) => ({ name, size: (await stat(join(root, name))).size })));
    const largest = parts.reduce((one, other) => (other.size > one.size ? other : one));
    const bytes = await readFile(join(root, largest.name));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x55;
    await writeFile(join(root, largest.name), bytes);
  }

  it('is final at once, with frame and byte, and ls, info and verify show it', async () => {
    const { backup_id } = await pushed([await files.mixed('damaged.sql', 18 * MIB + 77)]);
    await damageLargest();
    const began = performance.now();
    for (const options of [
      ['-o', '-'],
      ['-o', files.path('damaged.back')],
    ]) {
      const { code, stderr } = await coldstream(['pull', backup_id, ...options]);
      expect(code, stderr).toBe(6);
      expect(stderr).toMatch(/is damaged in the vault at frame [1-4], byte \d+ of its content; no retry helps/);
    }
    expect(performance.now() - began, 'no hour of retries').toBeLessThan(30_000);
    expect(existsSync(files.path('damaged.back'))).toBe(false);

    expect((await succeeds(['ls', 'damaged'])).stdout).toMatch(/ {2}- +damaged\.sql$/m);
    const found = await coldstream(['verify', backup_id]);
    expect(found).toMatchObject({
      code: 6,
      stderr: expect.stringMatching(/is damaged at frame [1-4], byte \d+.* frames are broken/),
    });
    expect((await succeeds(['ls', 'damaged'])).stdout).toMatch(/ {2}damaged +damaged\.sql$/m);
    expect((await succeeds(['info', backup_id])).stdout).toMatch(/^verified +DAMAGED at frame [1-4], byte \d+/m);
    const known = await coldstream(['pull', backup_id, '-o', '-']);
    expect({ code: known.code, bytes: known.stdout.length }, 'not a byte of it').toEqual({ code: 6, bytes: 0 });
    expect(known.stderr).toMatch(/damaged in the vault \(frame [1-4], byte \d+ of the stored bytes\)/);
  });

  it('or lost, is final too', async () => {
    const { backup_id } = await pushed([await files.random('lost.bin', 1000)]);
    const lost: Meddling = {
      answer: ({ url = '' }, response) => {
        if (!url.includes('/download')) return false;
        const problem = { status: 410, code: 'stored-data-lost', detail: 'x' };
        const headers = { 'content-type': 'application/problem+json', 'x-request-id': 'x' };
        response.writeHead(410, headers).end(JSON.stringify(problem));
        return true;
      },
    };
    await throughProxy(vault.url, lost, async ({ url }) => {
      const { code, stderr } = await coldstream(['pull', backup_id, '-o', '-', '--url', url]);
      expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringContaining('has lost the stored bytes') });
    });
  });

  it('verify says of a whole one that it is whole, and of several each by itself', async () => {
    const whole = await pushed([await files.random('whole.bin', 5 * MIB)]);
    expect((await succeeds(['verify', whole.backup_id])).stdout).toBe(`${whole.backup_id}  whole  whole.bin\n`);
    expect((await succeeds(['verify', '-q', whole.backup_id])).stdout).toBe('');
    expect((await succeeds(['ls', 'whole.bin'])).stdout).toMatch(/ {2}20\d\d-\d\d-\d\d {2,}whole\.bin$/m);
    const several = await coldstream(['verify', whole.backup_id, '01ARZ3NDEKTSV4RRFFQ69G5FAV']);
    expect(several).toMatchObject({ code: 3, stderr: expect.stringContaining('1 of 2 failed.') });
    expect(several.stdout.toString()).toContain('whole.bin');
  });
});
