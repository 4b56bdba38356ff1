import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  api,
  bearer,
  curl,
  type Job,
  MIB,
  put,
  receiptIn,
  run,
  type Scratch,
  scratch,
  start,
  startCurl,
} from './clients.ts';

let vault: LocalVault;
let files: Scratch;
let tar: string;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 24 * MIB);
  vault = await startLocalVault();
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

interface Seen extends Job {
  /** Milliseconds, by the clock of the one who watches. */
  readonly at: number;
}

async function watchUrl(jobId: string): Promise<string> {
  const { status, body } = await api<{ url: string }>(vault, 'POST', `/jobs/${jobId}/links`, {});
  expect(status).toBe(200);
  return body.url;
}

/** All messages up to the job's end, as Node's own WebSocket gets them. */
function watchWithNode(url: string): { opened: Promise<void>; first: Promise<Seen>; all: Promise<Seen[]> } {
  const socket = new WebSocket(url);
  const seen: Seen[] = [];
  const opened = Promise.withResolvers<void>();
  const first = Promise.withResolvers<Seen>();
  const all = Promise.withResolvers<Seen[]>();
  socket.addEventListener('open', () => opened.resolve());
  socket.addEventListener('message', ({ data }) => {
    const message: Seen = { ...(JSON.parse(String(data)) as Job), at: Date.now() };
    seen.push(message);
    first.resolve(message);
    if (message.phase === 'done' || message.phase === 'failed') all.resolve(seen);
  });
  socket.addEventListener('error', () => {
    const error = new Error('the WebSocket failed');
    for (const waiting of [opened, first, all]) waiting.reject(error);
  });
  for (const { promise } of [opened, first, all]) (promise as Promise<unknown>).catch(() => undefined);
  return { opened: opened.promise, first: first.promise, all: all.promise };
}

const PHASES = ['waiting', 'receiving', 'verifying', 'storing', 'done'];

function checkCourse(seen: readonly Seen[], total: number): void {
  for (const [index, now] of seen.entries()) {
    const before = seen[index - 1];
    if (!before) continue;
    if (before.phase === now.phase) expect(now.current).toBeGreaterThanOrEqual(before.current);
    else expect(PHASES.indexOf(now.phase)).toBeGreaterThan(PHASES.indexOf(before.phase));
    expect(now.percentage).toBe(Math.round(now.percentage * 100) / 100);
    expect(now.percentage).toBeLessThanOrEqual(100);
  }
  expect(seen.at(-1)).toMatchObject({ phase: 'done', percentage: 100, current: total, total });
}

describe("Node's WebSocket", () => {
  it('sees a slow curl live: the first message at once, four a second at most, never back, done last', async () => {
    const watching = watchWithNode(await watchUrl('slow'));
    const began = Date.now();
    const first = await watching.first;
    expect(first.at - began).toBeLessThan(2_000);
    expect(first).toMatchObject({ job_id: 'slow', phase: 'waiting', current: 0, total: 0, percentage: 0 });

    const url = `${vault.url}/backup/upload/slow.tar?job_id=slow`;
    const { answer } = startCurl([...bearer(vault), '--limit-rate', '6M', '-T', tar, url]);
    const seen = await watching.all;
    const receipt = receiptIn(await answer);
    checkCourse(seen, 24 * MIB);
    expect(seen.at(-1)?.backup_id).toBe(receipt.backup_id);

    const receiving = seen.filter(({ phase, current }) => phase === 'receiving' && current > 0);
    expect(receiving.length).toBeGreaterThanOrEqual(3);
    for (const { total, percentage, current } of receiving) {
      expect(total).toBe(24 * MIB);
      expect(percentage).toBeCloseTo((current / total) * 100, 1);
    }
    // The room counts four a second by its own clock; a busy machine may deliver two seconds' share at once.
    const seconds = ((seen.at(-1)?.at ?? 0) - began) / 1000;
    expect(seen.length).toBeLessThanOrEqual(4 * seconds + 4);
  });

  it('sees the end of a job that ended before it came', async () => {
    const { backup_id } = await put(vault, tar, 'ended.tar', '?job_id=ended');
    const seen = await watchWithNode(await watchUrl('ended')).all;
    expect(seen).toEqual([expect.objectContaining({ phase: 'done', backup_id, percentage: 100 })]);
  });

  it('sees a failure with its code and its detail', async () => {
    const watching = watchWithNode(await watchUrl('failing'));
    await watching.first;
    const url = `${vault.url}/backup/upload/failing.tar?job_id=failing&sha256=${'0'.repeat(64)}`;
    expect((await curl([...bearer(vault), '-T', tar, url])).status).toBe(422);
    const last = (await watching.all).at(-1);
    expect(last).toMatchObject({
      phase: 'failed',
      code: 'checksum-mismatch',
      detail: expect.stringContaining('SHA-256'),
    });
  });

  it('shares a job with twenty others: each sees the last message', async () => {
    const url = await watchUrl('crowd');
    const crowd = Array.from({ length: 20 }, () => watchWithNode(url));
    await Promise.all(crowd.map(({ first }) => first));
    await put(vault, tar, 'crowd.tar', '?job_id=crowd');
    for (const { all } of crowd) checkCourse(await all, 24 * MIB);
  });
});

