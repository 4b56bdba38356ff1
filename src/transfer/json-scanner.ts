import { JSON_ITEM_VALUES } from '../shared/limits.ts';
import {
  afterDigits,
  BYTE,
  BYTE_ORDER_MARK,
  ESCAPED_BYTE,
  EXPECTED,
  expectedAtEnd,
  FIRST_LEAD,
  HEX_BYTE,
  IN,
  isDigit,
  KIND,
  KIND_NAMES,
  KIND_OF,
  LAST_BETWEEN_TOKENS,
  LEADS,
  LITERALS,
  NUMBER_ENDS,
  NUMBER_STATES,
  STRING_BYTE,
  STRING_END,
  STRING_ESCAPE,
  STRING_WRONG,
  TOO_DEEP,
  WRONG,
} from './json-grammar.ts';
import { JsonKeys, type Keys, NO_KEYS } from './json-keys.ts';
import { ItemTooLarge, MalformedJson } from './malformed-json.ts';

/** One element of the array, or one line. */
export interface JsonItem {
  /** Its place among the items, counted from 0. */
  readonly index: number;
  /** Of its first byte in the document, of which a byte order mark is a part. */
  readonly offset: number;
  /** Bytes of its text in UTF-8. */
  readonly bytes: number;
  /** Its JSON text as it stood. */
  readonly text: string;
  readonly kind: 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null';
  /** Itself and all that are within it. */
  readonly values: number;
  /**
   * Of the object itself, unescaped, in their order; none where it has more than {@link JSON_ITEM_VALUES}. Objects with
   * the same keys mostly share the array.
   */
  readonly keys: readonly string[];
  /** A key that stands twice in it. */
  readonly duplicate: string | null;
  /** Whether it has no array or object within. */
  readonly flat: boolean;
  /** Flat, and without \u escapes and integers of {@link LONG_INTEGER_DIGITS}: its text can be used as it is. */
  readonly plain: boolean;
}

/** 2^53 has 16 digits: shorter integers are exact wherever they are read as doubles. */
const LONG_INTEGER_DIGITS = 16;

export type JsonFormat = 'json' | 'ndjson' | 'auto';

export interface ScanOptions {
  /** One array; or one value a line; `auto` tells by the first byte that is no white space. */
  readonly format: JsonFormat;
  /** With `auto`, whether a document of nothing is malformed; otherwise it is one without values. */
  readonly needsValue?: boolean;
  readonly maxItemBytes: number;
  /** Arrays and objects of one item within each other. */
  readonly maxDepth: number;
}

/** Items that are given at once: enough to cost little each, few enough to be nothing. */
const GROUP_ITEMS = 256;
/** Texts of a group are decoded together. The range is checked by then, and does not begin with a mark. */
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const ARRAY = 0;
const OBJECT = 1;

/**
 * The state machine behind {@link ./json-items.ts}: RFC 8259, byte by byte, over blocks cut anywhere. It holds the
 * bytes of an item that a block cuts, at most `maxItemBytes`, and the group of items that it has found.
 *
 * Its use: `scan` until it gives the length of the block, and after each call `take` the items; then `keep`, before the
 * next block. After the last one `finish`. Once there is a `failure`, it is done.
 */
export class JsonScanner {
  readonly #maxItemBytes: number;
  readonly #maxDepth: number;
  readonly #auto: boolean;
  readonly #needsValue: boolean;
  #lines: boolean;

  #state: number = IN.byteOrderMark;
  /** Of the first byte of the block in the document. */
  #base = 0;
  #depth = 0;
  /** Which container each level is. */
  readonly #containers: Uint8Array;
  /** Of a word, a mark or an escape: how far it is, or how many bytes are still to come. */
  #progress = 0;
  #literal: Uint8Array = new Uint8Array();
  #lowest = 0x80;
  #highest = 0xbf;
  #isKey = false;
  #digits = 0;

  #index = 0;
  /** Where the open item begins in the block; negative where it began in an earlier one; null where none is open. */
  #start: number | null = null;
  #kind: JsonItem['kind'] = 'null';
  #values = 0;
  #flat = true;
  #plain = true;
  readonly #keys = new JsonKeys();
  /** The bytes of the open item from earlier blocks. */
  #held = new Uint8Array();
  #heldBytes = 0;

  /** Bytes that are no character of their own in the decoded block: what places in bytes and in text differ by. */
  #shrunk = 0;
  #startShrunk = 0;
  #group: FoundItem[] = [];
  /** Whether the scan has to stop for the group to be taken. */
  #full = false;
  /** Where the texts of the group begin and end in the block, in bytes; and each in code units, counted from the block's. */
  #textFrom: number | null = null;
  #textEnd = 0;
  readonly #cuts = new Int32Array(2 * GROUP_ITEMS);
  /** What is wrong behind the items found so far. */
  failure: MalformedJson | ItemTooLarge | null = null;

