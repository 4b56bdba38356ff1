import { deflateRawSync, gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { sha256Digest } from '../../../src/codec/digest.ts';
import { gunzip, gzipEncode, MalformedGzip } from '../../../src/codec/gzip.ts';
import { concat, hex, sha256, utf8 } from '../../../src/shared/bytes.ts';
import { GZIP_PIECE_BYTES, MIB } from '../../../src/shared/limits.ts';
import { chunked, collect, firstDifference, noise, run, text } from './bytes.ts';

describe('gzipEncode', () => {
  test('pauses between slices only while other transfers share the isolate', async () => {
    const content = text(1_000_000);
    const pauses = vi.spyOn(scheduler, 'wait');
    await run(
      gzipEncode(() => false),
      content,
      content.length,
    );
    expect(pauses).not.toHaveBeenCalled();
    await run(
      gzipEncode(() => true),
      content,
      content.length,
    );
    expect(pauses.mock.calls.length).toBe(Math.ceil(content.length / GZIP_PIECE_BYTES));
    pauses.mockRestore();
  });

  test.each([0, 1, 100_000, 3_000_000])('writes %i bytes that gunzip brings back', async (bytes) => {
    for (const content of [text(bytes), noise(bytes)]) {
      for (const chunkBytes of [50_000, 1_000_000]) {
        const file = await run(gzipEncode(), content, chunkBytes);
        expect(firstDifference(new Uint8Array(gunzipSync(file)), content)).toBeNull();
      }
    }
  });

  test('takes one byte at a time', async () => {
    const file = await run(gzipEncode(), text(2_000), 1);
    expect(firstDifference(new Uint8Array(gunzipSync(file)), text(2_000))).toBeNull();
  });

  test('pulls nothing ahead of its reader, and leaves its source with it', async () => {
    let pulled = 0;
    let left = false;
    async function* source() {
      try {
        for await (const chunk of chunked(noise(2_000_000), 100_000)) {
          pulled += chunk.length;
          yield chunk;
        }
      } finally {
        left = true;
      }
    }
    let given = 0;
    for await (const piece of gzipEncode()(source())) {
      given += piece.length;
      expect(pulled - given).toBeLessThan(300_000);
      if (given > 500_000) break;
    }
    expect(left).toBe(true);
    expect(pulled).toBeLessThan(800_000);
  });

  test('throws the error of its source as it is', async () => {
    const failure = new Error('the disk is gone');
    async function* source() {
      yield noise(15_000);
      throw failure;
    }
    await expect(collect(gzipEncode()(source()))).rejects.toBe(failure);
  });
});

const plain = (content: Uint8Array, level = 6) => new Uint8Array(gzipSync(content, { level }));

/** The trailer of a member (RFC 1952, section 2.3.1) and its deflate stream, behind any header. */
function member(header: Uint8Array, content: Uint8Array): Uint8Array {
  const made = plain(content);
  return concat([header, new Uint8Array(deflateRawSync(content)), made.slice(-8)]);
}

/** What came out, and how it ended. */
async function outcomeOf(file: Uint8Array, chunkBytes = 1000, maxBytes?: number) {
  const given: Uint8Array[] = [];
  let error: unknown = null;
  try {
    const stage = gunzip(maxBytes === undefined ? {} : { maxBytes });
    for await (const piece of stage(chunked(file, chunkBytes))) given.push(piece.slice());
  } catch (thrown) {
    error = thrown;
  }
  return { content: concat(given), error };
}

describe('gunzip', () => {
  test.each([0, 1, 1000, 100_000, 3_000_000])('brings %i bytes back', async (bytes) => {
    for (const content of [text(bytes), noise(bytes)]) {
      for (const level of [0, 1, 6, 9]) {
        const file = plain(content, level);
        for (const chunkBytes of bytes <= 1000 ? [1, 7, 1000] : [997, 65_536, MIB]) {
          expect(firstDifference(await run(gunzip(), file, chunkBytes), content)).toBeNull();
        }
      }
    }
  });

  test('reads what gzipEncode writes', async () => {
    const file = await run(gzipEncode(), text(500_000));
    expect(firstDifference(await run(gunzip(), file), text(500_000))).toBeNull();
  });

  test('reads members one behind the other, in any chunks', async () => {
    const parts = [text(10), noise(70_000), new Uint8Array(0), text(200_000), text(1)];
    const file = concat(parts.map((part) => plain(part)));
    for (const chunkBytes of [1, 13, 1000, 65_536, file.length]) {
      expect(firstDifference(await run(gunzip(), file, chunkBytes), concat(parts))).toBeNull();
    }
  });

  test('reads a thousand small members', async () => {
    const parts = Array.from({ length: 1000 }, (_, i) => text(i % 50));
    const file = concat(parts.map((part) => plain(part)));
    expect(firstDifference(await run(gunzip(), file, 4096), concat(parts))).toBeNull();
  });

  const fixed = (flags: number) => [0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
  const name = [...utf8('a name'), 0];
  const headers: [string, number[]][] = [
    ['nothing more', fixed(0)],
    ['that the content is text', fixed(1)],
    ['a name', [...fixed(8), ...name]],
    ['an empty name', [...fixed(8), 0]],
    ['a name of 100,000 bytes', [...fixed(8), ...new Uint8Array(100_000).fill(97), 0]],
    ['a comment', [...fixed(16), ...name]],
    ['an extra field', [...fixed(4), 3, 0, 9, 0, 9]],
    ['an empty extra field', [...fixed(4), 0, 0]],
    ['the largest extra field', [...fixed(4), 255, 255, ...new Uint8Array(65_535)]],
    ['all of these', [...fixed(28), 2, 0, 0, 0, ...name, ...name]],
  ];
  test.each(headers)('reads a header with %s', async (_, header) => {
    const content = text(1000);
    const withCrc = [...header];
    withCrc[3] = (withCrc[3] ?? 0) | 2;
    const crc = new DataView(plain(Uint8Array.from(withCrc)).slice(-8).buffer).getUint32(0, true);
    const checked = member(Uint8Array.from([...withCrc, crc & 255, (crc >> 8) & 255]), content);
    for (const file of [member(Uint8Array.from(header), content), checked]) {
      for (const chunkBytes of file.length > 50_000 ? [997, file.length] : [1, 12, file.length]) {
        const two = concat([file, file]);
        expect(firstDifference(await run(gunzip(), two, chunkBytes), concat([content, content]))).toBeNull();
      }
    }
    const wrong = member(Uint8Array.from([...withCrc, (crc & 255) ^ 1, (crc >> 8) & 255]), content);
    expect((await outcomeOf(wrong)).error).toBeInstanceOf(MalformedGzip);
  });

  const refused: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['something else', text(100)],
    ['zeros', new Uint8Array(100)],
    ['another method', Uint8Array.of(0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3, 3, 0)],
    ['a reserved flag', member(Uint8Array.from(fixed(0x20)), text(10))],
  ];
  test.each(refused)('refuses %s', async (_, file) => {
    expect((await outcomeOf(file)).error).toMatchObject({ code: 'malformed-gzip', offset: 0 });
  });

  test('a file cut off at any byte but between members is refused, and gives what came before', async () => {
    const content = concat([text(300), noise(200)]);
    const first = member(Uint8Array.from([...fixed(28), 2, 0, 0, 0, ...name, ...name]), content);
    const file = concat([first, first]);
    for (let length = 0; length < file.length; length++) {
      const { content: given, error } = await outcomeOf(file.subarray(0, length), 100);
      if (length === first.length) expect(error).toBeNull();
      else expect(error, `${length}`).toBeInstanceOf(MalformedGzip);
      if (length >= first.length) expect(given.length).toBeGreaterThanOrEqual(content.length);
      expect(firstDifference(given, concat([content, content]).slice(0, given.length))).toBeNull();
    }
  });

  test('a large file that is cut gives all content up to there', async () => {
    const content = noise(MIB);
    const { content: given, error } = await outcomeOf(plain(content).subarray(0, 700_000), 50_000);
    expect(error).toMatchObject({ code: 'malformed-gzip', offset: 700_000 });
    expect(given.length).toBeGreaterThan(650_000);
    expect(firstDifference(given, content.slice(0, given.length))).toBeNull();
  });

  test('a byte changed anywhere behind the header is refused at the end of its member at the latest', async () => {
    // Some bits of deflate say nothing: then the content is the same.
    const content = concat([text(400), noise(100)]);
    const file = plain(content);
    for (let at = 10; at < file.length; at++) {
      const bad = file.slice();
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
      const { content: given, error } = await outcomeOf(bad);
      if (error !== null) expect(error, `byte ${at}`).toBeInstanceOf(MalformedGzip);
      if (error === null || at >= file.length - 8) expect(firstDifference(given, content), `byte ${at}`).toBeNull();
      if (at >= file.length - 8) expect(error).not.toBeNull();
    }
  });

  const trailing: [string, Uint8Array][] = [
    ['zeros, as of a tape', new Uint8Array(10_240)],
    ['one zero', new Uint8Array(1)],
    ['something else', text(500)],
    ['half a magic that is none', Uint8Array.of(0x1f, 0x8c)],
    ['zeros and a member behind them', concat([new Uint8Array(512), plain(text(5))])],
  ];
  test.each(trailing)('ends quietly before %s', async (_, garbage) => {
    const content = text(200_000);
    for (const chunkBytes of [700, MIB]) {
      const { content: given, error } = await outcomeOf(concat([plain(content), garbage]), chunkBytes);
      expect(error).toBeNull();
      expect(firstDifference(given, content)).toBeNull();
    }
  });

  test('a magic behind a member begins another one, and must go on', async () => {
    for (const cut of [[0x1f], [0x1f, 0x8b], [0x1f, 0x8b, 8, 0]]) {
      const { content, error } = await outcomeOf(concat([plain(text(50)), Uint8Array.from(cut)]));
      expect(error).toMatchObject({ code: 'malformed-gzip' });
      expect(content.length).toBe(50);
    }
  });

  test('never gives more than it may', async () => {
    const file = plain(text(100_000));
    expect((await outcomeOf(file, 1000, 100_000)).error).toBeNull();
    const { content, error } = await outcomeOf(file, 1000, 99_999);
    expect(error).toMatchObject({ code: 'file-too-large', maxBytes: 99_999 });
    expect(content.length).toBeLessThan(100_000);
  });

  test("a bomb comes out in small pieces, at its reader's pace, and is left with it", async () => {
    const bomb = concat([plain(new Uint8Array(64 * MIB)), plain(new Uint8Array(64 * MIB))]);
    let left = false;
    async function* source() {
      try {
        yield bomb;
      } finally {
        left = true;
      }
    }
    let made = 0;
    let largest = 0;
    for await (const piece of gunzip()(source())) {
      made += piece.length;
      largest = Math.max(largest, piece.buffer.byteLength);
    }
    expect(made).toBe(128 * MIB);
    expect(largest).toBeLessThanOrEqual(256 * 1024);
    left = false;
    for await (const _ of gunzip({ maxBytes: MIB })(source())) break;
    expect(left).toBe(true);
    left = false;
    await expect(collect(gunzip({ maxBytes: MIB })(source()))).rejects.toMatchObject({ code: 'file-too-large' });
    expect(left).toBe(true);
  });

  test('gives the chunks of the transform as they are, not joined in new memory, and each back', async () => {
    const given: Uint8Array[] = [];
    for await (const piece of gunzip()(chunked(gzipSync(text(8 * MIB)), 64 * 1024))) {
      expect(piece.buffer.byteLength).toBe(128 * 1024);
      given.push(piece);
    }
    expect(given.length).toBeGreaterThanOrEqual(64);
    expect(given.every(({ length }) => length === 0)).toBe(true);
  });

  test('pulls nothing ahead of a slow reader', async () => {
    let pulled = 0;
    async function* source() {
      for await (const chunk of chunked(plain(noise(2_000_000)), 100_000)) {
        pulled += chunk.length;
        yield chunk;
      }
    }
    let given = 0;
    for await (const piece of gunzip()(source())) {
      given += piece.length;
      await scheduler.wait(0);
      expect(pulled - given).toBeLessThan(200_000);
    }
    expect(given).toBe(2_000_000);
  });

  test('throws the error of its source as it is, wherever it comes', async () => {
    const failure = new Error('the disk is gone');
    const file = concat([plain(text(1000)), plain(text(1000))]);
    for (let at = 0; at < file.length; at += 7) {
      async function* source() {
        yield file.slice(0, at);
        throw failure;
      }
      await expect(collect(gunzip()(source()))).rejects.toBe(failure);
    }
  });

  test('tells of members, also of those that hold nothing, and ends where it is told to', async () => {
    const empty = plain(new Uint8Array(0));
    const enough = new Error('enough of these');
    let members = 0;
    const onMember = () => {
      members += 1;
      if (members > 7) throw enough;
    };
    const source = () => chunked(concat([plain(text(10)), ...Array.from({ length: 50 }, () => empty)]), 64);
    await expect(collect(gunzip({ onMember })(source()))).rejects.toBe(enough);
    expect(members).toBe(8);
  });

  test('many at once do not mix', async () => {
    const contents = [1, 2, 3, 4, 5].map((seed) => noise(300_000, seed));
    const back = await Promise.all(contents.map((content) => run(gunzip(), plain(content), 10_000)));
    for (const [i, content] of contents.entries()) expect(firstDifference(back[i] ?? content, content)).toBeNull();
  });
});

test('sha256Digest counts pieces as one', async () => {
  const digest = sha256Digest();
  for (const part of ['cold', '', 'stream']) digest.update(utf8(part));
  expect(hex(digest.digest())).toBe(hex(await sha256(utf8('coldstream'))));
});
