/** Numbers below `limit`, the same at every run. */
export function numbers(seed: number): (limit: number) => number {
  let state = Math.imul(seed, 2654435761) >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Lets so many turns of what is ready pass, without a clock. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await undefined;
}

/** Enough for all that can go on by itself. */
export const quiet = () => turns(200);
