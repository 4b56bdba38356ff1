import { TURN_BYTES } from './limits.ts';

/**
 * Work that waits for nothing but bytes of a storage that is always ahead leaves the isolate's other requests, and timers,
 * no turn before its end. Call the result after each piece with its bytes, and await it: once in {@link TURN_BYTES} it lets
 * them go first.
 */
export function takingTurns(): (bytes: number) => Promise<void> | undefined {
  let worked = 0;
  return (bytes) => {
    worked += bytes;
    if (worked < TURN_BYTES) return undefined;
    worked = 0;
    return scheduler.wait(0);
  };
}
