/** How often, and how long between. Waits double, with up to half of each drawn at random so that crowds spread. */
export interface RetryPolicy {
  readonly tries: number;
  readonly firstWaitMs: number;
}

export const STORAGE_RETRY: RetryPolicy = { tries: 3, firstWaitMs: 100 };
/** For work whose caller tries again by itself: tries would multiply. */
export const ONE_TRY: RetryPolicy = { tries: 1, firstWaitMs: 0 };

/**
 * Runs `work` until it succeeds, `worthTrying(error)` says no, or the tries are used up; then throws the last error.
 * Only for work that can be done again with the same outcome.
 */
export async function retry<T>(
  work: () => Promise<T>,
  worthTrying: (error: unknown) => boolean,
  policy: RetryPolicy = STORAGE_RETRY,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= policy.tries || !worthTrying(error)) throw error;
      await waitAfter(attempt, policy);
    }
  }
}

/** Waits after the `attempt`-th failure. Rejects with the signal's reason as soon as that aborts. */
export async function waitAfter(attempt: number, policy: RetryPolicy, signal?: AbortSignal): Promise<void> {
  try {
    await scheduler.wait(retryWaitMs(attempt, policy), signal ? { signal } : undefined);
  } catch (error) {
    // The runtime rejects with a copy of the reason, which is of no class (workerd 1.20261117).
    signal?.throwIfAborted();
    throw error;
  }
}

/** The wait after the `attempt`-th failure (1 is the first), in milliseconds. */
export function retryWaitMs(attempt: number, policy: RetryPolicy): number {
  const full = policy.firstWaitMs * 2 ** (attempt - 1);
  return full / 2 + (Math.random() * full) / 2;
}
