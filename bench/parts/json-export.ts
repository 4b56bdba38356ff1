/** 100,000 rows as JSON while they are read: of the catalogue, and of a table. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { heapRow, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { type Row, speed } from '../support/report.ts';
import { alternate } from '../support/rounds.ts';
import { fillWithRows } from '../support/rows.ts';
import { get } from '../support/transfer.ts';
import { type BenchVault, bearer, INSTRUMENTED_VAULT, migrate, runSql, startVault } from '../support/vault.ts';

const ROWS = 100_000;
/** Nothing large is held: a page of rows, and the garbage of the last ones. */
const LIMIT_MIB = 100;
/** Several times over, for there to be a curve. */
const RUNS = 20;
const BAR = 0.7;

export const jsonExport: Part = async (bench) => {
  const rows = bench.quick ? ROWS / 10 : ROWS;
  const state = bench.fresh('export-vault');
  migrate(INSTRUMENTED_VAULT, state);
  runSql(INSTRUMENTED_VAULT, state, manyBackups(rows));
  fillWithRows(rows, (sql, database) => runSql(INSTRUMENTED_VAULT, state, sql, database));
  const vault = await startVault(INSTRUMENTED_VAULT, state);
  try {
    return { rows: [await firstByte(vault), await allRows(bench, vault, rows), await ofTable(bench, vault, rows)] };
  } finally {
    await vault.stop();
  }
};

async function firstByte(vault: BenchVault): Promise<Row> {
  const answer = await fetch(`${vault.url}/bench/export-pages`, { headers: bearer(vault) });
  if (!answer.ok) throw new Error(`the counted export answered ${answer.status}: ${await answer.text()}`);
  const pages = (await answer.json()) as { first: number; all: number };
  return {
    what: 'JSON export: first byte before the second page is read',
    bar: 'yes',
    measured: `${pages.first} of ${pages.all} pages had been asked for at the first byte`,
    passes: pages.first <= 1 && pages.all > 2,
    facts: pages,
  };
}

async function allRows(bench: Bench, vault: BenchVault, rows: number): Promise<Row> {
  const file = join(bench.directory, 'export.json');
  const sampler = await sampleHeap(vault);
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    times.push((await get(`${vault.url}/export/stream?format=json`, vault.token, file)).seconds);
  }
  const samples = await sampler.stop();
  const exported = JSON.parse(readFileSync(file, 'utf8')) as unknown[];
  const row = heapRow(
    `isolate during exports of ${rows.toLocaleString('en')} rows, one after the other`,
    LIMIT_MIB,
    samples,
  );
  const whole = exported.length === rows;
  return {
    ...row,
    measured: `${row.measured}; ${exported.length.toLocaleString('en')} rows in ${times.at(-1)?.toFixed(1)} s`,
    passes: whole && row.passes === true,
  };
}

/** Against the same queries, their pages dropped. */
async function ofTable({ directory, rounds }: Bench, vault: BenchVault, rows: number): Promise<Row> {
  const file = join(directory, 'items.ndjson');
  const address = `${vault.url}/export/stream?database=sample&table=items&format=ndjson`;
  await get(address, vault.token, file);
  const exported = readFileSync(file, 'utf8');
  if (exported.split('\n').length - 1 !== rows) throw new Error('not all rows were exported');
  const noted = await fetch(`${vault.url}/bench/rows/note-pages`);
  const pages = (await noted.json()) as { queries: number; rows: number };
  if (pages.rows !== rows) throw new Error(`${pages.rows} of ${rows} rows are in the pages`);
  const ours = async () => (await get(address, vault.token)).seconds;
  const control = async () => (await get(`${vault.url}/bench/rows/read-pages`)).seconds;
  const ratio = await alternate(rounds, ours, control);
  const perSecond = Math.round(rows / ratio.seconds).toLocaleString('en');
  return {
    what: `export of ${rows.toLocaleString('en')} rows of a table / reading the same pages and dropping them`,
    bar: String(BAR),
    measured: `${ratio.ratio.toFixed(2)} (${perSecond} rows/s, ${speed(Buffer.byteLength(exported), ratio.seconds)})`,
    passes: ratio.ratio >= BAR,
    facts: { ...ratio, pages },
  };
}

function manyBackups(rows: number): string {
  return `INSERT INTO backups (backup_id, job_id, filename, content_type, file_size, checksum, stored_size,
      stored_checksum, codec, level, engine, frames, created_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    SELECT printf('01JC%022d', i), printf('nightly-%d', i), printf('site-%d.tar', i), 'application/x-tar', i * 4096,
      printf('%064x', i), i * 1024, printf('%064x', -i), 'zstd', 3, 'native', 1, '2026-11-23T07:30:00.000Z' FROM n`;
}
