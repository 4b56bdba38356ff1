/**
 * Sizes and durations as people write them: one grammar for variables, request options and the command.
 *
 * A plain number is bytes or seconds. `K`, `M`, `G` and `T` are powers of 1024, with or without `iB`, in either case.
 * `MB` is rejected: half of its readers take it for 10^6 and half for 2^20.
 */
const BYTES: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
const SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400, w: 7 * 86_400 };

export const SIZE_GRAMMAR = 'a number of bytes, or like 512KiB, 16M or 1.5GiB';
export const DURATION_GRAMMAR = 'a number of seconds, or like 90s, 15m, 12h, 6d or 4w';

/** `8388608`, `512KiB`, `16M`, `1.5GiB` → whole bytes, rounded down; null where the text is not a size. */
export function parseSize(text: string): number | null {
  const [, amount, unit = ''] = /^(\d{1,16}(?:\.\d{1,9})?) ?(?:([kmgt])(?:ib)?)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(amount) * (BYTES[unit.toLowerCase()] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** `90`, `90s`, `15m`, `12h`, `6d`, `4w` → seconds, perhaps with a fraction; null where the text is not a duration. */
export function parseDuration(text: string): number | null {
  const [, amount, unit = ''] = /^(\d{1,16}(?:\.\d{1,9})?) ?([smhdw]?)$/.exec(text.trim()) ?? [];
  const seconds = Number(amount) * (SECONDS[unit] ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds : null;
}

export const TIME_GRAMMAR = 'a time like 2026-11-24T07:30:00Z, or a day like 2026-11-24, which begins at 00:00 UTC';

/** RFC 3339, section 5.6, or its date alone → milliseconds since the epoch; null where the text is no such time. */
export function parseTime(text: string): number | null {
  const [, day, time] = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))?$/.exec(text) ?? [];
  const midnight = new Date(`${day}T00:00:00Z`);
  // Date takes the 30th of February for the 2nd of March.
  if (Number.isNaN(midnight.getTime()) || !midnight.toISOString().startsWith(`${day}`)) return null;
  const ms = Date.parse(`${day}${time ?? 'T00:00:00Z'}`);
  return Number.isNaN(ms) ? null : ms;
}

/** The words that an option or a variable takes for yes and no. */
export const FLAGS = ['true', 'false', '1', '0'] as const;

/** Null where the text is none of {@link FLAGS}. */
export function parseFlag(text: string): boolean | null {
  const words: readonly string[] = FLAGS;
  const at = words.indexOf(text);
  return at < 0 ? null : at % 2 === 0;
}
