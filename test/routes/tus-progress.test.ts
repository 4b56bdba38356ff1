/** The job of an upload in pieces: one progress for the whole of it, and its end. */
import { evictDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { create, cut, eventually, expectContent, jobOf, receiptOf, send, uploaded, waiting } from '../support/tus.ts';
import { ask, put, sample } from '../support/vault.ts';

const content = sample(300_000);

describe('the job', () => {
  it('shows the progress of the whole upload across its pieces, and its end', async () => {
    const upload = await create({ length: content.length, metadata: { job_id: 'in-pieces' } });
    expect(await jobOf(upload)).toMatchObject({ current: 0, total: 300_000, percentage: 0 });
    let at = 0;
    for (const piece of cut(content, [75_000, 75_000, 75_000])) {
      const { sending, answer } = await waiting(upload, at, piece.subarray(0, 30_000));
      await eventually(
        () => jobOf(upload),
        ({ current }) => current === at + 30_000,
      );
      await sending.give(piece.subarray(30_000));
      await sending.end();
      expect((await answer).status).toBe(204);
      at += piece.length;
      if (at === content.length) break;
      const resting = await eventually(
        () => jobOf(upload),
        ({ current }) => current === at,
      );
      expect(resting).toMatchObject({ phase: 'receiving', total: 300_000, percentage: at / 3000 });
    }
    const { backup_id } = await receiptOf(upload);
    expect(await jobOf(upload)).toMatchObject({
      phase: 'done',
      current: 300_000,
      total: 300_000,
      percentage: 100,
      backup_id,
    });
  });

  it('does not know the total before the sender does', async () => {
    const upload = await create({ length: null });
    await send(upload, [content.subarray(0, 150_000)]);
    await eventually(
      () => jobOf(upload),
      ({ current, total, percentage }) => current === 150_000 && total === 0 && percentage === 0,
    );
    const { sending, answer } = await waiting(upload, 150_000, content.subarray(150_000, 200_000), {
      headers: { 'upload-length': String(content.length) },
    });
    await eventually(
      () => jobOf(upload),
      ({ current, total }) => current === 200_000 && total === 300_000,
    );
    await sending.give(content.subarray(200_000));
    await sending.end();
    expect((await answer).status).toBe(204);
    await expectContent(upload, content);
  });

  it('keeps its progress where its object is evicted while the upload is idle', async () => {
    const upload = await create({ length: content.length, metadata: { job_id: 'evicted-job' } });
    await send(upload, [content.subarray(0, 150_000)]);
    expect(await jobOf(upload)).toMatchObject({ phase: 'receiving', current: 150_000 });
    const evict = () => evictDurableObject(env.JOBS.get(env.JOBS.idFromName('evicted-job')));
    await evict();
    expect(await jobOf(upload)).toMatchObject({ phase: 'receiving', current: 150_000, total: 300_000, percentage: 50 });
    const { sending, answer } = await waiting(upload, 150_000, content.subarray(150_000, 200_000));
    await eventually(
      () => jobOf(upload),
      ({ current }) => current === 200_000,
    );
    await sending.end();
    await answer;
    await evict();
    expect((await jobOf(upload)).current).toBe(200_000);
  });

  it('is the same as of a one-request upload in its end', async () => {
    const inOne = await put('site.tar', content, '?job_id=one-request');
    const inPieces = await uploaded(cut(content, [1000]), { metadata: { job_id: 'many-requests' } });
    const end = async (jobId: string) => {
      const state = await (await ask(`/jobs/${jobId}`)).json<Record<string, unknown>>();
      const { job_id, run_id, backup_id, timestamp, started_at, ended_at, expires_at, ...rest } = state;
      return rest;
    };
    expect(await end(inPieces.job_id)).toEqual(await end(inOne.job_id));
  });
});
