import { concat } from '../shared/bytes.ts';

/** The keys of an object, unescaped, in their order. */
export interface Keys {
  readonly keys: readonly string[];
  /** One that stands there twice. */
  readonly duplicate: string | null;
}

export const NO_KEYS: Keys = { keys: [], duplicate: null };

/** Keys as they stood, one behind the other, and where each ends: enough to know them again without decoding. */
interface KnownKeys extends Keys {
  readonly raw: Uint8Array;
  readonly ends: Int32Array;
}

/** Rows that leave out what is null have some sets of keys by turns. Long ones are not worth to be kept. */
const KNOWN_KEYS = 8;
const KNOWN_KEYS_BYTES = 4 * 1024;

/**
 * Collects the keys of one object after another. Rows of a table mostly have the same ones: objects whose keys stand
 * there byte by byte as those of an object shortly before share one array, which is neither decoded nor searched again.
 */
export class JsonKeys {
  /** Beginnings and ends by turns, counted from the object's first byte. */
  #marks = new Int32Array(64);
  #count = 0;
  /** Those read last, each in the place of the oldest. */
  readonly #known: KnownKeys[] = [];
  #oldest = 0;
  #newest: KnownKeys | null = null;

  begin(): void {
    this.#count = 0;
  }

  /** A place between a key and its quotes: its beginning, then its end. */
  mark(place: number): void {
    if (this.#count === this.#marks.length) {
      const grown = new Int32Array(2 * this.#count);
      grown.set(this.#marks);
      this.#marks = grown;
    }
    this.#marks[this.#count] = place;
    this.#count += 1;
  }

  /** The keys that were marked; the object stands in `bytes` from `start`. */
  read(bytes: Uint8Array, start: number): Keys {
    if (this.#count === 0) return NO_KEYS;
    if (this.#newest && this.#isThere(this.#newest, bytes, start)) return this.#newest;
    const known = this.#known.find((keys) => this.#isThere(keys, bytes, start)) ?? this.#learn(bytes, start);
    this.#newest = known;
    return known;
  }

  #learn(bytes: Uint8Array, start: number): KnownKeys {
    const read = this.#decode(bytes, start);
    if (read.raw.length <= KNOWN_KEYS_BYTES) {
      this.#known[this.#oldest] = read;
      this.#oldest = (this.#oldest + 1) % KNOWN_KEYS;
    }
    return read;
  }

  /** Whether the keys that were marked are these. */
  #isThere({ raw, ends }: KnownKeys, bytes: Uint8Array, start: number): boolean {
    const marks = this.#marks;
    if (ends.length * 2 !== this.#count) return false;
    let at = 0;
    for (let key = 0; key < ends.length; key++) {
      let place = start + (marks[2 * key] ?? 0);
      const end = start + (marks[2 * key + 1] ?? 0);
      if (at + end - place !== ends[key]) return false;
      while (place < end) if (bytes[place++] !== raw[at++]) return false;
    }
    return true;
  }

  #decode(bytes: Uint8Array, start: number): KnownKeys {
    const raws: Uint8Array[] = [];
    const ends = new Int32Array(this.#count / 2);
    let length = 0;
    for (let key = 0; key < ends.length; key++) {
      const raw = bytes.subarray(start + (this.#marks[2 * key] ?? 0), start + (this.#marks[2 * key + 1] ?? 0));
      raws.push(raw);
      length += raw.length;
      ends[key] = length;
    }
    const keys = raws.map(keyText);
    return { keys, duplicate: firstDuplicate(keys), raw: concat(raws), ends };
  }
}

const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const BACKSLASH = 0x5c;

/** A key is a checked string: only escapes need a parser. */
function keyText(raw: Uint8Array): string {
  const text = DECODER.decode(raw);
  return raw.includes(BACKSLASH) ? JSON.parse(`"${text}"`) : text;
}

function firstDuplicate(keys: readonly string[]): string | null {
  const seen = new Set<string>();
  for (const key of keys) {
    if (seen.has(key)) return key;
    seen.add(key);
  }
  return null;
}
