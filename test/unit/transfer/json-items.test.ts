import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { JSON_ITEM_VALUES } from '../../../src/shared/limits.ts';
import { jsonItemGroups, jsonItems } from '../../../src/transfer/json-items.ts';
import { chunked } from '../codec/bytes.ts';
import { BOUNDS, dice, read, readEveryWay, readPieces } from './json-documents.ts';

const BOM = new Uint8Array([0xef, 0xbb, 0xbf]);

/** Every kind of value, white space, escapes, characters of one to four bytes. */
const ROWS = [
  { id: 1, name: 'Ä "quoted" \\ / \n\t', value: -1.5e-7, data: null },
  { id: 2, name: 'emoji 😀 and 漢字', value: 0, flag: true, other: false },
  { id: 3, name: '', nested: { a: [1, [2], {}], b: [] } },
  {},
];
const VALUES = [...ROWS, [], [[]], 'text', '', 0, -0.5, 12e3, true, false, null];

/** Members with a key each, all different. */
function pairs(count: number): string {
  return Array.from({ length: count }, (_, i) => `"${i}":${i}`).join(',');
}

describe('a document', () => {
  const texts = VALUES.map((value) => JSON.stringify(value));
  it.each<[string, 'json' | 'ndjson', string]>([
    ['an array', 'json', `[${texts.join(',')}]`],
    ['an array with white space everywhere', 'json', ` \r\n[\t${texts.join(' ,\n ')} ] \r\n\t`],
    ['an array as JSON.stringify indents it', 'json', JSON.stringify(VALUES, null, 2)],
    ['lines', 'ndjson', texts.join('\n')],
    ['lines with a last line break', 'ndjson', `${texts.join('\n')}\n`],
    ['lines of Windows', 'ndjson', `${texts.join('\r\n')}\r\n`],
    ['lines with blank ones', 'ndjson', `\n\r\n \t\n${texts.join('\n\n  \n')}\n\n`],
    ['lines with white space around', 'ndjson', texts.map((text) => ` \t${text} \r`).join('\n')],
  ])('that is %s gives its items, however it is cut', async (_, format, text) => {
    const { items, refused } = await readEveryWay(text, { format });
    expect(refused).toBeNull();
    expect(items.map((item) => JSON.parse(item.text))).toEqual(VALUES);
    expect(items.map((item) => item.index)).toEqual(VALUES.map((_value, i) => i));
    const bytes = utf8(text);
    for (const item of items) {
      const stood = bytes.subarray(item.offset, item.offset + item.bytes);
      expect(new TextDecoder().decode(stood)).toBe(item.text);
    }
    const known = await read(text, { format: 'auto' });
    expect(known).toEqual({ items, refused: null });
  });

  it.each<[string, 'json' | 'ndjson' | 'auto', string]>([
    ['an empty array', 'json', '[]'],
    ['an empty array with white space', 'auto', '\n [ ] \n'],
    ['nothing, as lines', 'ndjson', ''],
    ['nothing', 'auto', ''],
    ['white space', 'auto', ' \n\r\n\t '],
    ['blank lines', 'ndjson', '\n\n\r\n'],
  ])('of %s has no items', async (_, format, text) => {
    expect(await readEveryWay(text, { format })).toEqual({ items: [], refused: null });
  });

  it.each(['json', 'ndjson', 'auto'] as const)(
    'may begin with a byte order mark (%s), which offsets count',
    async (format) => {
      const text = format === 'json' ? '[{"a":1}]' : '{"a":1}';
      const { items, refused } = await readEveryWay(concat([BOM, utf8(text)]), { format });
      expect(refused).toBeNull();
      expect(items).toMatchObject([{ text: '{"a":1}', offset: format === 'json' ? 4 : 3, keys: ['a'] }]);
    },
  );

  it('that ends within a number of the last line has it', async () => {
    for (const text of ['0', '12', '-7', '1.25', '1e5', '1E-05', '-0.0e+1']) {
      expect(await readEveryWay(text, { format: 'ndjson' })).toMatchObject({ items: [{ text }], refused: null });
    }
  });
});

