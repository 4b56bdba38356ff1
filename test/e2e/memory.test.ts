import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { scheduler } from 'node:timers/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openHeap } from '../../bench/support/isolate-heap.ts';
import { freePort } from '../../bench/support/local-worker.ts';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { migrateLocally, runWrangler } from '../../src/cli/wrangler.ts';
import {
  BATCHES_IN_WORK,
  D1_VALUE_BYTES,
  DECODE_BYTES,
  DIRECTORY_BATCH_MEMBERS,
  EXPORT_PAGE_BYTES,
  FLIGHTS_PER_UPLOAD,
  FRAME_BYTES,
  GZIP_PIECE_BYTES,
  IMPORT_ROW_BYTES,
  INDEX_MERGE_BYTES,
  INDEX_RUN_BYTES,
  PART_BYTES,
  STORED_READ_BYTES,
  UPLOAD_READ_BYTES,
  WRITER_RESTS_MS,
} from '../../src/shared/limits.ts';
import { api, MIB, type Receipt, runs, type Scratch, scratch } from './clients.ts';
import { HeapWatch } from './heap-watch.ts';

/**
 * Every operation is held to what it may need: each one moves much more than it may hold, while
 * the heap of the isolate is looked at. The storage is slow, so that the isolate rests in between, and the clients stop in
 * the middle until it has been looked at: what an operation takes in without need is then there to be seen.
 */
const CONFIG = 'test/support/slow-storage.wrangler.toml';
/** What goes through each operation: zstd makes it no smaller, so that frames and what is decoded of them are as large as they get. */
const CONTENT_BYTES = 80 * MIB;
/** More than one batch of a directory. */
const MEMBERS = 6_000;
const JOBS = 48_000;
/** Of 100 to a batch, and no more than one request may write; and BLOBs as large as a row of D1 takes. */
const ROWS = 90_000;
const LARGE_ROWS = 36;
const LARGE_ROW_BYTES = 1_900_000;

/**
 * What an isolate holds beside budgets while it works: objects of a request, code that runs for the first time, and the
 * indexes and seek tables that it keeps (4 MiB at most, here one of 6,000 members). 0.2 to 1.3 MiB were seen, and 1 MiB
 * of the slow storage's own. No budget's worth of anything fits into it.
 */
const ALLOWANCE_BYTES = 3 * MIB;

/** How often the isolate is looked at while a client stops: a storage that is not waited for would give all there is. */
const LOOKS = 15;

/** A frame of content and one compressed; the part that fills, and those on their way; what was read. */
const UPLOAD_BYTES = 2 * FRAME_BYTES + (FLIGHTS_PER_UPLOAD + 1) * PART_BYTES + 2 * UPLOAD_READ_BYTES;
/** A document's row and its text; of the batch that is gathered and those in work, texts and what is made of them. */
const IMPORT_BYTES = UPLOAD_READ_BYTES + (BATCHES_IN_WORK + 2) * 2 * IMPORT_ROW_BYTES;

/**
 * Nothing is reserved for an operation, so this is what one may hold while its client is fast. What goes out holds what a
 * turn does ({@link DECODE_BYTES}), and less once it stops.
 */
const HELD_BYTES: Readonly<Record<string, number>> = {
  // Also twice a run of the members' index, or what decodes an archive that came compressed.
  upload: UPLOAD_BYTES + 2 * INDEX_RUN_BYTES,
  piece: UPLOAD_BYTES,
  readback: DECODE_BYTES + FRAME_BYTES + 2 * INDEX_RUN_BYTES + INDEX_MERGE_BYTES,
  import: IMPORT_BYTES,
  restore: IMPORT_BYTES + DECODE_BYTES,
  stored: STORED_READ_BYTES,
  decoded: DECODE_BYTES,
  gzip: DECODE_BYTES + 4 * GZIP_PIECE_BYTES,
  range: DECODE_BYTES,
  member: DECODE_BYTES,
  directory: DECODE_BYTES + DIRECTORY_BATCH_MEMBERS * 1024,
  verify: DECODE_BYTES,
  export: 4 * EXPORT_PAGE_BYTES + 7 * D1_VALUE_BYTES,
};

