import { inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { MalformedAge, WrongIdentity } from '../../../src/codec/age.ts';
import { hex, sha256 } from '../../../src/shared/bytes.ts';
import { ageVectors, identities, refusedAge } from '../../vectors/age.ts';
import { type TestkitVector, testkit } from '../../vectors/age-testkit.ts';
import { CHUNK_BYTES, outcomeOf } from './age-files.ts';

function bytesOf({ base64 }: { readonly base64: string }): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

describe("files of Debian's age", () => {
  test.each(ageVectors)('$name', async (vector) => {
    const file = bytesOf(vector);
    for (const chunkBytes of [1, 13, 168, file.length]) {
      const { content, error } = await outcomeOf(identities[0], file, chunkBytes);
      expect(error).toBeNull();
      expect(content.length).toBe(vector.contentBytes);
      expect(hex(await sha256(content))).toBe(vector.sha256);
    }
  });

  test('are for each of their recipients, and for nobody else', async () => {
    const forThree = ageVectors.filter(({ name }) => name.startsWith('three recipients'));
    expect(forThree.length).toBe(2);
    for (const vector of forThree) {
      for (const identity of identities) {
        const { content } = await outcomeOf(identity, bytesOf(vector));
        expect(hex(await sha256(content))).toBe(vector.sha256);
      }
    }
    const small = ageVectors.find(({ name }) => name === 'small');
    const { content, error } = await outcomeOf(identities[1], bytesOf(small ?? { base64: '' }));
    expect(error).toBeInstanceOf(WrongIdentity);
    expect(content.length).toBe(0);
  });

  const refusals: Record<string, object> = {
    'a passphrase': { code: 'wrong-identity', message: expect.stringContaining('passphrase') },
    armor: { code: 'malformed-age', offset: 0, message: expect.stringContaining('ASCII armor') },
    'the second recipient alone': {
      code: 'wrong-identity',
      message: expect.stringContaining('none of its recipients'),
    },
  };
  test.each(refusedAge)('refuses $name', async (vector) => {
    const file = bytesOf(vector);
    for (const chunkBytes of [1, 13, file.length]) {
      const { content, error } = await outcomeOf(identities[0], file, chunkBytes);
      expect(error).toMatchObject(refusals[vector.name] ?? { code: 'unknown vector' });
      expect(content.length).toBe(0);
    }
  });
});

/** Armor is not read here, whatever is in it. */
function expectedOf({ name, expect: outcome }: TestkitVector): typeof MalformedAge | typeof WrongIdentity | null {
  if (name.startsWith('armor')) return MalformedAge;
  if (outcome === 'success') return null;
  return outcome === 'no match' ? WrongIdentity : MalformedAge;
}

/** Digests of no chunk at all and of the first of those that are several. */
const WHOLE_CHUNKS = ['stream_no_final', 'stream_no_final_full'].map((name) => {
  return testkit.find((vector) => vector.name === name)?.sha256 ?? null;
});

/**
 * Digests of what may come out before a fault: what the vector says, or whole chunks of it and not the last. There the
 * authors try a chunk as the last and as another one; here it is what its place says, and so may be withheld.
 */
function givenBefore(content: Uint8Array, { sha256: whole }: TestkitVector): (string | null)[] {
  return content.length % CHUNK_BYTES === 0 ? [whole, ...WHOLE_CHUNKS] : [whole];
}

describe("the age authors' own vectors", () => {
  test.each(testkit)('$name: $expect', async (vector) => {
    const stored = bytesOf(vector);
    const file = vector.isDeflated ? new Uint8Array(inflateSync(stored)) : stored;
    for (const chunkBytes of file.length < 2_000 ? [1, 7, file.length] : [9_973, 262_144, file.length]) {
      const { content, error } = await outcomeOf(vector.identity, file, chunkBytes);
      const expected = expectedOf(vector);
      if (expected === null) expect(error).toBeNull();
      else expect(error).toBeInstanceOf(expected);
      const digest = hex(await sha256(content));
      if (expected === null) expect(digest).toBe(vector.sha256);
      else if (vector.expect === 'payload failure') expect(givenBefore(content, vector)).toContain(digest);
      else expect(content.length).toBe(0);
    }
  });
});
