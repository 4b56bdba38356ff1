import { describe, expect, it } from 'vitest';
import { boundaryOf, MalformedMultipart, multipartParts, readField } from '../../../src/ingest/multipart-form.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { FORM_FIELD_BYTES, FORM_HEADER_BYTES, FORM_MARGIN_BYTES, FORM_PARTS } from '../../../src/shared/limits.ts';
import type { Pieces } from '../../../src/shared/streams.ts';

/** Pieces of the sizes given, the last one again and again, all in one buffer that is used again and overwritten. */
async function* pieces(body: Uint8Array, ...sizes: number[]): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = new Uint8Array(Math.max(...sizes, 1));
  for (let at = 0, n = 0; at < body.length; n++) {
    const size = sizes[Math.min(n, sizes.length - 1)] ?? body.length;
    const piece = buffer.subarray(0, Math.min(size, body.length - at));
    piece.set(body.subarray(at, at + piece.length));
    at += piece.length;
    yield piece;
    buffer.fill(0x2d);
  }
}

interface Read {
  name: string;
  filename: string | undefined;
  contentType: string | undefined;
  offset: number;
  content: string;
}

const latin1 = new TextDecoder('latin1');

async function bytesOf(body: Pieces): Promise<Uint8Array> {
  const held: Uint8Array[] = [];
  for await (const piece of body) {
    expect(piece.length).toBeGreaterThan(0);
    held.push(piece.slice());
  }
  return concat(held);
}

async function readForm(source: Pieces, boundary = 'B'): Promise<Read[]> {
  const read: Read[] = [];
  for await (const { body, ...part } of multipartParts(source, boundary)) {
    read.push({ ...part, content: latin1.decode(await bytesOf(body)) });
  }
  return read;
}

/** A part as it stands between delimiters. `content` is bytes as Latin-1. */
function part(headers: string, content: string): string {
  return `${headers}\r\n\r\n${content}`;
}

function form(...parts: string[]): Uint8Array {
  const text = parts.map((each) => `--B\r\n${each}\r\n`).join('');
  return utf8(`${text}--B--\r\n`);
}

const file = (content: string, filename = 'a.tar') =>
  part(
    `Content-Disposition: form-data; name="file"; filename="${filename}"\r\nContent-Type: application/x-tar`,
    content,
  );
const field = (name: string, content: string) => part(`Content-Disposition: form-data; name="${name}"`, content);

/** Contents that come close to a delimiter. */
const HARD = [
  '',
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  'x--B--',
  '\r\n--',
  '\r\n--A',
  '\r\n-\r\n--\r\n--C\r\n',
  '\r\r\n\r\r\n--',
  '\n--B\n',
  '\r\n--BX',
  '\r\n--B-x',
  '\r\n--B x',
  '\r\n--B\rx',
  '\r\n--B\nx',
  `\r\n--B${' '.repeat(200)}x`,
  '--'.repeat(100),
  '\r\n--b\r\n',
];

