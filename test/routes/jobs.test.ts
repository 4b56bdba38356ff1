import { evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { ulid } from 'ulidx';
import { describe, expect, it, vi } from 'vitest';
import { services } from '../../src/services.ts';
import { MIB } from '../../src/shared/limits.ts';
import { create, patch, standing, tus } from '../support/tus.ts';
import { ask, expectProblem, put, sample, storedKeys } from '../support/vault.ts';

interface Token {
  readonly id: string;
  readonly token: string;
}

async function tokenWith(...scopes: string[]): Promise<Token> {
  const body = JSON.stringify({ name: 'test', scopes });
  const response = await ask('/tokens', { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  expect(response.status).toBe(201);
  return response.json();
}

interface Run {
  readonly run_id: string;
  readonly job_id: string;
  readonly task: string;
  readonly phase: string;
  readonly token_id: string | null;
  readonly started_at: string;
  readonly ended_at: string | null;
}

async function runs(query = ''): Promise<{ readonly jobs: Run[]; readonly cursor: string | null }> {
  const response = await ask(`/jobs${query}`);
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

async function jobOf(jobId: string): Promise<Record<string, unknown>> {
  return (await ask(`/jobs/${jobId}`)).json();
}

function cancel(jobId: string, init: Parameters<typeof ask>[1] = {}): Promise<Response> {
  return ask(`/jobs/${jobId}/cancel`, { method: 'POST', ...init });
}

function newJob(): string {
  return `job-${ulid().toLowerCase()}`;
}

/** A body that sends `first` and then nothing until the test ends it. */
function stalled(...first: Uint8Array[]): { readonly body: ReadableStream<Uint8Array>; end(): void } {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  for (const chunk of first) writer.write(chunk).catch(() => undefined);
  return { body: readable, end: () => void writer.close().catch(() => undefined) };
}

async function until(jobId: string, state: Record<string, unknown>): Promise<void> {
  await vi.waitFor(async () => expect(await jobOf(jobId)).toMatchObject(state), { timeout: 20_000, interval: 50 });
}

/** Makes the job believe that its upload has been idle for so long. */
async function idleFor(jobId: string, ms: number): Promise<void> {
  await runInDurableObject(env.JOBS.get(env.JOBS.idFromName(jobId)), (instance) => {
    const inside = instance as unknown as { record: { idle_since: number } };
    inside.record = { ...inside.record, idle_since: Date.now() - ms };
  });
}

describe('GET /jobs', () => {
  it('lists a run from its beginning, with its token, and its end', async () => {
    const job = newJob();
    const sender = stalled(sample(1000));
    const { id, token } = await tokenWith('write');
    const path = `/backup/upload/a.bin?job_id=${job}`;
    const answer = ask(path, { method: 'PUT', body: sender.body, token });
    await vi.waitFor(async () => expect((await runs()).jobs.map(({ job_id }) => job_id)).toContain(job), 10_000);
    const [running] = (await runs('?phase=receiving&limit=1')).jobs;
    expect(running).toMatchObject({ job_id: job, task: 'upload', token_id: id, ended_at: null });
    sender.end();
    expect((await answer).status).toBe(201);
    const [ended] = (await runs('?phase=done&task=upload&limit=1')).jobs;
    expect(ended).toMatchObject({ job_id: job, run_id: running?.run_id, started_at: running?.started_at });
    expect(Date.parse(ended?.ended_at ?? '')).toBeGreaterThanOrEqual(Date.parse(running?.started_at ?? ''));
  });

  it('gives every run of a job once, page by page, newest first', async () => {
    const job = newJob();
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.unshift((await put('a.bin', sample(10), `?job_id=${job}`)).backup_id);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof runs>> = await runs(`?limit=2${cursor ? `&cursor=${cursor}` : ''}`);
      seen.push(...page.jobs.filter(({ job_id }) => job_id === job).map(({ run_id }) => run_id));
      cursor = page.cursor;
    } while (cursor !== null);
    expect(seen).toEqual(ids);
  });

  it('is refused without the scope, and with a phase or a limit that there is not', async () => {
    const { token } = await tokenWith('write');
    await expectProblem(await ask('/jobs', { token }), 403, 'forbidden');
    for (const query of ['phase=running', 'task=copy', 'limit=0', 'limit=1001'])
      await expectProblem(await ask(`/jobs?${query}`), 400, 'invalid-option');
    await expectProblem(await ask('/jobs?cursor=x'), 400, 'invalid-cursor');
  });
});

describe('POST /jobs/{job_id}/cancel', () => {
  it.each([
    [
      'PUT',
      (job: string, body: ReadableStream) => ({ path: `/backup/upload/a.bin?job_id=${job}`, method: 'PUT', body }),
    ],
    [
      'a form',
      (job: string, body: ReadableStream) => ({
        path: `/backup/upload?job_id=${job}`,
        method: 'POST',
        body,
        headers: { 'content-type': 'multipart/form-data; boundary=b' },
      }),
    ],
  ])('ends an upload by %s whose sender is idle, and nothing is left of it', async (way, requestFor) => {
    const before = await storedKeys();
    const job = newJob();
    const head = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n';
    const content = sample(6 * MIB);
    const sender = way === 'PUT' ? stalled(content) : stalled(new TextEncoder().encode(head), content);
    const { path, ...init } = requestFor(job, sender.body);
    const answer = ask(path, init);
    await until(job, { phase: 'receiving', task: 'upload' });
    const { token } = await tokenWith('write');
    expect((await cancel(job, { token })).status).toBe(202);
    await until(job, { phase: 'cancelled' });
    // The rest is read before the answer, until the sender ends it or takes too long.
    sender.end();
    await expectProblem(await answer, 410, 'upload-cancelled');
    expect(await storedKeys()).toEqual(before);
    const [run] = (await runs('?phase=cancelled&limit=1')).jobs;
    expect(run).toMatchObject({ job_id: job });
    expect((await cancel(job)).status).toBe(202);
    await put('b.bin', sample(10), `?job_id=${job}`);
  });

  it('ends a resumable upload that is idle, and its next requests are 410', async () => {
    const before = await storedKeys();
    const job = newJob();
    const upload = await create({ length: 20 * MIB, metadata: { job_id: job } });
    expect((await patch(upload, 0, sample(9 * MIB))).status).toBe(204);
    expect((await cancel(job)).status).toBe(202);
    expect(await jobOf(job)).toMatchObject({ phase: 'cancelled', current: 9 * MIB });
    await expectProblem(await patch(upload, 9 * MIB, sample(10)), 410, 'upload-cancelled');
    expect((await tus('HEAD', upload.url)).status).toBe(410);
    expect(await storedKeys()).toEqual(before);
    const left = await runInDurableObject(env.UPLOADS.get(env.UPLOADS.idFromName(upload.id)), (_, state) =>
      ['kept', 'parts', 'frames'].flatMap((table) => state.storage.sql.exec(`SELECT 1 FROM ${table}`).toArray()),
    );
    expect(left).toEqual([]);
  });

  it('ends the open PATCH of a resumable upload with 410', async () => {
    const job = newJob();
    const upload = await create({ length: 20 * MIB, metadata: { job_id: job } });
    const sender = stalled(sample(1000));
    const answer = patch(upload, 0, sender.body);
    await until(job, { idle_since: null });
    expect((await cancel(job)).status).toBe(202);
    sender.end();
    await expectProblem(await answer, 410, 'upload-cancelled');
    await until(job, { phase: 'cancelled' });
  });

  it('ends an import, of which rows that are written stay', async () => {
    const job = newJob();
    const sender = stalled(new TextEncoder().encode('{"id":91001,"name":"a"}\n'));
    const path = `/import/stream?database=sample&table=items&format=ndjson&job_id=${job}`;
    const headers = { 'content-type': 'application/x-ndjson' };
    const answer = ask(path, { method: 'POST', body: sender.body, headers });
    await until(job, { phase: 'importing', task: 'import' });
    const { token } = await tokenWith('write', 'read');
    await expectProblem(await cancel(job, { token }), 403, 'forbidden');
    expect((await cancel(job)).status).toBe(202);
    await until(job, { phase: 'cancelled' });
    sender.end();
    await expectProblem(await answer, 409, 'job-cancelled');
  });

  it('ends a verification and a restore before their next step', async () => {
    const { backup_id } = await put('rows.ndjson', '{"id":91002,"name":"b"}\n');
    const started: string[] = [];
    const jobs = services(env).jobs;
    for (const task of ['verify', 'restore'] as const) {
      const job_id = newJob();
      const run_id = ulid();
      await jobs.begin({ task, job_id, run_id, backup_id, message: 'Waiting', total: 10 });
      const run = jobs.publisher(job_id, run_id, task);
      expect((await cancel(job_id)).status).toBe(202);
      run.publish({ phase: task === 'verify' ? 'verifying' : 'importing', current: 1, total: 10, message: '' });
      await vi.waitFor(() => expect(run.signal.aborted).toBe(true), 10_000);
      expect(run.signal.reason).toMatchObject({ code: 'job-cancelled' });
      await run.finish({ phase: 'cancelled', message: 'Cancelled' });
      started.push(job_id);
    }
    for (const job of started) expect(await jobOf(job)).toMatchObject({ phase: 'cancelled' });
  });

  it('of an unknown job is 404, of one that has ended 409', async () => {
    await expectProblem(await cancel(newJob()), 404, 'not-found');
    const { job_id } = await put('a.bin', sample(10));
    await expectProblem(await cancel(job_id), 409, 'job-ended');
    expect(await jobOf(job_id)).toMatchObject({ phase: 'done' });
    await expectProblem(await cancel(job_id, { token: (await tokenWith('read')).token }), 403, 'forbidden');
  });
});

describe('a job that a resumable upload holds', () => {
  it('names the upload, since when and by which token, in the 409 and in GET /jobs/{job_id}', async () => {
    const job = newJob();
    const { id, token } = await tokenWith('write');
    const upload = await create({ length: 10, metadata: { job_id: job }, token });
    const refused = await ask(`/backup/upload/a.bin?job_id=${job}`, { method: 'PUT', body: 'x' });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(14 * 60);
    const holder = { task: 'upload', run_id: upload.id, backup_id: upload.id, token_id: id };
    const problem = await refused.clone().json<Record<string, unknown>>();
    expect(problem).toMatchObject({ job_id: job, ...holder });
    expect(problem.detail).toContain(`upload ${upload.id}, begun at ${problem.started_at} by the token ${id}`);
    await expectProblem(refused, 409, 'job-running');
    const state = await jobOf(job);
    expect(state).toMatchObject({ phase: 'receiving', ended_at: null, ...holder });
    expect(Date.parse(String(state.idle_since))).toBeLessThanOrEqual(Date.now());
    await tus('DELETE', upload.url, { token });
  });

  it('is superseded after 5 s by the same token, and after 15 minutes by another', async () => {
    const { token } = await tokenWith('write');
    for (const [idleMs, otherToken] of [
      [5_000, token],
      [15 * 60_000, undefined],
    ] as const) {
      const job = newJob();
      const upload = await create({ length: 20 * MIB, metadata: { job_id: job }, token });
      expect((await patch(upload, 0, sample(9 * MIB), { token })).status).toBe(204);
      const again = () => ask(`/backup/upload/a.bin?job_id=${job}`, { method: 'PUT', body: 'x', token: otherToken });
      // As if it became idle in a minute, so that the answer is the same on a busy machine.
      await idleFor(job, -60_000);
      const refused = await again();
      const wait = Number(refused.headers.get('retry-after'));
      expect([wait > idleMs / 1000, wait <= 60 + idleMs / 1000]).toEqual([true, true]);
      await expectProblem(refused, 409, 'job-running');
      await idleFor(job, idleMs);
      const stored = await again();
      expect(stored.status, await stored.clone().text()).toBe(201);
      const { backup_id } = await stored.json<{ backup_id: string }>();
      await vi.waitFor(async () => expect((await tus('HEAD', upload.url)).status).toBe(409), 10_000);
      await expectProblem(await patch(upload, 9 * MIB, 'x', { token }), 409, 'job-superseded');
      expect(await jobOf(job)).toMatchObject({ phase: 'done', backup_id });
      const rows = (await runs()).jobs.filter(({ job_id }) => job_id === job);
      expect(rows).toMatchObject([{ phase: 'done' }, { run_id: upload.id, phase: 'failed', code: 'job-superseded' }]);
      expect((await storedKeys()).filter((key) => key.includes(upload.id))).toEqual([]);
    }
  });

  it('stays with an upload whose request is open, and with one that another task wants', async () => {
    const job = newJob();
    const upload = await create({ length: 20 * MIB, metadata: { job_id: job } });
    await idleFor(job, 60 * 60_000);
    const { backup_id } = await put('b.bin', sample(10));
    const verify = await ask(`/backup/${backup_id}/verify?job_id=${job}`, { method: 'POST' });
    await expectProblem(verify, 409, 'job-running');
    const sender = stalled(sample(1000));
    const answer = patch(upload, 0, sender.body);
    await until(job, { idle_since: null });
    const refused = await ask(`/backup/upload/a.bin?job_id=${job}`, { method: 'PUT', body: 'x' });
    expect(refused.headers.get('retry-after')).toBe('5');
    await expectProblem(refused, 409, 'job-running');
    sender.end();
    await answer;
    await tus('DELETE', upload.url);
  });

  it('is not superseded by an upload that is refused', async () => {
    const job = newJob();
    const upload = await create({ length: 20, metadata: { job_id: job } });
    await idleFor(job, 60 * 60_000);
    const refused = await ask(`/backup/upload/a.bin?job_id=${job}&level=99`, { method: 'PUT', body: 'x' });
    await expectProblem(refused, 400, 'invalid-option');
    expect(await standing(upload)).toMatchObject({ offset: 0 });
    expect(await jobOf(job)).toMatchObject({ phase: 'receiving', run_id: upload.id });
    await tus('DELETE', upload.url);
  });

  it('shows how far it is also after its object slept', async () => {
    const job = newJob();
    const upload = await create({ length: 20 * MIB, metadata: { job_id: job } });
    await patch(upload, 0, sample(MIB));
    await until(job, { current: MIB });
    await evictDurableObject(env.JOBS.get(env.JOBS.idFromName(job)), { webSockets: 'hibernate' });
    expect(await jobOf(job)).toMatchObject({ phase: 'receiving', current: MIB });
    await tus('DELETE', upload.url);
  });
});

describe('GET /tus', () => {
  it('lists the open uploads of the token, and all to an admin', async () => {
    const first = await tokenWith('write');
    const second = await tokenWith('write');
    const job = newJob();
    const uploads = [
      await create({ length: 100, metadata: { job_id: job }, token: first.token }),
      await create({ length: null, token: second.token }),
      await create({ length: 100, token: first.token }),
    ] as const;
    await patch(uploads[0], 0, sample(60), { token: first.token });
    const list = async (token: string | undefined, query = '') => {
      const response = await ask(`/tus${query}`, { token });
      expect(response.status, await response.clone().text()).toBe(200);
      return response.json<{ uploads: { upload_id: string }[]; cursor: string | null }>();
    };
    const own = await list(first.token);
    expect(own).toMatchObject({
      uploads: [
        { upload_id: uploads[2].id, offset: 0, token_id: first.id },
        { upload_id: uploads[0].id, job_id: job, filename: 'site.tar', offset: 60, length: 100, token_id: first.id },
      ],
      cursor: null,
    });
    expect(own.uploads[0]).toHaveProperty('expires_at');
    const all = (await list(undefined)).uploads.map(({ upload_id }) => upload_id);
    expect(all.slice(0, 3)).toEqual(uploads.map(({ id }) => id).toReversed());
    const page = await list(first.token, '?limit=1');
    expect(page.uploads).toHaveLength(1);
    const next = await list(first.token, `?limit=1&cursor=${page.cursor}`);
    expect(next.uploads).toMatchObject([{ upload_id: uploads[0].id }]);
    for (const upload of uploads) await tus('DELETE', upload.url);
    expect((await list(first.token)).uploads).toEqual([]);
  });

  it('needs the scope write', async () => {
    await expectProblem(await ask('/tus', { token: (await tokenWith('read')).token }), 403, 'forbidden');
    await expectProblem(await ask('/tus', { token: null }), 401, 'unauthorized');
  });
});
