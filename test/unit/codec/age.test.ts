import { Decrypter, generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, test } from 'vitest';
import { ageDecrypt, ageEncrypt, MalformedAge, openAge, WrongIdentity } from '../../../src/codec/age.ts';
import { checkIdentity, checkRecipient, checkRecipients } from '../../../src/codec/age-keys.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { AGE_RECIPIENTS, MIB } from '../../../src/shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../../../src/shared/seek-points.ts';
import { identities, recipients } from '../../vectors/age.ts';
import { CHUNK_BYTES, type KeyPair, keyPair, outcomeOf, SEALED_BYTES } from './age-files.ts';
import { chunked, collect, firstDifference, noise, run } from './bytes.ts';

/** What no recipient, identity or error may repeat. */
const SECRET = identities[0];

let alice: KeyPair;
let bob: KeyPair;
beforeAll(async () => {
  [alice, bob] = await Promise.all([keyPair(), keyPair()]);
});

describe('an age file', () => {
  const sizes = [0, 1, 16, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 4 * CHUNK_BYTES, 600_000, 3_000_000];
  test.each(sizes)('of %i bytes is what the package reads, and what we read back', async (bytes) => {
    const content = noise(bytes);
    for (const chunkBytes of [997, 65_536, MIB]) {
      const file = await run(ageEncrypt([alice.recipient]), content, chunkBytes);
      const decrypter = new Decrypter();
      decrypter.addIdentity(alice.identity);
      expect(firstDifference(await decrypter.decrypt(file), content)).toBeNull();
      for (const readBytes of [997, 65_536, MIB, file.length]) {
        expect(firstDifference(await run(ageDecrypt(alice.identity), file, readBytes), content)).toBeNull();
      }
    }
  });

  test.each([0, 1, 40, 65_536, 65_537])('of %i bytes is written and read byte by byte', async (bytes) => {
    const file = await run(ageEncrypt([alice.recipient]), noise(bytes), 1);
    expect(firstDifference(await run(ageDecrypt(alice.identity), file, 1), noise(bytes))).toBeNull();
  });

  test('has the same bytes in its source and out of it when pieces are empty', async () => {
    async function* holey(bytes: Uint8Array) {
      for await (const piece of chunked(bytes, 30_000)) {
        yield new Uint8Array();
        yield piece;
      }
    }
    const file = await collect(ageEncrypt([alice.recipient])(holey(noise(200_000))));
    expect(firstDifference(await collect(ageDecrypt(alice.identity)(holey(file))), noise(200_000))).toBeNull();
  });

  test('is for each of its recipients, up to the most there may be', async () => {
    const pairs = await Promise.all(Array.from({ length: AGE_RECIPIENTS }, () => keyPair()));
    const file = await run(ageEncrypt(pairs.map(({ recipient }) => recipient)), noise(100_000));
    for (const { identity } of pairs) {
      expect(firstDifference(await run(ageDecrypt(identity), file), noise(100_000))).toBeNull();
    }
  });

  test('is for nobody else, and gives no byte to them', async () => {
    const file = await run(ageEncrypt([alice.recipient]), noise(100_000));
    const { content, error } = await outcomeOf(bob.identity, file);
    expect(error).toMatchObject({ name: 'WrongIdentity', code: 'wrong-identity' });
    expect(content.length).toBe(0);
  });

  test('is another one every time, from its key on', async () => {
    const [one, two] = await Promise.all([1, 2].map(() => run(ageEncrypt([alice.recipient]), noise(1000))));
    expect(one?.length).toBe(two?.length);
    const same = one?.filter((byte, i) => byte === two?.[i]).length ?? 0;
    expect(same).toBeLessThan(200);
  });

  test('many at once do not mix', async () => {
    const contents = [1, 2, 3, 4, 5].map((seed) => noise(300_000, seed));
    const stage = ageEncrypt([alice.recipient]);
    const files = await Promise.all(contents.map((content) => run(stage, content, 10_000)));
    const open = ageDecrypt(alice.identity);
    const back = await Promise.all(files.map((file) => run(open, file, 10_000)));
    for (const [i, content] of contents.entries()) expect(firstDifference(back[i] ?? content, content)).toBeNull();
  });
});

