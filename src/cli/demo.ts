/**
 * `npm run demo`: the main job for all to see, against a vault of its own that leaves nothing behind.
 * A tar of this project's node_modules goes in, is watched, comes out in both forms, and is shared by a link.
 * Exit code 0 only if every byte came back; otherwise 1, and the sentence that says what did not.
 */
import { createHash } from 'node:crypto';
import { createReadStream, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { watchJob } from './job-watch.ts';
import { type LocalVault, startLocalVault } from './local-vault.ts';
import { type SampleTar, writeSampleTar } from './sample-tar.ts';
import { PROJECT_DIR } from './wrangler.ts';

const MIB = 1024 * 1024;
/** The issue asks for 100 MB at least; so much shows a bar that moves. */
const SAMPLE_BYTES = 160 * MIB;
const JOB_ID = 'demo';

interface Receipt {
  readonly backup_id: string;
  readonly filename: string;
  readonly file_size: number;
  readonly checksum: string;
  readonly stored_size: number;
  readonly download_url: string;
}

/** One thing that was measured. */
interface Measure {
  readonly what: string;
  /** Bytes that went over the wire. */
  readonly bytes: number;
  readonly seconds: number;
}

class DemoFailed extends Error {
  override readonly name = 'DemoFailed';
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new DemoFailed(otherwise);
}

async function request(vault: LocalVault, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${vault.token}`);
  const response = await fetch(new URL(path, vault.url), { ...init, headers });
  if (!response.ok)
    throw new DemoFailed(`${init.method ?? 'GET'} ${path}: ${response.status} ${await response.text()}`);
  return response;
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const before = performance.now();
  const result = await work();
  return [result, (performance.now() - before) / 1000];
}

async function signedUrl(vault: LocalVault, path: string): Promise<string> {
  const response = await request(vault, path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ expires_in: 600 }),
  });
  const { url } = (await response.json()) as { url: string };
  return new URL(url, vault.url).href;
}

/** Uploads the tar as a stream while its job is watched. */
async function upload(vault: LocalVault, tar: SampleTar): Promise<{ receipt: Receipt; measure: Measure }> {
  const watch = watchJob(await signedUrl(vault, `/jobs/${JOB_ID}/links`));
  await watch.opened;
  // `duplex` is what fetch wants of a body that is read while the answer may already come.
  const init: RequestInit = {
    method: 'PUT',
    headers: { 'content-type': 'application/x-tar', 'content-length': String(tar.size) },
    body: Readable.toWeb(createReadStream(tar.path, { highWaterMark: MIB })),
    duplex: 'half',
  };
  const [receipt, seconds] = await timed(async (): Promise<Receipt> => {
    const response = await request(vault, `/backup/upload/node_modules.tar?job_id=${JOB_ID}`, init);
    return (await response.json()) as Receipt;
  });
  const end = await watch.ended;
  expect(end.phase === 'done', `the job ended as ${end.phase}: ${end.detail}`);
  console.log(`  ${watch.messages()} progress messages came over the WebSocket`);
  return { receipt, measure: { what: 'upload, zstd level 3', bytes: tar.size, seconds } };
}

/** SHA-256 and size of a body; with `zstd` of what it unpacks to. */
async function digestOf(response: Response, zstd: boolean): Promise<{ wire: number; size: number; sha256: string }> {
  const hash = createHash('sha256');
  let wire = 0;
  let size = 0;
  const body = Readable.from(response.body ?? []).on('data', (chunk: Uint8Array) => {
    wire += chunk.length;
  });
  const digest = new Writable({
    write(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done();
    },
  });
  await (zstd ? pipeline(body, createZstdDecompress(), digest) : pipeline(body, digest));
  return { wire, size, sha256: hash.digest('hex') };
}

/** Fetches and compares with what was sent. */
async function downloadAndCompare(
  what: string,
  tar: SampleTar,
  get: () => Promise<Response>,
  zstd: boolean,
): Promise<Measure> {
  const [{ wire, size, sha256 }, seconds] = await timed(async () => digestOf(await get(), zstd));
  expect(size === tar.size, `${what}: ${size} bytes came back, ${tar.size} were sent`);
  expect(sha256 === tar.sha256, `${what}: SHA-256 ${sha256} came back, ${tar.sha256} was sent`);
  console.log(`  ${what}: the same SHA-256`);
  return { what, bytes: wire, seconds };
}

async function run(vault: LocalVault, workDir: string): Promise<void> {
  console.log(`The vault runs at ${vault.url}, its state in ${vault.stateDir}\n`);
  console.log('1. A tar of node_modules');
  const tar = await writeSampleTar(join(workDir, 'node_modules.tar'), join(PROJECT_DIR, 'node_modules'), SAMPLE_BYTES);
  console.log(`  ${tar.files} files, ${tar.size} bytes, SHA-256 ${tar.sha256}\n`);

  console.log('2. In, watched');
  const { receipt, measure } = await upload(vault, tar);
  console.log(`\n3. The receipt\n${JSON.stringify(receipt, null, 2)}\n`);
  expect(receipt.checksum === tar.sha256, `the receipt says SHA-256 ${receipt.checksum}, ${tar.sha256} was sent`);
  expect(receipt.file_size === tar.size, `the receipt says ${receipt.file_size} bytes, ${tar.size} were sent`);

  console.log('4. Out, both ways');
  const identity = { headers: { 'accept-encoding': 'identity' } };
  const original = await downloadAndCompare(
    'download, original bytes',
    tar,
    () => request(vault, receipt.download_url, identity),
    false,
  );
  const stored = await downloadAndCompare(
    'download, .zst, unpacked',
    tar,
    () => request(vault, `${receipt.download_url}?format=zst`, identity),
    true,
  );
  expect(
    stored.bytes === receipt.stored_size,
    `the .zst has ${stored.bytes} bytes, the receipt says ${receipt.stored_size}`,
  );

  console.log('\n5. A signed link, used without a token');
  const link = await signedUrl(vault, `/backup/${receipt.backup_id}/links`);
  console.log(`  ${link}`);
  const linked = await downloadAndCompare('download by the link', tar, () => fetchLink(link), false);

  console.log('\n6. Measured');
  report([measure, original, stored, linked], receipt);
}

async function fetchLink(link: string): Promise<Response> {
  const response = await fetch(link, { headers: { 'accept-encoding': 'identity' } });
  if (!response.ok) throw new DemoFailed(`the signed link: ${response.status} ${await response.text()}`);
  return response;
}

function report(measures: readonly Measure[], receipt: Receipt): void {
  for (const { what, bytes, seconds } of measures) {
    const size = (bytes / MIB).toFixed(1).padStart(7);
    const speed = (bytes / MIB / seconds).toFixed(0).padStart(5);
    console.log(`  ${what.padEnd(26)} ${size} MiB  ${seconds.toFixed(2).padStart(6)} s  ${speed} MiB/s`);
  }
  const ratio = receipt.file_size / receipt.stored_size;
  console.log(`  ${receipt.file_size} bytes are stored as ${receipt.stored_size}: ratio ${ratio.toFixed(2)}`);
  console.log('  (local simulator; the figures of the README come from npm run bench)');
}

/** Rejects on Ctrl-C, so that the vault is stopped as after any other failure. */
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => reject(new DemoFailed(`It was interrupted (${signal}).`)));
  }
});
interrupted.catch(() => undefined);

async function demo(): Promise<void> {
  console.log('Starting a vault on the local runtime …');
  const workDir = await mkdtemp(join(tmpdir(), 'coldstream-demo-'));
  const removeWork = () => rmSync(workDir, { recursive: true, force: true });
  process.once('exit', removeWork);
  const vault = await startLocalVault();
  try {
    await Promise.race([run(vault, workDir), interrupted]);
  } finally {
    await vault.stop();
  }
}

try {
  await demo();
  console.log('\nAll bytes came back. The vault is stopped and its state removed.');
} catch (error) {
  console.error(`\nThe demo failed. ${error instanceof DemoFailed ? error.message : String(error)}`);
  // At once: after an interruption a transfer may still be under way.
  process.exit(1);
}
