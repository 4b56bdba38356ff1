import { describe, expect, it } from 'vitest';
import { HandOff } from '../../../src/shared/hand-off.ts';

const piece = (byte: number) => new Uint8Array([byte]);

/** Takes `count` pieces, then leaves. */
async function take(handOff: HandOff, count: number): Promise<number[]> {
  const seen: number[] = [];
  for await (const [byte] of handOff.pieces) {
    seen.push(byte ?? -1);
    if (seen.length === count) break;
  }
  return seen;
}

describe('a hand-off', () => {
  it('gives every piece once, in order', async () => {
    const handOff = new HandOff();
    const seen = take(handOff, Number.POSITIVE_INFINITY);
    for (let i = 0; i < 5; i++) await handOff.give(piece(i));
    handOff.end();
    expect(await seen).toEqual([0, 1, 2, 3, 4]);
  });

  it('resolves a give only when the reader asks for the next piece', async () => {
    const handOff = new HandOff();
    const reader = handOff.pieces[Symbol.asyncIterator]();
    let taken = false;
    const giving = handOff.give(piece(1)).then(() => {
      taken = true;
    });
    expect((await reader.next()).value).toEqual(piece(1));
    await scheduler.wait(1);
    expect(taken).toBe(false);
    const next = reader.next();
    await giving;
    handOff.end();
    expect((await next).done).toBe(true);
  });

  it('lets the giver go on when the reader has left, also in the middle of a piece', async () => {
    const handOff = new HandOff();
    const seen = take(handOff, 2);
    for (let i = 0; i < 5; i++) await handOff.give(piece(i));
    expect(await seen).toEqual([0, 1]);
  });

  it('lets the giver go on when the reader leaves before it takes what is offered', async () => {
    const handOff = new HandOff();
    const giving = handOff.give(piece(1));
    await handOff.pieces[Symbol.asyncIterator]().return?.();
    await giving;
    await handOff.give(piece(2));
  });

  it('ends a reader that waits, and one that comes later', async () => {
    const handOff = new HandOff();
    const seen = take(handOff, 1);
    handOff.end();
    expect(await seen).toEqual([]);
    expect(await take(handOff, 1)).toEqual([]);
    await handOff.give(piece(1));
  });
});
