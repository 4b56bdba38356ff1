import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { durationOption, printable, showBytes, showDuration, sizeOption } from '../../src/cli/coldstream/amounts.ts';
import { encodeMemberPath } from '../../src/cli/coldstream/cat.ts';
import { CommandFailed } from '../../src/cli/coldstream/failures.ts';
import { Patience } from '../../src/cli/coldstream/patience.ts';
import { PieceSize } from '../../src/cli/coldstream/piece-size.ts';
import { type Content, PieceSource } from '../../src/cli/coldstream/piece-source.ts';
import { RateLimit } from '../../src/cli/coldstream/rate-limit.ts';
import { filenameIn } from '../../src/cli/coldstream/representation.ts';
import { fingerprintOf } from '../../src/cli/coldstream/resume-store.ts';
import { TransferRate } from '../../src/cli/coldstream/transfer-rate.ts';
import { zstdFrames } from '../../src/cli/coldstream/zstd-frames.ts';
import { MIB } from './clients.ts';

describe('the size of a piece', () => {
  const partBytes = 8 * MIB;

  it('grows from 16 to 64 MiB while pieces go well and quickly, and not while they are slow', () => {
    const pieces = new PieceSize({ partBytes });
    const sizes = Array.from({ length: 4 }, () => {
      const { bytes } = pieces;
      pieces.went(bytes, 1000);
      return bytes / MIB;
    });
    expect(sizes).toEqual([16, 32, 64, 64]);
    const slow = new PieceSize({ partBytes });
    slow.went(16 * MIB, 8000);
    expect(slow.bytes).toBe(16 * MIB);
  });

  it('is halved by each failure, down to 1 MiB, and comes back', () => {
    const pieces = new PieceSize({ partBytes });
    const sizes = Array.from({ length: 6 }, () => {
      pieces.failed();
      return pieces.bytes / MIB;
    });
    expect(sizes).toEqual([8, 4, 2, 1, 1, 1]);
    pieces.went(MIB, 100);
    expect(pieces.bytes).toBe(2 * MIB);
  });

  it.each([
    // Where it begins, how large a piece would be, where it ends; all in MiB.
    [0, 16, 16],
    [16, 32, 48],
    [3.5, 16, 16],
    [13, 16, 24],
    [3.5, 4, 4],
    [7.9, 1, 8],
  ])('makes a piece from %d MiB, of %d MiB at most, end at %d MiB', (offset, bytes, end) => {
    const pieces = new PieceSize({ partBytes });
    while (pieces.bytes > bytes * MIB) pieces.failed();
    while (pieces.bytes < bytes * MIB) pieces.went(pieces.bytes, 1);
    expect(pieces.endAfter(offset * MIB)).toBe(end * MIB);
  });

  it('stays within what a request may carry, what was asked for, and what several uploads share', () => {
    const bytes = (limits: Partial<ConstructorParameters<typeof PieceSize>[0]>) => {
      const pieces = new PieceSize({ partBytes, ...limits });
      for (let i = 0; i < 5; i++) pieces.went(pieces.bytes, 1);
      return pieces.bytes;
    };
    expect(bytes({ requestBytes: 100_000_000 })).toBe(64 * MIB);
    expect(bytes({ requestBytes: 20_000_000 })).toBe(16 * MIB);
    expect(bytes({ requestBytes: 5_000_000 })).toBe(5_000_000);
    expect(bytes({ fixedBytes: 10_000_000 })).toBe(10_000_000);
    expect(bytes({ fixedBytes: 10_000_000, requestBytes: 1_000_000 })).toBe(1_000_000);
    expect(bytes({ uploads: 3 })).toBe(16 * MIB);
    expect(bytes({ uploads: 16 })).toBe(8 * MIB);
    const fixed = new PieceSize({ partBytes, fixedBytes: 4 * MIB });
    fixed.failed();
    expect(fixed.bytes).toBe(4 * MIB);
  });

  it('never again is what something on the way refused as too large', () => {
    const pieces = new PieceSize({ partBytes });
    expect(pieces.wasTooLarge()).toBe(true);
    pieces.went(pieces.bytes, 1);
    expect(pieces.bytes).toBe(8 * MIB);
    while (pieces.wasTooLarge());
    expect(pieces.bytes).toBe(MIB);
  });
});

