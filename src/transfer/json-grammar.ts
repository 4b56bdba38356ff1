import { utf8 } from '../shared/bytes.ts';

/**
 * The grammar of JSON as tables: what may come in which state (RFC 8259), and the bytes of UTF-8 (RFC 3629).
 */

/** What the scanner stands in. Up to `afterValue` a token is to begin, and white space may come before it. */
export const IN = {
  start: 0,
  firstItem: 1,
  item: 2,
  afterItem: 3,
  documentEnd: 4,
  line: 5,
  afterLine: 6,
  value: 7,
  firstElement: 8,
  firstKey: 9,
  key: 10,
  colon: 11,
  afterMember: 12,
  afterElement: 13,
  string: 14,
  character: 15,
  escape: 16,
  hex: 17,
  literal: 18,
  minus: 19,
  zero: 20,
  integer: 21,
  point: 22,
  fraction: 23,
  exponentMark: 24,
  exponentSign: 25,
  exponent: 26,
  byteOrderMark: 27,
} as const;
export const LAST_BETWEEN_TOKENS = IN.afterElement;

/** What has to come, by state. */
export const EXPECTED: readonly string[] = [
  'an array, which begins with "["',
  'a value, or "]"',
  'a value',
  'a comma, or "]"',
  'nothing but white space after the array',
  'a value',
  'a line break after the value',
  'a value',
  'a value, or "]"',
  'a key in double quotes, or "}"',
  'a key in double quotes',
  'a colon',
  'a comma, or "}"',
  'a comma, or "]"',
  'a character of the string, or its end; control characters have to be escaped',
  'the next byte of a UTF-8 character',
  'one of "\\/bfnrtu after the backslash',
  'a hexadecimal digit',
  'true, false or null',
  'a digit after the minus sign',
  'the end of the number',
  'the end of the number',
  'a digit after the point',
  'the end of the number',
  'a digit, or the sign of the exponent',
  'a digit of the exponent',
  'the end of the number',
  'the byte order mark to go on',
];

export const BYTE = {
  tab: 0x09,
  lineFeed: 0x0a,
  carriageReturn: 0x0d,
  space: 0x20,
  quote: 0x22,
  plus: 0x2b,
  comma: 0x2c,
  minus: 0x2d,
  point: 0x2e,
  zero: 0x30,
  nine: 0x39,
  colon: 0x3a,
  upperE: 0x45,
  openBracket: 0x5b,
  backslash: 0x5c,
  closeBracket: 0x5d,
  lowerE: 0x65,
  lowerU: 0x75,
  openBrace: 0x7b,
  closeBrace: 0x7d,
} as const;

export const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;
export const LITERALS = ['true', 'false', 'null'].map((word) => utf8(word));

/** What a byte is within a string: 0 is a character of its own, lead bytes have the place of their rule and so are last. */
export const STRING_END = 1;
export const STRING_ESCAPE = 2;
export const STRING_WRONG = 3;
export const FIRST_LEAD = 4;

/** Lead bytes of UTF-8 and what may follow (RFC 3629, section 4): no overlong forms, no surrogates, nothing past U+10FFFF. */
export const LEADS = [
  { from: 0xc2, to: 0xdf, tail: 1, lowest: 0x80, highest: 0xbf },
  { from: 0xe0, to: 0xe0, tail: 2, lowest: 0xa0, highest: 0xbf },
  { from: 0xe1, to: 0xec, tail: 2, lowest: 0x80, highest: 0xbf },
  { from: 0xed, to: 0xed, tail: 2, lowest: 0x80, highest: 0x9f },
  { from: 0xee, to: 0xef, tail: 2, lowest: 0x80, highest: 0xbf },
  { from: 0xf0, to: 0xf0, tail: 3, lowest: 0x90, highest: 0xbf },
  { from: 0xf1, to: 0xf3, tail: 3, lowest: 0x80, highest: 0xbf },
  { from: 0xf4, to: 0xf4, tail: 3, lowest: 0x80, highest: 0x8f },
] as const;
export const STRING_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte === BYTE.quote) return STRING_END;
  if (byte === BYTE.backslash) return STRING_ESCAPE;
  if (byte < 0x20) return STRING_WRONG;
  if (byte < 0x80) return 0;
  const lead = LEADS.findIndex(({ from, to }) => byte >= from && byte <= to);
  return lead < 0 ? STRING_WRONG : FIRST_LEAD + lead;
});

/** 1 where a byte may follow a backslash, 2 for the \u that wants four digits. */
export const ESCAPED_BYTE = new Uint8Array(256);
for (const byte of utf8('"\\/bfnrt')) ESCAPED_BYTE[byte] = 1;
ESCAPED_BYTE[BYTE.lowerU] = 2;

export const HEX_BYTE = new Uint8Array(256);
for (const byte of utf8('0123456789abcdefABCDEF')) HEX_BYTE[byte] = 1;

/** In the place of a state. */
export const WRONG = -1;
export const TOO_DEEP = -2;
export const NUMBER_ENDS = -3;

export const KIND = { object: 1, array: 2, string: 3, number: 4, true: 5, false: 6, null: 7 } as const;
/** By kind. */
export const KIND_NAMES = ['', 'object', 'array', 'string', 'number', 'boolean', 'boolean', 'null'];
/** What a value is, by its first byte; 0 where none begins so. */
export const KIND_OF = new Uint8Array(256);
for (const [characters, kind] of [
  ['{', KIND.object],
  ['[', KIND.array],
  ['"', KIND.string],
  ['-0123456789', KIND.number],
  ['t', KIND.true],
  ['f', KIND.false],
  ['n', KIND.null],
] as const) {
  for (const byte of utf8(characters)) KIND_OF[byte] = kind;
}

/** In which a number may end. */
export const NUMBER_STATES: readonly number[] = [IN.zero, IN.integer, IN.fraction, IN.exponent];

export function isDigit(byte: number): boolean {
  return byte >= BYTE.zero && byte <= BYTE.nine;
}

/** The state of a number after `byte`, which is none of a run of digits (RFC 8259, section 6). */
export function afterDigits(state: number, byte: number): number {
  switch (state) {
    case IN.minus:
      if (byte === BYTE.zero) return IN.zero;
      return isDigit(byte) ? IN.integer : WRONG;
    case IN.zero:
    case IN.integer:
      if (byte === BYTE.point) return IN.point;
      return isExponent(byte) ? IN.exponentMark : NUMBER_ENDS;
    case IN.point:
      return isDigit(byte) ? IN.fraction : WRONG;
    case IN.fraction:
      return isExponent(byte) ? IN.exponentMark : NUMBER_ENDS;
    case IN.exponentMark:
      if (byte === BYTE.plus || byte === BYTE.minus) return IN.exponentSign;
      return isDigit(byte) ? IN.exponent : WRONG;
    case IN.exponentSign:
      return isDigit(byte) ? IN.exponent : WRONG;
    default:
      return NUMBER_ENDS;
  }
}

function isExponent(byte: number): boolean {
  return byte === BYTE.lowerE || byte === BYTE.upperE;
}

/** Of a document that ends: a number may still go on, a string has to. */
export function expectedAtEnd(state: number): string {
  return state === IN.string ? 'the end of the string' : (EXPECTED[state] ?? '');
}
