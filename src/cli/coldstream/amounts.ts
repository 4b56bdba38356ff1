/** Sizes and times as people write and read them. */
import { InvalidArgumentError } from 'commander';
import { DURATION_GRAMMAR, parseDuration, parseSize, SIZE_GRAMMAR } from '../../shared/units.ts';

/** @returns bytes. */
export function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1) throw new InvalidArgumentError(`A size is ${SIZE_GRAMMAR}.`);
  return bytes;
}

/** @returns seconds. */
export function durationOption(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === null) throw new InvalidArgumentError(`A duration is ${DURATION_GRAMMAR}.`);
  return seconds;
}

/** A whole number from `least` to `most`, for options. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
  };
}

const STEPS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Three digits or so: `17 B`, `4.00 MiB`, `1.25 GiB`, `312 GiB`. */
export function showBytes(bytes: number): string {
  let value = bytes;
  let step = 0;
  while (value >= 999.5 && step < STEPS.length - 1) {
    value /= 1024;
    step += 1;
  }
  const digits = step === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${STEPS[step]}`;
}

/** `8s`, `2m 05s`, `3h 20m`, `4d 06h`. */
export function showDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const pair = (large: number, small: number, names: string) =>
    `${Math.floor(whole / large)}${names[0]} ${String(Math.floor((whole % large) / small)).padStart(2, '0')}${names[1]}`;
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return pair(60, 1, 'ms');
  if (whole < 86_400) return pair(3600, 60, 'hm');
  return pair(86_400, 3600, 'dh');
}

/**
 * Text of others (names in an archive, a server's words) as it may stand on a terminal: a name can hold sequences that
 * move the cursor, set the title or worse, and a line break would look like another name.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}