describe('a form', () => {
  const parts = [field('level', '3'), file('PK\r\n--\r\n-- B\0\r'), field('sha256', 'abc')];
  const body = form(...parts);
  const expected = [
    { name: 'level', filename: undefined, contentType: undefined, content: '3' },
    { name: 'file', filename: 'a.tar', contentType: 'application/x-tar', content: 'PK\r\n--\r\n-- B\0\r' },
    { name: 'sha256', filename: undefined, contentType: undefined, content: 'abc' },
  ].map((read, n) => ({ ...read, offset: offsetOf(parts, n) }));

  function offsetOf(all: string[], n: number): number {
    const before = all
      .slice(0, n)
      .map((each) => `--B\r\n${each}\r\n`)
      .join('');
    return `${before}--B\r\n`.length + (all[n]?.indexOf('\r\n\r\n') ?? 0) + 4;
  }

  it('is read whole, and byte by byte', async () => {
    expect(await readForm(pieces(body, body.length))).toEqual(expected);
    expect(await readForm(pieces(body, 1))).toEqual(expected);
  });

  it('is read cut in two at every position', async () => {
    for (let at = 1; at < body.length; at++) {
      expect(await readForm(pieces(body, at, body.length))).toEqual(expected);
    }
  });

  it('is read in pieces of every size', async () => {
    for (let size = 2; size < 80; size++) expect(await readForm(pieces(body, size))).toEqual(expected);
  });

  it('with a preamble, blanks after boundaries and an epilogue is the same', async () => {
    const text = new TextDecoder()
      .decode(body)
      .replace(/--B\r\n/g, '--B \t \r\n')
      .replace('--B--\r\n', '--B-- \r\nbye\r\n--B\r\n');
    const dressed = utf8(`This is MIME.\r\n--Bx\r\n${text}`);
    for (const size of [1, 2, 3, 7, dressed.length]) {
      const read = await readForm(pieces(dressed, size));
      expect(read.map(({ offset: _, ...rest }) => rest)).toEqual(expected.map(({ offset: _, ...rest }) => rest));
    }
  });

  it('needs nothing after its last boundary', async () => {
    expect(await readForm(pieces(body.subarray(0, -2), 5))).toEqual(expected);
  });

  it('may have no parts', async () => {
    expect(await readForm(pieces(utf8('--B--\r\n'), 3))).toEqual([]);
    expect(await readForm(pieces(utf8('--B--'), 3))).toEqual([]);
  });

  it('may have a part that ends with its headers', async () => {
    const bare = utf8(
      '--B\r\nContent-Disposition: form-data; name=a\r\n\r\n--B\r\nContent-Disposition: form-data; name=b\r\n\r\n--B--',
    );
    for (const size of [1, 4, bare.length]) {
      const read = await readForm(pieces(bare, size));
      expect(read.map(({ name, content }) => [name, content])).toEqual([
        ['a', ''],
        ['b', ''],
      ]);
    }
  });

  it.each(HARD.map((content) => [content]))('holds the content %j', async (content) => {
    const whole = form(field('x', content), file(content), file(`${content}${content}`));
    for (const size of [1, 2, 3, 5, 11, whole.length]) {
      const read = await readForm(pieces(whole, size));
      expect(read.map((each) => each.content)).toEqual([content, content, content + content]);
    }
  });

  it('takes boundaries of every kind', async () => {
    const kinds = [
      'a',
      '-',
      '--',
      "'()+_,-./:=?",
      `----WebKitFormBoundary7MA4YWxkTrZu0gW`,
      'x'.repeat(70),
      'a b',
      '\\r\\n',
      'aaaa',
    ];
    for (const boundary of kinds) {
      const content = `\r\n--${boundary.slice(0, -1)}\r\n${boundary}\r\n-${boundary}\r`;
      const text = `--${boundary}\r\n${file(content)}\r\n--${boundary}--`;
      for (const size of [1, 3, text.length]) {
        const read = await readForm(pieces(utf8(text), size), boundary);
        expect(read.map((each) => each.content)).toEqual([content]);
      }
    }
  });
});

