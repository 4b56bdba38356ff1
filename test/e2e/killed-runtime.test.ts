import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { findLeftovers } from './chaos/leftovers.ts';
import {
  api,
  bearer,
  bucketBytes,
  curl,
  eventually,
  type Job,
  jobOf,
  listed,
  MIB,
  receiptIn,
  type Scratch,
  scratch,
  startCurl,
} from './clients.ts';

let files: Scratch;
let big: string;

beforeAll(async () => {
  files = await scratch();
  big = await files.random('big.tar', 200 * MIB);
});
afterAll(() => files?.remove());

const projectDir = fileURLToPath(new URL('../..', import.meta.url));

// Side by side, since the one waits for most of a minute.
describe.concurrent('the runtime', () => {
  it('killed by -9 in the middle of an upload leaves no listed row, and the next start cleans up by itself', async () => {
    const persistTo = files.path('state');
    const vars = {
      ADMIN_TOKEN: 'admin-token-of-both-runs',
      LINK_SIGNING_KEYS: `k1:${randomBytes(32).toString('base64url')}`,
    };
    const vault = await startLocalVault({ persistTo, vars });
    let next: LocalVault | undefined;
    try {
      const before = receiptIn(
        await curl([...bearer(vault), '-F', `file=@${big};filename=before.tar`, `${vault.url}/backup/upload`]),
      );
      const atRest = await bucketBytes(persistTo);
      const order = { filename: 'killed.tar', job_id: 'killed' };
      const link = await api<{ url: string }>(vault, 'POST', '/backup/upload-links', order);
      const sending = startCurl(['--limit-rate', '40M', '-T', big, link.body.url]);
      await eventually(
        30_000,
        () => jobOf(vault, 'killed'),
        ({ stored = 0 }) => stored > 50 * MIB,
      );
      await vault.crash();
      expect((await sending.answer).code, 'curl notices').not.toBe(0);
      const half = await bucketBytes(persistTo);
      expect(half, 'parts of a dead upload lie in the bucket').toBeGreaterThan(atRest + 30 * MIB);
      // A file that the local R2 was writing is of no part: nobody can remove it.
      const { lostBytes } = findLeftovers(persistTo, new Map());

      next = await startLocalVault({ persistTo, vars });
      const again = next;
      expect(await listed(again)).toEqual(['before.tar']);
      expect(await jobOf(again, 'killed')).toMatchObject({ phase: 'receiving' });
      const blocked = await curl([...bearer(again), '-T', big, `${again.url}/backup/upload/killed.tar?job_id=killed`]);
      expect(JSON.parse(blocked.body), 'the job has not been given up yet').toMatchObject({ code: 'job-running' });

      const ended = await eventually<Job>(
        120_000,
        () => jobOf(again, 'killed'),
        ({ phase }) => phase !== 'receiving',
      );
      expect(ended).toMatchObject({ phase: 'failed', code: 'upload-interrupted' });
      await eventually(
        5_000,
        () => bucketBytes(persistTo),
        (bytes) => bytes === atRest + lostBytes,
      );
      expect(await listed(again)).toEqual(['before.tar']);
      expect((await curl([...bearer(again), '-o', '/dev/null', again.url + before.download_url])).status).toBe(200);
      // The link was claimed by the upload that died; it is good for another.
      const retried = receiptIn(await curl(['-T', big, link.body.url.replace(vault.url, again.url)]));
      expect(await jobOf(again, 'killed')).toMatchObject({ phase: 'done', backup_id: retried.backup_id });
    } finally {
      await vault.stop();
      await next?.stop();
    }
  }, 240_000);

  it('npm start rejects weak variables, makes .dev.vars, says address and token, and what it says works', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'coldstream-start-'));
    for (const name of ['package.json', 'wrangler.toml', 'tsconfig.json', 'src']) {
      await cp(join(projectDir, name), join(copy, name), { recursive: true });
    }
    await symlink(join(projectDir, 'node_modules'), join(copy, 'node_modules'));
    for (const [variable, reason] of [
      ['ADMIN_TOKEN:short', 'The vault does not start. ADMIN_TOKEN: it has 5 characters'],
      ['ALLOWED_ORIGINS:*', 'The vault does not start. ALLOWED_ORIGINS: it names each origin'],
    ] as const) {
      const refused = spawnSync('npm', ['start', '--', '--var', variable], { cwd: copy, encoding: 'utf8' });
      expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining(reason)]);
    }
    const persist = join(copy, 'state');
    // A group of its own, so that all of it can be ended at once.
    const started = spawn('npm', ['start', '--', '--port', '0', '--inspector-port', '0', '--persist-to', persist], {
      cwd: copy,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    const hear = (bytes: Buffer) => {
      said += bytes.toString();
    };
    started.stdout.on('data', hear);
    started.stderr.on('data', hear);
    const ended = new Promise((resolve) => started.once('close', resolve));
    try {
      await eventually(
        90_000,
        async () => said,
        (text) => /curl .*upload/.test(text),
      );
      const [, url = ''] = /Coldstream runs at\s+(\S+)/.exec(said) ?? [];
      const [, token = ''] = /Admin token\s+(\S+)/.exec(said) ?? [];
      const vars = join(copy, '.dev.vars');
      expect(await readFile(vars, 'utf8')).toContain(`ADMIN_TOKEN="${token}"`);
      expect((await stat(vars)).mode & 0o077, 'nobody else may read it').toBe(0);
      const [, hint = ''] = /(curl .*upload\/)/.exec(said) ?? [];
      const tried = await curl([
        '-H',
        `Authorization: Bearer ${token}`,
        '-T',
        join(copy, 'package.json'),
        `${url}/backup/upload/`,
      ]);
      expect(receiptIn(tried).filename).toBe('package.json');
      expect(hint).toContain(token);
      expect(await bucketBytes(persist)).toBeGreaterThan(0);
    } catch (cause) {
      throw new Error(`npm start said:\n${said}`, { cause });
    } finally {
      if (started.pid) process.kill(-started.pid, 'SIGTERM');
      await ended;
      await rm(copy, { recursive: true, force: true, maxRetries: 5 });
    }
  });
});