/** `bytes` in chunks, with what was pulled and whether it was left; fails at byte `failAt`. */
function watched(bytes: Uint8Array, chunkBytes: number, failAt = Number.POSITIVE_INFINITY) {
  const state = { pulled: 0, left: false, failure: new Error('the disk is gone') };
  async function* source() {
    try {
      for await (const chunk of chunked(bytes, chunkBytes)) {
        if (state.pulled + chunk.length > failAt) throw state.failure;
        state.pulled += chunk.length;
        yield chunk;
      }
      if (bytes.length >= failAt) throw state.failure;
    } finally {
      state.left = true;
    }
  }
  return { state, source: source() };
}

const ways = [
  ['encrypting', (to: KeyPair) => ageEncrypt([to.recipient]), (content: Uint8Array) => Promise.resolve(content)],
  [
    'decrypting',
    (to: KeyPair) => ageDecrypt(to.identity),
    (content: Uint8Array, to: KeyPair) => run(ageEncrypt([to.recipient]), content),
  ],
] as const;

describe.each(ways)('%s', (_, stageFor, inputOf) => {
  test('pulls nothing ahead of a slow reader, and holds little', async () => {
    const input = await inputOf(noise(3_000_000), alice);
    const { state, source } = watched(input, 100_000);
    let given = 0;
    let largest = 0;
    for await (const piece of stageFor(alice)(source)) {
      given += piece.length;
      largest = Math.max(largest, piece.buffer.byteLength);
      await scheduler.wait(0);
      expect(state.pulled - given).toBeLessThan(100_000 + 5 * SEALED_BYTES);
    }
    expect(largest).toBeLessThan(5 * SEALED_BYTES);
    expect(state).toMatchObject({ pulled: input.length, left: true });
  });

  test('leaves its source with its reader, at any piece', async () => {
    const input = await inputOf(noise(1_000_000), alice);
    for (let pieces = 1; pieces <= 3; pieces++) {
      const { state, source } = watched(input, 50_000);
      let seen = 0;
      for await (const _ of stageFor(alice)(source)) if (++seen === pieces) break;
      expect(seen).toBe(pieces);
      expect(state.left).toBe(true);
      expect(state.pulled).toBeLessThan(input.length);
    }
  });

  test('throws the error of its source as it is, wherever it comes', async () => {
    const input = await inputOf(noise(200_000), alice);
    for (const failAt of [0, 1, 21, 22, 100, 167, 168, 183, 184, 65_535, 65_536, 65_736, 131_072, input.length]) {
      const { state, source } = watched(input.subarray(0, failAt), 7_001, failAt);
      await expect(collect(stageFor(alice)(source))).rejects.toBe(state.failure);
      expect(state.left).toBe(true);
    }
  });

  test('gives its pieces back', async () => {
    const given: Uint8Array[] = [];
    for await (const piece of stageFor(alice)(chunked(await inputOf(noise(1_000_000), alice), 100_000))) {
      if (piece.buffer.byteLength >= CHUNK_BYTES) given.push(piece);
    }
    expect(given.length).toBeGreaterThan(2);
    expect(given.every(({ length }) => length === 0)).toBe(true);
  });
});

