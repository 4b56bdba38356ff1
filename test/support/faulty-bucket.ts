/** Which calls of a bucket fail: the n-th (from 1) of those that `match` names; `times` of them in a row. */
export interface Fault {
  readonly at: number;
  readonly times?: number;
  readonly match?: RegExp;
  /** Whether the call is carried out before its answer is lost. */
  readonly answerLost?: boolean;
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
    const lost = new Error(`${name}: We encountered an internal error. Please try again. (10001)`);
    if (!fault.answerLost) return Promise.reject(lost);
    return Promise.resolve(method.apply(object, args)).then(() => Promise.reject(lost));
  }

  return { bucket: wrap(bucket), calls };
}

function isMethod(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === 'function';
}
