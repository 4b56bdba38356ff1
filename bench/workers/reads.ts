/** What requests read of the bucket and decode: counted where the vault calls them. */
import { type Env, services } from '../../src/services.ts';

export interface Reads {
  /** Calls of R2's get, and how many bytes each asked for. */
  readonly gets: { readonly key: string; readonly offset: number; readonly bytes: number }[];
  /** Content of each frame that was decoded at once, in bytes. */
  readonly frames: number[];
}

let reads: Reads = { gets: [], frames: [] };
let counted = new WeakMap<Env, Env>();

/** What was read since it was last asked. */
export function takeReads(): Reads {
  const taken = reads;
  reads = { gets: [], frames: [] };
  return taken;
}

/** What the vault has kept in memory, indexes and seek tables, is gone: as an isolate is that has just begun. */
export function forget(): void {
  counted = new WeakMap();
}

/** The same bindings, with a bucket and an engine that count. */
export function countedEnv(env: Env): Env {
  const known = counted.get(env);
  if (known) return known;
  const made: Env = { ...env, VAULT: countedBucket(env.VAULT) };
  countEngine(made);
  counted.set(env, made);
  return made;
}

function countedBucket(bucket: R2Bucket): R2Bucket {
  return new Proxy(bucket, {
    get(target, name) {
      if (name === 'get') {
        return async (key: string, options?: R2GetOptions) => {
          const object = await target.get(key, options);
          reads.gets.push({ key, ...rangeOf(options?.range, object?.size ?? 0) });
          return object;
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** As R2 takes it: what lies behind the end is not given. */
function rangeOf(range: R2GetOptions['range'], size: number): { offset: number; bytes: number } {
  if (!range || range instanceof Headers) return { offset: 0, bytes: size };
  if ('suffix' in range) {
    const bytes = Math.min(range.suffix, size);
    return { offset: size - bytes, bytes };
  }
  const offset = range.offset ?? 0;
  return { offset, bytes: Math.min(range.length ?? size, size - offset) };
}

/** The services of these bindings are made once and kept: what all routes get is given another engine. */
function countEngine(env: Env): void {
  const all = services(env);
  const { engine } = all;
  const counting = new Proxy(engine, {
    get(target, name) {
      if (name === 'decompressFrame') {
        return (frame: Uint8Array, contentBytes: number) => {
          reads.frames.push(contentBytes);
          return target.decompressFrame(frame, contentBytes);
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  Object.assign(all, { engine: counting });
}