let files: Scratch;
let vault: LocalVault;
let watch: HeapWatch;
const receipts = new Map<string, Receipt>();

beforeAll(async () => {
  files = await scratch();
  const stateDir = files.path('state');
  const [inspectorPort] = await Promise.all([freePort(), makeFiles(), fillCatalogue(stateDir)]);
  vault = await startLocalVault({ config: CONFIG, persistTo: stateDir, migrate: false, inspectorPort });
  watch = new HeapWatch(await openHeap(inspectorPort, () => api(vault, 'GET', '/healthz')));
});
afterAll(async () => {
  watch?.close();
  await vault?.stop();
  await files?.remove();
});

/** Large content, and an archive of it and of many small files, also compressed. */
async function makeFiles(): Promise<void> {
  await files.random('large.bin', CONTENT_BYTES);
  await mkdir(files.path('many'));
  for (let n = 0; n < MEMBERS; n++) await writeFile(files.path(`many/report-of-the-month-${n}.txt`), `${n}\n`);
  await writeFile(files.path('rows.ndjson'), rows(ROWS, 700));
  await writeFile(files.path('large.ndjson'), rows(LARGE_ROWS, LARGE_ROW_BYTES));
  const make = 'tar -cf site.tar many large.bin; gzip -1 -k site.tar; zstd -q -1 -k site.tar';
  await runs('bash', ['-e', '-c', make], { cwd: files.path('.') });
}

/** Lines with a BLOB each. */
function* rows(count: number, blobBytes: number): Generator<string> {
  for (let id = 1; id <= count; id++) {
    const data = { $base64: randomBytes(blobBytes).toString('base64') };
    yield `${JSON.stringify({ id, name: `row ${id}`, value: id / 2, data })}\n`;
  }
}

