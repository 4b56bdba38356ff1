import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { appendFile, mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { api, listed, MIB, type Receipt } from './clients.ts';
import {
  COMMAND,
  checkStored,
  coldstream,
  crashAndRestart,
  files,
  kept,
  killed,
  oldestNode,
  overLine,
  pushed,
  sentOver,
  startCommand,
  state,
  succeeds,
  vault,
  withVault,
} from './coldstream.ts';

withVault();

describe('a push that is disturbed', () => {
  it('killed by -9 goes on where the vault says, and keeps its secret to itself meanwhile', async () => {
    const file = await files.random('killed.tar', 32 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const { child, ended } = startCommand(['push', file], { line });
      await sentOver(line, 14 * MIB);
      const [record = ''] = kept();
      expect(statSync(record).mode & 0o777).toBe(0o600);
      expect(statSync(join(state, 'coldstream')).mode & 0o777).toBe(0o700);
      await killed(child, ended);
      const before = line.sent();
      // The upload's own secret is enough from now on.
      const { stdout, stderr } = await succeeds(['push', '--json', file], { line, token: 'no-token-of-this-vault' });
      expect(stderr).toMatch(/killed\.tar: resumes at \d+(\.\d+)? MiB of 32\.0 MiB, started \d+s ago/);
      expect(line.sent() - before, 'not all of it is sent again').toBeLessThan(24 * MIB);
      await checkStored(JSON.parse(stdout) as Receipt, file);
      expect(kept()).toEqual([]);
    });
  });

  it('whose file has changed since, or whose upload is gone, begins anew', async () => {
    const file = await files.random('anew.tar', 12 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const begin = async () => {
        const { child, ended } = startCommand(['push', file], { line });
        const before = line.sent();
        await sentOver(line, before + 5 * MIB);
        await killed(child, ended);
      };
      await begin();
      const [record = ''] = kept();
      const { url, secret } = JSON.parse(readFileSync(record, 'utf8')) as { url: string; secret: string };
      const headers = { authorization: `Bearer ${secret}`, 'tus-resumable': '1.0.0' };
      expect((await fetch(url, { method: 'DELETE', headers })).status).toBe(204);
      const gone = await succeeds(['push', '--json', file], { line });
      expect(gone.stderr).toContain('the earlier upload is gone, so a new one starts');
      await checkStored(JSON.parse(gone.stdout) as Receipt, file);

      await begin();
      const old = JSON.parse(readFileSync(kept()[0] ?? '', 'utf8')) as { url: string; secret: string };
      await utimes(file, new Date(), new Date(Date.now() - 5000));
      const changed = await succeeds(['push', '--json', file], { line });
      expect(changed.stderr).not.toContain('resumes');
      await checkStored(JSON.parse(changed.stdout) as Receipt, file);
      const asked = await fetch(old.url, { headers: { authorization: `Bearer ${old.secret}` } });
      expect(asked.status, 'what was begun with the file as it was is removed').toBe(410);
      expect(kept()).toEqual([]);
    });
  });

  it('from a pipe, and killed, does not keep its job for days', async () => {
    const file = await files.random('nightly.sql', 12 * MIB);
    const args = ['push', '-', '--name', 'nightly.sql', '--job', 'nightly'];
    await overLine({ bytesPerSecond: 8 * MIB }, async (line) => {
      const { child, ended } = startCommand(args, { line, stdin: file });
      await sentOver(line, 2 * MIB);
      const beside = await coldstream([...args, '--retry-for', '1'], { line, stdin: file });
      expect(beside, 'while it runs').toMatchObject({ code: 1, stderr: expect.stringContaining('job-running') });
      await killed(child, ended);
      await succeeds(args, { line, stdin: file });
      expect(kept()).toEqual([]);
    });
  });

  it('that nobody goes on with is forgotten once it has expired', async () => {
    const expiresAt = new Date(Date.now() - 1000).toISOString();
    const record = { url: 'http://vault/tus/x', secret: 's', begunAt: expiresAt, state: null, pid: 1, expiresAt };
    await mkdir(join(state, 'coldstream'), { recursive: true });
    await writeFile(join(state, 'coldstream/0123.json'), JSON.stringify(record));
    await pushed([await files.random('small.tar', 1000)]);
    expect(kept()).toEqual([]);
  });

  it('by lost connections goes on, from a pipe too', async () => {
    const file = await files.random('cut.sql', 24 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const { ended } = startCommand(['push', '-', '--json', '--name', 'cut.sql'], { line, stdin: file });
      for (const at of [4, 12, 20]) {
        await sentOver(line, at * MIB);
        line.cut();
      }
      const { code, stdout, stderr } = await ended;
      expect(code, stderr).toBe(0);
      expect(stderr).toMatch(/cannot be reached: .* Trying again in \d+s/);
      await checkStored(JSON.parse(stdout.toString()) as Receipt, file);
    });
  });

  it('whose token runs out goes on with the upload’s own secret', async () => {
    const file = await files.random('expiring.tar', 24 * MIB);
    const order = { name: 'short', scopes: ['write'], expires_in: 4 };
    const { token } = (await api<{ token: string }>(vault, 'POST', '/tokens', order)).body;
    await overLine({ bytesPerSecond: 4 * MIB }, async (line) => {
      const receipt = await pushed([file], { line, token });
      await checkStored(receipt, file);
    });
    const late = await coldstream(['push', '--fresh', file], { token });
    expect(late).toMatchObject({ code: 1, stderr: expect.stringContaining('(unauthorized)') });
  });

  it('by a byte that is another on the way does not say done', async () => {
    const file = await files.random('wrong.tar', 10 * MIB);
    await overLine({ bytesPerSecond: 64 * MIB, wrongAt: 5 * MIB }, async (line) => {
      const { code, stdout, stderr } = await coldstream(['push', file], { line });
      expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain('The vault stored other bytes than were read here');
      expect(stderr).toContain('That backup was deleted.');
      expect(await listed(vault)).not.toContain('wrong.tar');
    });
    const sha256 = '0'.repeat(64);
    const refused = await coldstream(['push', file, '--sha256', sha256]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('checksum-mismatch') });
    expect(kept()).toEqual([]);
  });

  it('while its file is written to stores nothing', async () => {
    const file = await files.random('growing.tar', 24 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const { ended } = startCommand(['push', file, '--chunk', '1MiB'], { line });
      await sentOver(line, 4 * MIB);
      await appendFile(file, 'one line more');
      expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining('changed while it was read') });
      expect(await listed(vault)).not.toContain('growing.tar');
      expect(kept()).toEqual([]);
    });
  });

  it('by Ctrl-C ends with 130 and says how to go on; of a pipe it leaves nothing', async () => {
    const file = await files.random('stopped.tar', 12 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const { child, ended } = startCommand(['push', file], { line });
      await sentOver(line, 4 * MIB);
      child.kill('SIGINT');
      expect(await ended).toMatchObject({
        code: 130,
        stderr: expect.stringContaining('Run the same command again to resume'),
      });
      const { stderr } = await succeeds(['push', file]);
      // Over another address it would be another vault: see fingerprintOf.
      expect(stderr).not.toContain('resumes');
      expect((await succeeds(['push', file], { line })).stderr).toContain('resumes at');

      const before = line.sent();
      const options = { line, stdin: file };
      const pipe = startCommand(['push', '-', '--name', 'pipe.tar', '--job', 'stopped-pipe'], options);
      await sentOver(line, before + 4 * MIB);
      pipe.child.kill('SIGTERM');
      expect(await pipe.ended).toMatchObject({ code: 143, stderr: expect.stringContaining('nothing was stored') });
      const again = await coldstream(['push', '-q', '-', '--name', 'pipe.tar', '--job', 'stopped-pipe'], {
        stdin: file,
      });
      expect(again.code, `the job's name is free again: ${again.stderr}`).toBe(0);
    });
  });

  it('by Ctrl-C ends also while nothing has come through its pipe yet', async () => {
    const env = { ...process.env, COLDSTREAM_URL: vault.url, COLDSTREAM_TOKEN: vault.token };
    const child = spawn(oldestNode.program, [COMMAND, 'push', '-', '--name', 'late.sql'], { env });
    let said = '';
    child.stderr.on('data', (bytes) => {
      said += bytes;
    });
    const ended = once(child, 'exit');
    await sleep(3000);
    child.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
    expect(said).toContain('Stopped before anything was sent');
  });

  it('that another one takes over, stops', async () => {
    const file = await files.random('twice.tar', 16 * MIB);
    await overLine({ bytesPerSecond: 8 * MIB }, async (line) => {
      const first = startCommand(['push', file], { line });
      await sentOver(line, 4 * MIB);
      const second = pushed([file], { line });
      expect(await first.ended).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('Another push continues this upload'),
      });
      await checkStored(await second, file);
    });
  });

  it('by kill -9 of the vault goes on when it is back', async () => {
    const file = await files.random('crash.tar', 24 * MIB);
    await overLine({ bytesPerSecond: 12 * MIB }, async (line) => {
      const { ended } = startCommand(['push', '--json', file], { line });
      await sentOver(line, 10 * MIB);
      await crashAndRestart();
      const { code, stdout, stderr } = await ended;
      expect(code, stderr).toBe(0);
      expect(stderr).toContain('Trying again');
      expect(line.sent(), 'what was durable was not sent again').toBeLessThan(24 * MIB + 20 * MIB);
      await checkStored(JSON.parse(stdout.toString()) as Receipt, file);
    });
  });
});