describe('recipients', () => {
  test('are taken without the white space around them', () => {
    expect(recipients.map((recipient) => checkRecipient(` ${recipient}\n`))).toEqual([...recipients]);
  });

  test('count once', () => {
    const [first, second] = recipients;
    expect(checkRecipients([first, second, ` ${first}`])).toEqual([first, second]);
  });

  const first = recipients[0];
  const others: [string, string][] = [
    ['nothing', ''],
    ['something else', 'somebody@example.com'],
    ['one that is cut', first.slice(0, -1)],
    ['one with a wrong letter', `${first.slice(0, -1)}${first.endsWith('q') ? 'p' : 'q'}`],
    ['one with two letters exchanged', first.replace(/(.)(.)$/, '$2$1')],
    ['one in capitals, which age refuses too', first.toUpperCase()],
    ['two in one', `${first} ${recipients[1]}`],
    ['one that is long', `age1${'q'.repeat(100_000)}`],
    ['an ssh key', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ9'],
    ['a hardware key', 'age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt'],
  ];
  test.each(others)('are not %s', (_, text) => {
    expect(() => checkRecipient(text)).toThrow(expect.objectContaining({ code: 'invalid-recipient' }));
    expect(() => ageEncrypt([first, text])).toThrow(expect.objectContaining({ code: 'invalid-recipient' }));
  });

  test('are none of post-quantum keys, which an older age cannot restore from', async () => {
    const recipient = await identityToRecipient(await generateHybridIdentity());
    expect(recipient.startsWith('age1pq1')).toBe(true);
    expect(() => checkRecipient(recipient)).toThrow(expect.objectContaining({ code: 'invalid-recipient' }));
  });

  test('that are secret keys are refused with a word of it, and not repeated', () => {
    for (const text of [SECRET, ` ${SECRET.toLowerCase()}`]) {
      const error = thrownBy(() => checkRecipient(text));
      expect(error).toMatchObject({ code: 'invalid-recipient', message: expect.stringContaining('secret key') });
      expect(everythingOf(error)).not.toContain(SECRET.slice(20).toLowerCase());
    }
  });

  test('are one at least and not too many', async () => {
    expect(() => checkRecipients([])).toThrow(expect.objectContaining({ code: 'invalid-recipient' }));
    const many = await Promise.all(Array.from({ length: AGE_RECIPIENTS + 1 }, () => keyPair()));
    const all = many.map(({ recipient }) => recipient);
    expect(() => checkRecipients(all)).toThrow(expect.objectContaining({ code: 'invalid-recipient' }));
    expect(checkRecipients(all.slice(1)).length).toBe(AGE_RECIPIENTS);
    expect(() => checkRecipients([...all.slice(1), all[1] ?? ''])).not.toThrow();
  });

  test('that are well-formed and no key are refused before a byte is given, and the source is left', async () => {
    // The point of order one: 32 zeros, with their checksum.
    const nobody = 'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z';
    const { state, source } = watched(noise(1000), 100);
    const stage = ageEncrypt([alice.recipient, nobody]);
    await expect(collect(stage(source))).rejects.toMatchObject({ code: 'invalid-recipient' });
    expect(state).toMatchObject({ pulled: 100, left: true });
  });
});

describe('identities', () => {
  test('are taken without the white space around them', async () => {
    expect(checkIdentity(`\t${SECRET} \r\n`)).toBe(SECRET);
    const file = await run(ageEncrypt([recipients[0]]), utf8('cold'));
    expect(await run(ageDecrypt(` ${SECRET}`), file)).toEqual(utf8('cold'));
  });

  const others: [string, string][] = [
    ['nothing', ''],
    ['something else', 'open sesame'],
    ['one that is cut', SECRET.slice(0, -1)],
    ['one with a wrong letter', `${SECRET.slice(0, -1)}${SECRET.endsWith('Q') ? 'P' : 'Q'}`],
    ['one in small letters, which age refuses too', SECRET.toLowerCase()],
    ['two in one', `${SECRET}\n${identities[1]}`],
    ['a recipient', recipients[0]],
    ['a key file', `# created: today\n${SECRET}\n`],
    ['one that is long', `${SECRET}${'Q'.repeat(100_000)}`],
  ];
  test.each(others)('are not %s, and no error repeats them', (_, text) => {
    for (const check of [() => checkIdentity(text), () => ageDecrypt(text)]) {
      const error = thrownBy(check);
      expect(error).toMatchObject({ name: 'InvalidIdentity', code: 'invalid-identity' });
      expect(everythingOf(error)).not.toContain(SECRET.slice(20, -1).toLowerCase());
      expect(everythingOf(error).length).toBeLessThan(2_000);
    }
  });

  test('of post-quantum keys are refused', async () => {
    const identity = await generateHybridIdentity();
    expect(() => checkIdentity(identity)).toThrow(expect.objectContaining({ code: 'invalid-identity' }));
  });

  test('stand in no error of a file that they do not open, or that is broken', async () => {
    const secret = await generateX25519Identity();
    const file = await run(ageEncrypt([alice.recipient]), noise(100));
    const broken = [file, file.subarray(0, 100), concat([file, file]), noise(500)];
    for (const one of broken) {
      for (const identity of [secret, alice.identity]) {
        const { error } = await outcomeOf(identity, one);
        if (error !== null) expect(everythingOf(error)).not.toContain(identity.slice(20, -1).toLowerCase());
      }
    }
  });
});

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return null;
}

