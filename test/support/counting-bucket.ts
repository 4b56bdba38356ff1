/** One `get` of a bucket: what was asked for, and how much of it. */
export interface CountedRead {
  readonly key: string;
  readonly offset: number;
  /** Bytes of the range that R2 was asked for, within the object. */
  readonly length: number;
}

/** A bucket that tells its reads. */
export function countingBucket(bucket: R2Bucket): { bucket: R2Bucket; reads: CountedRead[] } {
  const reads: CountedRead[] = [];

  async function get(key: string, options?: R2GetOptions): Promise<R2ObjectBody | R2Object | null> {
    const object: R2ObjectBody | R2Object | null = await bucket.get(key, options);
    reads.push({ key, ...spanOf(object?.size ?? 0, options?.range) });
    return object;
  }

  const counting = new Proxy(bucket, {
    get(target, name) {
      if (name === 'get') return get;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { bucket: counting, reads };
}

function spanOf(size: number, range: R2GetOptions['range']): { offset: number; length: number } {
  if (!range || !('offset' in range || 'suffix' in range || 'length' in range)) return { offset: 0, length: size };
  if ('suffix' in range) return { offset: Math.max(0, size - range.suffix), length: Math.min(size, range.suffix) };
  const offset = range.offset ?? 0;
  return { offset, length: Math.min(size - offset, range.length ?? size) };
}
