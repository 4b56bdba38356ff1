import { describe, expect, it, vi } from 'vitest';
import { FRAME_BYTES } from '../../src/shared/limits.ts';
import {
  append,
  create,
  created,
  cut,
  expectInconsistent,
  expectReceipt,
  head,
  offsetOf,
  PROBLEM,
} from '../support/resumable-draft.ts';
import { ask, chunked, expectProblem, type Receipt, sample, sha256Hex, storedKeys } from '../support/vault.ts';

const content = sample(100_000);

describe('Upload Append', () => {
  it('at another offset is 409 with the right one', async () => {
    const location = await created();
    await append(location, 'abc', { complete: false, offset: 0 });
    const response = await append(location, 'def', { complete: true, offset: 7 });
    expect(response.headers.get('upload-offset')).toBe('3');
    expect(response.headers.get('upload-complete')).toBe('?0');
    const problem = await response.clone().json<Record<string, unknown>>();
    expect(problem).toMatchObject({
      type: `${PROBLEM}mismatching-upload-offset`,
      'expected-offset': 3,
      'provided-offset': 7,
    });
    expect(problem).not.toHaveProperty('expected_offset');
    await expectProblem(response, 409, 'offset-mismatch');
  });

  it('has its media type', async () => {
    const location = await created();
    const headers = { 'content-type': 'application/octet-stream' };
    const response = await append(location, 'abc', { complete: false, offset: 0, headers });
    expect(response.headers.get('accept-patch')).toBe('application/partial-upload');
    await expectProblem(response, 415, 'unsupported-media-type');
  });

  it('says where it begins and whether it ends the content', async () => {
    const location = await created();
    await expectProblem(await append(location, 'abc', { complete: false }), 400, 'invalid-upload-header');
    await expectProblem(await append(location, 'abc', { complete: 'no', offset: 0 }), 400, 'invalid-upload-header');
  });

  it('with Upload-Complete: ?0 is acknowledged as such', async () => {
    const response = await append(await created(), 'abc', { complete: false, offset: 0 });
    expect(response.status).toBe(204);
    expect(response.headers.get('upload-complete')).toBe('?0');
    expect(response.headers.get('upload-offset')).toBe('3');
  });

  it('with Upload-Complete: ?1 ends an upload of unknown length where its content ends', async () => {
    const location = await created();
    const half = content.slice(0, 50_000);
    expect((await append(location, chunked(half, 999), { complete: false, offset: 0 })).status).toBe(204);
    const rest = chunked(content.slice(50_000), 999);
    await expectReceipt(await append(location, rest, { complete: true, offset: 50_000 }), content);
  });

  it('without content ends an upload whose content is all here', async () => {
    const location = await created();
    await append(location, content, { complete: false, offset: 0 });
    expect((await head(location)).headers.get('upload-complete')).toBe('?0');
    await expectReceipt(await append(location, null, { complete: true, offset: content.length }), content);
  });

  it('without content gives the final answer again', async () => {
    const location = await created({ length: content.length });
    const response = await append(location, content, { complete: false, offset: 0 });
    expect(response.status).toBe(204);
    expect(response.headers.get('upload-complete')).toBe('?0');
    for (let i = 0; i < 2; i++) {
      await expectReceipt(await append(location, null, { complete: true, offset: content.length }), content);
    }
  });

  it('to a complete upload changes nothing', async () => {
    const location = await created();
    const receipt = await expectReceipt(await append(location, content, { complete: true, offset: 0 }), content);
    await expectInconsistent(await append(location, 'more', { complete: false, offset: content.length }));
    await expectInconsistent(await append(location, 'more', { complete: true, offset: content.length }));
    await expectInconsistent(
      await append(location, chunked(content, 500), { complete: false, offset: content.length }),
    );
    expect(await (await head(location, 'GET')).json()).toMatchObject({ phase: 'done', receipt });
  });

  it.each([
    ['announced', () => new Uint8Array(11)],
    ['not announced', () => chunked(new Uint8Array(11), 4)],
  ])('beyond the length ends the upload, its own length %s', async (_, body) => {
    const location = await created({ length: 10 });
    await expectInconsistent(await append(location, body(), { complete: false, offset: 0 }));
    expect((await head(location)).status).toBe(410);
    await expectProblem(await append(location, 'abc', { complete: false, offset: 0 }), 410, 'upload-gone');
  });

  it('beyond a length that it says itself ends the upload', async () => {
    const location = await created();
    await expectInconsistent(await append(location, 'abcdef', { complete: false, offset: 0, length: 5 }));
    expect((await head(location)).status).toBe(410);
  });

  it('a cut one keeps its prefix and completes nothing', async () => {
    const location = await created();
    expect((await append(location, cut(content.slice(0, 33_333)), { complete: true, offset: 0 })).status).toBe(499);
    const state = await head(location);
    expect(state.headers.get('upload-offset')).toBe('33333');
    expect(state.headers.get('upload-complete')).toBe('?0');
    await expectReceipt(await append(location, content.slice(33_333), { complete: true, offset: 33_333 }), content);
  });

  it('goes on with the secret that came with the creation, and with no other', async () => {
    const response = await create(null, { complete: false });
    const location = response.headers.get('location') ?? '';
    const token = response.headers.get('coldstream-upload-secret') ?? '';
    expect((await append(location, 'abc', { complete: false, offset: 0, token })).status).toBe(204);
    const other = `csu_${'A'.repeat(43)}`;
    await expectProblem(
      await append(location, 'abc', { complete: true, offset: 3, token: other }),
      401,
      'unauthorized',
    );
    await expectProblem(await append(location, 'abc', { complete: true, offset: 3, token: null }), 401, 'unauthorized');
  });

  it('of what is read back longer than a request waits for is answered before, and the receipt comes later', async () => {
    const large = sample(9 * FRAME_BYTES);
    const location = await created();
    const response = await append(location, large, { complete: true, offset: 0 });
    expect(response.status).toBe(202);
    expect(response.headers.get('upload-complete')).toBe('?1');
    expect(response.headers.get('location')).toBe(location);
    expect(await response.json()).toMatchObject({ offset: large.length, length: large.length, receipt: null });
    const receipt = await vi.waitFor(
      async () => {
        const status = await (await head(location, 'GET')).json<{ receipt: Receipt | null }>();
        expect(status.receipt).not.toBeNull();
        return status.receipt;
      },
      { timeout: 30_000, interval: 100 },
    );
    expect(receipt).toMatchObject({ file_size: large.length, checksum: await sha256Hex(large) });
  });
});

