import { beforeAll, describe, expect, test } from 'vitest';
import { ageDecrypt, ageEncrypt, MalformedAge, WrongIdentity } from '../../../src/codec/age.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { AGE_HEADER_BYTES, MIB } from '../../../src/shared/limits.ts';
import { CHUNK_BYTES, HEADER_BYTES, type KeyPair, keyPair, outcomeOf, PAYLOAD_AT, SEALED_BYTES } from './age-files.ts';
import { collect, firstDifference, noise, run } from './bytes.ts';

let alice: KeyPair;
const smallContent = noise(40);
let small: Uint8Array;
/** Three full chunks and one that is not. */
const largeContent = noise(3 * CHUNK_BYTES + 1_000);
let large: Uint8Array;
/** Ends with a full chunk. */
let full: Uint8Array;

beforeAll(async () => {
  alice = await keyPair();
  const stage = ageEncrypt([alice.recipient]);
  small = await run(stage, smallContent);
  large = await run(stage, largeContent);
  full = await run(stage, largeContent.subarray(0, 2 * CHUNK_BYTES));
});

/** The sealed chunk at `index` of a file. */
function chunkOf(file: Uint8Array, index: number): Uint8Array {
  return file.subarray(PAYLOAD_AT + index * SEALED_BYTES, PAYLOAD_AT + (index + 1) * SEALED_BYTES);
}

/** Refused as malformed, after `chunks` chunks of the large content and nothing else. */
async function expectRefused(file: Uint8Array, chunks: number, chunkBytes?: number) {
  const { content, error } = await outcomeOf(alice.identity, file, chunkBytes);
  expect(error).toBeInstanceOf(MalformedAge);
  expect(firstDifference(content, largeContent.slice(0, chunks * CHUNK_BYTES))).toBeNull();
  return error;
}

describe('a file that is cut', () => {
  test('anywhere, of one chunk, gives nothing', async () => {
    for (let length = 0; length < small.length; length++) {
      for (const chunkBytes of [1, small.length]) await expectRefused(small.subarray(0, length), 0, chunkBytes);
    }
  });

  test('at and around every chunk border gives the whole chunks before the last one that it has', async () => {
    for (const file of [large, full]) {
      for (let border = PAYLOAD_AT; border < file.length; border += SEALED_BYTES) {
        for (const by of [-17, -16, -1, 0, 1, 15, 16, 17, 1_000]) {
          const length = border + by;
          const whole = Math.max(0, Math.ceil((length - PAYLOAD_AT) / SEALED_BYTES) - 1);
          for (const chunkBytes of [SEALED_BYTES, 100_000, MIB]) {
            await expectRefused(file.subarray(0, length), whole, chunkBytes);
          }
        }
      }
    }
  });

  test('says where', async () => {
    const error = await expectRefused(large.subarray(0, PAYLOAD_AT + 2 * SEALED_BYTES), 1);
    expect(error).toMatchObject({ code: 'malformed-age', offset: PAYLOAD_AT + SEALED_BYTES });
  });
});

describe('a file that is changed', () => {
  test('in any bit, of one chunk, gives nothing', async () => {
    for (let at = 0; at < small.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const bad = small.slice();
        bad[at] = (bad[at] ?? 0) ^ (1 << bit);
        const { content, error } = await outcomeOf(alice.identity, bad);
        // Another recipient's line looks as well-formed as ours.
        const isRefused = error instanceof MalformedAge || (error instanceof WrongIdentity && at < HEADER_BYTES);
        expect(isRefused, `bit ${bit} of byte ${at}`).toBe(true);
        expect(content.length).toBe(0);
      }
    }
  });

  test('gives the whole chunks before the change', async () => {
    for (let chunk = 0; chunk < 4; chunk++) {
      const end = Math.min(large.length, PAYLOAD_AT + (chunk + 1) * SEALED_BYTES);
      for (const at of [PAYLOAD_AT + chunk * SEALED_BYTES, end - 17, end - 16, end - 1]) {
        const bad = large.slice();
        bad[at] = (bad[at] ?? 0) ^ 0x10;
        const error = await expectRefused(bad, chunk, 77_777);
        expect(error).toMatchObject({ offset: PAYLOAD_AT + chunk * SEALED_BYTES });
      }
    }
  });

  test('by chunks that are exchanged, repeated or left out', async () => {
    const start = large.subarray(0, PAYLOAD_AT);
    const order = (...chunks: number[]) => concat([start, ...chunks.map((index) => chunkOf(large, index))]);
    expect(firstDifference(order(0, 1, 2, 3), large)).toBeNull();
    await expectRefused(order(1, 0, 2, 3), 0);
    await expectRefused(order(0, 2, 1, 3), 1);
    await expectRefused(order(0, 0, 1, 2, 3), 1);
    await expectRefused(order(0, 1, 1, 2, 3), 2);
    await expectRefused(order(1, 2, 3), 0);
    await expectRefused(order(0, 2, 3), 1);
    await expectRefused(order(0, 1, 3), 2);
    await expectRefused(order(0, 1, 2, 3, 3), 3);
    await expectRefused(order(3), 0);
  });

  test('by chunks or the payload of another file for the same recipient', async () => {
    const other = await run(ageEncrypt([alice.recipient]), largeContent);
    const mixed = concat([large.subarray(0, PAYLOAD_AT), chunkOf(large, 0), other.subarray(PAYLOAD_AT + SEALED_BYTES)]);
    await expectRefused(mixed, 1);
    await expectRefused(concat([large.subarray(0, PAYLOAD_AT), other.subarray(PAYLOAD_AT)]), 0);
    await expectRefused(concat([large.subarray(0, HEADER_BYTES), other.subarray(HEADER_BYTES)]), 0);
    await expectRefused(concat([other.subarray(0, HEADER_BYTES), large.subarray(HEADER_BYTES)]), 0);
  });

  test('by what is appended, be it a byte, zeros or a file', async () => {
    for (const more of [Uint8Array.of(0), new Uint8Array(16), new Uint8Array(100_000), small, large]) {
      await expectRefused(concat([small, more]), 0);
      await expectRefused(concat([large, more]), 3);
      await expectRefused(concat([full, more]), 1);
    }
  });
});