describe('forms drawn at random', () => {
  /** mulberry32: small, and the same on every run. */
  function random(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('are read as they were written, in any chunks (seed %i)', async (seed) => {
    const draw = random(seed);
    const below = (n: number) => Math.floor(draw() * n);
    for (let round = 0; round < 40; round++) {
      const contents = Array.from({ length: 1 + below(4) }, () => {
        // Few letters, so that near-delimiters are frequent; 'B' alone is missing at the end of one.
        const letters = ['\r\n', '--', '-', '\r', '\n', 'x', '\r\n--', '\r\n--BB', '\0'];
        return Array.from({ length: below(60) }, () => letters[below(letters.length)]).join('');
      });
      const body = form(...contents.map((content, n) => (n % 2 ? file(`y${content}`) : field('f', `y${content}`))));
      const sizes = Array.from({ length: 200 }, () => 1 + below(below(4) ? 9 : 300));
      const read = await readForm(pieces(body, ...sizes));
      expect(read.map((each) => each.content)).toEqual(contents.map((content) => `y${content}`));
    }
  });

  it('hold large files of every byte, as views of large pieces', async () => {
    const content = new Uint8Array(3 * 1024 * 1024 + 17);
    for (let at = 0; at < content.length; at++) content[at] = (at * 2654435761) >>> 13;
    const head = utf8('--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n');
    const body = concat([head, content, utf8('\r\n--B--\r\n')]);
    for (const size of [65_536, 1_000_003, body.length]) {
      let count = 0;
      for await (const each of multipartParts(pieces(body, size), 'B')) {
        const held: Uint8Array[] = [];
        for await (const piece of each.body) {
          held.push(piece.slice());
          count += 1;
        }
        expect(crypto.subtle.timingSafeEqual(concat(held), content)).toBe(true);
      }
      expect(count).toBeLessThanOrEqual(2 * Math.ceil(body.length / size) + 2);
    }
  });
});

describe('a broken form', () => {
  const body = form(field('level', '3'), file('content'));

  it('is refused where it is cut, at every position, and never seems complete', async () => {
    // The two last bytes are the line end after the closing boundary.
    for (let length = 0; length < body.length - 2; length++) {
      for (const size of [1, 1000]) {
        const cut = readForm(pieces(body.subarray(0, length), size));
        await expect(cut, `cut at ${length}`).rejects.toThrow(MalformedMultipart);
        await expect(cut).rejects.toMatchObject({ code: 'malformed-multipart', offset: length });
      }
    }
  });

  const disposition = 'Content-Disposition: form-data; name="a"';
  it.each([
    ['no boundary in it', 'hello'],
    ['another boundary', '--C\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--C--\r\n'],
    ['line feeds only', new TextDecoder().decode(body).replaceAll('\r\n', '\n')],
    ['no headers', '--B\r\n\r\nx\r\n--B--'],
    ['no empty line after the headers', `--B\r\n${disposition}\r\nx\r\n--B--`],
    ['a header without a colon', `--B\r\n${disposition}\r\nnonsense\r\n\r\nx\r\n--B--`],
    ['a header with a blank before its colon', `--B\r\nContent-Disposition : form-data; name="a"\r\n\r\nx\r\n--B--`],
    ['a header without a name', `--B\r\n${disposition}\r\n: x\r\n\r\nx\r\n--B--`],
    ['a bare line feed in its headers', `--B\r\n${disposition}\nX: y\r\n\r\nx\r\n--B--`],
    ['a bare carriage return in its headers', `--B\r\n${disposition}\rX: y\r\n\r\nx\r\n--B--`],
    ['a NUL in its headers', `--B\r\nContent-Disposition: form-data; name="a\0"\r\n\r\nx\r\n--B--`],
    ['no disposition', '--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--'],
    ['two dispositions', `--B\r\n${disposition}\r\n${disposition}\r\n\r\nx\r\n--B--`],
    ['another disposition', '--B\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--B--'],
    ['no name', '--B\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--B--'],
    ['two names', '--B\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n--B--'],
    ['an open quote', '--B\r\nContent-Disposition: form-data; name="a\r\n\r\nx\r\n--B--'],
    ['letters after a quote', '--B\r\nContent-Disposition: form-data; name="a"b\r\n\r\nx\r\n--B--'],
    ['a parameter without a value', '--B\r\nContent-Disposition: form-data; name="a"; filename\r\n\r\nx\r\n--B--'],
    ['a bad filename*', `--B\r\n${disposition}; filename*=UTF-8''%FF%FE\r\n\r\nx\r\n--B--`],
    ['a filename* in another charset', `--B\r\n${disposition}; filename*=KOI8-R''%C1\r\n\r\nx\r\n--B--`],
    ['a transfer encoding', `--B\r\n${disposition}\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--`],
    ['a long preamble', `${'x'.repeat(FORM_MARGIN_BYTES + 1)}\r\n--B--`],
    ['a long epilogue', `--B--${'x'.repeat(FORM_MARGIN_BYTES + 1)}`],
    ['too many parts', `${`--B\r\n${disposition}\r\n\r\nx\r\n`.repeat(FORM_PARTS + 1)}--B--`],
  ])('with %s is refused', async (_, text) => {
    for (const size of [13, text.length]) {
      await expect(readForm(pieces(utf8(text), size))).rejects.toThrow(MalformedMultipart);
    }
  });

  it('is refused for headers that are not UTF-8', async () => {
    const bytes = utf8(`--B\r\nContent-Disposition: form-data; name="~"\r\n\r\nx\r\n--B--`);
    bytes[bytes.indexOf(0x7e)] = 0xe9;
    await expect(readForm(pieces(bytes, 9))).rejects.toThrow(/UTF-8/);
  });

  it('may have as many parts as the limit, and headers as long', async () => {
    const many = `${`--B\r\n${disposition}\r\n\r\nx\r\n`.repeat(FORM_PARTS)}--B--`;
    expect(await readForm(pieces(utf8(many), 1000))).toHaveLength(FORM_PARTS);
    for (const extra of [0, 1]) {
      const padding = 'x'.repeat(FORM_HEADER_BYTES + extra - `\r\n${disposition}\r\nX: `.length);
      const long = utf8(`--B\r\n${disposition}\r\nX: ${padding}\r\n\r\nx\r\n--B--`);
      for (const size of [1, 4096, long.length]) {
        const read = readForm(pieces(long, size));
        if (extra === 0) expect((await read)[0]?.content).toBe('x');
        else await expect(read).rejects.toThrow(/headers/);
      }
    }
  });

  it('costs little where its header is made to be costly', async () => {
    const evil = [
      `name="${'\\\\'.repeat(8000)}`,
      `name="a"${'; '.repeat(7000)}x`,
      `name="a";${' '.repeat(16_000)}x`,
      `name=${'%22'.repeat(5000)}"`,
    ];
    for (const header of evil) {
      const text = `--B\r\nContent-Disposition: form-data; ${header}\r\n\r\nx\r\n--B--`;
      await expect(readForm(pieces(utf8(text), text.length))).rejects.toThrow(MalformedMultipart);
    }
  }, 2_000);

  it('passes on what went wrong at its source', async () => {
    const broken = async function* () {
      yield body.subarray(0, 60);
      throw new TypeError('the client went away');
    };
    await expect(readForm(broken())).rejects.toThrow(new TypeError('the client went away'));
  });
});

describe('a consumer', () => {
  const body = form(field('a', 'first'), file('x'.repeat(1000)), field('b', 'last'));

  it('may leave parts unread, or read them in part', async () => {
    for (const size of [1, 7, body.length]) {
      const names: string[] = [];
      for await (const each of multipartParts(pieces(body, size), 'B')) {
        names.push(each.name);
        if (each.name === 'file') for await (const _ of each.body) break;
      }
      expect(names).toEqual(['a', 'file', 'b']);
    }
  });

  it('is told when it reads a part that it has left, which would look complete otherwise', async () => {
    const parts = multipartParts(pieces(body, 10), 'B');
    const first = await parts.next();
    const second = await parts.next();
    if (first.done || second.done) throw new Error('the form has three parts');
    await expect(readField(first.value)).rejects.toThrow('has been left');
    const content = second.value.body[Symbol.asyncIterator]();
    await content.next();
    const last = await parts.next();
    await expect(content.next()).rejects.toThrow('has been left');
    if (last.done) throw new Error('the form has three parts');
    expect(await readField(last.value)).toBe('last');
    expect((await parts.next()).done).toBe(true);
  });

  it('cancels the source by leaving, and pulls nothing ahead', async () => {
    let pulled = 0;
    let left = false;
    const source = async function* () {
      try {
        for await (const piece of pieces(body, 10)) {
          pulled += 1;
          yield piece;
        }
      } finally {
        left = true;
      }
    };
    for await (const each of multipartParts(source(), 'B')) {
      expect(each.name).toBe('a');
      expect(pulled * 10).toBeLessThan(70);
      break;
    }
    expect(left).toBe(true);
  });

  it('has read the source to its end when the form has ended', async () => {
    let ended = false;
    const source = async function* () {
      yield* pieces(concat([body, utf8('epilogue')]), 50);
      ended = true;
    };
    await readForm(source());
    expect(ended).toBe(true);
  });
});

describe('a field', () => {
  async function fieldOf(content: Uint8Array): Promise<string> {
    const head = utf8('--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n');
    for await (const each of multipartParts(pieces(concat([head, content, utf8('\r\n--B--')]), 1000), 'B'))
      return await readField(each);
    return 'none';
  }

  it('is UTF-8', async () => {
    expect(await fieldOf(utf8('é雪🧊'))).toBe('é雪🧊');
    await expect(fieldOf(new Uint8Array([0xc3]))).rejects.toThrow(MalformedMultipart);
  });

  it('has at most FORM_FIELD_BYTES', async () => {
    expect(await fieldOf(new Uint8Array(FORM_FIELD_BYTES).fill(120))).toHaveLength(FORM_FIELD_BYTES);
    await expect(fieldOf(new Uint8Array(FORM_FIELD_BYTES + 1).fill(120))).rejects.toThrow(MalformedMultipart);
  });
});

describe('names', () => {
  it.each([
    ['name="file"; filename="a.tar"', 'a.tar'],
    ['name=file; filename=a.tar', 'a.tar'],
    ['NAME="file"; FileName="a.tar"', 'a.tar'],
    ['filename="a.tar"; name="file"', 'a.tar'],
    ['name="file";filename="a.tar";', 'a.tar'],
    ['name = "file" ; filename = "a.tar" ', 'a.tar'],
    ['name="file";\r\n filename="a.tar"', 'a.tar'],
    ['name="file"; filename=""', ''],
    ['name="file"; filename="é 雪 🧊.tar"', 'é 雪 🧊.tar'],
    ['name="file"; filename="a;b=c, d.tar"', 'a;b=c, d.tar'],
    // curl
    ['name="file"; filename="say \\"hi\\" \\\\ there.tar"', 'say "hi" \\ there.tar'],
    // browsers
    ['name="file"; filename="say %22hi%22%0D%0A.tar"', 'say "hi"\r\n.tar'],
    ['name="file"; filename="100%25 %41 %.tar"', '100%25 %41 %.tar'],
    ['name="file"; filename="C:\\dir\\file.tar"', 'C:\\dir\\file.tar'],
    ['name="file"; filename="../../etc/passwd"', '../../etc/passwd'],
    ['name="file"; filename="plain.tar"; filename*=UTF-8\'\'%E9%9B%AA.tar', 'plain.tar'],
    ['name="file"; filename*=utf-8\'en\'%E9%9B%AA.tar', '雪.tar'],
    ['name="file"', undefined],
  ])('in %j are read', async (parameters, filename) => {
    const text = `--B\r\ncontent-disposition:form-data; ${parameters}\r\n\r\nx\r\n--B--`;
    const [read] = await readForm(pieces(utf8(text), 6));
    expect(read).toMatchObject({ name: 'file', filename, content: 'x' });
  });
});

describe('the boundary of a Content-Type', () => {
  it.each([
    ['multipart/form-data; boundary=B', 'B'],
    ['Multipart/Form-Data;BOUNDARY="B"', 'B'],
    ['multipart/form-data; charset=utf-8; boundary=----=_Part_1; x=y', '----=_Part_1'],
    ['multipart/form-data; boundary="a b\\"c"', 'a b"c'],
    ['multipart/form-data; boundary="\'()+_,-./:=?"', "'()+_,-./:=?"],
    [`multipart/form-data; boundary=${'x'.repeat(70)}`, 'x'.repeat(70)],
    [`multipart/form-data; boundary=${'x'.repeat(71)}`, null],
    ['multipart/form-data; boundary=', null],
    ['multipart/form-data; boundary=""', null],
    ['multipart/form-data; boundary="a "', null],
    ['multipart/form-data; boundary="é"', null],
    ['multipart/form-data; boundary=a; boundary=b', null],
    ['multipart/form-data; boundary="a', null],
    ['multipart/form-data', null],
    ['multipart/form-datax; boundary=B', null],
    ['multipart/mixed; boundary=B', null],
    ['application/json', null],
    ['', null],
  ])('%j is %j', (contentType, boundary) => {
    expect(boundaryOf(contentType)).toBe(boundary);
  });
});
