/** A finished upload in pieces is a backup like any other: compared with a one-request upload of the same content. */
import { env } from 'cloudflare:workers';
import { beforeAll, describe, expect, it } from 'vitest';
import { FRAME_BYTES, MIB, PART_BYTES } from '../../src/shared/limits.ts';
import { filesPage, gzipped, manyFrames, oneFrame, tarOf, textAt } from '../support/archives.ts';
import {
  type Bytes,
  create,
  cut,
  eventually,
  jobOf,
  noise,
  patch,
  receiptOf,
  rows,
  send,
  shown,
  standing,
  tus,
  uploaded,
} from '../support/tus.ts';
import { ask, expectProblem, put, type Receipt, sample, sha256Hex, storedKeys } from '../support/vault.ts';

/** Everything in a receipt but what names this one backup, and its time. */
function nameless(receipt: Receipt): object {
  const { backup_id, job_id, created_at, download_url, ...rest } = receipt;
  expect(download_url).toBe(`/backup/${backup_id}/download`);
  expect(job_id).toBe(backup_id);
  expect(Date.parse(created_at)).toBeGreaterThan(Date.now() - 5 * 60_000);
  return rest;
}

async function objectAt(key: string): Promise<Bytes> {
  const object = await env.VAULT.get(key);
  return new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer());
}

/** What of a stored object does not depend on who stored it, and when. */
async function storedForm({ backup_id }: Receipt): Promise<object> {
  const {
    backup_id: _,
    job_id,
    created_at,
    ...kept
  } = JSON.parse(new TextDecoder().decode(await objectAt(`receipt/${backup_id}`)));
  const index = await objectAt(`index/${backup_id}`);
  const data = await objectAt(`data/${backup_id}`);
  return { data: await sha256Hex(data), bytes: data.length, receipt: kept, index: await sha256Hex(index) };
}

/** Everything that two backups of the same content have alike. */
async function traits(receipt: Receipt): Promise<object> {
  const zst = await ask(`${receipt.download_url}?format=zst`);
  const body = owned(await zst.bytes());
  const asZst = zst.ok ? await sha256Hex(body) : null;
  return { receipt: nameless(receipt), stored: await storedForm(receipt), zst: [zst.status, asZst] };
}

/** @param alike traits of a one-request upload */
async function expectSame(inPieces: Receipt, alike: object): Promise<void> {
  expect(await traits(inPieces)).toEqual(alike);
  const back = await (await ask(inPieces.download_url)).bytes();
  expect(await sha256Hex(owned(back))).toBe(inPieces.checksum);
}

async function oneRequest(content: Bytes, query = '', name = 'site.tar'): Promise<object> {
  return traits(await put(name, content, query));
}

function owned(bytes: Uint8Array): Bytes {
  return new Uint8Array(bytes);
}

const F = FRAME_BYTES;
const P = PART_BYTES;

const AWKWARD: [string, number[]][] = [
  ['one byte, then all', [1]],
  ['a frame less one, one, a frame and one', [F - 1, 1, F + 1]],
  ['whole frames', [F, F, F, F]],
  ['a part less one, two', [P - 1, 2]],
  ['a part, a part', [P, P]],
  ['a part and one, a part less one', [P + 1, P - 1]],
  ['single bytes around a part', [P - 2, 1, 1, 1, 1]],
  ['nothing, one, nothing', [0, 1, 0, F, 0, P - F - 1, 0]],
  ['all, and nothing behind it', [2 * P + 77, 0]],
];

// What is stored as it comes knows no engine, and these tests run once for each.
const COMPRESSIONS = env.ZSTD_ENGINE === 'native' ? ['none', 'zstd'] : ['zstd'];

describe.each(COMPRESSIONS)('content that does not compress, with compression %s', (compression) => {
  const content = noise(2 * P + 77);
  let inOne: object;
  beforeAll(async () => {
    inOne = await oneRequest(content, `?compression=${compression}`);
  });

  it.each(AWKWARD)('is stored as by one request: %s', async (_, sizes) => {
    await expectSame(await uploaded(cut(content, sizes), { metadata: { compression } }), inOne);
  });
});

