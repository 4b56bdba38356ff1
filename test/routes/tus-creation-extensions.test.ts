import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  create,
  creating,
  creationsRefused,
  handFed,
  jobOf,
  PIECE_TYPE,
  patch,
  receiptOf,
  send,
  shown,
  standing,
  tus,
  uploadIn,
} from '../support/tus.ts';
import { expectProblem, put, sample, sha256Hex } from '../support/vault.ts';

const content = sample(10_000);

const expectNothingMade = creationsRefused();

describe('Upload-Defer-Length (creation-defer-length)', () => {
  it('is told by every HEAD while the length is not known, and Upload-Length from then on', async () => {
    const upload = await create({ length: null });
    const head = async () => {
      const { headers } = await tus('HEAD', upload.url);
      return [headers.get('upload-defer-length'), headers.get('upload-length'), headers.get('upload-offset')];
    };
    expect(await head()).toEqual(['1', null, '0']);
    await send(upload, [content.subarray(0, 4000)]);
    expect(await head()).toEqual(['1', null, '4000']);
    expect((await shown(upload)).length).toBeNull();
    expect(await jobOf(upload)).toMatchObject({ total: 0, percentage: 0 });
    const told = await patch(upload, 4000, content.subarray(4000, 5000), { headers: { 'upload-length': '10000' } });
    expect(told.status).toBe(204);
    expect(await head()).toEqual([null, '10000', '5000']);
    await send(upload, [content.subarray(5000)], 5000);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('ends with the length in a PATCH of no bytes, when all had come before', async () => {
    const upload = await create({ length: null });
    await send(upload, [content]);
    expect((await standing(upload)).phase).toBe('receiving');
    const last = await patch(upload, 10_000, null, { headers: { 'upload-length': '10000' } });
    expect([last.status, last.headers.get('upload-offset')]).toEqual([204, '10000']);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('takes an empty file, and one whose length comes with its only piece', async () => {
    const empty = await create({ length: null });
    await patch(empty, 0, null, { headers: { 'upload-length': '0' } });
    expect((await receiptOf(empty)).file_size).toBe(0);
    const whole = await create({ length: null });
    await patch(whole, 0, content, { headers: { 'upload-length': '10000' } });
    expect((await receiptOf(whole)).file_size).toBe(10_000);
  });

  it('is over once a length was given: another one is refused and changes nothing', async () => {
    const upload = await create({ length: null });
    await patch(upload, 0, content.subarray(0, 1000), { headers: { 'upload-length': '10000' } });
    for (const length of ['9999', '10001', '1000']) {
      const changed = await patch(upload, 1000, content.subarray(1000, 1001), { headers: { 'upload-length': length } });
      await expectProblem(changed, 400, 'invalid-upload-header');
    }
    expect(await standing(upload)).toEqual({ offset: 1000, length: 10_000, phase: 'receiving' });
    const fixed = await create({ length: 10_000 });
    const changed = await patch(fixed, 0, content, { headers: { 'upload-length': '10001' } });
    await expectProblem(changed, 400, 'invalid-upload-header');
    expect(await standing(fixed)).toEqual({ offset: 0, length: 10_000, phase: 'receiving' });
  });

  it.each(['', '-1', '1.5', 'many'])('ends with a non-negative integer: %j is refused', async (length) => {
    const upload = await create({ length: null });
    const refused = await patch(upload, 0, content, { headers: { 'upload-length': length } });
    await expectProblem(refused, 400, 'invalid-upload-header');
    expect(await standing(upload)).toEqual({ offset: 0, length: null, phase: 'receiving' });
  });

  it('goes on where the piece that told the length did not count', async () => {
    const upload = await create({ length: null });
    await send(upload, [content.subarray(0, 5000)]);
    const sum = `sha1 ${createHash('sha1').digest('base64')}`;
    const headers = { 'upload-length': '7000', 'upload-checksum': sum };
    const refused = await patch(upload, 5000, content.subarray(5000, 6000), { headers });
    await expectProblem(refused, 460, 'chunk-checksum-mismatch');
    // More than the length that it tells, which shows when it has come.
    const body = new Blob([content.subarray(5000)]).stream();
    const longer = await patch(upload, 5000, body, { headers: { 'upload-length': '7000' } });
    await expectProblem(longer, 413, 'file-too-large');
    expect(await standing(upload)).toEqual({ offset: 5000, length: null, phase: 'receiving' });
    await patch(upload, 5000, content.subarray(5000), { headers: { 'upload-length': '10000' } });
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('takes no length that is shorter than what has come, comes with it, or is over the cap', async () => {
    const upload = await create({ length: null });
    await send(upload, [content.subarray(0, 5000)]);
    const most = Number((await tus('OPTIONS', '/tus')).headers.get('tus-max-size'));
    for (const [length, piece] of [
      [4999, content.subarray(0, 0)],
      [5001, content.subarray(5000, 5002)],
      [most + 1, content.subarray(5000, 5002)],
    ] as const) {
      const refused = await patch(upload, 5000, piece, { headers: { 'upload-length': String(length) } });
      expect([400, 413]).toContain(refused.status);
      await refused.body?.cancel();
    }
    expect(await standing(upload)).toEqual({ offset: 5000, length: null, phase: 'receiving' });
  });
});

describe('POST with a body (creation-with-upload)', () => {
  const asPiece = { 'content-type': PIECE_TYPE };

  it('counts the bytes, and says so by Upload-Offset', async () => {
    const answer = await creating({ length: 10_000, headers: asPiece, body: content.subarray(0, 7000) });
    expect(answer.headers.get('upload-offset')).toBe('7000');
    const upload = await uploadIn(answer);
    expect(await standing(upload)).toEqual({ offset: 7000, length: 10_000, phase: 'receiving' });
    await send(upload, [content.subarray(7000)], 7000);
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it('may bring the whole file, and one of unknown length may begin with it', async () => {
    const whole = await creating({ length: 10_000, headers: asPiece, body: content });
    expect([whole.status, whole.headers.get('upload-offset')]).toEqual([201, '10000']);
    expect((await receiptOf(await uploadIn(whole))).checksum).toBe(await sha256Hex(content));
    const begun = await creating({ length: null, headers: asPiece, body: content });
    expect([begun.status, begun.headers.get('upload-offset')]).toEqual([201, '10000']);
    const upload = await uploadIn(begun);
    expect((await standing(upload)).length).toBeNull();
    await patch(upload, 10_000, null, { headers: { 'upload-length': '10000' } });
    expect((await receiptOf(upload)).checksum).toBe(await sha256Hex(content));
  });

  it.each([null, 'application/octet-stream', 'multipart/form-data'])(
    'has the one content type: not %j',
    async (type) => {
      const body = new Blob([content]).stream();
      const refused = await creating({ length: 10_000, headers: { 'content-type': type }, body });
      await expectNothingMade(refused, 415, 'unsupported-media-type');
    },
  );

  it('with more bytes than the upload has room for is refused', async () => {
    const refused = await creating({
      length: 9_999,
      headers: asPiece,
      body: content,
      metadata: { job_id: 'overfull' },
    });
    await expectNothingMade(refused, 413, 'file-too-large');
    // Nothing of it is in the way of another try.
    await put('a.tar', content, '?job_id=overfull');
  });

  it.each([
    ['a checksum that differs', `sha1 ${createHash('sha1').digest('base64')}`, 460, 'chunk-checksum-mismatch'],
    ['a checksum that is none', 'sha1 AAAA', 400, 'invalid-upload-header'],
    ['a checksum of no algorithm of ours', 'md5 1B2M2Y8AsgTpgAmY7PhCfg==', 400, 'checksum-unsupported'],
  ])('with %s is refused, and holds no job', async (_, sum, status, code) => {
    const headers = { ...asPiece, 'upload-checksum': sum };
    const refused = await creating({ length: 10_000, headers, body: content, metadata: { job_id: 'mismatched' } });
    await expectNothingMade(refused, status, code);
    await put('a.tar', content, '?job_id=mismatched');
  });

  it('that is cut made nothing that anybody could go on with: the job is free', async () => {
    const sending = handFed(10_000);
    const metadata = { job_id: 'cut-off' };
    const answer = creating({ length: 10_000, headers: asPiece, body: sending.body, metadata });
    await sending.give(content.subarray(0, 5000));
    await sending.cut();
    await expectNothingMade(await answer, 499, 'upload-interrupted');
    expect((await jobOf({ jobId: 'cut-off' })).phase).toBe('failed');
    await put('a.tar', content, '?job_id=cut-off');
  });
});
