/**
 * The vault on a storage that takes its time, as one over a network does. The local storage answers at once and from
 * the same process, so that a flow between two storages never rests, and nobody can look at what it holds.
 */
import vault, { ProgressRoom } from '../../src/index.ts';
import { uploadSession } from '../../src/ingest/resumable/upload-session.ts';
import { type Env, services } from '../../src/services.ts';

export { ProgressRoom };

/** A rest after so many bytes of an object: many in one frame of the stored form, few in one read. */
const RUN_BYTES = 512 * 1024;
const REST_MS = 4;
/** What one part, or one small object, takes longer. */
const PUT_MS = 40;

const slowed = new WeakMap<Env, Env>();

export default {
  fetch: (request, env, context) => vault.fetch(request, onSlowStorage(env), context),
} satisfies ExportedHandler<Env>;

/** The object of an upload in pieces, on the same storage. */
export class UploadSession extends uploadSession((env) => services(onSlowStorage(env as Env))) {}

/** Made once: what the vault keeps, it keeps for its bindings. */
function onSlowStorage(env: Env): Env {
  const made = slowed.get(env) ?? { ...env, VAULT: slowBucket(env.VAULT) };
  slowed.set(env, made);
  return made;
}

function slowBucket(bucket: R2Bucket): R2Bucket {
  return withMethods(bucket, {
    get: async (key: string, options?: R2GetOptions) => {
      const object: R2ObjectBody | R2Object | null = await bucket.get(key, options);
      return object && 'body' in object && object.body ? withSlowBody(object) : object;
    },
    put: async (...args: Parameters<R2Bucket['put']>) => {
      await scheduler.wait(PUT_MS);
      return bucket.put(...args);
    },
    createMultipartUpload: async (key: string) => slowUpload(await bucket.createMultipartUpload(key)),
    resumeMultipartUpload: (key: string, id: string) => slowUpload(bucket.resumeMultipartUpload(key, id)),
  });
}

function slowUpload(upload: R2MultipartUpload): R2MultipartUpload {
  return withMethods(upload, {
    uploadPart: async (...args: Parameters<R2MultipartUpload['uploadPart']>) => {
      await scheduler.wait(PUT_MS);
      return upload.uploadPart(...args);
    },
  });
}

function withSlowBody(object: R2ObjectBody): R2ObjectBody {
  const body = slowBody(object.body);
  const whole = new Response(body);
  return withMethods(object, { body, arrayBuffer: () => whole.arrayBuffer(), json: () => whole.json() });
}

/** Holds nothing itself: native streams, and rests between them. */
function slowBody(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  pass(body, writable).catch(() => undefined);
  return readable;
}

async function pass(body: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array>): Promise<void> {
  const reader = body.getReader({ mode: 'byob' });
  const writer = writable.getWriter();
  // A reader that leaves is known at once, and the storage is not left open.
  writer.closed.catch((reason: unknown) => reader.cancel(reason).catch(() => undefined));
  let buffer = new ArrayBuffer(RUN_BYTES);
  try {
    while (true) {
      const { value } = await reader.readAtLeast(RUN_BYTES, new Uint8Array(buffer));
      if (!value?.length) break;
      await writer.write(value);
      buffer = value.buffer as ArrayBuffer;
      await scheduler.wait(REST_MS);
    }
    await writer.close();
  } catch (error) {
    await Promise.allSettled([writer.abort(error), reader.cancel(error)]);
  } finally {
    // A detached buffer is the reader's.
    if (!buffer.detached) buffer.transfer(0);
  }
}

/** `target` with some members of our own; its methods are called on itself. */
function withMethods<T extends object>(target: T, own: Partial<Record<keyof T, unknown>>): T {
  return new Proxy(target, {
    get(object, name) {
      if (name in own) return Reflect.get(own, name);
      const value: unknown = Reflect.get(object, name);
      return typeof value === 'function' ? value.bind(object) : value;
    },
  });
}
