import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { Upload } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { findLeftovers } from './chaos/leftovers.ts';
import {
  bearer,
  curlTo,
  eventually,
  jobOf,
  MIB,
  type Receipt,
  type Scratch,
  same,
  scratch,
  sha256Of,
} from './clients.ts';
import { authorization, created, head, receiptAt, startPatch } from './tus.ts';

const LENGTH = 40 * MIB + 5;

let files: Scratch;
let tar: string;
let vault: LocalVault;
let start: () => Promise<LocalVault>;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', LENGTH);
  const persistTo = files.path('state');
  const vars = {
    ADMIN_TOKEN: 'admin-token-of-all-of-the-runs',
    LINK_SIGNING_KEYS: `k1:${randomBytes(32).toString('base64url')}`,
  };
  vault = await startLocalVault({ persistTo, vars });
  // At the same address, so that a client finds it again.
  const port = Number(new URL(vault.url).port);
  start = () => startLocalVault({ persistTo, vars, port, migrate: false });
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

async function offsetOf(url: string): Promise<number> {
  return Number((await head(vault, url)).get('upload-offset'));
}

async function restart(): Promise<void> {
  await vault.crash();
  await vault.stop();
  vault = await start();
}

async function rest(from: number, to?: number): Promise<string> {
  const file = files.path(`from-${from}`);
  await writeFile(file, (await readFile(tar)).subarray(from, to));
  return file;
}

async function expectBack({ download_url, checksum }: Receipt): Promise<void> {
  expect(checksum).toBe(await sha256Of(tar));
  const back = files.path('back');
  await curlTo(back, [...bearer(vault), vault.url + download_url]);
  await same(tar, back);
}

describe('the runtime, killed by -9', () => {
  it('between pieces and within one, keeps all that it said it had, and clients go on', async () => {
    const url = await created(vault, { length: LENGTH, filename: 'by-hand.tar', job_id: 'by-hand' });
    const first = 9 * MIB + 1;
    expect((await startPatch(vault, url, 0, await rest(0, first)).answer).status).toBe(204);
    const terminated = await created(vault, { length: LENGTH, filename: 'terminated.tar' });
    expect((await startPatch(vault, terminated, 0, await rest(0, first)).answer).status).toBe(204);

    await restart();
    expect(await offsetOf(url)).toBe(first);
    expect(await jobOf(vault, 'by-hand')).toMatchObject({ phase: 'receiving', total: LENGTH });

    // A client that goes on by itself, and one that is asked where it stands while it sends.
    const finished = Promise.withResolvers<string>();
    let retries = 0;
    const upload = new Upload(createReadStream(tar), {
      endpoint: `${vault.url}/tus`,
      headers: authorization(vault),
      metadata: { filename: 'by-itself.tar', compression: 'zstd' },
      chunkSize: 4 * MIB,
      retryDelays: Array.from({ length: 60 }, () => 500),
      onSuccess: () => finished.resolve(upload.url ?? ''),
      onError: finished.reject,
      onShouldRetry: () => {
        retries += 1;
        return true;
      },
      onAfterResponse: () => new Promise((resolve) => setTimeout(resolve, 300)),
    });
    upload.start();
    const { answer } = startPatch(vault, url, first, await rest(first), '8M');
    const told = await eventually(
      20_000,
      () => offsetOf(url),
      (offset) => offset > first + 10 * MIB,
    );
    await restart();
    expect((await answer).code, 'curl notices').not.toBe(0);

    const offset = await offsetOf(url);
    expect(offset).toBeGreaterThanOrEqual(told);
    expect(offset).toBeLessThan(LENGTH);
    expect((await startPatch(vault, url, offset, await rest(offset)).answer).status).toBe(204);
    // Answered, and not yet read back: the end comes by itself also after another death.
    await restart();
    expect(await offsetOf(url)).toBe(LENGTH);
    const byHand = await receiptAt(vault, url);
    await expectBack(byHand);
    const byItself = await receiptAt(vault, await finished.promise);
    await expectBack(byItself);
    expect(retries).toBeGreaterThan(0);
    expect(byItself.compression).toMatchObject({ codec: 'zstd', frames: 11 });
    expect(await jobOf(vault, 'by-hand')).toMatchObject({ phase: 'done', backup_id: byHand.backup_id });

    const headers = { ...authorization(vault), 'tus-resumable': '1.0.0' };
    expect((await fetch(terminated, { method: 'DELETE', headers })).status).toBe(204);
    const { stateDir } = vault;
    await vault.stop();
    const backups = new Map([byHand, byItself].map(({ backup_id, stored_size }) => [backup_id, stored_size]));
    expect(findLeftovers(stateDir, backups).orphans).toEqual([]);
  });
});
