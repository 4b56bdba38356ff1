import { describe, expect, it } from 'vitest';
import { concat } from '../../../src/shared/bytes.ts';
import { sentChunks } from '../../../src/shared/sender.ts';

const LIMITS = { idleMs: 60, minRate: 1 };

/** A body by the runtime's own stream, and one that JavaScript made. */
function bodies() {
  const native = new IdentityTransformStream();
  const writer = native.writable.getWriter();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const scripted = new ReadableStream<Uint8Array>({
    start: (own) => {
      controller = own;
    },
  });
  return [
    { kind: 'native', body: native.readable, send: (bytes: Uint8Array) => void writer.write(bytes) },
    { kind: 'scripted', body: scripted, send: (bytes: Uint8Array) => controller?.enqueue(bytes) },
  ] as const;
}

describe.each([0, 1])('the body of a sender (stream %i)', (which) => {
  it('yields every byte that came before the sender stalled, and then throws upload-stalled', async () => {
    const { body, send } = bodies()[which as 0 | 1];
    const came: Uint8Array[] = [];
    send(new Uint8Array([1, 2, 3]));
    const reading = (async () => {
      for await (const chunk of sentChunks(body, 1024, LIMITS)) came.push(chunk.slice());
    })();
    await expect(reading).rejects.toMatchObject({ code: 'upload-stalled' });
    expect(concat(came)).toEqual(new Uint8Array([1, 2, 3]));
  });

  it('waits for a sender whose pauses are shorter than the limit', async () => {
    const { body, send } = bodies()[which as 0 | 1];
    const chunks = sentChunks(body, 1024, { idleMs: 5_000, minRate: 1 });
    for (const byte of [1, 2, 3]) {
      setTimeout(() => send(new Uint8Array([byte])), 20);
      expect((await chunks.next()).value?.slice()).toEqual(new Uint8Array([byte]));
    }
    await chunks.return();
    expect(body.locked).toBe(false);
  });

  it('counts no time that its consumer takes', async () => {
    const { body, send } = bodies()[which as 0 | 1];
    send(new Uint8Array([1]));
    const chunks = sentChunks(body, 1024, LIMITS);
    await chunks.next();
    await scheduler.wait(3 * LIMITS.idleMs);
    send(new Uint8Array([2]));
    expect((await chunks.next()).value?.slice()).toEqual(new Uint8Array([2]));
  });
});
