/** What a test does at a call of the bucket or of the catalogue. What it throws becomes the call's error. */
export interface StepHooks {
  /** Before the call is carried out. `step` counts from 1, over both. */
  readonly before?: (step: number, name: string) => void | Promise<void>;
  /** After it was carried out: a throw loses its answer. */
  readonly after?: (step: number, name: string) => void | Promise<void>;
}

type Method = (...args: unknown[]) => unknown;

/** Calls of a statement and of the database that reach it. */
const QUERIES = /^(run|all|first|raw|batch|exec)$/;

/** The bucket and the catalogue, whose calls are steps. Parts of a multipart upload are steps too. */
export function withSteps(bucket: R2Bucket, catalogue: D1Database, hooks: StepHooks) {
  const names: string[] = [];
  const real = new WeakMap<object, object>();

  async function step(name: string, call: () => unknown): Promise<unknown> {
    const number = names.push(name);
    await hooks.before?.(number, name);
    const result = await call();
    await hooks.after?.(number, name);
    return result;
  }

  function wrapped<T extends object>(target: T, isStep: RegExp, makes: RegExp): T {
    const proxy = new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (!isMethod(value)) return value;
        const call = (args: unknown[]) => value.apply(object, args.map(unwrapped));
        if (isStep.test(String(name))) return (...args: unknown[]) => step(String(name), () => call(args));
        if (makes.test(String(name))) return (...args: unknown[]) => wrapped(Object(call(args)), isStep, makes);
        return (...args: unknown[]) => call(args);
      },
    });
    real.set(proxy, target);
    return proxy;
  }

  /** The real statements of a batch. */
  function unwrapped(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(unwrapped);
    return typeof value === 'object' && value !== null ? (real.get(value) ?? value) : value;
  }

  return {
    bucket: wrapped(bucket, /^(?!resumeMultipartUpload$)/, /^resumeMultipartUpload$/),
    catalogue: wrapped(catalogue, QUERIES, /^(prepare|bind)$/),
    names,
  };
}

function isMethod(value: unknown): value is Method {
  return typeof value === 'function';
}
