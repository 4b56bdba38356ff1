import { env } from 'cloudflare:workers';
import { createHash } from 'node:crypto';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeEach, describe, expect, it } from 'vitest';
import { nativeEngine } from '../../src/codec/zstd/native-engine.ts';
import { concat } from '../../src/shared/bytes.ts';
import { FRAME_BYTES, KIB, MIB } from '../../src/shared/limits.ts';
import { append, create as createDraft, created as createdDraft } from '../support/resumable-draft.ts';
import { create, cut, noise, patch, receiptOf, rows, send as sendChunks, standing } from '../support/tus.ts';
import { ask, expectProblem, put, type Receipt, sample, sha256Hex, storedKeys } from '../support/vault.ts';
import { skippable, zeros } from '../unit/codec/zstd-files.ts';
import { contentOf, gzip, tarOf } from '../unit/ingest/archives.ts';

type Bytes = Uint8Array<ArrayBuffer>;

const own = (bytes: Uint8Array): Bytes => new Uint8Array(bytes);

/** Frames with these many bytes of content, as another encoder would cut them. */
function framesOf(file: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const frames: Uint8Array[] = [];
  let at = 0;
  for (const size of [...sizes, file.length]) {
    const content = file.subarray(at, at + size);
    if (content.length > 0) frames.push(nativeEngine.compressFrame(content, 1));
    at += size;
  }
  return frames;
}

const zstd = (file: Uint8Array): Bytes => own(nativeEngine.compressFrame(file, 3));

function send(body: Uint8Array, encoding: string, query = '', headers: Record<string, string> = {}): Promise<Response> {
  return ask(`/backup/upload/site.tar${query}`, {
    method: 'PUT',
    body: own(body),
    headers: { 'content-encoding': encoding, ...headers },
  });
}

async function stored(answer: Response, file: Uint8Array): Promise<Receipt> {
  expect(answer.status, await answer.clone().text()).toBe(201);
  const receipt: Receipt = await answer.json();
  expect(receipt).toMatchObject({ filename: 'site.tar', file_size: file.length, checksum: await sha256Hex(own(file)) });
  const back = await ask(receipt.download_url, { headers: { 'accept-encoding': 'identity' } });
  expect(await sha256Hex(own(await back.bytes()))).toBe(receipt.checksum);
  return receipt;
}

async function storedBytes({ download_url }: Receipt): Promise<Uint8Array> {
  return (await ask(`${download_url}?format=zst`)).bytes();
}

let before: string[];
let listed: number;
beforeEach(async () => {
  before = await storedKeys();
  listed = await rows();
});

async function expectRejected(answer: Response, status: number, code: string): Promise<void> {
  await expectProblem(answer, status, code);
  expect(await storedKeys()).toEqual(before);
  expect(await rows()).toBe(listed);
}

const file = sample(300_000);

describe('Content-Encoding of an upload', () => {
  it.each([
    ['gzip', (bytes: Bytes) => gzip(bytes)],
    ['x-gzip', (bytes: Bytes) => gzip(bytes)],
    ['ZSTD', (bytes: Bytes) => zstd(bytes)],
    ['zstd, gzip', (bytes: Bytes) => gzip(zstd(bytes))],
    ['gzip ,identity,zstd', (bytes: Bytes) => zstd(own(gzip(bytes)))],
  ] as const)('%s is undone: name, size, checksum and content are those of the file', async (encoding, encode) => {
    await stored(await send(encode(file), encoding), file);
  });

  it('is undone for the members of an archive', async () => {
    const tar = own(tarOf([5]));
    for (const [encoding, body] of [
      ['gzip', gzip(tar)],
      ['zstd', zstd(tar)],
    ] as const) {
      const receipt = await stored(await send(body, encoding), tar);
      expect(receipt).toMatchObject({ archive: { format: 'tar', members: 1, stopped: null } });
      expect(await (await ask(`/backup/${receipt.backup_id}/files/0.bin`)).bytes()).toEqual(contentOf(0, 5));
    }
  });

  it('is undone once: a tar.gz within it stays a tar.gz, and without the header bytes are bytes', async () => {
    const packed = own(gzip(file));
    await stored(await send(gzip(packed), 'gzip'), packed);
    expect(await put('site.tar.gz', packed)).toMatchObject({
      file_size: packed.length,
      compression: { codec: 'none' },
    });
  });

  it.each(['br', 'deflate', 'compress', 'gzip, gzip', 'zstd, br', 'gzip;q=1', ','])('%j is 415', async (encoding) => {
    await expectRejected(await send(gzip(file), encoding), 415, 'unsupported-encoding');
  });

  it('has sha256 of the file, and the digests in headers of the bytes as sent', async () => {
    const body = gzip(file);
    const digest = (of: Uint8Array) => `sha-256=:${createHash('sha256').update(of).digest('base64')}:`;
    const of = await sha256Hex(file);
    await stored(
      await send(body, 'gzip', `?sha256=${of}`, { 'content-digest': digest(body), 'repr-digest': digest(body) }),
      file,
    );
    before = await storedKeys();
    listed = await rows();
    await expectRejected(await send(body, 'gzip', `?sha256=${await sha256Hex(own(body))}`), 422, 'checksum-mismatch');
    await expectRejected(await send(body, 'gzip', '', { 'content-digest': digest(file) }), 422, 'checksum-mismatch');
    await expectRejected(await send(body, 'gzip', '', { 'repr-digest': digest(file) }), 422, 'checksum-mismatch');
  });

  it('that holds nothing is an empty upload', async () => {
    for (const [encoding, body] of [
      ['gzip', gzip(own(utf8Of('')))],
      ['zstd', zstd(own(utf8Of('')))],
    ] as const) {
      await expectRejected(await send(body, encoding), 400, 'empty-upload');
      await stored(await send(body, encoding, '?allow_empty=true'), utf8Of(''));
      before = await storedKeys();
      listed = await rows();
    }
  });
});