describe('bytes that are no age file', () => {
  const others: [string, Uint8Array][] = [
    ['nothing', new Uint8Array()],
    ['noise', noise(100_000)],
    ['zeros', new Uint8Array(100_000)],
    ['text', utf8('age is a format')],
    ['another version', utf8('age-encryption.org/v2\n-> X25519 a\nb\n--- c\n')],
    ['a version that is longer', utf8('age-encryption.org/v11\n')],
    ['a line end of Windows', utf8('age-encryption.org/v1\r\n')],
    ['armor', utf8('-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n')],
  ];
  test.each(others)('are refused: %s', async (_, bytes) => {
    for (const chunkBytes of [1, 7, MIB]) {
      const { content, error } = await outcomeOf(alice.identity, bytes.subarray(0, 5_000), chunkBytes);
      expect(error).toMatchObject({ code: 'malformed-age', offset: 0 });
      expect(content.length).toBe(0);
    }
  });
});

/** A header line by line, endless if `lines` is; with what was pulled of it. */
function watchedHeader(lines: Iterable<string>) {
  const state = { pulled: 0, left: false };
  async function* source() {
    try {
      for (const line of lines) {
        const bytes = utf8(line);
        state.pulled += bytes.length;
        yield bytes;
      }
    } finally {
      state.left = true;
    }
  }
  return { state, source: source() };
}

/** Of what a source gives at once; one without end repeats itself. */
function largestOf(lines: Iterable<string>): number {
  let largest = 0;
  let seen = 0;
  for (const line of lines) {
    largest = Math.max(largest, line.length);
    if (++seen === 3) break;
  }
  return largest;
}

function* endless(first: string, line: string): Generator<string> {
  yield first;
  while (true) yield line;
}

describe('a header', () => {
  const version = 'age-encryption.org/v1\n';
  const line = `-> X25519 ${'A'.repeat(43)}\n${'A'.repeat(43)}\n`;
  const hostile: [string, () => Iterable<string>][] = [
    ['of recipients without end', () => endless(version, line)],
    ['of one line without end', () => endless(`${version}-> X25519 `, 'A'.repeat(1_000))],
    ['of one body without end', () => endless(`${version}-> X25519 A\n`, `${'A'.repeat(64)}\n`)],
    ['of empty lines without end', () => endless(version, '\n')],
    ['of a last line without end', () => endless(`${version}--- `, 'A'.repeat(1_000))],
    ['of ten thousand recipients in one piece', () => [version + line.repeat(10_000), line]],
  ];
  test.each(hostile)('%s is refused at its bound', async (_, lines) => {
    const { state, source } = watchedHeader(lines());
    await expect(collect(ageDecrypt(alice.identity)(source))).rejects.toMatchObject({
      code: 'malformed-age',
      message: expect.stringContaining(`longer than ${AGE_HEADER_BYTES} bytes`),
    });
    expect(state.left).toBe(true);
    expect(state.pulled).toBeLessThanOrEqual(AGE_HEADER_BYTES + largestOf(lines()));
  });

  test('of many recipients that are others is read to its bound, and no further', async () => {
    // Shares of others: points as good as any.
    const [, share = '', body = ''] = /-> X25519 (.{43})\n(.{43})\n/.exec(new TextDecoder().decode(small)) ?? [];
    const last = `--- ${'A'.repeat(43)}\n`;
    const stanza = `-> X25519 ${share}\n${body}\n`;
    const bob = await keyPair();
    const fitting = Math.floor((AGE_HEADER_BYTES - version.length - last.length) / stanza.length);
    const fits = utf8(version + stanza.repeat(fitting) + last);
    expect((await outcomeOf(bob.identity, fits)).error).toBeInstanceOf(WrongIdentity);
    const tooLong = utf8(version + stanza.repeat(fitting + 1) + last);
    expect((await outcomeOf(bob.identity, tooLong)).error).toMatchObject({ code: 'malformed-age' });
  });

  test('with a line added, taken away or exchanged by another is refused', async () => {
    const text = new TextDecoder().decode(small.subarray(0, HEADER_BYTES));
    const payload = small.subarray(HEADER_BYTES);
    const stanza = text.slice(version.length, text.indexOf('---'));
    const changed = [
      text.replace(stanza, stanza + stanza),
      text.replace(stanza, `-> grease\n\n${stanza}`),
      text.replace(stanza, `${stanza}-> grease x y\n\n`),
      text.replace('---', '--- '),
      text.replace('\n---', '\n\n---'),
      text.replaceAll('\n', '\r\n'),
    ];
    for (const header of changed) await expectRefused(concat([utf8(header), payload]), 0);
    const none = await outcomeOf(alice.identity, concat([utf8(text.replace(stanza, '')), payload]));
    expect(none.error).toBeInstanceOf(WrongIdentity);
  });
});