describe('Upload Cancellation', () => {
  it('leaves nothing, and then the upload is gone', async () => {
    const location = await created();
    await append(location, content, { complete: false, offset: 0 });
    const response = await head(location, 'DELETE');
    expect(response.status).toBe(204);
    for (const method of ['HEAD', 'GET', 'DELETE']) expect((await head(location, method)).status).toBe(410);
    expect((await storedKeys()).filter((key) => key.includes(location.split('/')[2] ?? '?'))).toEqual([]);
  });

  it('of an upload that there is not is 404', async () => {
    for (const id of ['dump.sql', '01JZZZZZZZZZZZZZZZZZZZZZZZ']) {
      await expectProblem(await head(`/uploads/${id}`, 'DELETE'), 404, 'not-found');
    }
  });
});

describe('Concurrency', () => {
  it('an offset that was told is taken by the next append, whoever still writes', async () => {
    const location = await created();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const first = append(location, readable, { complete: false, offset: 0 });
    const writer = writable.getWriter();
    await writer.write(content.slice(0, 20_000));
    await vi.waitFor(async () => expect((await jobOf(location)).current).toBe(20_000), { interval: 50 });
    const offset = await offsetOf(location);
    expect(offset).toBe(20_000);
    // The first goes on to its end, which would count.
    await writer.write(content.slice(20_000, 30_000)).catch(() => undefined);
    await writer.close().catch(() => undefined);
    await expectProblem(await first, 409, 'upload-superseded');
    const next = await append(location, content.slice(offset), { complete: true, offset });
    await expectReceipt(next, content);
  });

  async function jobOf(location: string): Promise<{ current: number }> {
    return (await ask(`/jobs/${location.split('/')[2]}`)).json();
  }
});
