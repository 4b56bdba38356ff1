import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { JobMessage } from '../../src/progress/messages.ts';
import { jobRooms } from '../../src/progress/publisher.ts';
import { utf8 } from '../../src/shared/bytes.ts';
import { UPLOAD_READ_BYTES } from '../../src/shared/limits.ts';
import { ask, chunked, expectProblem } from '../support/vault.ts';

const db = env.DATABASE_SAMPLE;
const INTO_ITEMS = '/import/stream?database=sample&table=items';
const OF_ITEMS = '/export/stream?database=sample&table=items';

interface Imported {
  job_id: string;
  dry_run: boolean;
  read: number;
  written: number;
  refused: { index: number; offset: number; reason: string }[];
}

interface Problem extends Imported {
  code: string;
  detail: string;
  offset: number;
}

beforeEach(async () => {
  await db.prepare('DELETE FROM items').run();
});

/** Sends a document and expects the counts. */
async function send(body: BodyInit, query = ''): Promise<Imported> {
  const response = await ask(`${INTO_ITEMS}${query}`, { method: 'POST', body });
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

/** Sends a document and expects a refusal, whose members it gives. */
async function refused(body: BodyInit, status: number, code: string, query = ''): Promise<Problem> {
  const response = await ask(`${INTO_ITEMS}${query}`, { method: 'POST', body });
  await expectProblem(response.clone(), status, code);
  return response.json();
}

async function exported(): Promise<string> {
  return (await ask(`${OF_ITEMS}&format=ndjson`)).text();
}

async function ids(): Promise<number[]> {
  const { results } = await db.prepare('SELECT id FROM items ORDER BY id').all<{ id: number }>();
  return results.map(({ id }) => id);
}

async function job(jobId: string): Promise<JobMessage> {
  return (await ask(`/jobs/${jobId}`)).json();
}

function upTo(count: number, from = 1): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

function rows(numbers: number[], format: 'json' | 'ndjson'): string {
  const texts = numbers.map((id) => `{"id":${id},"name":"row ${id} ä😀","value":${id}.5,"data":null}`);
  return format === 'json' ? `[${texts.join(',\n')}]\n` : texts.map((text) => `${text}\n`).join('');
}

/** NULL, REAL that is whole, infinities, integers beyond 2^53, BLOBs, text that needs care. */
const CAREFUL = [
  '{"id":-9223372036854775808,"name":null,"value":-1e999,"data":{"$base64":""}}',
  '{"id":1,"name":"","value":1.0,"data":"text"}',
  '{"id":2,"name":"😀 \\"quoted\\" \\\\ \\u0000 \\n","value":0.1,"data":{"$base64":"AP8="}}',
  '{"id":9007199254740993,"name":"漢字","value":1.7976931348623157e+308,"data":9223372036854775807}',
];

describe('POST /import/stream', () => {
  describe.each(['json', 'ndjson'] as const)('of %s', (format) => {
    it.each([1, 99, 100, 101, 450])('writes %i rows', async (count) => {
      expect(await send(rows(upTo(count), format))).toEqual({
        job_id: expect.stringMatching(/^[0-9A-Z]{26}$/),
        dry_run: false,
        read: count,
        written: count,
        refused: [],
      });
      expect(await ids()).toEqual(upTo(count));
    });

    it.each([1, 7, 1000])('takes it in chunks of %i bytes, without a length', async (chunkBytes) => {
      const document = utf8(rows(upTo(120), format));
      expect(await send(chunked(document, chunkBytes))).toMatchObject({ read: 120, written: 120 });
      expect(await exported()).toBe(rows(upTo(120), 'ndjson'));
    });

    it('takes a byte order mark, and Windows line breaks', async () => {
      const document = `\ufeff${rows(upTo(3), format).replaceAll('\n', '\r\n')}`;
      expect(await send(document)).toMatchObject({ read: 3, written: 3 });
      expect(await exported()).toBe(rows(upTo(3), 'ndjson'));
    });

    it('is what an export gave: types survive', async () => {
      const document = format === 'json' ? `[${CAREFUL.join(',\n')}]\n` : CAREFUL.map((row) => `${row}\n`).join('');
      expect(await send(document)).toMatchObject({ read: CAREFUL.length, written: CAREFUL.length, refused: [] });
      const out = await (await ask(`${OF_ITEMS}&format=${format}`)).text();
      expect(out).toBe(document);
      await db.prepare('DELETE FROM items').run();
      await send(out);
      expect(await (await ask(`${OF_ITEMS}&format=${format}`)).text()).toBe(document);
    });

    it('can be said to be that', async () => {
      expect(await send(rows([1, 2], format), `&format=${format}`)).toMatchObject({ written: 2 });
      const other = format === 'json' ? 'ndjson' : 'json';
      // An array on a line of its own is a value like others.
      if (other === 'json') await refused(rows([3], format), 400, 'malformed-json', '&format=json');
      else
        expect(await send('[1,2]\n', '&format=ndjson')).toMatchObject({ read: 1, written: 0, refused: [{ index: 0 }] });
    });
  });

  it.each([
    ['nothing', '', 0],
    ['an empty array', '[]', 0],
    ['blank lines', '\n\r\n', 0],
  ])('of %s has no rows', async (_, document, read) => {
    expect(await send(document)).toMatchObject({ read, written: 0, refused: [] });
  });

  it.each([
    ['application/json', '', 400],
    ['application/json; charset=utf-8', ' \n', 400],
    ['application/vnd.rows+json', '', 400],
    ['application/json', '[]', 200],
    ['application/x-ndjson', '', 200],
    ['text/plain', '', 200],
  ])('of %s that is %j is answered %i', async (type, body, status) => {
    const response = await ask(INTO_ITEMS, { method: 'POST', body, headers: { 'content-type': type } });
    if (status === 200) expect(await response.json()).toMatchObject({ read: 0, written: 0 });
    else await expectProblem(response, 400, 'malformed-json');
  });

  it('of nothing that shall be an array is malformed', async () => {
    expect(await refused('', 400, 'malformed-json', '&format=json')).toMatchObject({ offset: 0, read: 0, written: 0 });
  });
});

describe('the mode', () => {
  const OLD = '{"id":1,"name":"old","value":1.0}\n{"id":2,"name":"old"}\n';
  const NEW = '{"id":2,"value":2.0}\n{"id":3,"name":"new"}\n';

  it.each<[string, string[], number]>([
    ['', ['[1,"old",1]', '[2,"old",null]', '[3,"new",null]'], 1],
    ['&mode=insert', ['[1,"old",1]', '[2,"old",null]', '[3,"new",null]'], 1],
    ['&mode=upsert', ['[1,"old",1]', '[2,"old",2]', '[3,"new",null]'], 0],
    ['&mode=replace', ['[1,"old",1]', '[2,null,2]', '[3,"new",null]'], 0],
  ])('%j does what it says', async (query, after, refusedRows) => {
    await send(OLD);
    const { written, refused } = await send(NEW, query);
    expect([written, refused.length]).toEqual([2 - refusedRows, refusedRows]);
    const { results } = await db.prepare('SELECT json_array(id, name, value) AS row FROM items ORDER BY id').all();
    expect(results.map(({ row }) => String(row).replaceAll('.0', ''))).toEqual(after);
  });

  it('that is none is refused', async () => {
    await refused(OLD, 400, 'invalid-option', '&mode=merge');
    expect(await ids()).toEqual([]);
  });
});

describe('a dry run', () => {
  it.each(['true', '1'])('(%s) answers the same and writes nothing', async (word) => {
    await send(rows([5], 'json'));
    const document = `[{"id":4},{"id":5},7,{"id":6,"nope":1}]`;
    const tried = await send(document, `&dry_run=${word}`);
    expect(tried).toMatchObject({ dry_run: true, read: 4, written: 1 });
    expect(tried.refused.map(({ index }) => index)).toEqual([1, 2, 3]);
    expect(await ids()).toEqual([5]);
    const done = await send(document, '&dry_run=false');
    expect({ ...done, job_id: '' }).toEqual({ ...tried, dry_run: false, job_id: '' });
    expect(await ids()).toEqual([4, 5]);
  });
});

describe('refused rows', () => {
  it('are told with their place and why, and do not stop the others', async () => {
    await send(rows([2], 'json'));
    const lines = [
      '{"id":1}',
      '{"id":2}',
      '{"id":3,"Ä":1}',
      '{"id":4,"id":5}',
      '{"id":6,"\\u0069d":7}',
      '[1]',
      '"text"',
      '8',
      'null',
      'true',
      '{"id":9,"data":[1]}',
      '{"id":"ten"}',
      '{"id":11}',
    ];
    const { read, written, refused } = await send(lines.map((line) => `${line}\r\n`).join(''));
    expect([read, written]).toEqual([lines.length, 2]);
    expect(await ids()).toEqual([1, 2, 11]);
    const offsets = lines.map(
      (_, i) =>
        utf8(
          lines
            .slice(0, i)
            .map((line) => `${line}\r\n`)
            .join(''),
        ).length,
    );
    expect(refused.map(({ index }) => index)).toEqual(upTo(11));
    for (const { index, offset } of refused) expect(offset).toBe(offsets[index]);
    const reasons = refused.map(({ reason }) => reason);
    expect(reasons[0]).toContain('already');
    expect(reasons[1]).toContain('"Ä"');
    expect(reasons.slice(2, 8)).toEqual([
      'its key "id" stands twice',
      'its key "id" stands twice',
      'it is an array, not an object',
      'it is a string, not an object',
      'it is a number, not an object',
      'it is null, not an object',
    ]);
    expect(reasons[8]).toBe('it is a boolean, not an object');
    expect(reasons[9]).toContain('nested value');
  });

  it.each([
    ['&max_errors=0', 0],
    ['&max_errors=7', 7],
    ['', 100],
  ])('may be as many as max_errors says (%s), and one more stops it', async (query, most) => {
    const bad = (count: number) => `[${[...upTo(count).map(String), '{"id":1}'].join(',')}]`;
    expect(await send(bad(most), query)).toMatchObject({ read: most + 1, written: 1 });
    const problem = await refused(bad(most + 1), 422, 'too-many-errors', query);
    expect(problem.refused.map(({ index }) => index)).toEqual(upTo(most + 1, 0));
    expect(problem.detail).toContain(`More than ${most} rows were refused`);
    expect(problem.read).toBe(most + 2);
  });

  it('may be 1,000 at most', async () => {
    await refused('[]', 400, 'invalid-option', '&max_errors=1001');
    expect(await send('[]', '&max_errors=1000')).toMatchObject({ read: 0 });
  });
});

describe('rows of a table that refers to itself', () => {
  const INTO_TREE = '/import/stream?database=sample&table=tree';
  const nodes = (parent: (id: number) => number | null) =>
    upTo(1000).map((id) => JSON.stringify({ id, parent: parent(id) }));
  const parentsFirst = nodes((id) => (id === 1 ? null : id - 1));

  beforeEach(async () => {
    await db.batch([
      db.prepare('CREATE TABLE IF NOT EXISTS tree (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES tree(id))'),
      db.prepare('DELETE FROM tree'),
    ]);
  });

  it.each([
    ['parents first', parentsFirst],
    ['children first', parentsFirst.toReversed()],
    ['in the order of an export', nodes((id) => (id === 1000 ? null : id + 1))],
  ])('are all written but a copy, %s, as a dry run says', async (_, lines) => {
    const document = [...lines, lines[1]].join('\n');
    const [dry, real] = await Promise.all([
      (await ask(`${INTO_TREE}&dry_run=true`, { method: 'POST', body: document })).json<Imported>(),
      (await ask(`${INTO_TREE}&mode=insert`, { method: 'POST', body: '[]' })).json<Imported>(),
    ]);
    expect(real.written).toBe(0);
    const done = await (await ask(INTO_TREE, { method: 'POST', body: document })).json<Imported>();
    expect(done).toMatchObject({ read: 1001, written: 1000, refused: [{ index: 1000 }] });
    expect({ ...dry, job_id: '', dry_run: false }).toEqual({ ...done, job_id: '' });
    const out = await (await ask('/export/stream?database=sample&table=tree&format=ndjson')).text();
    await db.prepare('DELETE FROM tree').run();
    expect(await (await ask(INTO_TREE, { method: 'POST', body: out })).json()).toMatchObject({
      written: 1000,
      refused: [],
    });
  });
});

describe('require=all', () => {
  it('makes refused rows 422, with the counts; the others are written', async () => {
    const problem = await refused(
      '[{"id":1},{"id":1},{"id":2}]',
      422,
      'rows-refused',
      '&require=all&job_id=all-or-not',
    );
    expect(problem).toMatchObject({ read: 3, written: 2, refused: [{ index: 1 }] });
    expect(problem.detail).toContain('1 row was refused, and require=all allows none.');
    expect(await job('all-or-not')).toMatchObject({ phase: 'failed', code: 'rows-refused' });
    expect(await ids()).toEqual([1, 2]);
    expect(await send('[{"id":3}]', '&require=all')).toMatchObject({ written: 1, refused: [] });
    await refused('[]', 400, 'invalid-option', '&require=some');
  });
});

describe('what is no table with rows', () => {
  beforeEach(async () => {
    await db.batch([
      db.prepare('CREATE VIEW IF NOT EXISTS some_view AS SELECT id FROM items'),
      db.prepare('CREATE VIRTUAL TABLE IF NOT EXISTS some_words USING fts5(word)'),
    ]);
  });

  it.each([
    ['some_view', 'is a view'],
    ['some_words', 'is a virtual table (fts5)'],
    ['some_words_data', 'is a shadow table'],
  ])('is refused with what it is: %s', async (name, reason) => {
    for (const response of [
      await ask(`/import/stream?database=sample&table=${name}`, { method: 'POST', body: '[]' }),
      await ask(`/export/stream?database=sample&table=${name}`),
    ]) {
      expect((await response.clone().json<Problem>()).detail).toContain(`"${name}" ${reason}`);
      await expectProblem(response, 409, 'table-unsupported');
    }
  });
});

describe('malformed JSON', () => {
  it('tells where, and what was written before stays', async () => {
    const whole = rows(upTo(250), 'json').trimEnd().slice(0, -1);
    const problem = await refused(`${whole},{"id":251,}]`, 400, 'malformed-json');
    expect(problem).toMatchObject({ offset: utf8(whole).length + 11, read: 250, written: 250, refused: [] });
    expect(problem.detail).toContain('expected a key in double quotes. Of the rows, 250 were read before that');
    expect(await ids()).toEqual(upTo(250));
  });

  it('at any byte of a small document is told there', async () => {
    const document = '[{"id":1,"name":"ä"},{"id":2,"value":-1.5e1}]';
    const bytes = utf8(document);
    for (let at = 0; at < bytes.length; at += 4) {
      await db.prepare('DELETE FROM items').run();
      const cut = await refused(bytes.slice(0, at), 400, 'malformed-json', '&format=json');
      expect(cut.offset).toBe(at);
      const broken = bytes.slice();
      broken[at] = 0x01;
      const problem = await refused(broken, 400, 'malformed-json', '&format=json&mode=upsert');
      expect(problem.offset).toBe(at);
      expect(await ids()).toEqual(upTo(problem.read));
    }
  });

  it.each([
    ['a depth of 100,000', '['.repeat(100_000), 101],
    ['an object of that depth', '{"a":'.repeat(100_000), 500],
    ['bytes that are no UTF-8', new Uint8Array([0x5b, 0x22, 0xff, 0x22, 0x5d]), 2],
    ['what is no JSON at all', 'id,name\n1,x\n', 0],
  ])('that is %s is refused at once', async (_, body, offset) => {
    expect(await refused(body, 400, 'malformed-json')).toMatchObject({ offset, read: 0, written: 0 });
  });

  it('is answered also while the client still sends', async () => {
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        if (sent > 64) controller.close();
        else controller.enqueue(sent === 1 ? utf8('[x') : new Uint8Array(64 * 1024));
      },
    });
    const response = await ask(INTO_ITEMS, { method: 'POST', body: endless });
    expect(response.headers.get('connection')).toBe('close');
    await expectProblem(response, 400, 'malformed-json');
    expect(sent).toBe(65);
  });
});

