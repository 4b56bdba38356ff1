/** Rows of the sample's table `items`, as lines of JSON and as SQL. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { SAMPLE } from './vault.ts';

const MIB = 1024 * 1024;
/** As many different BLOBs as there are: enough that nothing is compressed away, few enough to be made beforehand. */
const BLOBS = 64;

/** A file of `count` lines of about 100 bytes: a number, text with an emoji in every third, a REAL, a BLOB in every tenth. */
export function rowsFile(directory: string, count: number): string {
  const file = join(directory, 'rows.ndjson');
  const output = openSync(file, 'w');
  for (const piece of inPieces(smallRows(count))) writeSync(output, piece);
  closeSync(output);
  return file;
}

/** The same rows by SQL: `run` takes a statement and the database's name. */
export function fillWithRows(count: number, run: (sql: string, database: string) => void): void {
  run(
    `INSERT INTO items (id, name, value, data)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
      SELECT i, printf('nightly backup of the site %d%s', i, CASE WHEN i % 3 = 0 THEN ' 🌲' ELSE '' END), i + 0.5,
        CASE WHEN i % 10 = 0 THEN randomblob(24) END FROM n`,
    SAMPLE,
  );
}

/** Lines of `bytes` each, most of which is a BLOB; made while they are taken. */
export function largeRows(count: number, bytes: number): Generator<Buffer> {
  const blobs = Array.from({ length: BLOBS }, () => base64(bytes - 80));
  return inPieces(lines());

  function* lines(): Generator<string> {
    for (let id = 1; id <= count; id++) yield line(id, `row ${id}`, id + 0.5, blobs[id % BLOBS] ?? null);
  }
}

function* smallRows(count: number): Generator<string> {
  for (let id = 1; id <= count; id++) {
    const name = `nightly backup of the site ${id}${id % 3 === 0 ? ' 🌲' : ''}`;
    yield line(id, name, id + 0.5, id % 10 === 0 ? base64(32) : null);
  }
}

function line(id: number, name: string, value: number, data: string | null): string {
  const blob = data === null ? 'null' : `{"$base64":"${data}"}`;
  return `{"id":${id},"name":${JSON.stringify(name)},"value":${value},"data":${blob}}\n`;
}

/** Random, of so many characters or up to three less. */
function base64(characters: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(Math.floor(characters / 4) * 3))).toString('base64');
}

function* inPieces(lines: Iterable<string>): Generator<Buffer> {
  let text = '';
  for (const line of lines) {
    text += line;
    if (text.length < MIB) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}