/** All that an error says, with its causes, in small letters. */
function everythingOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error).toLowerCase();
  const own = `${error.message} ${error.stack} ${JSON.stringify(error)}`.toLowerCase();
  return error.cause === undefined ? own : own + everythingOf(error.cause);
}

describe('an age file that is read at an offset', () => {
  test.each([0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5])(
    'has the content of %i bytes at any span',
    async (bytes) => {
      const content = noise(bytes);
      const file = await run(ageEncrypt([alice.recipient]), content);
      const { read, contentBytes } = await openAge(readsOf(file), file.length, alice.identity);
      expect(contentBytes).toBe(bytes);
      const places = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, bytes - 1, bytes].filter(
        (at) => at >= 0 && at <= bytes,
      );
      for (const offset of places) {
        for (const end of places.filter((at) => at >= offset)) {
          const span = { offset, length: end - offset };
          expect(firstDifference(await collect(read(span)), content.slice(offset, end)), `${offset}-${end}`).toBeNull();
        }
      }
    },
  );

  test('reads the header once, then the chunks of the span and a byte that shows they are not the last', async () => {
    const file = await run(ageEncrypt([alice.recipient]), noise(4 * CHUNK_BYTES));
    const asked: ByteSpan[] = [];
    const reads: ReadSpan = (span) => {
      asked.push(span);
      return readsOf(file)(span);
    };
    const { read } = await openAge(reads, file.length, alice.identity);
    await collect(read({ offset: CHUNK_BYTES + 10, length: CHUNK_BYTES }));
    expect(asked[0]?.offset).toBe(0);
    expect(asked.slice(1)).toEqual([{ offset: file.length - 3 * SEALED_BYTES, length: 2 * SEALED_BYTES + 1 }]);
  });

  test.each([1, 16, 17, CHUNK_BYTES + 16, CHUNK_BYTES + 32])(
    'that lost its last %i bytes fails when read to its end',
    async (lost) => {
      const file = (await run(ageEncrypt([alice.recipient]), noise(3 * CHUNK_BYTES))).slice(0, -lost);
      const { read, contentBytes } = await openAge(readsOf(file), file.length, alice.identity);
      await expect(collect(read({ offset: CHUNK_BYTES, length: contentBytes - CHUNK_BYTES }))).rejects.toThrow(
        MalformedAge,
      );
    },
  );

  test('that is for others, or was changed, is refused as when read in order', async () => {
    const file = await run(ageEncrypt([alice.recipient]), noise(3 * CHUNK_BYTES));
    await expect(openAge(readsOf(file), file.length, bob.identity)).rejects.toThrow(WrongIdentity);
    const at = file.length - SEALED_BYTES - 5;
    file[at] = (file[at] ?? 0) ^ 1;
    const { read } = await openAge(readsOf(file), file.length, alice.identity);
    await collect(read({ offset: 0, length: CHUNK_BYTES }));
    await expect(collect(read({ offset: CHUNK_BYTES, length: 1 }))).rejects.toThrow(MalformedAge);
  });
});

/** Any span of a file in memory. */
function readsOf(file: Uint8Array): ReadSpan {
  return ({ offset, length }) => chunked(file.slice(offset, offset + length), 50_000);
}