describe('content that compresses well', () => {
  const content = sample(3 * F + 5);

  it('is stored as by one request, whatever the pieces, and with its length told late', async () => {
    const inOne = await oneRequest(content);
    expect(inOne).toMatchObject({ receipt: { compression: { codec: 'zstd', frames: 4 } } });
    for (const sizes of [
      [1, 1, 1],
      [F + 1, F - 2],
      [3 * F, 4],
      [700_001, 700_001, 700_001, 700_001],
    ]) {
      await expectSame(await uploaded(cut(content, sizes)), inOne);
    }
    const late = await create({ length: null });
    await send(late, cut(content, [5]));
    expect(await standing(late)).toEqual({ offset: content.length, length: null, phase: 'receiving' });
    await patch(late, content.length, null, { headers: { 'upload-length': String(content.length) } });
    await expectSame(await receiptOf(late), inOne);
  });

  it('ends where a frame ends, and where a part of the object does', async () => {
    for (const length of [F, 2 * F, 1, F - 1, F + 1]) {
      const part = content.subarray(0, length);
      await expectSame(await uploaded(cut(part, [length - 1])), await oneRequest(part));
    }
  });

  it('is stored at the level that was asked for', async () => {
    const inOne = await oneRequest(content, '?level=1');
    await expectSame(await uploaded(cut(content, [F - 3]), { metadata: { level: '1' } }), inOne);
  });
});

describe('compression=auto', () => {
  const GZIP = new Uint8Array([0x1f, 0x8b, 8, 0, ...noise(5000)]);
  const ZSTD = oneFrame(sample(5000));

  it.each([
    ['gzip', GZIP, 'none'],
    ['zstd', ZSTD, 'none'],
    ['text', sample(5000), 'zstd'],
    ['two bytes of gzip that are not', new Uint8Array([0x1f, 0x8b, 0x41, ...sample(5000)]), 'zstd'],
  ])('decides as for one request though the first pieces are of one byte: %s', async (_, content, codec) => {
    const inOne = await oneRequest(content);
    expect(inOne).toMatchObject({ receipt: { compression: { codec } } });
    for (const sizes of [[1], [1, 1, 1, 1, 1, 1, 1, 1], [3, 2, 1], [0, 1]]) {
      await expectSame(await uploaded(cut(content, sizes)), inOne);
    }
  });

  it.each([0, 1, 2, 3, 5])('decides of a file of %i bytes', async (length) => {
    for (const whole of [GZIP, ZSTD, sample(10)]) {
      const content = whole.subarray(0, length);
      const pieces = length === 0 ? [] : cut(content, [1]);
      const inPieces = await uploaded(pieces, { metadata: { allow_empty: 'true' } });
      await expectSame(inPieces, await oneRequest(content, '?allow_empty=true'));
    }
  });

  it.each(['none', 'zstd'])('is not asked where the sender says %s', async (compression) => {
    for (const content of [GZIP, sample(5000)]) {
      const inOne = await oneRequest(content, `?compression=${compression}`);
      expect(inOne).toMatchObject({ receipt: { compression: { codec: compression } } });
      await expectSame(await uploaded(cut(content, [1, 2]), { metadata: { compression } }), inOne);
    }
  });
});

