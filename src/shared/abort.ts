/**
 * `work`, or a rejection with the signal's reason as soon as that aborts. Work that cannot be stopped then goes on
 * unheard: what it still gives is handed to `discard`, which must free it.
 */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  discard: (late: T) => void = () => undefined,
): Promise<T> {
  if (!signal) return work;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    // Here, not on the abort: work that was just done is not both given and discarded.
    work.then(discard, () => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The deadline of a call has passed. The call itself may still be carried out, and holds what it was given until then. */
export class TimedOut extends Error {
  /** Resolves when the call itself has ended, with a result or without. */
  readonly ended: Promise<void>;

  constructor(what: string, ms: number, work: Promise<unknown>) {
    super(`${what} for ${ms} ms`);
    this.ended = work.then(
      () => undefined,
      () => undefined,
    );
  }
}

/**
 * Resolves with the result of `work`, or throws {@link TimedOut} after `ms` milliseconds. The work goes on without a
 * listener then; its late result is passed to `discard`, which must free it.
 *
 * @param what what did not happen, for the log
 */
export async function withinTime<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  discard: (late: T) => void = () => undefined,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new TimedOut(what, ms, work));
      work.then(discard, () => undefined);
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
