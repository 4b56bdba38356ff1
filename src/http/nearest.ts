/** Which known name a person meant by one that is not known. */

/** Longer names are not compared: the time for two names grows with the product of their lengths. */
const COMPARED_CHARS = 64;

/** The known name that `name` is most likely a slip of; null where none is close. */
export function nearest(name: string, known: readonly string[]): string | null {
  const distances = known.map((word) => ({ word, distance: distanceOf(name, word) }));
  const [best] = distances.sort((a, b) => a.distance - b.distance);
  if (best && best.distance <= Math.max(1, Math.floor(best.word.length / 3))) return best.word;
  return known.find((word) => name.length > 2 && (word.startsWith(`${name}_`) || name.startsWith(`${word}_`))) ?? null;
}

/**
 * The known name of which `name` is a near miss: one edit away, two from seven letters on, or the same in another case
 * or with `-` for `_`. Stricter than {@link nearest}, for names that may also be the client's own.
 */
export function nearMiss(name: string, known: readonly string[]): string | null {
  if (known.includes(name)) return null;
  return known.find((word) => distanceOf(name, word) <= (word.length < 7 ? 1 : 2)) ?? null;
}

/** Edits from one name to the other: a letter more, less, changed, or swapped with its neighbour. */
function distanceOf(name: string, word: string): number {
  if (name.length > COMPARED_CHARS) return Number.POSITIVE_INFINITY;
  const [a, b] = [plain(name), plain(word)];
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : changed;
      row.push(Math.min(at(last, j) + 1, at(row, j - 1) + 1, changed, swapped));
    }
    [before, last] = [last, row];
  }
  return at(last, b.length);
}

function at(row: readonly number[], place: number): number {
  return row[place] ?? Number.POSITIVE_INFINITY;
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}