const PYTHON_CLIENT = fileURLToPath(new URL('./ws_client.py', import.meta.url));

interface PythonEvent {
  readonly status?: number;
  readonly body?: string;
  readonly text?: string;
  readonly close?: number;
}

function events(stdout: Buffer): PythonEvent[] {
  return stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as PythonEvent);
}

function socketAddress(jobId: string): string {
  return `${vault.url.replace('http', 'ws')}/ws/backup/${jobId}`;
}

describe('a WebSocket client in plain Python', () => {
  it('watches with a token and no Origin, is answered pong, and sees the close with 1000', async () => {
    const watching = start('python3', [PYTHON_CLIENT, socketAddress('python'), '--token', vault.token, '--ping']);
    await once(watching.child.stdout, 'data');
    await put(vault, tar, 'python.tar', '?job_id=python');
    const { code, stdout, stderr } = await watching.ended;
    expect(code, stderr).toBe(0);
    const seen = events(stdout);
    expect(seen[0]).toEqual({ status: 101 });
    expect(seen.filter(({ text }) => text === 'pong')).toHaveLength(1);
    expect(seen.at(-1)).toEqual({ close: 1000 });
    const messages = seen.flatMap(({ text }) => (text && text !== 'pong' ? [JSON.parse(text) as Job] : []));
    expect(messages[0]).toMatchObject({ phase: 'waiting' });
    expect(messages.at(-1)).toMatchObject({ phase: 'done', percentage: 100 });
  });

  it('leaves in the middle, and neither the upload nor the others notice', async () => {
    const url = await watchUrl('leaving');
    const stays = watchWithNode(url);
    const leaves = run('python3', [PYTHON_CLIENT, url, '--stop-after', '1']);
    await stays.first;
    expect((await leaves).code).toBe(0);
    await put(vault, tar, 'leaving.tar', '?job_id=leaving');
    checkCourse(await stays.all, 24 * MIB);
  });

  const refusals: [string, string[], number, string][] = [
    ['of a page of another origin', ['--origin', 'https://evil.example', '--token', 'TOKEN'], 403, 'bad-origin'],
    ['of a page without an origin of its own', ['--origin', 'null', '--token', 'TOKEN'], 403, 'bad-origin'],
    ['without a credential', [], 401, 'unauthorized'],
    ['with a wrong token', ['--token', 'wrong'], 401, 'unauthorized'],
  ];
  it.each(refusals)('is refused the handshake %s', async (_, args, status, code) => {
    const given = args.map((argument) => argument.replace('TOKEN', vault.token));
    const ran = await run('python3', [PYTHON_CLIENT, socketAddress('refused'), ...given]);
    const [answer] = events(ran.stdout);
    expect(answer?.status, ran.stderr).toBe(status);
    expect(JSON.parse(answer?.body ?? '')).toMatchObject({ code });
  });

  it('is refused with a signed URL of another job', async () => {
    const url = (await watchUrl('mine')).replace('/mine?', '/yours?');
    const ran = await run('python3', [PYTHON_CLIENT, url]);
    const [answer] = events(ran.stdout);
    expect(answer?.status, ran.stderr).toBe(403);
    expect(JSON.parse(answer?.body ?? '')).toMatchObject({ code: 'bad-signature' });
  });

  it('is let in from the origin of the vault itself', async () => {
    const args = ['--origin', vault.url, '--token', vault.token, '--stop-after', '1'];
    const ran = await run('python3', [PYTHON_CLIENT, socketAddress('own'), ...args]);
    expect(events(ran.stdout)[0]).toEqual({ status: 101 });
  });
});