  constructor({ format, needsValue = false, maxItemBytes, maxDepth }: ScanOptions) {
    this.#maxItemBytes = maxItemBytes;
    this.#maxDepth = maxDepth;
    this.#auto = format === 'auto';
    this.#needsValue = needsValue;
    this.#lines = format === 'ndjson';
    this.#containers = new Uint8Array(maxDepth + 1);
  }

  /**
   * Reads on from `block[from]`. Gives how far it came: the block's length, unless a group is full.
   *
   * One long function, since state and place stay in registers so; what comes once an item or less is in others.
   */
  scan(block: Uint8Array, from: number): number {
    let state = this.#state;
    let at = from;
    const end = block.length;
    while (at < end) {
      const byte = block[at] as number;
      if (state <= LAST_BETWEEN_TOKENS) {
        if (byte <= BYTE.space) {
          if (byte === BYTE.lineFeed && this.#lines) {
            if (state === IN.afterLine) state = IN.line;
            else if (state !== IN.line) return this.#fail(at, end, `${EXPECTED[state]}, on the same line`);
          } else if (
            byte !== BYTE.space &&
            byte !== BYTE.lineFeed &&
            byte !== BYTE.tab &&
            byte !== BYTE.carriageReturn
          ) {
            return this.#fail(at, end, EXPECTED[state]);
          }
          at += 1;
          continue;
        }
        switch (state) {
          case IN.colon:
            if (byte !== BYTE.colon) return this.#fail(at, end, EXPECTED[state]);
            state = IN.value;
            at += 1;
            continue;
          case IN.afterMember:
            if (byte === BYTE.comma) state = IN.key;
            else if (byte === BYTE.closeBrace) state = this.#close(block, at);
            else return this.#fail(at, end, EXPECTED[state]);
            break;
          case IN.firstKey:
          case IN.key:
            if (byte === BYTE.quote) {
              this.#isKey = true;
              this.#markKey(at + 1);
              state = IN.string;
            } else if (byte === BYTE.closeBrace && state === IN.firstKey) state = this.#close(block, at);
            else return this.#fail(at, end, EXPECTED[state]);
            break;
          case IN.afterElement:
            if (byte === BYTE.comma) state = IN.value;
            else if (byte === BYTE.closeBracket) state = this.#close(block, at);
            else return this.#fail(at, end, EXPECTED[state]);
            break;
          case IN.afterItem:
            if (byte === BYTE.comma) state = IN.item;
            else if (byte === BYTE.closeBracket) state = IN.documentEnd;
            else return this.#fail(at, end, EXPECTED[state]);
            break;
          case IN.start:
            if (byte === BYTE.openBracket) state = IN.firstItem;
            else if (this.#auto) {
              this.#lines = true;
              state = IN.line;
              continue;
            } else return this.#fail(at, end, EXPECTED[state]);
            break;
          case IN.documentEnd:
          case IN.afterLine:
            return this.#fail(at, end, EXPECTED[state]);
          default: {
            if (byte === BYTE.closeBracket && (state === IN.firstElement || state === IN.firstItem)) {
              state = state === IN.firstItem ? IN.documentEnd : this.#close(block, at);
              break;
            }
            const next = this.#begin(byte, at);
            if (next < 0) {
              const tooDeep = next === TOO_DEEP;
              return this.#fail(at, end, tooDeep ? `at most ${this.#maxDepth} levels of nesting` : EXPECTED[state]);
            }
            state = next;
          }
        }
        at += 1;
        if (this.#full) break;
        continue;
      }
      switch (state) {
        case IN.string: {
          let what = STRING_BYTE[byte] as number;
          while (what === 0 && ++at < end) what = STRING_BYTE[block[at] as number] as number;
          if (at === end) continue;
          if (what === STRING_END) {
            if (this.#isKey) {
              this.#markKey(at);
              this.#isKey = false;
              state = IN.colon;
              at += 1;
              continue;
            }
            at += 1;
            state = this.#ended(block, at);
            break;
          }
          if (what === STRING_WRONG) {
            return this.#fail(at, end, (block[at] as number) < 0x80 ? EXPECTED[state] : 'UTF-8');
          }
          if (what === STRING_ESCAPE) state = IN.escape;
          else state = this.#lead(what - FIRST_LEAD);
          at += 1;
          continue;
        }
        case IN.character:
          if (byte < this.#lowest || byte > this.#highest) return this.#fail(at, end, EXPECTED[state]);
          this.#lowest = 0x80;
          this.#highest = 0xbf;
          this.#progress -= 1;
          if (this.#progress === 0) state = IN.string;
          at += 1;
          continue;
        case IN.escape:
          if (ESCAPED_BYTE[byte] === 0) return this.#fail(at, end, EXPECTED[state]);
          if (ESCAPED_BYTE[byte] === 1) state = IN.string;
          else {
            this.#plain = false;
            this.#progress = 4;
            state = IN.hex;
          }
          at += 1;
          continue;
        case IN.hex:
          if (HEX_BYTE[byte] === 0) return this.#fail(at, end, EXPECTED[state]);
          this.#progress -= 1;
          if (this.#progress === 0) state = IN.string;
          at += 1;
          continue;
        case IN.literal:
          if (byte !== this.#literal[this.#progress]) return this.#fail(at, end, EXPECTED[state]);
          this.#progress += 1;
          at += 1;
          if (this.#progress < this.#literal.length) continue;
          state = this.#ended(block, at);
          break;
        case IN.byteOrderMark:
          if (byte === BYTE_ORDER_MARK[this.#progress]) {
            this.#progress += 1;
            at += 1;
            if (this.#progress === BYTE_ORDER_MARK.length) state = this.#afterMark();
          } else if (this.#progress > 0) return this.#fail(at, end, EXPECTED[state]);
          else state = this.#afterMark();
          continue;
        default: {
          if (state === IN.integer || state === IN.fraction || state === IN.exponent) {
            const first = at;
            while (at < end && isDigit(block[at] as number)) at += 1;
            if (state === IN.integer) this.#digits += at - first;
            if (at === end) continue;
          }
          const next = afterDigits(state, block[at] as number);
          if (next === WRONG) return this.#fail(at, end, EXPECTED[state]);
          if (next !== NUMBER_ENDS) {
            state = next;
            at += 1;
            continue;
          }
          this.#checkDigits(state);
          state = this.#ended(block, at);
        }
      }
      if (this.#full) break;
    }
    this.#state = state;
    return at;
  }

  /** The items found since the last call, whole, in their order. To be called while `block` is what it was. */
  take(block: Uint8Array): readonly JsonItem[] {
    const group = this.#group;
    this.#group = [];
    this.#full = false;
    if (this.#textFrom === null) return group;
    const text = DECODER.decode(block.subarray(this.#textFrom, this.#textEnd));
    this.#textFrom = null;
    // The first item may have begun in an earlier block, and then has its text.
    const first = group[0]?.text === '' ? 0 : 1;
    const before = this.#cuts[2 * first] ?? 0;
    for (let i = first; i < group.length; i++) {
      (group[i] as FoundItem).text = text.slice(
        (this.#cuts[2 * i] ?? 0) - before,
        (this.#cuts[2 * i + 1] ?? 0) - before,
      );
    }
    return group;
  }

  /** Before the next block: the bytes of an open item are copied. */
  keep(block: Uint8Array): void {
    this.#base += block.length;
    this.#shrunk = 0;
    if (this.#start === null || this.failure) return;
    const more = block.subarray(Math.max(this.#start, 0));
    if (this.#heldBytes + more.length > this.#maxItemBytes) {
      this.failure = new ItemTooLarge(this.#base - this.#heldBytes - more.length, this.#maxItemBytes);
      return;
    }
    this.#hold(more);
    this.#start = -this.#heldBytes;
  }

  /** At the end of the document: what is to come is what failed, or the last item of lines. */
  finish(): readonly JsonItem[] {
    const nothing = new Uint8Array();
    const state = this.#state === IN.byteOrderMark && this.#progress === 0 ? this.#afterMark() : this.#state;
    if (this.#lines && this.#depth === 0 && NUMBER_STATES.includes(state)) {
      this.#checkDigits(state);
      this.#ended(nothing, 0);
      return this.take(nothing);
    }
    const whole = this.#lines
      ? state === IN.line || state === IN.afterLine
      : state === IN.documentEnd || (this.#auto && !this.#needsValue && state === IN.start);
    if (!whole) this.failure = new MalformedJson(expectedAtEnd(state), this.#base, true);
    return [];
  }

  #afterMark(): number {
    return this.#lines ? IN.line : IN.start;
  }

  /** The state after the first byte of a value, or why there is none. */
  #begin(byte: number, at: number): number {
    const kind = KIND_OF[byte] as number;
    if (kind === 0) return WRONG;
    if (this.#depth === 0) this.#open(kind, at);
    this.#values += 1;
    switch (kind) {
      case KIND.object:
        return this.#nest(OBJECT) ? IN.firstKey : TOO_DEEP;
      case KIND.array:
        return this.#nest(ARRAY) ? IN.firstElement : TOO_DEEP;
      case KIND.string:
        return IN.string;
      case KIND.number:
        this.#digits = 1;
        if (byte === BYTE.minus) return IN.minus;
        return byte === BYTE.zero ? IN.zero : IN.integer;
      default:
        this.#literal = LITERALS[kind - KIND.true] as Uint8Array;
        this.#progress = 1;
        return IN.literal;
    }
  }

  #open(kind: number, at: number): void {
    this.#start = at;
    this.#startShrunk = this.#shrunk;
    this.#kind = KIND_NAMES[kind] as JsonItem['kind'];
    this.#values = 0;
    this.#flat = true;
    this.#plain = true;
    this.#keys.begin();
  }

  /** Where a key of the item itself begins or ends. */
  #markKey(at: number): void {
    if (this.#depth === 1 && this.#values <= JSON_ITEM_VALUES) this.#keys.mark(at - (this.#start ?? 0));
  }

  #nest(container: number): boolean {
    if (this.#depth === this.#maxDepth) return false;
    if (this.#depth > 0) this.#flat = false;
    this.#depth += 1;
    this.#containers[this.#depth] = container;
    return true;
  }

  /** The state after a closing bracket at `at`. */
  #close(block: Uint8Array, at: number): number {
    this.#depth -= 1;
    return this.#ended(block, at + 1);
  }

  /** The state after a value that ends before `end`. */
  #ended(block: Uint8Array, end: number): number {
    if (this.#depth > 0) return this.#containers[this.#depth] === OBJECT ? IN.afterMember : IN.afterElement;
    this.#found(block, end);
    return this.#lines ? IN.afterLine : IN.afterItem;
  }

  #found(block: Uint8Array, end: number): void {
    const start = this.#start ?? 0;
    this.#start = null;
    const offset = this.#base + start;
    const bytes = end - start;
    if (bytes > this.#maxItemBytes) {
      this.failure = new ItemTooLarge(offset, this.#maxItemBytes);
      this.#full = true;
      return;
    }
    const place = this.#group.length;
    let text = '';
    let keys: Keys = NO_KEYS;
    const withKeys = this.#kind === 'object' && this.#values <= JSON_ITEM_VALUES;
    if (start < 0) {
      this.#hold(block.subarray(0, end));
      const whole = this.#held.subarray(0, this.#heldBytes);
      this.#heldBytes = 0;
      text = DECODER.decode(whole);
      if (withKeys) keys = this.#keys.read(whole, 0);
    } else {
      if (withKeys) keys = this.#keys.read(block, start);
      this.#textFrom ??= start;
      this.#textEnd = end;
      this.#cuts[2 * place] = start - this.#startShrunk;
      this.#cuts[2 * place + 1] = end - this.#shrunk;
    }
    this.#group.push({
      index: this.#index,
      offset,
      bytes,
      text,
      kind: this.#kind,
      values: this.#values,
      keys: keys.keys,
      duplicate: keys.duplicate,
      flat: this.#flat,
      plain: this.#flat && this.#plain,
    });
    this.#index += 1;
    this.#full = place + 1 === GROUP_ITEMS;
  }

  #hold(more: Uint8Array): void {
    const bytes = this.#heldBytes + more.length;
    if (bytes > this.#held.length) {
      const grown = new Uint8Array(Math.min(Math.max(2 * this.#held.length, bytes, 1024), this.#maxItemBytes));
      grown.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = grown;
    }
    this.#held.set(more, this.#heldBytes);
    this.#heldBytes = bytes;
  }

  #lead(rule: number): number {
    const { tail, lowest, highest } = LEADS[rule] as (typeof LEADS)[number];
    this.#progress = tail;
    this.#lowest = lowest;
    this.#highest = highest;
    // Two code units of UTF-16 for four bytes, one for fewer.
    this.#shrunk += tail === 3 ? 2 : tail;
    return IN.character;
  }

  #checkDigits(state: number): void {
    if (state === IN.integer && this.#digits >= LONG_INTEGER_DIGITS) this.#plain = false;
  }

  /** Notes what is wrong at `at`; an item that is too large by then is that first. */
  #fail(at: number, end: number, expected = ''): number {
    const tooLarge = this.#start !== null && at - this.#start > this.#maxItemBytes;
    this.failure = tooLarge
      ? new ItemTooLarge(this.#base + (this.#start ?? 0), this.#maxItemBytes)
      : new MalformedJson(expected, this.#base + at, false);
    return end;
  }
}

/** An item whose text may still have to be cut out of the block's. */
interface FoundItem extends JsonItem {
  text: string;
}