describe('an item', () => {
  const long = '9'.repeat(16);
  it.each<[string, { kind: string; flat: boolean; plain: boolean; keys: string[]; duplicate?: string }]>([
    ['{}', { kind: 'object', flat: true, plain: true, keys: [] }],
    ['{"a":1,"b":"x"}', { kind: 'object', flat: true, plain: true, keys: ['a', 'b'] }],
    ['{"b":1,"a":{"c":2}}', { kind: 'object', flat: false, plain: false, keys: ['b', 'a'] }],
    ['{"a":[]}', { kind: 'object', flat: false, plain: false, keys: ['a'] }],
    ['{"a":{"a":1,"a":2}}', { kind: 'object', flat: false, plain: false, keys: ['a'] }],
    ['{"a":"\\n\\"\\\\"}', { kind: 'object', flat: true, plain: true, keys: ['a'] }],
    ['{"a":"\\u00e4"}', { kind: 'object', flat: true, plain: false, keys: ['a'] }],
    ['{"\\u0061b":1}', { kind: 'object', flat: true, plain: false, keys: ['ab'] }],
    ['{"a\\"b\\\\":1}', { kind: 'object', flat: true, plain: true, keys: ['a"b\\'] }],
    ['{"":1}', { kind: 'object', flat: true, plain: true, keys: [''] }],
    ['{"ключ 😀":1}', { kind: 'object', flat: true, plain: true, keys: ['ключ 😀'] }],
    ['{"a":1,"b":2,"a":3}', { kind: 'object', flat: true, plain: true, keys: ['a', 'b', 'a'], duplicate: 'a' }],
    ['{"a":1,"\\u0061":2}', { kind: 'object', flat: true, plain: false, keys: ['a', 'a'], duplicate: 'a' }],
    [
      '{"__proto__":1,"constructor":2}',
      { kind: 'object', flat: true, plain: true, keys: ['__proto__', 'constructor'] },
    ],
    [`{"a":${long.slice(1)}}`, { kind: 'object', flat: true, plain: true, keys: ['a'] }],
    [`{"a":${long}}`, { kind: 'object', flat: true, plain: false, keys: ['a'] }],
    [`{"a":-${long.slice(1)}}`, { kind: 'object', flat: true, plain: true, keys: ['a'] }],
    [`{"a":-${long}}`, { kind: 'object', flat: true, plain: false, keys: ['a'] }],
    [`{"a":${long}.5,"b":${long}e1}`, { kind: 'object', flat: true, plain: true, keys: ['a', 'b'] }],
    [`{"a":0.${long}}`, { kind: 'object', flat: true, plain: true, keys: ['a'] }],
    [`{"a":"${long}"}`, { kind: 'object', flat: true, plain: true, keys: ['a'] }],
    [long, { kind: 'number', flat: true, plain: false, keys: [] }],
    ['[1]', { kind: 'array', flat: true, plain: true, keys: [] }],
    ['[{"a":1}]', { kind: 'array', flat: false, plain: false, keys: [] }],
    ['"x"', { kind: 'string', flat: true, plain: true, keys: [] }],
    ['1', { kind: 'number', flat: true, plain: true, keys: [] }],
    ['true', { kind: 'boolean', flat: true, plain: true, keys: [] }],
    ['false', { kind: 'boolean', flat: true, plain: true, keys: [] }],
    ['null', { kind: 'null', flat: true, plain: true, keys: [] }],
  ])('%s is known for what it is, also behind another one', async (text, facts) => {
    for (const document of [`[${text}]`, `[{"z":[1]},${text},${text}]`, `[${text},{"b":"\\u0000"},${text}]`]) {
      const { items, refused } = await readEveryWay(document);
      expect(refused).toBeNull();
      expect(items.at(-1)).toMatchObject({ text, duplicate: null, ...facts });
    }
  });

  it.each<[string, number, number]>([
    ['{}', 1, 0],
    ['{"a":1}', 2, 1],
    ['{"a":{"b":[1,[],null]},"c":""}', 7, 2],
    ['[1,[2]]', 4, 0],
    ['true', 1, 0],
    [`{${pairs(JSON_ITEM_VALUES - 1)}}`, JSON_ITEM_VALUES, JSON_ITEM_VALUES - 1],
    [`{${pairs(JSON_ITEM_VALUES)}}`, JSON_ITEM_VALUES + 1, 0],
    [`{"a":[${'1,'.repeat(JSON_ITEM_VALUES)}1]}`, JSON_ITEM_VALUES + 3, 0],
  ])('has its values counted (case %#), and no keys where there are too many', async (text, values, keys) => {
    const { items } = await readEveryWay(`{"x":[1]}\n${text}\n{"a":1}`, { maxItemBytes: 1 << 20 });
    expect(items.map((item) => [item.values, item.keys.length])).toEqual([
      [3, 1],
      [values, keys],
      [2, 1],
    ]);
  });

  it('shares its keys with others that have the same, and with no others', async () => {
    const sets = ['"a":1,"b":2', '"a":1,"c":2', '"ab":1', '"a":1', '"a":1,"b":2,"c":3', '"b":1,"a":2', '"a":1,"":2'];
    const text = Array.from({ length: 60 }, (_, i) => `{${sets[i % sets.length]}}`).join('\n');
    const { items } = await read(text);
    expect(items.map((item) => item.keys)).toEqual(items.map((item) => Object.keys(JSON.parse(item.text))));
    expect(items[0]?.keys).toBe(items[sets.length]?.keys);
    expect(new Set(items.map((item) => item.keys)).size).toBe(sets.length);
  });

  it('has its own keys where more sets take turns than are remembered, and where they are long', async () => {
    const rows = Array.from({ length: 100 }, (_, i) => ({
      [`key ${i % 20}`]: i,
      [`${'k'.repeat(2100)}${i % 2}`]: i,
      a: i,
    }));
    const { items, refused } = await readEveryWay(JSON.stringify(rows));
    expect(refused).toBeNull();
    expect(items.map((item) => item.keys)).toEqual(rows.map((row) => Object.keys(row)));
  });
});

