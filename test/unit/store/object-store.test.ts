import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { faultyBodies, faultyBucket } from '../../support/faulty-bucket.ts';

const content = Uint8Array.from({ length: 10 }, (_, i) => i);
const store = new ObjectStore(env.VAULT);

async function opened(key: string, options?: Parameters<ObjectStore['read']>[1]) {
  const object = await store.read(key, options);
  if (object.kind !== 'open') throw new Error(object.kind);
  return { ...object, bytes: await new Response(object.body).bytes() };
}

describe('ObjectStore.read', () => {
  it('opens an object or a span of it, with the size of the whole', async () => {
    await env.VAULT.put('read', content);
    const { etag } = await opened('read');
    for (const [offset, length] of [
      [0, 1],
      [3, 4],
      [9, 1],
      [0, 10],
    ] as const) {
      const object = await opened('read', { span: { offset, length }, etag });
      expect(object).toMatchObject({ size: 10, etag, bytes: content.slice(offset, offset + length) });
    }
    expect((await opened('read', { span: { offset: 8, length: 9 } })).bytes).toEqual(content.slice(8));
  });

  it('tells what is missing or changed, as values', async () => {
    await env.VAULT.put('changing', content);
    const { etag } = await opened('changing');
    await env.VAULT.put('changing', new Uint8Array(10));
    expect(await store.read('changing', { etag })).toEqual({ kind: 'changed' });
    expect(await store.read('changing', { etag, span: { offset: 1, length: 2 } })).toEqual({ kind: 'changed' });
    expect(await store.read('none')).toEqual({ kind: 'missing' });
    expect(await store.read('none', { etag })).toEqual({ kind: 'missing' });
  });
});

describe('ObjectStore.readBytes', () => {
  it('gives exactly the span, and nothing for nothing', async () => {
    await env.VAULT.put('bytes', content);
    for (let offset = 0; offset < 10; offset++) {
      for (let length = 0; offset + length <= 10; length++) {
        expect(await store.readBytes('bytes', { offset, length })).toEqual(content.slice(offset, offset + length));
      }
    }
  });

  it('throws where the object is missing or ends before', async () => {
    await env.VAULT.put('short', content);
    await expect(store.readBytes('short', { offset: 5, length: 6 })).rejects.toMatchObject({ how: 'cut' });
    await expect(store.readBytes('none', { offset: 0, length: 1 })).rejects.toMatchObject({ how: 'missing' });
  });

  it('takes an object that ends before the span begins for cut, at once, as read() does', async () => {
    await env.VAULT.put('ends', content);
    const { bucket, calls } = faultyBucket(env.VAULT, { at: 99 });
    const span = { offset: 1000, length: 5 };
    const lost = { code: 'stored-data-lost', how: 'cut' };
    await expect(new ObjectStore(bucket).readBytes('ends', span)).rejects.toMatchObject(lost);
    await expect(new ObjectStore(bucket).read('ends', { span })).rejects.toMatchObject(lost);
    expect(calls).toEqual(['get', 'get']);
  });

  it('reads again whole when the body breaks or ends early, at any byte, three times in all', async () => {
    await env.VAULT.put('again', content);
    for (const how of ['break', 'end'] as const) {
      for (let after = 0; after < content.length; after++) {
        const once = faultyBodies(env.VAULT, (read) => (read === 0 ? { after, how } : null));
        const span = { offset: 0, length: 10 };
        expect(await new ObjectStore(once.bucket).readBytes('again', span)).toEqual(content);
        expect(once.reads.length).toBe(2);
      }
    }
    const ever = faultyBodies(env.VAULT, () => ({ after: 9, how: 'break' }));
    const failing = new ObjectStore(ever.bucket).readBytes('again', { offset: 0, length: 10 });
    await expect(failing).rejects.toMatchObject({ code: 'storage-failed' });
    expect(ever.reads.length).toBe(3);
  });
});

describe('ObjectStore.readTail', () => {
  it('gives the last bytes, or all where there are fewer, and the size', async () => {
    await env.VAULT.put('tail', content);
    for (const bytes of [1, 3, 9, 10, 11, 1000]) {
      expect(await store.readTail('tail', bytes)).toEqual({ bytes: content.slice(-bytes), size: 10 });
    }
    await env.VAULT.put('tail-empty', new Uint8Array());
    expect(await store.readTail('tail-empty', 5)).toEqual({ bytes: new Uint8Array(), size: 0 });
    expect(await store.readTail('none', 5)).toBeNull();
  });

  it('gives all of an object also where the storage refuses to give more than there is', async () => {
    await env.VAULT.put('tail-refused', content);
    const refusing = new Proxy(env.VAULT, {
      get(bucket, name) {
        if (name !== 'get') return Reflect.get(bucket, name);
        return (key: string, options?: R2GetOptions) => {
          if (options?.range) throw new Error('get: The requested range is not satisfiable (10039)');
          return bucket.get(key);
        };
      },
    });
    expect(await new ObjectStore(refusing).readTail('tail-refused', 11)).toEqual({ bytes: content, size: 10 });
    await expect(new ObjectStore(refusing).readTail('tail-refused', 9)).rejects.toMatchObject({
      code: 'storage-failed',
    });
  });
});

describe('ObjectStore.removeAll', () => {
  /** Pages of three keys. */
  const smallPages = new Proxy(env.VAULT, {
    get(bucket, name) {
      if (name === 'list') return (options: R2ListOptions) => bucket.list({ ...options, limit: 3 });
      const value: unknown = Reflect.get(bucket, name);
      return typeof value === 'function' ? value.bind(bucket) : value;
    },
  });

  it.each([0, 1, 3, 4, 6, 8])('removes %i objects under a prefix, page by page, and no other', async (count) => {
    for (let i = 0; i < count; i++) await env.VAULT.put(`all/${i}`, content);
    await env.VAULT.put('all', content);
    await env.VAULT.put('allow/0', content);
    await new ObjectStore(smallPages).removeAll('all/');
    expect((await env.VAULT.list({ prefix: 'all' })).objects.map(({ key }) => key)).toEqual(['all', 'allow/0']);
  });

  it('carries on through any single failure', async () => {
    for (let at = 1; at <= 6; at++) {
      for (let i = 0; i < 7; i++) await env.VAULT.put(`fail/${i}`, content);
      const { bucket } = faultyBucket(smallPages, { at, answerLost: at % 2 === 0 });
      await new ObjectStore(bucket).removeAll('fail/');
      expect((await env.VAULT.list({ prefix: 'fail/' })).objects).toEqual([]);
    }
  });
});
