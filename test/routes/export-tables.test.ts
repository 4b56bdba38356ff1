import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { ask, expectProblem } from '../support/vault.ts';

const db = env.DATABASE_SAMPLE;
const OF_ITEMS = '/export/stream?database=sample&table=items';

interface Item {
  id: number;
  name: string | null;
  value: number | null;
  data: { $base64: string } | null;
}

async function many(rows: number): Promise<void> {
  await db.prepare('DELETE FROM items').run();
  await db
    .prepare(
      `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        SELECT i, 'item ' || i, i / 4.0, randomblob(5) FROM n`,
    )
    .bind(rows)
    .run();
}

describe('GET /export/stream of a database', () => {
  it('gives the rows as they are, as JSON and as lines', async () => {
    await db.prepare('DELETE FROM items').run();
    expect(await (await ask(OF_ITEMS)).text()).toBe('[]\n');
    expect(await (await ask(`${OF_ITEMS}&format=ndjson`)).text()).toBe('');
    await db
      .prepare(
        `INSERT INTO items VALUES (9007199254740993, '😀 "quoted"' || char(0), 1, x'00ff'), (-1, NULL, -9e999, x''), (2, '', 0.1, 'text')`,
      )
      .run();
    const rows = [
      '{"id":-1,"name":null,"value":-1e999,"data":{"$base64":""}}',
      '{"id":2,"name":"","value":0.1,"data":"text"}',
      '{"id":9007199254740993,"name":"😀 \\"quoted\\"\\u0000","value":1.0,"data":{"$base64":"AP8="}}',
    ];
    const asJson = await ask(OF_ITEMS);
    expect(asJson.headers.get('content-type')).toBe('application/json');
    expect(asJson.headers.get('content-disposition')).toBe('attachment; filename=export.json');
    expect(await asJson.text()).toBe(`[${rows.join(',\n')}]\n`);
    const asLines = await ask(`${OF_ITEMS}&format=ndjson`);
    expect(asLines.headers.get('content-disposition')).toBe('attachment; filename=export.ndjson');
    expect(await asLines.text()).toBe(rows.map((row) => `${row}\n`).join(''));
  });

  it.each([999, 1_000, 1_001, 2_500])('gives all of %i rows, each once', async (count) => {
    await many(count);
    const rows = await (await ask(OF_ITEMS)).json<Item[]>();
    expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    expect(rows.every(({ id, value }) => value === id / 4)).toBe(true);
  });

  it('breaks where the table goes away', async () => {
    await db.prepare('CREATE TABLE passing (a)').run();
    await db
      .prepare(
        'INSERT INTO passing WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) SELECT i FROM n',
      )
      .run();
    const response = await ask('/export/stream?database=sample&table=passing&format=ndjson');
    const reader = response.body?.getReader();
    await reader?.read();
    await db.prepare('DROP TABLE passing').run();
    const rest = async () => {
      for (;;) if ((await reader?.read())?.done !== false) return;
    };
    await expect(rest()).rejects.toThrow();
  });

  it('answers that text is damaged that JSON cannot hold', async () => {
    await db.prepare('CREATE TABLE damaged (a)').run();
    await db.prepare(`INSERT INTO damaged VALUES ('whole'), (CAST(x'ff' AS TEXT))`).run();
    await expectProblem(await ask('/export/stream?database=sample&table=damaged'), 422, 'stored-data-corrupt');
  });

  it('is left by a reader that has had enough', async () => {
    await many(5_000);
    const response = await ask(OF_ITEMS);
    const reader = response.body?.getReader();
    expect((await reader?.read())?.done).toBe(false);
    await reader?.cancel();
    expect((await (await ask(OF_ITEMS)).json<Item[]>()).length).toBe(5_000);
  });

  it('names the databases that there are where it is asked for another', async () => {
    const response = await ask('/export/stream?database=other&table=items');
    expect(await response.clone().text()).toContain('one of sample.');
    await expectProblem(response, 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?database=&table=items'), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?database=SAMPLE&table=items'), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?database=catalogue&table=tokens'), 400, 'invalid-option');
  });

  it.each([
    ['nothing'],
    ['ITEMS'],
    ['pragma_table_list'],
    ['items; DROP TABLE items'],
    ['items" WHERE 1 --'],
    ['items\0'],
  ])('knows no table %j', async (name) => {
    await expectProblem(
      await ask(`/export/stream?database=sample&table=${encodeURIComponent(name)}`),
      404,
      'not-found',
    );
  });

  it.each(['sqlite_master', 'sqlite_schema', 'd1_migrations', '_cf_METADATA', '_cf_KV'])(
    'refuses %s, which belongs to the database',
    async (name) => {
      await expectProblem(await ask(`/export/stream?database=sample&table=${name}`), 409, 'table-unsupported');
    },
  );

  it('wants a table, and of the vault one of its own', async () => {
    await expectProblem(await ask('/export/stream?database=sample'), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?database=sample&table='), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?table=items'), 400, 'invalid-option');
    await expectProblem(await ask('/export/stream?table=tokens'), 400, 'invalid-option');
  });

  it('is for who has the scope admin', async () => {
    await expectProblem(await ask(OF_ITEMS, { token: null }), 401, 'unauthorized');
  });

  it('says in the OpenAPI document what a BLOB looks like', async () => {
    expect(await (await ask('/openapi.json', { token: null })).text()).toContain('$base64');
  });
});