describe('malformed JSON', () => {
  it.each<[string, number]>([
    ['', 0],
    [' ', 1],
    ['[', 1],
    ['[1', 2],
    ['[1,', 3],
    ['[1,]', 3],
    ['[,1]', 1],
    ['[1 2]', 3],
    ['[1;2]', 2],
    ['[]]', 2],
    ['[] []', 3],
    ['{}', 0],
    ['1', 0],
    ['[01]', 2],
    ['[-]', 2],
    ['[-a]', 2],
    ['[+1]', 1],
    ['[.5]', 1],
    ['[1.]', 3],
    ['[1.e5]', 3],
    ['[1e]', 3],
    ['[1e+]', 4],
    ['[1e5.5]', 4],
    ['[0x10]', 2],
    ['[1_000]', 2],
    ['[NaN]', 1],
    ['[Infinity]', 1],
    ['[undefined]', 1],
    ['[True]', 1],
    ['[tru]', 4],
    ['[truex]', 5],
    ['[nulL]', 4],
    ["['a']", 1],
    ['["a]', 4],
    ['["a\\x"]', 4],
    ['["\\u12g4"]', 6],
    ['["\\u123"]', 7],
    ['["\t"]', 2],
    ['["a\nb"]', 3],
    ['["\u0000"]', 2],
    ['[{]', 2],
    ['[{"a"]', 5],
    ['[{"a":]', 6],
    ['[{"a":1,}]', 8],
    ['[{"a":1]', 7],
    ['[{"a" 1}]', 6],
    ['[{a:1}]', 2],
    ['[{1:1}]', 2],
    ['[{"a":1 "b":2}]', 8],
    ['[[1}', 3],
    ['[{"a":[}]', 7],
    ['[/* */1]', 1],
    ['[1,//\n2]', 3],
    ['\u00a0[]', 0],
    ['[1\u00a0]', 2],
    ['[1\u000b]', 2],
    ['[\ufeff1]', 1],
  ])('%j is refused at byte %i', async (text, offset) => {
    const { refused } = await readEveryWay(text, { format: 'json' });
    expect(refused).toMatchObject({ code: 'malformed-json', offset });
    expect(refused?.message).toMatch(
      offset === utf8(text).length ? /^The JSON ends too early, after/ : /at byte \d+: expected /,
    );
    // Only an array is a document; of all else JSON.parse thinks the same.
    expect(parse(utf8(text)) !== undefined).toBe(text === '{}' || text === '1');
  });

  it.each<[string, number]>([
    ['{"a":1} {"a":2}', 8],
    ['{"a":1},\n{"a":2}', 7],
    ['{"a":\n1}', 5],
    ['{"a":1\n{"b":2}', 6],
    ['[1,\n2]', 3],
    ['1 2', 2],
    ['{"a":1}\n]', 8],
    ['{"a":"x', 7],
    ['{"a":1}\ntru', 11],
    ['-', 1],
    ['1.', 2],
    ['1e', 2],
    ['\u2028{}', 0],
  ])('lines %j are refused at byte %i', async (text, offset) => {
    const { refused } = await readEveryWay(text, { format: 'ndjson' });
    expect(refused).toMatchObject({ code: 'malformed-json', offset });
  });

  it.each<[string, number[], number]>([
    ['a continuation byte alone', [0x80], 0],
    ['an overlong slash of two bytes', [0xc0, 0xaf], 0],
    ['an overlong slash of three bytes', [0xe0, 0x80, 0xaf], 1],
    ['an overlong form of four bytes', [0xf0, 0x80, 0x80, 0xaf], 1],
    ['a high surrogate', [0xed, 0xa0, 0x80], 1],
    ['a low surrogate', [0xed, 0xbf, 0xbf], 1],
    ['what is past U+10FFFF', [0xf4, 0x90, 0x80, 0x80], 1],
    ['a lead byte past all', [0xf5, 0x80, 0x80, 0x80], 0],
    ['a byte of no encoding', [0xff], 0],
    ['a character that lacks its last byte', [0xf0, 0x9f, 0x98], 3],
    ['Latin-1', [0xe4], 1],
  ])('with %s in a string is refused where it is', async (_, bytes, at) => {
    for (const before of ['["', '["ä😀', '[{"']) {
      const document = concat([utf8(before), new Uint8Array(bytes), utf8('"]')]);
      const { refused } = await readEveryWay(document);
      expect(refused).toMatchObject({ code: 'malformed-json', offset: utf8(before).length + at });
    }
  });

  it('keeps the items before it, and says where it is', async () => {
    const { items, refused } = await readEveryWay('[{"a":1},{"a":2},{"a":x}]');
    expect(items.map((item) => item.text)).toEqual(['{"a":1}', '{"a":2}']);
    expect(refused).toMatchObject({
      code: 'malformed-json',
      offset: 22,
      message: 'The JSON is malformed at byte 22: expected a value.',
    });
  });

  it('with a broken byte order mark is refused there', async () => {
    expect(await readEveryWay(new Uint8Array([0xef, 0xbb, 0x5b]))).toMatchObject({ refused: { offset: 2 } });
    expect(await readEveryWay(new Uint8Array([0xef]))).toMatchObject({ refused: { offset: 1 } });
    expect(await readEveryWay(concat([BOM, BOM, utf8('[]')]))).toMatchObject({ refused: { offset: 3 } });
  });
});

