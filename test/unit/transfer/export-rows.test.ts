import { describe, expect, it } from 'vitest';
import type { Page } from '../../../src/databases/read-page.ts';
import { EXPORT_PIECE_BYTES } from '../../../src/shared/limits.ts';
import { exportRows } from '../../../src/transfer/export-rows.ts';

/** Room for any page. */
const share = async () => ({ release: () => undefined });

type Format = 'json' | 'ndjson';

/** Pages with rows of the numbers given; `asked` notes what was asked for. */
function table(counts: number[], asked: (string | null)[] = []): (after: string | null) => Promise<Page> {
  return async (after) => {
    asked.push(after);
    const page = after === null ? 0 : Number(after);
    const before = counts.slice(0, page).reduce((sum, count) => sum + count, 0);
    const rows = Array.from({ length: counts[page] ?? 0 }, (_, n) => ({
      key: String(page),
      text: [`{"n":${before + n},`, `"name":${JSON.stringify('a,\n"é"]')}}`],
    }));
    return { rows, after: page + 1 < counts.length ? String(page + 1) : null };
  };
}

async function textOf(format: Format, counts: number[]): Promise<string> {
  let text = '';
  for await (const piece of exportRows({ format, pages: table(counts), share }))
    text += new TextDecoder().decode(piece);
  return text;
}

describe('an export', () => {
  it.each([[[0]], [[1]], [[2]], [[3, 3, 1]], [[1, 0, 1]], [[0, 2]], [[0, 0]], [[2, 0]], [[5, 5, 0]]])(
    'of pages with %j rows is one JSON document, and lines of JSON',
    async (counts) => {
      const numbers = Array.from({ length: counts.reduce((sum, count) => sum + count, 0) }, (_, n) => n);
      const parsed: { n: number }[] = JSON.parse(await textOf('json', counts));
      expect(parsed.map((row) => row.n)).toEqual(numbers);
      const lines = await textOf('ndjson', counts);
      if (numbers.length === 0) expect(lines).toBe('');
      else expect(lines.endsWith('\n')).toBe(true);
      const rows: { n: number }[] = lines
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
      expect(rows.map((row) => row.n)).toEqual(numbers);
    },
  );

  it.each<[Format]>([['json'], ['ndjson']])(
    'gives the rows of the first page before it asks for the second (%s)',
    async (format) => {
      const asked: (string | null)[] = [];
      const rows = exportRows({ format, pages: table([2, 2, 2], asked), share });
      const first = await rows.next();
      expect(new TextDecoder().decode(first.value ?? undefined)).toContain('"n":1');
      expect(asked).toEqual([null]);
      await rows.next();
      expect(asked).toEqual([null, '1']);
      await rows.return();
      expect(asked).toEqual([null, '1']);
    },
  );

  it('that fails midway throws, and what is out does not parse', async () => {
    const pages = table([2, 2, 2]);
    const failing = (after: string | null) => (after === '2' ? Promise.reject(new Error('D1 is away')) : pages(after));
    let text = '';
    const reading = (async () => {
      for await (const piece of exportRows({ format: 'json', pages: failing, share }))
        text += new TextDecoder().decode(piece);
    })();
    await expect(reading).rejects.toThrow('D1 is away');
    expect(text).toContain('"n":3');
    expect(() => JSON.parse(text)).toThrow();
  });

  it('makes no more of a large row than it gives', async () => {
    let made = 0;
    function* large() {
      for (; made < 50; made++) yield 'x'.repeat(EXPORT_PIECE_BYTES / 3);
    }
    const rows = exportRows({
      format: 'ndjson',
      pages: async () => ({ rows: [{ key: '', text: large() }], after: null }),
      share,
    });
    let bytes = 0;
    for await (const piece of rows) {
      bytes += piece.length;
      expect(piece.length).toBeLessThanOrEqual(2 * EXPORT_PIECE_BYTES);
      expect(made * (EXPORT_PIECE_BYTES / 3)).toBeLessThanOrEqual(bytes);
    }
    expect(bytes).toBe(50 * (EXPORT_PIECE_BYTES / 3) + 1);
  });

  it('drops the page of a consumer that stopped, and reads on after the last row that went out', async () => {
    const row = (n: number) => ({
      key: String(n),
      text: [JSON.stringify({ n, filler: 'x'.repeat(EXPORT_PIECE_BYTES) })],
    });
    const asked: (string | null)[] = [];
    const pages = async (after: string | null): Promise<Page> => {
      asked.push(after);
      const from = after === null ? 0 : Number(after) + 1;
      const rows = [0, 1, 2, 3].map((n) => from + n).filter((n) => n < 6);
      return { rows: rows.map(row), after: from + 4 < 6 ? String(from + 3) : null };
    };
    let held = 0;
    const counted = async () => {
      held += 1;
      let released = false;
      return {
        release: () => {
          if (!released) held -= 1;
          released = true;
        },
      };
    };
    const rows = exportRows({ format: 'json', pages, share: counted, stoppedMs: 30 });
    let text = '';
    for (let chunk = await rows.next(); !chunk.done; chunk = await rows.next()) {
      text += new TextDecoder().decode(chunk.value);
      if (!text.includes('"n":1') || text.includes('"n":2')) continue;
      expect(held).toBe(1);
      await scheduler.wait(100);
      expect(held).toBe(0);
    }
    expect(JSON.parse(text).map(({ n }: { n: number }) => n)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(asked).toEqual([null, '1']);
    expect(held).toBe(0);
  });

  it('of 100,000 rows comes in pieces of a page each', async () => {
    const counts = Array.from({ length: 200 }, () => 500);
    let pieces = 0;
    let largest = 0;
    for await (const piece of exportRows({ format: 'ndjson', pages: table(counts), share })) {
      pieces += 1;
      largest = Math.max(largest, piece.length);
    }
    expect(pieces).toBe(200);
    expect(largest).toBeLessThan(500 * 40);
  });
});
