import { globSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url).href);

const PIECES = ['codec', 'archive', 'store', 'catalogue', 'databases', 'progress', 'links'];
const FLOWS = ['ingest', 'delivery', 'transfer', 'jobs'];

/** Who may know whom: the table of docs/decisions/0001-rooms.md. A room always knows itself. */
const MAY_KNOW: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  ...Object.fromEntries(PIECES.map((room) => [room, ['shared']])),
  ...Object.fromEntries(FLOWS.map((room) => [room, ['shared', ...PIECES]])),
  http: ['shared', ...PIECES, ...FLOWS, 'services.ts'],
  web: ['progress/messages.ts'],
  cli: ['shared/config.ts', 'shared/units.ts'],
  'services.ts': ['shared', ...PIECES, ...FLOWS],
  'index.ts': ['shared', ...PIECES, ...FLOWS, 'http', 'services.ts'],
};

const FORBIDDEN_NAMES = ['utils', 'util', 'helpers', 'helper', 'common', 'types', 'misc', 'index'];

/** What only one room may say: one place to look, one place to change. Others hold the handle and pass it on. */
const SPOKEN_IN: Readonly<Record<string, { readonly words: RegExp; readonly rooms: readonly string[] }>> = {
  R2: { words: /\bR2Bucket\b|\bR2Object(Body)?\b|\bR2MultipartUpload\b/, rooms: ['store', 'services.ts'] },
  SQL: { words: /\.prepare\(|\bD1PreparedStatement\b/, rooms: ['catalogue', 'databases'] },
};

interface Import {
  readonly from: string;
  readonly to: string;
}

const files = globSync('**/*.ts', { cwd: SRC })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => !file.endsWith('.d.ts'));

/** Imports of our own files, also those of types alone and those made at run time. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const found: Import[] = [];
  for (const [, specifier = ''] of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)['"](\.{1,2}\/[^'"]+)['"]/g)) {
    const to = posix.normalize(posix.join(posix.dirname(file), specifier));
    if (to.endsWith('.ts')) found.push({ from: file, to });
  }
  return found;
}

const imports = files.flatMap(importsOf);

/** The first folder, or the file itself at the top. */
function roomOf(file: string): string {
  return file.split('/')[0] ?? file;
}

function isAllowed({ from, to }: Import): boolean {
  const room = roomOf(from);
  if (roomOf(to) === room) return true;
  const known = MAY_KNOW[room] ?? [];
  return known.includes(roomOf(to)) || known.includes(to);
}

/** One cycle of files, as a path that ends where it began; null where there is none. */
function findCycle(edges: readonly Import[]): string[] | null {
  const next = new Map<string, string[]>();
  for (const { from, to } of edges) next.set(from, [...(next.get(from) ?? []), to]);
  const finished = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | null => {
    const place = path.indexOf(file);
    if (place >= 0) return [...path.slice(place), file];
    if (finished.has(file)) return null;
    for (const other of next.get(file) ?? []) {
      const cycle = visit(other, [...path, file]);
      if (cycle) return cycle;
    }
    finished.add(file);
    return null;
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle) return cycle;
  }
  return null;
}

describe('the rooms of src', () => {
  test('are all in the table', () => {
    expect([...new Set(files.map(roomOf))].filter((room) => !(room in MAY_KNOW))).toEqual([]);
  });

  test('import only downwards', () => {
    expect(imports.filter((one) => !isAllowed(one)).map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
  });

  test('have no cycles', () => {
    expect(findCycle(imports)).toBeNull();
  });

  test('import files that are there, inside src', () => {
    const lost = imports.filter(({ to }) => to.startsWith('..') || !files.includes(to));
    expect(lost.map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
  });

  test('have no file or folder whose name says nothing', () => {
    const named = files.filter((file) => {
      if (file === 'index.ts') return false;
      return file
        .replace(/\.ts$/, '')
        .split('/')
        .some((part) => FORBIDDEN_NAMES.includes(part));
    });
    expect(named).toEqual([]);
  });

  test.each(Object.entries(SPOKEN_IN))('speak %s only where it is at home', (_name, { words, rooms }) => {
    const elsewhere = files.filter((file) => {
      return !rooms.includes(roomOf(file)) && words.test(withoutComments(readFileSync(join(SRC, file), 'utf8')));
    });
    expect(elsewhere).toEqual([]);
  });
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
}

describe('the check itself', () => {
  test('sees imports of every form', () => {
    expect(imports.length).toBeGreaterThan(files.length / 2);
  });

  test('refuses a sideways import, an upward one and a cycle', () => {
    expect(isAllowed({ from: 'store/a.ts', to: 'codec/b.ts' })).toBe(false);
    expect(isAllowed({ from: 'shared/a.ts', to: 'store/b.ts' })).toBe(false);
    expect(isAllowed({ from: 'ingest/a.ts', to: 'http/b.ts' })).toBe(false);
    expect(isAllowed({ from: 'ingest/a.ts', to: 'delivery/b.ts' })).toBe(false);
    expect(isAllowed({ from: 'http/a.ts', to: 'ingest/b.ts' })).toBe(true);
    const cycle = [
      { from: 'a.ts', to: 'b.ts' },
      { from: 'b.ts', to: 'c.ts' },
      { from: 'c.ts', to: 'a.ts' },
    ];
    expect(findCycle(cycle)).toEqual(['a.ts', 'b.ts', 'c.ts', 'a.ts']);
  });
});