describe('a small document', () => {
  const text = '[{"id":1,"n":"ä\\u00e4😀","v":-1.5e+7},{"d":[null,true,{}]} ,"x", false]\n';
  const bytes = utf8(text);

  it('cut at every byte is refused at its end', async () => {
    const end = text.trimEnd().length + (bytes.length - text.length);
    for (let length = 0; length < end; length++) {
      const { refused } = await read(bytes.subarray(0, length), { format: 'json' });
      expect(refused).toMatchObject({ code: 'malformed-json', offset: length });
    }
    expect((await read(bytes.subarray(0, end))).refused).toBeNull();
  });

  it('with every byte replaced by bad ones is read as JSON.parse reads it, or refused', async () => {
    const bad = [
      0x00, 0x0a, 0x20, 0x22, 0x2c, 0x2d, 0x2e, 0x30, 0x31, 0x3a, 0x5b, 0x5c, 0x5d, 0x65, 0x75, 0x7b, 0x7d, 0x80, 0xe0,
      0xf4, 0xff,
    ];
    for (let at = 0; at < bytes.length; at++) {
      for (const byte of bad) {
        const changed = bytes.slice();
        changed[at] = byte;
        await expectAsParsed(changed, at);
      }
    }
  });

  it('changed at random is read as JSON.parse reads it, or refused', async () => {
    const pick = dice(20261124);
    const alphabet = utf8('[]{}",:\\u0123456789eE+-. \n\ttruefalsnl/ä😀');
    for (let round = 0; round < 4000; round++) {
      const changed = [...bytes];
      let first = bytes.length;
      for (let change = 0; change <= pick(3); change++) {
        const at = pick(changed.length);
        first = Math.min(first, at);
        const byte = pick(8) === 0 ? pick(256) : (alphabet[pick(alphabet.length)] ?? 0);
        changed.splice(at, pick(3), ...(pick(2) === 0 ? [byte] : []));
      }
      await expectAsParsed(Uint8Array.from(changed), first);
    }
  });

  it('of lines changed at random is read as JSON.parse reads its lines, or refused in the first that it does not', async () => {
    const pick = dice(4711);
    const lines = utf8('{"id":1,"n":"ä😀"}\r\n\n[null,-1.5e+7]\n"x"\n 12 \n{"a":{"b":[true]}}');
    const alphabet = utf8('[]{}",:\\u019e-. \n\r\ttä');
    for (let round = 0; round < 4000; round++) {
      const changed = [...lines];
      for (let change = 0; change <= pick(3); change++) {
        changed.splice(pick(changed.length), pick(3), ...(pick(2) === 0 ? [alphabet[pick(alphabet.length)] ?? 0] : []));
      }
      await expectAsParsedByLine(Uint8Array.from(changed));
    }
  });
});