describe('an archive', () => {
  const tar = tarOf([
    { path: 'dir/', type: 'directory' },
    { path: 'dir/first', content: 'the first' },
    { path: 'big', content: noise(F + 1234) },
    { path: 'größe', content: 'odd' },
    { path: 'link', type: 'symlink', linkTarget: 'dir/first' },
  ]);

  it('has its members listed and opened, cut anywhere, also within a header', async () => {
    const inOne = await oneRequest(tar);
    for (const sizes of [[1], [511, 2], [512 + 256, 1000], [F, 1]]) {
      const receipt = await uploaded(cut(tar, sizes));
      expect(receipt.archive).toEqual({ format: 'tar', members: 5, stopped: null });
      await expectSame(receipt, inOne);
      const { files } = await filesPage(receipt.backup_id);
      expect(files.map(({ path }) => path)).toEqual(['big', 'dir', 'dir/first', 'größe', 'link']);
      expect(await textAt(`/backup/${receipt.backup_id}/files/dir/first`)).toBe('the first');
    }
  });

  it('is one within gzip and zstd too', async () => {
    for (const packed of [await gzipped(tar), await manyFrames(tar, 100_000)]) {
      const inOne = await oneRequest(packed, '', 'site.tar.gz');
      const receipt = await uploaded(cut(packed, [1, 1000]), { metadata: { filename: 'site.tar.gz' } });
      await expectSame(receipt, inOne);
      expect((await filesPage(receipt.backup_id)).files).toHaveLength(5);
    }
  });

  it('that is cut off itself is stored, and says how far it goes', async () => {
    const half = tar.subarray(0, 2 * MIB);
    const receipt = await uploaded(cut(half, [1000]));
    expect(receipt.archive).toMatchObject({ format: 'tar', stopped: expect.anything() });
    await expectSame(receipt, await oneRequest(half));
  });
});

describe('the sha256 that a sender expects', () => {
  const content = sample(F + 100);

  it('is compared, in either case, with what is stored', async () => {
    const sha256 = await sha256Hex(content);
    for (const expected of [sha256, sha256.toUpperCase()]) {
      const receipt = await uploaded(cut(content, [100]), { metadata: { sha256: expected } });
      expect(receipt.checksum).toBe(sha256);
    }
  });

  it('that differs is 422 for the last piece, 410 from then on, and leaves nothing', async () => {
    const before = await storedKeys();
    const listed = await rows();
    const upload = await create({
      length: content.length,
      metadata: { sha256: '0'.repeat(64), job_id: 'expects-another' },
    });
    await send(upload, [content.subarray(0, F)]);
    await expectProblem(await patch(upload, F, content.subarray(F)), 422, 'checksum-mismatch');
    const gone = await ask(upload.url);
    expect(await gone.clone().json()).toMatchObject({ reason: 'checksum-mismatch' });
    await expectProblem(gone, 410, 'upload-failed');
    const head = await tus('HEAD', upload.url);
    expect([head.status, head.headers.get('upload-offset')]).toEqual([410, null]);
    await expectProblem(await patch(upload, content.length, null), 410, 'upload-failed');
    expect(await storedKeys()).toEqual(before);
    expect(await rows()).toBe(listed);
    expect(await jobOf(upload)).toMatchObject({ phase: 'failed', code: 'checksum-mismatch' });
    await put('a.tar', content, '?job_id=expects-another');
  });
});

describe('content of more than is read back at once', () => {
  it('is acknowledged as soon as it is durable, and done a little later, by itself', async () => {
    const content = noise(33 * MIB);
    const upload = await create({ length: content.length, metadata: { compression: 'none' } });
    await send(upload, cut(content, [16 * MIB, 16 * MIB]));
    const after = await shown(upload);
    expect(['storing', 'verifying', 'done']).toContain(after.phase);
    expect(after.receipt === null).toBe(after.phase !== 'done');
    const receipt = await receiptOf(upload);
    expect(receipt).toMatchObject({ file_size: content.length, checksum: await sha256Hex(content) });
    const job = await eventually(
      () => jobOf(upload),
      ({ phase }) => phase === 'done',
    );
    expect(job).toMatchObject({
      backup_id: upload.id,
      percentage: 100,
      current: content.length,
      total: content.length,
    });
    const { backup_id } = await put('site.tar', content, '?compression=none');
    expect(await sha256Hex(await objectAt(`data/${upload.id}`))).toBe(
      await sha256Hex(await objectAt(`data/${backup_id}`)),
    );
  });
});
