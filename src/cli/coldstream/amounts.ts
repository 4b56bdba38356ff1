/** Sizes and times as people write and read them. */
import { InvalidArgumentError } from 'commander';

const UNITS = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 } as const;
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** `8388608`, `16M`, `16MiB`, `1.5g` → bytes. */
export function parseSize(text: string): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(amount) * UNITS[unit.toLowerCase() as keyof typeof UNITS]);
  if (!(bytes >= 1)) throw new InvalidArgumentError('A size is a number of bytes, or like 16MiB.');
  return bytes;
}

/** `90`, `90s`, `10m`, `6h`, `2d` → seconds. */
export function parseDuration(text: string): number {
  const [, amount, unit = 's'] = /^(\d+(?:\.\d+)?)\s*([smhd]?)$/.exec(text.trim()) ?? [];
  const seconds = Number(amount) * SECONDS[(unit || 's') as keyof typeof SECONDS];
  if (Number.isNaN(seconds)) throw new InvalidArgumentError('A time is a number of seconds, or like 10m, 6h, 2d.');
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