async function expectAsParsedByLine(bytes: Uint8Array): Promise<void> {
  const { items, refused } = await read(bytes, { format: 'ndjson', chunkBytes: 1 + (bytes.length % 50) });
  const values: unknown[] = [];
  let offset = 0;
  for (const line of linesOf(bytes)) {
    const blank = line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
    const value = blank ? undefined : parse(line);
    if (!blank && value === undefined) {
      expect(refused?.code, new TextDecoder().decode(bytes)).toBe('malformed-json');
      expect(refused?.offset).toBeGreaterThanOrEqual(offset);
      expect(refused?.offset).toBeLessThanOrEqual(offset + line.length);
      break;
    }
    if (!blank) values.push(value);
    offset += line.length + 1;
  }
  if (offset > bytes.length) expect(refused, new TextDecoder().decode(bytes)).toBeNull();
  // A value that is whole before what is wrong on its line is one.
  expect(items.length).toBeLessThanOrEqual(values.length + (refused ? 1 : 0));
  expect(items.slice(0, values.length).map((item) => JSON.parse(item.text))).toEqual(values);
  for (const item of items.slice(values.length)) expect(item.offset).toBeGreaterThanOrEqual(offset);
}

function* linesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at <= bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    yield bytes.subarray(at, end < 0 ? bytes.length : end);
    at = end < 0 ? bytes.length + 1 : end + 1;
  }
}

