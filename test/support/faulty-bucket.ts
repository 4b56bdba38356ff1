/** Which calls of a bucket fail: the n-th (from 1) of those that `match` names; `times` of them in a row. */
export interface Fault {
  readonly at: number;
  readonly times?: number;
  readonly match?: RegExp;
  /** Whether the call is carried out before its answer is lost. */
  readonly answerLost?: boolean;
  /** The call gives no answer before this has resolved; it is carried out then. */
  readonly until?: Promise<void>;
}

/** A bucket that fails as told, and counts its calls. Parts are calls of it too (`uploadPart`, `complete`, `abort`). */
export function faultyBucket(bucket: R2Bucket, fault: Fault): { bucket: R2Bucket; calls: string[] } {
  const calls: string[] = [];
  let matched = 0;

  function wrap<T extends object>(target: T): T {
    return new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (!isMethod(value)) return value;
        return (...args: unknown[]) => call(object, String(name), value, args);
      },
    });
  }

  function call(object: object, name: string, method: (...args: unknown[]) => unknown, args: unknown[]): unknown {
    if (name === 'resumeMultipartUpload') return wrap(Object(method.apply(object, args)));
    calls.push(name);
    if (!fault.match || fault.match.test(name)) matched += 1;
    else return method.apply(object, args);
    const failing = matched >= fault.at && matched < fault.at + (fault.times ?? 1);
    if (!failing) return method.apply(object, args);
    if (fault.until) return fault.until.then(() => method.apply(object, args));
    const lost = new Error(`${name}: We encountered an internal error. Please try again. (10001)`);
    if (!fault.answerLost) return Promise.reject(lost);
    return Promise.resolve(method.apply(object, args)).then(() => Promise.reject(lost));
  }

  return { bucket: wrap(bucket), calls };
}

function isMethod(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === 'function';
}

/** What becomes of one body: it breaks, ends as if that were all, or hangs, after so many bytes. */
export interface BodyFault {
  readonly after: number;
  readonly how: 'break' | 'end' | 'hang';
}

/** One `get` of the bucket, as it was seen. */
export interface SeenRead {
  readonly offset: number;
  /** Bytes of the body that were taken. */
  given: number;
  cancelled: boolean;
}

/**
 * A bucket whose bodies fail: `faultOf(n)` tells what becomes of the n-th read (from 0), and may do something to the
 * bucket before it; a throw refuses the read. Everything but the bodies is the bucket's own. Bodies come in chunks of
 * `chunkBytes`, from a byte stream of ours, or through the runtime's own streams (`native`; `given` then tells what was
 * sent).
 */
export function faultyBodies(
  bucket: R2Bucket,
  faultOf: (read: number) => BodyFault | null | Promise<BodyFault | null>,
  { native = false, chunkBytes = 3 }: { native?: boolean; chunkBytes?: number } = {},
): { bucket: R2Bucket; reads: SeenRead[] } {
  const reads: SeenRead[] = [];

  async function get(key: string, options?: R2GetOptions): Promise<R2ObjectBody | R2Object | null> {
    const range = options?.range;
    const seen = { offset: range && 'offset' in range ? (range.offset ?? 0) : 0, given: 0, cancelled: false };
    reads.push(seen);
    const fault = await faultOf(reads.length - 1);
    const object: R2ObjectBody | R2Object | null = await bucket.get(key, options);
    if (!object || !('body' in object) || !object.body) return object;
    const bytes = new Uint8Array(await object.arrayBuffer());
    const body = (native ? nativeBody : scriptedBody)(bytes, fault, chunkBytes, seen);
    const own: Record<string, unknown> = { body, arrayBuffer: () => new Response(body).arrayBuffer() };
    return new Proxy(object, {
      get: (target, name) => (name in own ? own[String(name)] : Reflect.get(target, name)),
    });
  }

  const faulty = new Proxy(bucket, {
    get(target, name) {
      if (name === 'get') return get;
      const value: unknown = Reflect.get(target, name);
      return isMethod(value) ? value.bind(target) : value;
    },
  });
  return { bucket: faulty, reads };
}

function scriptedBody(bytes: Uint8Array, fault: BodyFault | null, chunkBytes: number, seen: SeenRead): ReadableStream {
  const end = Math.min(bytes.length, fault?.after ?? bytes.length);
  return new ReadableStream({
    type: 'bytes',
    pull(controller) {
      if (seen.given < end) {
        const chunk = bytes.slice(seen.given, Math.min(end, seen.given + chunkBytes));
        seen.given += chunk.length;
        return controller.enqueue(chunk);
      }
      if (fault?.how === 'break') return controller.error(new Error('the disk went away'));
      if (fault?.how === 'hang') return new Promise<void>(() => undefined);
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel() {
      seen.cancelled = true;
    },
  });
}

function nativeBody(bytes: Uint8Array, fault: BodyFault | null, chunkBytes: number, seen: SeenRead): ReadableStream {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  const send = async () => {
    const end = Math.min(bytes.length, fault?.after ?? bytes.length);
    while (seen.given < end) {
      const chunk = bytes.slice(seen.given, Math.min(end, seen.given + chunkBytes));
      await writer.write(chunk);
      seen.given += chunk.length;
    }
    if (fault?.how === 'break') await writer.abort(new Error('the disk went away'));
    else if (fault?.how !== 'hang') await writer.close();
  };
  send().catch(() => undefined);
  writer.closed.catch(() => {
    seen.cancelled = true;
  });
  return readable;
}
