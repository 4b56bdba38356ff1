import { describe, expect, it } from 'vitest';
import { parseMetadata } from '../../../src/http/tus-headers.ts';

describe('Upload-Metadata', () => {
  it('is rejected in linear time, whatever its blanks are', () => {
    const began = performance.now();
    for (const text of [`k${' '.repeat(60_000)}a b`, `${' '.repeat(60_000)},`, `k ${' a'.repeat(30_000)}`]) {
      expect(() => parseMetadata(text)).toThrow('Upload-Metadata');
    }
    // The pattern before took 3 s for the first one alone.
    expect(performance.now() - began).toBeLessThan(1_000);
  });

  it('takes pairs with any number of blanks around them, and keys without a value', () => {
    const values = parseMetadata(` filename   ${btoa('a.tar')} ,note, level ${btoa('3')}`);
    expect([...values].map(([key, bytes]) => [key, new TextDecoder().decode(bytes)])).toEqual([
      ['filename', 'a.tar'],
      ['note', ''],
      ['level', '3'],
    ]);
  });
});