/** `firstChange`: nothing before it can be wrong. */
async function expectAsParsed(bytes: Uint8Array, firstChange: number): Promise<void> {
  const { items, refused } = await read(bytes, { format: 'json', chunkBytes: 1 + (bytes.length % 50) });
  const parsed = parse(bytes);
  if (Array.isArray(parsed)) {
    expect(refused, new TextDecoder().decode(bytes)).toBeNull();
    expect(items.map((item) => JSON.parse(item.text))).toEqual(parsed);
    return;
  }
  expect(refused?.code, new TextDecoder().decode(bytes)).toBe('malformed-json');
  expect(refused?.offset).toBeGreaterThanOrEqual(firstChange);
  expect(refused?.offset).toBeLessThanOrEqual(bytes.length);
}

/** As the platform reads it; undefined where it does not. */
function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

describe('the bounds', () => {
  it('of an item are kept to the byte', async () => {
    for (const [bytes, whole] of [
      [100, true],
      [101, false],
    ] as const) {
      const item = `"${'x'.repeat(bytes - 2)}"`;
      for (const text of [`[1,${item}]`, `[1,${item} ,2]`, `1\n${item}\n`, `1\n${item}`]) {
        const { items, refused } = await readEveryWay(text, { maxItemBytes: 100 });
        if (whole) expect(refused).toBeNull();
        else expect(refused).toMatchObject({ code: 'item-too-large', offset: text.indexOf('"') });
        expect(items.length).toBe(
          whole ? JSON.parse(text.startsWith('[') ? text : `[${text.trim().replace('\n', ',')}]`).length : 1,
        );
      }
    }
  });

  it('come before what is wrong behind them, and after what is wrong within', async () => {
    const at = (place: number) => `["${'x'.repeat(place - 2)}\u0001"]`;
    expect(await readEveryWay(at(60), { maxItemBytes: 100 })).toMatchObject({
      refused: { code: 'malformed-json', offset: 60 },
    });
    expect(await readEveryWay(at(101), { maxItemBytes: 100 })).toMatchObject({
      refused: { code: 'malformed-json', offset: 101 },
    });
    expect(await readEveryWay(at(102), { maxItemBytes: 100 })).toMatchObject({
      refused: { code: 'item-too-large', offset: 1 },
    });
  });

  it('of depth are kept to the level', async () => {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const nested = (levels: number) => `[1,${open.repeat(levels)}2${close.repeat(levels)}]`;
      expect((await readEveryWay(nested(8))).refused).toBeNull();
      const { items, refused } = await readEveryWay(nested(9));
      expect(items.length).toBe(1);
      expect(refused).toMatchObject({ code: 'malformed-json', offset: 3 + 8 * open.length });
      expect(refused?.message).toContain('at most 8 levels of nesting');
    }
  });

  it('stop a depth of 100,000 at once', async () => {
    const { refused } = await read('['.repeat(100_000), { chunkBytes: 1000 });
    expect(refused).toMatchObject({ code: 'malformed-json', offset: 9 });
    expect((await read('{"a":'.repeat(100_000))).refused).toMatchObject({ code: 'malformed-json', offset: 40 });
  });

  it('stop a string of a GiB soon after the bound', async () => {
    const seen = { bytes: 0, left: false };
    async function* gigabyte() {
      const piece = new Uint8Array(65_536).fill(0x78);
      try {
        yield utf8('[1,"');
        for (; seen.bytes < 2 ** 30; seen.bytes += piece.length) yield piece;
      } finally {
        seen.left = true;
      }
    }
    const { items, refused } = await readPieces(gigabyte(), { format: 'auto', maxItemBytes: 1 << 20, maxDepth: 8 });
    expect(items.length).toBe(1);
    expect(refused).toMatchObject({ code: 'item-too-large', offset: 3 });
    expect(seen.left).toBe(true);
    expect(seen.bytes).toBeLessThanOrEqual((1 << 20) + 65_536);
  });

  it('pass over a million blank lines, and over white space between items', async () => {
    const blank = utf8('\r\n'.repeat(1000));
    async function* lines() {
      for (let i = 0; i < 500; i++) yield blank;
      yield utf8('{"a":1}');
      for (let i = 0; i < 500; i++) yield blank;
    }
    expect(await readPieces(lines(), { format: 'auto', maxItemBytes: 100, maxDepth: 8 })).toMatchObject({
      items: [{ index: 0, offset: 1_000_000, text: '{"a":1}' }],
      refused: null,
    });
  });
});

