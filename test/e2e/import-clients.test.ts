import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { bearer, curl, eventually, jobOf, put, runs, type Scratch, same, scratch, startCurl } from './clients.ts';

const ROWS = 20_000;

let vault: LocalVault;
let files: Scratch;
let lines: string;
let into: string;

beforeAll(async () => {
  files = await scratch();
  lines = files.path('items.ndjson');
  await writeFile(lines, rows());
  vault = await startLocalVault();
  into = `${vault.url}/import/stream?database=sample&table=items`;
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

/** Rows with a value of each sort, as an export writes them. */
function* rows(): Generator<string> {
  for (let id = 1; id <= ROWS; id++) {
    const data = id % 3 === 0 ? 'null' : `{"$base64":"${Buffer.from(`blob ${id}`).toString('base64')}"}`;
    yield `{"id":${id},"name":"Zeile ${id} 😀","value":${id}.25,"data":${data}}\n`;
  }
}

async function counts(args: readonly string[]): Promise<unknown> {
  const answer = await curl([...bearer(vault), ...args]);
  expect(answer.status, answer.body).toBe(200);
  return JSON.parse(answer.body);
}

async function exported(name: string): Promise<string> {
  const file = files.path(name);
  const url = `${vault.url}/export/stream?database=sample&table=items&format=ndjson`;
  await runs('curl', ['-sS', '--fail', '-o', file, ...bearer(vault), url]);
  return file;
}

describe('curl', () => {
  it('sends rows of a file, of a pipe, and out of one vault into the other', async () => {
    const read = { read: ROWS, refused: [] };
    expect(await counts(['-X', 'POST', '-T', lines, into])).toMatchObject({ ...read, written: ROWS });
    await same(lines, await exported('once.ndjson'));
    expect(await counts(['--data-binary', `@${lines}`, `${into}&mode=replace`])).toMatchObject(read);
    const piped = startCurl([...bearer(vault), '-X', 'POST', '-T', '-', `${into}&mode=upsert`], { stdin: lines });
    expect(JSON.parse((await piped.answer).body)).toMatchObject(read);
    await same(lines, await exported('again.ndjson'));
  });

  it('restores a backup of them', async () => {
    const { backup_id } = await put(vault, lines, 'items.ndjson');
    const url = `${vault.url}/backup/${backup_id}/restore?database=sample&table=items&mode=replace`;
    expect(await counts(['-X', 'POST', url])).toMatchObject({ read: ROWS, written: ROWS });
    await same(lines, await exported('restored.ndjson'));
  });

  it('hears at once what is wrong with a document that it still sends', async () => {
    const broken = files.path('broken.json');
    await writeFile(broken, `[{"id":-1},oops${' '.repeat(64 * 1024 * 1024)}]`);
    const answer = await curl([...bearer(vault), '-X', 'POST', '-T', broken, into]);
    expect(answer).toMatchObject({ code: 0, status: 400 });
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'malformed-json', offset: 11, read: 1, written: 1 });
  });

  it.each(['known length', 'chunked'] as const)('that is cut off leaves a job that says so (%s)', async (way) => {
    const job = `import_cut_${way.replace(' ', '_')}`;
    const url = `${into}&mode=upsert&job_id=${job}`;
    const slow = [...bearer(vault), '-X', 'POST', '--limit-rate', '600K'];
    const { child, answer } =
      way === 'chunked'
        ? startCurl([...slow, '-H', 'Transfer-Encoding: chunked', '-T', '-', url], { stdin: lines })
        : startCurl([...slow, '-T', lines, url]);
    await eventually(
      20_000,
      () => jobOf(vault, job),
      ({ phase, current }) => phase === 'importing' && current > 0,
    );
    child.kill('SIGKILL');
    await answer;
    const ended = await eventually(
      20_000,
      () => jobOf(vault, job),
      ({ phase }) => phase === 'failed',
    );
    expect(ended).toMatchObject({ code: 'import-interrupted' });
    expect(ended.detail).toMatch(/Of the rows, \d+ were read before that; /);
  });
});