describe('too much', () => {
  it('in one value is refused with its place, and rows before it stay', async () => {
    const head = '[{"id":1},';
    async function* pieces() {
      yield utf8(`${head}{"id":2,"name":"`);
      for (let i = 0; i < 80; i++) yield new Uint8Array(64 * 1024).fill(0x78);
    }
    const source = pieces();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { done, value } = await source.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    });
    const problem = await refused(body, 413, 'item-too-large');
    expect(problem).toMatchObject({ offset: head.length, read: 1, written: 1 });
    expect(await ids()).toEqual([1]);
  });

  it('for the queries of one request is told, and what was written stays', async () => {
    await send(rows([1], 'json'));
    // A batch of 300 rows that are all there already costs some 600 statements.
    const document = rows([...upTo(50, 1000), ...upTo(900).map(() => 1)], 'ndjson');
    const problem = await refused(document, 413, 'too-many-rows', '&max_errors=1000');
    expect(problem.detail).toContain('the 1000 queries that one request may make');
    expect(problem.written).toBe(50);
    expect(problem.refused.length).toBeGreaterThan(100);
    expect(await ids()).toEqual([1, ...upTo(50, 1000)]);
  });
});

describe('the job', () => {
  it('says what became of it, and stands in the export without a backup', async () => {
    const document = rows(upTo(10), 'json').replace('"value":3.5', '"valu":3.5');
    const { job_id } = await send(document, '&job_id=import-of-ten');
    expect(job_id).toBe('import-of-ten');
    const bytes = utf8(document).length;
    const done = await job('import-of-ten');
    expect(done).toMatchObject({ phase: 'done', current: bytes, total: bytes, percentage: 100 });
    expect(done.message).toBe('Imported into sample.items: 10 read, 9 written, 1 refused');
    expect(done).toMatchObject({ task: 'import', backup_id: null });
    const jobs = await (await ask('/export/stream?table=jobs')).json<{ job_id: string; backup_id: string | null }[]>();
    expect(jobs).toContainEqual(expect.objectContaining({ job_id, phase: 'done', backup_id: null, filename: null }));
  });

  it('that failed says why', async () => {
    await refused('[{"id":1},x]', 400, 'malformed-json', '&job_id=import-failed');
    const failed = await job('import-failed');
    expect(failed).toMatchObject({ phase: 'failed', code: 'malformed-json' });
    expect(failed.detail).toContain('at byte 10');
    expect(failed.detail).toContain('1 were read before that; 1 are written, and stay.');
  });

  it('shows how far it is while the document arrives', async () => {
    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    const answer = ask(`${INTO_ITEMS}&job_id=import-watched`, { method: 'POST', body: readable });
    const first = rows(upTo(9000), 'ndjson');
    await writer.write(utf8(first));
    await vi.waitFor(
      async () => {
        const now = await job('import-watched');
        expect(now).toMatchObject({ phase: 'importing', total: 0, percentage: 0 });
        expect(now.current).toBeGreaterThan(0);
      },
      { timeout: 10_000, interval: 50 },
    );
    await writer.close();
    expect(await (await answer).json()).toMatchObject({ read: 9000, written: 9000 });
    expect(await job('import-watched')).toMatchObject({ phase: 'done', current: utf8(first).length });
  });

  it('that failed says so also while the sender stalls, who hears of it with the next bytes', async () => {
    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    const answer = ask(`${INTO_ITEMS}&job_id=import-stalled&max_errors=5`, { method: 'POST', body: readable });
    await writer.write(utf8('\n'.repeat(UPLOAD_READ_BYTES - 600) + '0\n'.repeat(300)));
    await vi.waitFor(
      async () => expect(await job('import-stalled')).toMatchObject({ phase: 'failed', code: 'too-many-errors' }),
      { timeout: 8_000, interval: 50 },
    );
    await writer.write(utf8('\n'.repeat(UPLOAD_READ_BYTES)));
    await writer.close();
    const response = await answer;
    expect(response.headers.get('connection')).toBe('close');
    await expectProblem(response, 422, 'too-many-errors');
  });

  it.each([
    ['an option', `${INTO_ITEMS}&mode=merge`, 400, 'invalid-option', 'mode'],
    ['a database', '/import/stream?database=none&table=items', 400, 'invalid-option', 'database'],
    ['a table', '/import/stream?database=sample&table=none', 404, 'not-found', 'no table'],
    ['a backup', '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/restore?database=sample&table=items', 404, 'not-found', ''],
    [
      'an option of a restore',
      '/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/restore?max_errors=-1',
      400,
      'invalid-option',
      'max_',
    ],
  ])('of an import that is refused for %s before it begins says so', async (what, path, status, code, said) => {
    const job_id = `refused-${what.replaceAll(' ', '-')}`;
    await expectProblem(await ask(`${path}&job_id=${job_id}`, { method: 'POST', body: '[{"id":1}]' }), status, code);
    const failed = await job(job_id);
    expect(failed).toMatchObject({
      phase: 'failed',
      code,
      message: expect.stringMatching(/^The (import|restore) was refused$/),
    });
    expect(failed.detail).toContain(said);
    expect(await send('[]', `&job_id=${job_id}`)).toMatchObject({ job_id });
    expect(await job(job_id)).toMatchObject({ phase: 'done' });
  });

  it('is told nothing by who may not import', async () => {
    const answer = ask(`${INTO_ITEMS}&mode=merge&job_id=import-of-nobody`, { method: 'POST', body: '[]', token: null });
    await expectProblem(await answer, 401, 'unauthorized');
    expect(await job('import-of-nobody')).toMatchObject({ phase: 'waiting' });
  });

  it('that runs already is not disturbed', async () => {
    const rooms = jobRooms(env.JOBS);
    const start = { task: 'import', job_id: 'import-busy', run_id: 'r', message: '', total: 0 } as const;
    await rooms.begin(start);
    await refused('[{"id":1}]', 409, 'job-running', '&job_id=import-busy');
    await refused('[{"id":1}]', 400, 'invalid-option', '&job_id=import-busy&mode=merge');
    expect(await job('import-busy')).toMatchObject({ phase: 'importing' });
    expect(await ids()).toEqual([]);
    const end = { phase: 'failed', code: 'x', detail: 'y', message: 'z' } as const;
    await rooms.publisher('import-busy', 'r').finish(end);
  });

  it('of an import that died without a word says so, and can be started again', async () => {
    await send(rows([1], 'json'));
    const job_id = 'import-dead';
    const run_id = '01AA0000000000000000000000';
    await jobRooms(env.JOBS).begin({ task: 'import', run_id, job_id, message: 'Waiting', total: 0 });
    const room = env.JOBS.get(env.JOBS.idFromName(job_id));
    for (let lease = 0; lease < 3; lease++) await runDurableObjectAlarm(room);
    expect(await job(job_id)).toMatchObject({ phase: 'failed', code: 'import-interrupted' });
    const row = await env.CATALOGUE.prepare('SELECT * FROM jobs WHERE job_id = ?1').bind(job_id).first();
    expect(row).toMatchObject({ run_id, backup_id: null, phase: 'failed', code: 'import-interrupted' });
    expect(await ids()).toEqual([1]);
    expect(await send(rows([1, 2], 'json'), `&mode=upsert&job_id=${job_id}`)).toMatchObject({ written: 2 });
    expect(await job(job_id)).toMatchObject({ phase: 'done' });
  });
});