describe('reading', () => {
  const rows = Array.from({ length: 3000 }, (_, i) => ({
    id: i,
    name: `Zeile ${i} ${['ä', '😀', ''][i % 3]}`.repeat(1 + (i % 90)),
  }));
  const text = JSON.stringify(rows);

  it.each([1000, 65_535, 65_536, 65_537, 1 << 20])(
    'of many items in pieces of %i bytes gives them all',
    async (chunkBytes) => {
      const { items, refused } = await read(text, { chunkBytes, maxItemBytes: 1 << 16 });
      expect(refused).toBeNull();
      expect(items.map((item) => JSON.parse(item.text).id)).toEqual(rows.map((row) => row.id));
      const bytes = utf8(text);
      for (const item of items) {
        expect(new TextDecoder().decode(bytes.subarray(item.offset, item.offset + item.bytes))).toBe(item.text);
      }
    },
  );

  it('gives the items of a piece before the next is pulled', async () => {
    let pulled = 0;
    async function* pieces() {
      for (const piece of ['[1,2', ',3,', '4]']) {
        pulled += 1;
        yield utf8(piece);
      }
    }
    const items = jsonItems(pieces(), { format: 'auto', ...BOUNDS });
    const seen: [string | undefined, number][] = [];
    for (let i = 0; i < 4; i++) seen.push([(await items.next()).value?.text, pulled]);
    expect(seen).toEqual([
      ['1', 1],
      ['2', 2],
      ['3', 2],
      ['4', 3],
    ]);
  });

  it('leaves the source when its consumer leaves, and when a document is refused', async () => {
    const left: string[] = [];
    async function* source(name: string, pieces: string[]) {
      try {
        for (const piece of pieces) yield utf8(piece);
      } finally {
        left.push(name);
      }
    }
    for await (const item of jsonItems(source('consumer', ['[1,2,', '3]']), { format: 'auto', ...BOUNDS })) {
      if (item.index === 1) break;
    }
    await readPieces(source('refused', ['[1,x', '2]']), { format: 'auto', ...BOUNDS });
    expect(left).toEqual(['consumer', 'refused']);
  });

  it('throws what its source throws, after the items before it', async () => {
    async function* failing() {
      yield utf8('{"a":1}\n{"a":2}\n{"a"');
      throw new Error('the line broke');
    }
    const seen: string[] = [];
    const reading = (async () => {
      for await (const item of jsonItems(failing(), { format: 'auto', ...BOUNDS })) seen.push(item.text);
    })();
    await expect(reading).rejects.toThrow('the line broke');
    expect(seen).toEqual(['{"a":1}', '{"a":2}']);
  });

  it('gives small items in groups of a bounded size', async () => {
    const sizes: number[] = [];
    for await (const group of jsonItemGroups(chunked(utf8(`[${'1,'.repeat(10_000)}1]`), 1 << 20), {
      format: 'auto',
      ...BOUNDS,
    })) {
      sizes.push(group.length);
    }
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(10_001);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256);
  });
});