/** Rows to export, in a catalogue that nobody serves yet. */
async function fillCatalogue(stateDir: string): Promise<void> {
  const where = ['--local', '--config', CONFIG, '--persist-to', stateDir];
  const migrated = await migrateLocally(where.slice(1));
  expect(migrated.code, migrated.output).toBe(0);
  const rows =
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${JOBS}) INSERT INTO jobs ` +
    '(job_id, run_id, task, backup_id, phase, message, started_at) ' +
    "SELECT printf('job-%08d', i), printf('run-%08d', i), 'upload', 'backup', 'done', hex(randomblob(500)), '2026-11-23T07:30:00.000Z' FROM n";
  const filled = await runWrangler(['d1', 'execute', 'CATALOGUE', ...where, '--yes', '--command', rows]);
  expect(filled.code, filled.output).toBe(0);
}

interface Flow {
  readonly operation: string;
  readonly what: string;
  /** What is there before the isolate is watched. */
  readonly prepare?: () => Promise<unknown>;
  readonly work: () => Promise<unknown>;
}

const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);

/** In this order: what goes out, has come in before. */
const FLOWS: readonly Flow[] = [
  up('a file that is compressed here', 'large.bin', 'large.tar.gz', '?compression=zstd'),
  up('a file at level 9', 'large.bin', 'level-9.tar.gz', '?compression=zstd&level=9'),
  up('a file that is stored as it comes', 'large.bin', 'plain.tar.gz', '?compression=none'),
  up('an archive', 'site.tar', 'site.tar'),
  up('an archive within gzip', 'site.tar.gz', 'site.tar.gz'),
  up('an archive within zstd', 'site.tar.zst', 'site.tar.zst'),
  form(),
  up('a file that is encrypted here', 'large.bin', 'secret.tar.gz', `?compression=zstd&recipient=${recipient}`),
  piece('a file that is compressed here', 'large.bin', 'zstd'),
  piece('a file that is stored as it comes', 'large.bin', 'none'),
  readback('an archive', 'site.tar'),
  readback('an archive within gzip', 'site.tar.gz'),
  down('stored', 'what is stored, as it is', 'large.tar.gz', '/download?format=zst'),
  down('stored', 'what came as it is', 'plain.tar.gz', '/download'),
  down('decoded', 'content', 'large.tar.gz', '/download'),
  down('decoded', 'content that is decrypted', 'secret.tar.gz', '/download', { 'x-age-identity': identity }),
  down('gzip', 'content as gzip', 'large.tar.gz', '/download?format=gz'),
  down('range', 'a range of content', 'large.tar.gz', '/download', { range: `bytes=1000-${CONTENT_BYTES - 1000}` }),
  down('member', 'a file of an archive', 'site.tar', '/files/large.bin'),
  down('member', 'a file of an archive within gzip', 'site.tar.gz', '/files/large.bin'),
  down('member', 'a file of an archive within zstd', 'site.tar.zst', '/files/large.bin'),
  down('directory', 'a whole archive of many files', 'site.tar', '/files/?format=tar'),
  { operation: 'verify', what: 'a backup', work: verify },
  { operation: 'export', what: 'a table', work: () => read('/export/stream?format=json&table=jobs') },
  { operation: 'import', what: 'many rows', work: () => importRows('rows.ndjson', ROWS) },
  { operation: 'import', what: 'large rows', work: () => importRows('large.ndjson', LARGE_ROWS) },
  { operation: 'export', what: 'large rows', work: () => read('/export/stream?database=sample&table=items') },
  up('a document of rows', 'rows.ndjson', 'rows.ndjson', '?compression=zstd'),
  up('a document of large rows', 'large.ndjson', 'large.ndjson', '?compression=none'),
  { operation: 'restore', what: 'many rows', work: () => restore('rows.ndjson', ROWS) },
  { operation: 'restore', what: 'large rows', work: () => restore('large.ndjson', LARGE_ROWS) },
];

describe('memory', () => {
  it.each(FLOWS)('of $operation: $what', async ({ operation, prepare, work }) => {
    await prepare?.();
    const held = await watch.during(work);
    expect(held / MIB).toBeLessThan(((HELD_BYTES[operation] ?? Number.NaN) + ALLOWANCE_BYTES) / MIB);
  });

  it('is watched of every operation', () => {
    expect(new Set(FLOWS.map(({ operation }) => operation))).toEqual(new Set(Object.keys(HELD_BYTES)));
  });
});

function up(what: string, file: string, name: string, query = ''): Flow {
  const work = async () => keep(name, await send(`/backup/upload/${name}${query}`, 'PUT', {}, pieces(file)));
  return { operation: 'upload', what, work };
}

/** The raw body within the envelope of a form. */
function form(): Flow {
  const head = '--x\r\ncontent-disposition: form-data; name="file"; filename="form.json"\r\n\r\n';
  async function* body() {
    yield Buffer.from(head);
    yield* pieces('large.bin');
    yield Buffer.from('\r\n--x--\r\n');
  }
  const headers = { 'content-type': 'multipart/form-data; boundary=x' };
  const work = async () => keep('form.json', await send('/backup/upload', 'POST', headers, body()));
  return { operation: 'upload', what: 'a form', work };
}

/** The upload has no end, so that nothing is read back meanwhile, and goes with all that its object holds. */
function piece(what: string, file: string, compression: string): Flow {
  const work = async () => {
    const upload = await begin('pieces.tar.gz', compression);
    expect(await append(upload, 0, pieces(file))).toBe(CONTENT_BYTES);
    expect((await tus(upload, 'DELETE')).status).toBe(204);
  };
  return { operation: 'piece', what, work };
}

/** The isolate is looked at for as long as the storage gives the object back. */
function readback(what: string, file: string): Flow {
  let upload: string;
  let bytes: number;
  const prepare = async () => {
    upload = await begin(file, 'auto');
    bytes = await append(upload, 0, createReadStream(files.path(file), { highWaterMark: MIB }));
    // Until then the object has buffers for a piece that may follow.
    await scheduler.wait(2 * WRITER_RESTS_MS);
  };
  const work = async () => {
    expect(await append(upload, bytes, [], { 'upload-length': String(bytes) })).toBe(bytes);
    let looks = 0;
    for (;;) {
      const { phase, receipt } = await status(upload);
      if (receipt) break;
      if (phase === 'verifying') looks += 1;
      await watch.looks(1);
    }
    expect(looks).toBeGreaterThanOrEqual(LOOKS);
  };
  return { operation: 'readback', what, prepare, work };
}

/** A new upload by tus, of a length that is told later. */
async function begin(name: string, compression: string): Promise<string> {
  const metadata = Object.entries({ filename: name, compression }).map(([key, value]) => `${key} ${btoa(value)}`);
  const answer = await tus('/tus', 'POST', { 'upload-defer-length': '1', 'upload-metadata': metadata.join(',') });
  expect(answer.status, await answer.text()).toBe(201);
  return answer.headers.get('location') ?? '';
}

/** Where the upload stands after the piece. */
async function append(
  upload: string,
  offset: number,
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  const told = { 'content-type': 'application/offset+octet-stream', 'upload-offset': String(offset), ...headers };
  const answer = await tus(upload, 'PATCH', told, body);
  expect(answer.status, await answer.text()).toBe(204);
  return Number(answer.headers.get('upload-offset'));
}

async function status(upload: string): Promise<{ phase: string; receipt: Receipt | null }> {
  const { body } = await api<{ phase: string; receipt: Receipt | null }>(vault, 'GET', upload);
  return body;
}

function tus(
  path: string,
  method: string,
  headers: Readonly<Record<string, string>> = {},
  body?: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Response> {
  return request(path, method, { 'tus-resumable': '1.0.0', ...headers }, body);
}

function down(
  operation: string,
  what: string,
  name: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Flow {
  return { operation, what, work: () => read(`/backup/${idOf(name)}${path}`, headers) };
}

async function verify(): Promise<void> {
  const { status, body } = await api<{ ok: boolean }>(vault, 'POST', `/backup/${idOf('large.tar.gz')}/verify`);
  expect({ status, ok: body.ok }).toEqual({ status: 200, ok: true });
}

const INTO_ITEMS = 'database=sample&table=items&mode=upsert';

async function importRows(file: string, count: number): Promise<void> {
  const answer = await request(`/import/stream?${INTO_ITEMS}`, 'POST', {}, pieces(file));
  expect(await answer.json()).toMatchObject({ read: count, written: count });
}

async function restore(name: string, count: number): Promise<void> {
  const { status, body } = await api(vault, 'POST', `/backup/${idOf(name)}/restore?${INTO_ITEMS}`);
  expect({ status, body }).toMatchObject({ status: 200, body: { read: count, written: count } });
}

function idOf(name: string): string | undefined {
  return receipts.get(name)?.backup_id;
}

function keep(name: string, receipt: Receipt): void {
  expect(receipt.file_size).toBeGreaterThan(CONTENT_BYTES / 2);
  receipts.set(name, receipt);
}

/** A file in large pieces; in its middle the isolate is looked at before there is more. */
async function* pieces(file: string): AsyncGenerator<Uint8Array, void, undefined> {
  let sent = 0;
  let stopped = false;
  for await (const piece of createReadStream(files.path(file), { highWaterMark: MIB })) {
    yield piece;
    sent += piece.length;
    if (stopped || sent < CONTENT_BYTES / 2) continue;
    stopped = true;
    await watch.looks(LOOKS);
  }
}

async function send(
  path: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  body: AsyncIterable<Uint8Array>,
): Promise<Receipt> {
  const answer = await request(path, method, headers, body);
  const text = await answer.text();
  expect(answer.status, text).toBe(201);
  return JSON.parse(text) as Receipt;
}

function request(
  path: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  body?: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Response> {
  return fetch(`${vault.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${vault.token}`, ...headers },
    ...(body && { body: Readable.from(body), duplex: 'half' }),
  });
}

/** Takes a body of about {@link CONTENT_BYTES}, and none of it for a while in its middle. */
async function read(path: string, headers: Readonly<Record<string, string>> = {}): Promise<void> {
  const { status, body } = await fetch(`${vault.url}${path}`, {
    headers: { authorization: `Bearer ${vault.token}`, 'accept-encoding': 'identity', ...headers },
  });
  let bytes = 0;
  let stopped = false;
  for await (const piece of body ?? []) {
    bytes += piece.length;
    if (stopped || bytes < CONTENT_BYTES / 4) continue;
    stopped = true;
    await watch.looks(LOOKS);
  }
  expect(status, path).toBeOneOf([200, 206]);
  expect(bytes).toBeGreaterThan(CONTENT_BYTES / 2);
}
