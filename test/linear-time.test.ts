import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/**
 * A regular expression with two loops over the same characters takes time that grows with the square of its input: 60 KB
 * of blanks in one header held the isolate for 3 s. Here each expression of src runs over what each of its own loops takes,
 * so often that only linear time passes.
 */
const SRC = fileURLToPath(new URL('../src', import.meta.url).href);
const INPUT_CHARS = 30_000;
/** CPU time. In linear time it is under 5 ms; with the square of the input, above 500 ms. */
const MOST_CPU_MS = 200;

type Item =
  | { readonly kind: 'character'; readonly source: string }
  | { readonly kind: 'group'; readonly alternatives: readonly Item[][] }
  | { readonly kind: 'repeat'; readonly of: Item; readonly least: number; readonly isLoop: boolean };

/** The alternatives of an expression, without its assertions: they take no characters. */
function parse(source: string): Item[][] {
  let at = 0;
  const alternatives = (): Item[][] => {
    const found: Item[][] = [[]];
    for (; at < source.length && source[at] !== ')'; ) {
      const item = next();
      if (item === 'or') found.push([]);
      else if (item !== null) found.at(-1)?.push(item);
    }
    return found;
  };
  const take = (pattern: RegExp): string => {
    const [text = ''] = new RegExp(pattern.source, 'y').exec(source.slice(at)) ?? [];
    at += text.length;
    return text;
  };
  const next = (): Item | 'or' | null => {
    if (take(/\|/)) return 'or';
    if (take(/\^|\$|\\[bB]/)) return null;
    let item: Item;
    const opening = take(/\((?:\?(?:[:=!]|<[=!]|<\w+>))?/);
    if (opening) {
      item = { kind: 'group', alternatives: alternatives() };
      at++;
      if (/[=!]$/.test(opening)) return null;
    } else {
      item = {
        kind: 'character',
        source: take(/\[(?:\\.|[^\]\\])*\]|\\u\{\w+\}|\\u\w{4}|\\x\w\w|\\p\{\w+\}|\\.|./s),
      };
    }
    const [, least = '', most] = /^\{(\d+)(,?\d*)\}/.exec(source.slice(at)) ?? [];
    const mark = take(/(?:[*+?]|\{\d+,?\d*\})\??/);
    if (!mark) return item;
    const isLoop = mark[0] === '*' || mark[0] === '+' || most === ',';
    return { kind: 'repeat', of: item, least: mark[0] === '+' ? 1 : Number(least || 0), isLoop };
  };
  return alternatives();
}

/** Those that other loops may take too come first. */
const CANDIDATES = [...' \ta0A"\\/,;=.-', ...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))];
const TRIED = 14;

function charactersOf(source: string, flags: string): string[] {
  const one = new RegExp(`^${source}$`, flags.replace(/[gy]/g, ''));
  return CANDIDATES.filter((character) => one.test(character)).slice(0, TRIED);
}

/** A text that the item takes: its loops and options as seldom as may be, or each once. */
function sample(item: Item, flags: string, often: 'least' | 'once'): string {
  if (item.kind === 'character') return charactersOf(item.source, flags)[0] ?? '';
  if (item.kind === 'group') return (item.alternatives[0] ?? []).map((one) => sample(one, flags, often)).join('');
  return sample(item.of, flags, often).repeat(often === 'once' ? Math.max(1, item.least) : item.least);
}

/** What loops take, each with a text that leads to it. */
function loopsOf(alternatives: readonly Item[][], flags: string, before: string): { lead: string; pump: string }[] {
  return alternatives.flatMap((items) => {
    let lead = before;
    return items.flatMap((item) => {
      const inner = item.kind === 'repeat' ? item.of : item;
      const pumps =
        inner.kind === 'character'
          ? charactersOf(inner.source, flags)
          : inner.kind === 'group'
            ? inner.alternatives.map((some) => some.map((one) => sample(one, flags, 'once')).join(''))
            : [];
      const found = item.kind === 'repeat' && item.isLoop ? pumps.map((pump) => ({ lead, pump })) : [];
      if (inner.kind === 'group') found.push(...loopsOf(inner.alternatives, flags, lead));
      lead += sample(item, flags, 'least');
      return found;
    });
  });
}

const TAILS = ['', '\0', ' \0', 'a b', '\n!'];

function hostileInputs({ source, flags }: RegExp): string[] {
  return loopsOf(parse(source), flags, '')
    .filter(({ pump }) => pump !== '')
    .flatMap(({ lead, pump }) => TAILS.map((tail) => lead + pump.repeat(Math.ceil(INPUT_CHARS / pump.length)) + tail));
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Whether the expression takes long for one of its inputs, twice: once may be another's work, as the collector's. */
function isSlow(pattern: RegExp): boolean {
  const run = (text: string) => () => {
    pattern.lastIndex = 0;
    if (pattern.global) text.replace(pattern, '');
    else pattern.exec(text);
  };
  return hostileInputs(pattern).some((text) => cpuMs(run(text)) > MOST_CPU_MS && cpuMs(run(text)) > MOST_CPU_MS);
}

const files = globSync('**/*.ts', { cwd: SRC }).filter((file) => !file.endsWith('.d.ts'));

function codeOf(file: string): string {
  return readFileSync(join(SRC, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
}

/** The literals of a source text: a slash where a value may begin, up to the slash that ends it. */
function literalsIn(code: string): RegExp[] {
  const literal =
    /(?:^|[=(,:[!&|?{};]|\breturn|=>)\s*\/((?:[^/\\[\n*]|\\.|\[(?:[^\]\\\n]|\\.)*\])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])*)\/([dgimsuvy]*)/gm;
  return [...code.matchAll(literal)].flatMap(([, source = '', flags = '']) => {
    try {
      return [new RegExp(source, flags)];
    } catch {
      return [];
    }
  });
}

describe('the regular expressions of src', () => {
  const all = files.flatMap((file) => literalsIn(codeOf(file)).map((pattern) => ({ file, pattern })));

  test('are found', () => {
    expect(all.length).toBeGreaterThan(90);
    expect(all.map(({ pattern }) => pattern.source)).toContain('^cst_([0-9A-HJKMNP-TV-Z]{26})_([A-Za-z0-9_-]{43})$');
  });

  test('are literals, but for one whose input has at most 255 characters', () => {
    expect(files.filter((file) => codeOf(file).includes('new RegExp('))).toEqual(['ingest/filename.ts']);
  });

  test('run in linear time', () => {
    const slow = all.filter(({ pattern }) => isSlow(pattern));
    expect(slow.map(({ file, pattern }) => `${file}: ${pattern}`)).toEqual([]);
  });
});

describe('the check itself', () => {
  test.each([
    /^ *([!-+]+)(?: +([^ ]*))? *$/,
    /[ \t]*((?:W\/)?"[!#-~]*")?[ \t]*(?:,|$)/y,
    /=+$/,
    /^k:[ \t]*([^\r\n\0]*)$/,
    /^\s*a?\s*$/,
  ])('calls %s slow', (pattern) => {
    expect(isSlow(pattern)).toBe(true);
  });

  test.each([/^ *$/, /^([a-z]+) +([^ ]+)$/, /^(?:[a-z]{4})*$/, /"((?:\\["\\]|\\(?!["\\])|[^"\\])*)"/y])(
    'calls %s fast',
    (pattern) => {
      expect(isSlow(pattern)).toBe(false);
    },
  );
});