function utf8Of(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

describe('a broken encoding', () => {
  const zst = zstd(file);
  const gz = own(gzip(file));

  it.each([
    ['gzip', gz, 'malformed-gzip'],
    ['zstd', zst, 'malformed-zstd'],
  ] as const)('%s that is cut anywhere is 400, and leaves nothing', async (encoding, whole, code) => {
    for (const length of [1, 3, 10, 18, whole.length >> 1, whole.length - 5, whole.length - 1]) {
      await expectRejected(await send(whole.subarray(0, length), encoding), 400, code);
    }
  });

  const flipped = own(gz);
  flipped[flipped.length - 6] = (flipped[flipped.length - 6] ?? 0) ^ 1;
  it.each([
    ['no gzip', 'gzip', file, 'malformed-gzip'],
    ['no zstd', 'zstd', file, 'malformed-zstd'],
    ['a wrong checksum', 'gzip', flipped, 'malformed-gzip'],
    ['bytes behind the last gzip member', 'gzip', concat([gz, utf8Of('and more')]), 'malformed-gzip'],
    ['zeros behind the last gzip member', 'gzip', concat([gz, new Uint8Array(512)]), 'malformed-gzip'],
    ['bytes behind the last zstd frame', 'zstd', concat([zst, utf8Of('and more')]), 'malformed-zstd'],
    ['codings in the other order', 'zstd, gzip', zstd(own(gz)), 'malformed-gzip'],
  ] as const)('with %s is 400, and leaves nothing', async (_, encoding, body, code) => {
    await expectRejected(await send(body, encoding), 400, code);
  });
});

describe('the cap', () => {
  async function link(maxBytes: number): Promise<string> {
    const body = JSON.stringify({ filename: 'site.tar', max_bytes: maxBytes });
    const order = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
    return (await (await ask('/backup/upload-links', order)).json<{ url: string }>()).url;
  }
  const put = (url: string, body: Uint8Array, encoding: string) =>
    ask(url, { method: 'PUT', body: own(body), headers: { 'content-encoding': encoding }, token: null });

  it('counts decoded bytes, by an upload link too', async () => {
    const noisy = noise(100_000);
    await stored(await put(await link(100_000), gzip(noisy), 'gzip'), noisy);
    before = await storedKeys();
    listed = await rows();
    await expectRejected(await put(await link(99_999), gzip(noisy), 'gzip'), 413, 'file-too-large');
    await expectRejected(await put(await link(299_999), zstd(file), 'zstd'), 413, 'file-too-large');
  });

  it.each([
    ['gzip', gzip(new Uint8Array(64 * MIB))],
    ['zstd that tells its size', zeros(64 * MIB, 64 * MIB)],
    ['zstd that tells none', zeros(64 * MIB)],
    ['zstd in gzip', gzip(own(zeros(64 * MIB)))],
  ] as const)('ends a bomb of %s', async (name, bomb) => {
    const encoding = name === 'zstd in gzip' ? 'zstd, gzip' : name.startsWith('gzip') ? 'gzip' : 'zstd';
    await expectRejected(await put(await link(MIB), bomb, encoding), 413, 'file-too-large');
  });

  it('ends an encoding that grows and holds nothing', async () => {
    const padding = Array.from({ length: 3 }, () => skippable(new Uint8Array(MIB)));
    await expectRejected(await put(await link(1000), concat(padding), 'zstd'), 413, 'file-too-large');
  });
});

describe('zstd frames of the stored form', () => {
  const large = sample(9 * MIB);

  it.each([
    ['of 4 MiB, as push --compress makes them', [FRAME_BYTES, FRAME_BYTES]],
    ['of other sizes', [1000, 3 * MIB, 1, 2 * MIB]],
  ] as const)('%s are stored as they came, with a seek table of the vault', async (_, sizes) => {
    const frames = framesOf(large, sizes);
    // Skippable frames, like the seek table of the sender, are no content.
    const receipt = await stored(await send(concat([...frames, skippable(new Uint8Array(40), 0xe)]), 'zstd'), large);
    expect(receipt.compression).toEqual({ codec: 'zstd', level: null, engine: 'client', frames: frames.length });
    const object = await storedBytes(receipt);
    const sent = concat(frames);
    expect(await sha256Hex(own(object.subarray(0, sent.length)))).toBe(await sha256Hex(own(sent)));
    for (const [from, to] of [
      [0, 0],
      [999, 1001],
      [4 * MIB - 10, 4 * MIB + 10],
      [9 * MIB - 1, 9 * MIB - 1],
    ] as const) {
      const part = await ask(receipt.download_url, {
        headers: { range: `bytes=${from}-${to}`, 'accept-encoding': 'identity' },
      });
      expect(part.status).toBe(206);
      expect(await sha256Hex(own(await part.bytes()))).toBe(await sha256Hex(own(large.subarray(from, to + 1))));
    }
    const verdict = await ask(`/backup/${receipt.backup_id}/verify`, { method: 'POST' });
    expect(await verdict.json()).toMatchObject({ ok: true, damage: null, frames_checked: frames.length });
  });

  it('are stored as they came beside others: frames without a size, too large ones, and the vault encodes those', async () => {
    const first = nativeEngine.compressFrame(large.subarray(0, MIB), 1);
    const body = concat([first, zeros(200 * KIB), first]);
    const receipt = await stored(
      await send(body, 'zstd'),
      concat([large.subarray(0, MIB), new Uint8Array(200 * KIB), large.subarray(0, MIB)]),
    );
    expect(receipt.compression).toMatchObject({ engine: 'client', frames: 3 });
    const verdict = await ask(`/backup/${receipt.backup_id}/verify`, { method: 'POST' });
    expect(await verdict.json()).toMatchObject({ ok: true });
  });

  it('are kept also where their content is compressed already', async () => {
    const packed = own(gzip(file));
    const receipt = await stored(await send(zstd(packed), 'zstd'), packed);
    expect(receipt.compression).toMatchObject({ codec: 'zstd', engine: 'client', frames: 1 });
  });

  it('are encoded anew where a level, a compression or a recipient is given', async () => {
    const recipient = await identityToRecipient(await generateX25519Identity());
    const body = zstd(file);
    for (const [query, compression] of [
      ['?level=2', { codec: 'zstd', level: 2, engine: env.ZSTD_ENGINE }],
      ['?compression=zstd', { codec: 'zstd', level: 3, engine: env.ZSTD_ENGINE }],
      ['?compression=none', { codec: 'none' }],
      [`?recipient=${recipient}`, { codec: 'zstd', level: 3, engine: env.ZSTD_ENGINE }],
    ] as const) {
      const answer = await send(body, 'zstd', query);
      expect(await answer.json()).toMatchObject({
        file_size: file.length,
        checksum: await sha256Hex(file),
        compression,
      });
    }
  });

  it('that are many and small are gathered after the first thousand', async () => {
    const content = sample(3000);
    const body = concat(
      framesOf(
        content,
        Array.from({ length: 3000 }, () => 1),
      ),
    );
    const receipt = await stored(await send(body, 'zstd'), content);
    expect(receipt.compression).toMatchObject({ engine: 'client', frames: 1025 });
  });
});

describe('a resumable upload', () => {
  const large = sample(9 * MIB);

  it('with content_encoding counts the bytes sent, and its receipt is that of the file', async () => {
    const body = own(gzip(file));
    const upload = await create({
      length: body.length,
      metadata: { content_encoding: 'gzip', sha256: await sha256Hex(file) },
    });
    const [first, ...others] = cut(body, [1, 10_000]);
    await sendChunks(upload, [first ?? body]);
    expect(await standing(upload)).toMatchObject({ offset: 1, length: body.length });
    await sendChunks(upload, others, 1);
    const receipt = await receiptOf(upload);
    expect(receipt).toMatchObject({ file_size: file.length, checksum: await sha256Hex(file) });
    expect(await sha256Hex(own(await (await ask(receipt.download_url)).bytes()))).toBe(receipt.checksum);
    expect((await storedKeys()).filter((key) => key.startsWith('tmp/'))).toEqual([]);
  });

  it('keeps zstd frames as they came, wherever its chunks are cut', async () => {
    const frames = framesOf(large, [FRAME_BYTES, FRAME_BYTES]);
    const body = own(concat([...frames, skippable(new Uint8Array(45), 0xe)]));
    const upload = await create({ length: null, metadata: { content_encoding: 'zstd', filename: 'large.tar' } });
    await sendChunks(upload, cut(body, [100_000, 1_000_000]));
    await patch(upload, body.length, '', { headers: { 'upload-length': String(body.length) } });
    const receipt = await receiptOf(upload);
    expect(receipt).toMatchObject({
      filename: 'large.tar',
      file_size: large.length,
      checksum: await sha256Hex(large),
      compression: { codec: 'zstd', level: null, engine: 'client', frames: 3 },
    });
    const object = await storedBytes(receipt);
    const sent = own(concat(frames));
    expect(await sha256Hex(own(object.subarray(0, sent.length)))).toBe(await sha256Hex(sent));
  });

  it.each([
    ['gzip', own(gzip(file)).subarray(0, 20_000), 400, 'malformed-gzip'],
    ['zstd', zstd(file).subarray(0, 20_000), 400, 'malformed-zstd'],
    ['zstd', file, 400, 'malformed-zstd'],
    ['gzip', own(gzip(new Uint8Array(0))), 400, 'empty-upload'],
  ] as const)('whose %s cannot be decoded fails for good, and leaves nothing', async (encoding, body, status, code) => {
    const upload = await create({ length: body.length, metadata: { content_encoding: encoding } });
    await expectRejected(await patch(upload, 0, own(body)), status, code);
    expect(await (await ask(upload.url)).json()).toMatchObject({ code: 'upload-failed', reason: code });
  });

  it('with an encoding that is not supported is not created', async () => {
    const answer = await ask('/tus', {
      method: 'POST',
      headers: {
        'tus-resumable': '1.0.0',
        'upload-length': '5',
        'upload-metadata': `filename YQ==,content_encoding ${btoa('br')}`,
      },
    });
    await expectRejected(answer, 415, 'unsupported-encoding');
  });

  it('of the draft has the Content-Encoding of the request that creates it', async () => {
    const body = own(gzip(file));
    const headers = { 'content-encoding': 'gzip' };
    const whole = await createDraft(body, { complete: true, headers });
    expect(await whole.json()).toMatchObject({ file_size: file.length, checksum: await sha256Hex(file) });
    const location = await createdDraft({ headers });
    await append(location, body.subarray(0, 10_000), { complete: false, offset: 0 });
    const answer = await append(location, body.subarray(10_000), { complete: true, offset: 10_000 });
    expect(await answer.json()).toMatchObject({ file_size: file.length, checksum: await sha256Hex(file) });
  });
});

describe('require=whole-archive', () => {
  const tar = own(tarOf([5000, 700]));
  const required = { require: 'whole-archive' };

  it('keeps a whole archive, also one that is compressed or encoded', async () => {
    await stored(await ask('/backup/upload/site.tar?require=whole-archive', { method: 'PUT', body: tar }), tar);
    await stored(await send(gzip(tar), 'gzip', '?require=whole-archive'), tar);
    const packed = own(gzip(tar));
    const upload = await create({ length: packed.length, metadata: required });
    await sendChunks(upload, [packed]);
    expect(await receiptOf(upload)).toMatchObject({ archive: { members: 2, stopped: null } });
  });

  it.each([
    ['truncated', tar.subarray(0, 4000)],
    ['without its end', tar.subarray(0, tar.length - 1024 - 512)],
    ['none', file],
  ])('rejects an archive that is %s by every way in, and keeps nothing', async (_, body) => {
    const put = { method: 'PUT', body: own(body) };
    await expectRejected(await ask('/backup/upload/site.tar?require=whole-archive', put), 422, 'broken-archive');
    await expectRejected(await send(gzip(own(body)), 'gzip', '?require=whole-archive'), 422, 'broken-archive');
    const form = new FormData();
    form.append('require', 'whole-archive');
    form.append('file', new Blob([own(body)]), 'site.tar');
    await expectRejected(await ask('/backup/upload', { method: 'POST', body: form }), 422, 'broken-archive');
    const upload = await create({ length: body.length, metadata: required });
    await expectRejected(await patch(upload, 0, own(body)), 422, 'broken-archive');
  });
});