describe('who may, and where', () => {
  afterEach(async () => {
    expect(await ids()).toEqual([]);
  });

  it('is for admins', async () => {
    const made = await ask('/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'writer', scopes: ['read', 'write'] }),
    });
    const { token } = await made.json<{ token: string }>();
    const as = (credential: string | null) =>
      ask(INTO_ITEMS, { method: 'POST', body: '[{"id":1}]', token: credential });
    await expectProblem(await as(token), 403, 'forbidden');
    await expectProblem(await as(null), 401, 'unauthorized');
  });

  it.each([
    ['no database', '/import/stream?table=items', 400, 'invalid-option', 'sample'],
    ['a database that is not bound', '/import/stream?database=other&table=items', 400, 'invalid-option', 'sample'],
    ['the catalogue', '/import/stream?database=catalogue&table=tokens', 400, 'invalid-option', 'sample'],
    ['no table', '/import/stream?database=sample', 400, 'invalid-option', 'table'],
    ['a table that is not there', '/import/stream?database=sample&table=none', 404, 'not-found', 'table'],
    ['a table of SQLite', '/import/stream?database=sample&table=sqlite_master', 409, 'table-unsupported', 'belongs'],
    ['a word that is no flag', `${INTO_ITEMS}&dry_run=yes`, 400, 'invalid-option', 'dry_run'],
    ['a format that is none', `${INTO_ITEMS}&format=csv`, 400, 'invalid-option', 'format'],
    ['a job_id that is none', `${INTO_ITEMS}&job_id=a%20b`, 400, 'invalid-option', 'job_id'],
  ])('refuses %s', async (_, path, status, code, said) => {
    const response = await ask(path, { method: 'POST', body: '[{"id":1}]' });
    await expectProblem(response.clone(), status, code);
    expect((await response.json<Problem>()).detail).toContain(said);
  });

  it.each([
    ['gzip', 415],
    ['zstd', 415],
    ['Identity', 200],
  ])('takes a document in clear: of Content-Encoding %s says %i', async (encoding, status) => {
    const body = '[]';
    const response = await ask(INTO_ITEMS, { method: 'POST', body, headers: { 'content-encoding': encoding } });
    if (status === 200) expect(await response.json()).toMatchObject({ read: 0 });
    else await expectProblem(response, status, 'unsupported-media-type');
  });

  it('is in the OpenAPI document', async () => {
    const { paths, components } = await (await ask('/openapi.json')).json<{
      paths: Record<string, { post?: { parameters: { name: string; required: boolean; schema: object }[] } }>;
      components: { schemas: { Problem: { properties: object } } };
    }>();
    expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/import/stream', '/backup/{backup_id}/restore']));
    for (const path of ['/import/stream', '/backup/{backup_id}/restore']) {
      const parameters = paths[path]?.post?.parameters ?? [];
      const required = parameters.filter((parameter) => parameter.required).map(({ name }) => name);
      expect(required).toEqual(expect.arrayContaining(['database', 'table']));
      expect(required).not.toContain('mode');
      expect(parameters.find(({ name }) => name === 'dry_run')?.schema).toMatchObject({
        type: 'string',
        enum: ['true', 'false', '1', '0'],
        default: 'false',
      });
    }
    expect(Object.keys(components.schemas.Problem.properties)).toEqual(
      expect.arrayContaining(['offset', 'read', 'written', 'refused']),
    );
  });
});