describe('the source of pieces', () => {
  const bytes = randomBytes(5 * MIB + 3);
  const sha256 = createHash('sha256').update(bytes).digest('hex');

  async function* inChunks(from: number, chunk = 300_000): AsyncGenerator<Buffer, void, undefined> {
    for (let at = from; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
  }
  const pipe: Content = { size: null, read: () => inChunks(0) };
  const file: Content = { size: bytes.length, read: (from) => inChunks(from), hashWhole: async () => sha256 };
  const pieces = () => new PieceSize({ partBytes: 8 * MIB, fixedBytes: 2 * MIB });
  const unlimited = new RateLimit(null, new AbortController().signal);

  async function piece(source: PieceSource, start: number): Promise<{ bytes: Buffer; size: number; done: boolean }> {
    const { value, done } = await source.slice(start);
    const { size } = value as { size: number };
    const chunks: Buffer[] = [];
    for await (const chunk of value as AsyncIterable<Buffer>) chunks.push(chunk);
    return { bytes: Buffer.concat(chunks), size, done };
  }

  it('gives pieces one after the other, and the digest of the whole', async () => {
    const source = new PieceSource(pipe, pieces(), unlimited);
    const got = [await piece(source, 0), await piece(source, 2 * MIB), await piece(source, 4 * MIB)];
    expect(got.map(({ size, done }) => [size, done])).toEqual([
      [2 * MIB, false],
      [2 * MIB, false],
      [MIB + 3, true],
    ]);
    expect(Buffer.concat(got.map((one) => one.bytes)).equals(bytes)).toBe(true);
    expect(await source.digest()).toEqual({ bytes: bytes.length, sha256 });
  });

  it('knows the last piece also where it ends with the content', async () => {
    const exact: Content = {
      size: null,
      read: () =>
        (async function* () {
          yield bytes.subarray(0, 2 * MIB);
        })(),
    };
    expect(await piece(new PieceSource(exact, pieces(), unlimited), 0)).toMatchObject({ size: 2 * MIB, done: true });
    const nothing: Content = { size: null, read: () => (async function* () {})() };
    const source = new PieceSource(nothing, pieces(), unlimited);
    expect(await source.isEmpty()).toBe(true);
    expect(await piece(source, 0)).toMatchObject({ size: 0, done: true });
  });

  it('gives again what was not acknowledged, from any byte, and refuses what was', async () => {
    const source = new PieceSource(pipe, pieces(), unlimited);
    await piece(source, 0);
    const cut = await piece(source, 1_234_567);
    expect(cut.bytes.equals(bytes.subarray(1_234_567, 2 * MIB))).toBe(true);
    expect((await piece(source, 2 * MIB)).bytes.equals(bytes.subarray(2 * MIB, 4 * MIB))).toBe(true);
    await expect(source.slice(1000)).rejects.toThrow(CommandFailed);
  });

  it('opens a file midway and hashes the whole of it elsewhere; other content it makes again from its start', async () => {
    for (const content of [file, pipe]) {
      const source = new PieceSource(content, pieces(), unlimited);
      const rest = await piece(source, 4 * MIB + 1);
      expect(rest.bytes.equals(bytes.subarray(4 * MIB + 1)), `${content.size}`).toBe(true);
      expect(await source.digest()).toEqual({ bytes: bytes.length, sha256 });
    }
  });

  it('hashes an upload that was whole before, of which nothing is to be sent', async () => {
    expect(await new PieceSource(file, pieces(), unlimited).digest()).toEqual({ bytes: bytes.length, sha256 });
  });

  it('fails with what the content fails with, also where that was read ahead', async () => {
    const broken: Content = {
      size: null,
      read: () =>
        (async function* () {
          yield bytes.subarray(0, 3 * MIB);
          throw new Error('the disk is gone');
        })(),
    };
    const source = new PieceSource(broken, pieces(), unlimited);
    await piece(source, 0);
    await expect(source.slice(2 * MIB)).rejects.toThrow('the disk is gone');
    await expect(source.slice(2 * MIB)).rejects.toThrow(CommandFailed);
  });
});

describe('zstd frames', () => {
  it('are the same bytes however the content comes', async () => {
    const content = Buffer.concat([randomBytes(3 * MIB), Buffer.alloc(6 * MIB, 'text ')]);
    const made = async (chunk: number) => {
      const chunks = async function* () {
        for (let at = 0; at < content.length; at += chunk) yield content.subarray(at, at + chunk);
      };
      const frames: Buffer[] = [];
      for await (const frame of zstdFrames(chunks(), 3)) frames.push(frame);
      return Buffer.concat(frames);
    };
    const [whole, pieces] = [await made(content.length), await made(77_777)];
    expect(whole.equals(pieces)).toBe(true);
    expect(whole.length).toBeLessThan(4 * MIB);
  });
});

describe('amounts', () => {
  it('of the command have the grammar of variables and request options', () => {
    expect([sizeOption('16M'), sizeOption('1.5GiB'), durationOption('4w'), durationOption('0')]).toEqual([
      16 * MIB,
      1536 * MIB,
      2_419_200,
      0,
    ]);
    for (const text of ['0', '16MB', '']) expect(() => sizeOption(text)).toThrow('512KiB');
    for (const text of ['soon', '']) expect(() => durationOption(text)).toThrow('12h');
  });

  it('are shown in three digits or so', () => {
    expect([0, 999, 1024, 1_310_720, 10_485_760, 335_007_449_088].map(showBytes)).toEqual([
      '0 B',
      '999 B',
      '1.00 KiB',
      '1.25 MiB',
      '10.0 MiB',
      '312 GiB',
    ]);
    expect([8, 125, 12_000, 367_200].map(showDuration)).toEqual(['8s', '2m 05s', '3h 20m', '4d 06h']);
  });

  it('and names of others are shown without what would steer a terminal', () => {
    expect(printable('a\x1b]0;title\x07\nb\u202ec\u009b')).toBe('a\\x1b]0;title\\x07\\x0ab\\u{202e}c\\x9b');
    expect(printable('grüße 🙂')).toBe('grüße 🙂');
  });
});

describe('patience', () => {
  it('waits longer each time, half a minute at most, and counts from the first failure', () => {
    const patience = new Patience(3600);
    const waits = Array.from({ length: 12 }, () => patience.nextWaitMs() ?? 0);
    for (const [i, wait] of waits.entries()) {
      const most = Math.min(500 * 2 ** i, 30_000);
      expect(wait).toBeGreaterThanOrEqual(most / 2);
      expect(wait).toBeLessThanOrEqual(most);
    }
    patience.renew();
    expect(patience.nextWaitMs()).toBeLessThanOrEqual(500);
    expect(patience.nextWaitMs(5000), 'as the vault asks').toBe(5000);
    expect(new Patience(0).nextWaitMs()).toBeNull();
  });
});

describe('the rate of a transfer', () => {
  it('is of the last ten seconds, unknown at first, and sinks while nothing comes', () => {
    const rate = new TransferRate();
    rate.sample(1000, 0);
    expect(rate.perSecond(100)).toBeNull();
    for (let second = 1; second <= 30; second++) rate.sample(1000 + second * (second > 15 ? 200 : 100), second * 1000);
    expect(rate.perSecond(30_000)).toBeCloseTo(200, 0);
    expect(rate.perSecond(60_000)).toBeLessThan(60);
    rate.sample(10, 61_000);
    expect(rate.perSecond(61_100), 'begins anew where it goes back').toBeNull();
  });
});

describe('names that go to and fro', () => {
  it.each([
    ['attachment; filename="site.tar"', 'site.tar'],
    [`attachment; filename="_.tar"; filename*=UTF-8''%C3%A9.tar`, 'é.tar'],
    ['attachment; filename="../../.bashrc"', '.bashrc'],
    [`attachment; filename*=UTF-8''..%2F..%5Cx`, 'x'],
    ['attachment; filename=".."', ''],
    ['attachment', ''],
  ])('%s is saved as "%s"', (disposition, name) => {
    expect(filenameIn(disposition)).toBe(name);
  });

  it.each([
    ['a/b c.txt', 'a/b%20c.txt'],
    ['../x', '..%2Fx'],
    ['a//b', 'a%2F%2Fb'],
    ['..', '..%2F'],
    ['50%?#', '50%25%3F%23'],
  ])('the member %s has the address %s', (path, encoded) => {
    expect(encodeMemberPath(path)).toBe(encoded);
  });

  it('are one fingerprint for the same file, and another for any difference', () => {
    const facts = ['https://vault.example', ['/srv/a.tar', 10, '1'], { level: '3' }];
    expect(fingerprintOf(facts)).toBe(fingerprintOf(structuredClone(facts)));
    expect(fingerprintOf(facts)).not.toBe(fingerprintOf([...facts.slice(0, 2), { level: '4' }]));
  });
});
