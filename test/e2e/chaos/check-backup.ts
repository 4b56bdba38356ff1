import { createHash } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { api, type Job, jobOf, type Receipt, runs, type Scratch, type Vault } from '../clients.ts';
import type { AgeKey } from './age-key.ts';
import type { Chance } from './chance.ts';
import type { MortalVault } from './mortal-vault.ts';
import type { TusUpload } from './tus-upload.ts';

/** Of one content, compressed twice. */
const SIZES_DIFFER = 0.01;

export interface CheckRooms {
  readonly vault: MortalVault;
  readonly files: Scratch;
  readonly key: AgeKey;
}

/**
 * Whether an upload became a backup like any other: receipt, job and download every time; the stored form in the judgement of
 * age and zstd, the members of an archive, and what one request stores of the same content, sometimes.
 */
export async function checkBackup(
  upload: TusUpload,
  receipt: Receipt,
  chance: Chance,
  rooms: CheckRooms,
): Promise<void> {
  const { content, log, plan } = upload;
  checkReceipt(upload, receipt);
  const [byTools, byMembers, byOneRequest] = [chance.happens(0.3), chance.happens(0.5), chance.happens(0.15)];
  await rooms.vault.untilDone(async (vault) => {
    checkJob(upload, await jobOf(vault, plan.jobId), receipt);
    const identity: Record<string, string> = upload.recipient ? { 'X-Age-Identity': rooms.key.identity } : {};
    const sha256 = await downloaded(vault, receipt, identity);
    if (sha256 !== content.sha256) log.accuse(`the download has the SHA-256 ${sha256}, not ${content.sha256}`);
    if (byTools) await checkByTools(vault, upload, receipt, rooms);
    if (byMembers && content.members !== null && !upload.recipient) await checkMembers(vault, upload, receipt);
  });
  // A kill would leave half of it, which is another test's affair.
  if (byOneRequest) await rooms.vault.shielded((vault) => checkByOneRequest(vault, upload, receipt));
}

function checkReceipt({ content, log, plan, backupId }: TusUpload, receipt: Receipt): void {
  const { backup_id, job_id, filename, file_size, checksum } = receipt;
  const told = JSON.stringify([backup_id, job_id, filename, file_size, checksum]);
  const known = JSON.stringify([backupId, plan.jobId, plan.filename, content.bytes.length, content.sha256]);
  if (told !== known) log.accuse(`the receipt tells ${told}, not ${known}`);
}

function checkJob({ log, total }: TusUpload, job: Job, { backup_id }: Receipt): void {
  const right = job.phase === 'done' && job.backup_id === backup_id && job.current === total && job.total === total;
  if (!right) log.accuse(`the job of a finished upload is ${JSON.stringify(job)}`);
}

/** SHA-256 of what is downloaded. */
async function downloaded(vault: Vault, { download_url }: Receipt, identity: Record<string, string>): Promise<string> {
  const hash = createHash('sha256');
  const body = await ask(vault, download_url, { 'Accept-Encoding': 'identity', ...identity });
  for await (const piece of body) hash.update(piece);
  return hash.digest('hex');
}

/** The stored file, opened by the programs that it is made for. */
async function checkByTools(
  vault: Vault,
  upload: TusUpload,
  receipt: Receipt,
  { files, key }: CheckRooms,
): Promise<void> {
  const isZstd = receipt.compression.codec === 'zstd';
  const decode = [...(upload.recipient ? ['age -d -i "$KEY"'] : []), ...(isZstd ? ['zstd -d -q'] : [])];
  if (decode.length === 0) return;
  const stored = files.path(`${receipt.backup_id}.stored`);
  const query = isZstd && !upload.recipient ? '?format=zst' : '';
  await writeFile(stored, await ask(vault, receipt.download_url + query));
  const command = ['cat "$STORED"', ...decode, 'sha256sum'].join(' | ');
  const env = { STORED: stored, KEY: key.file };
  const { stdout } = await runs('bash', ['-o', 'pipefail', '-c', command], { env });
  const [sha256] = stdout.toString().split(' ');
  if (sha256 !== upload.content.sha256) upload.log.accuse(`${command} tells ${sha256}, not ${upload.content.sha256}`);
  await rm(stored);
}

async function checkMembers(vault: Vault, { content, log }: TusUpload, { backup_id }: Receipt): Promise<void> {
  const { status, body } = await api<{ files?: unknown[] }>(vault, 'GET', `/backup/${backup_id}/files?limit=1000`);
  const members = body.files?.length;
  if (members !== content.members) log.accuse(`${content.members} members went in, ${members} are listed (${status})`);
}

/**
 * The same content in one request is stored in the same form. Not in the same bytes: those of a frame depend on whether the
 * compressor has made others before.
 */
async function checkByOneRequest(
  vault: Vault,
  { content, log, plan, recipient }: TusUpload,
  receipt: Receipt,
): Promise<void> {
  const options = Object.entries({ compression: plan.compression, level: plan.level, recipient }).filter(
    ([, value]) => value,
  );
  const query = new URLSearchParams(options.map(([name, value]) => [name, String(value)]));
  const url = `${vault.url}/backup/upload/${encodeURIComponent(plan.filename)}?${query}`;
  const response = await fetch(url, { method: 'PUT', headers: authorization(vault), body: content.bytes });
  const other = (await response.json()) as Receipt;
  if (response.status !== 201) return log.accuse(`the same content in one request was answered ${response.status}`);
  const [ours, theirs] = [formOf(receipt), formOf(other)];
  if (ours !== theirs) log.accuse(`stored as ${ours}, in one request as ${theirs}`);
  const differ = Math.abs(receipt.stored_size - other.stored_size);
  if (differ > SIZES_DIFFER * other.stored_size) log.accuse(`${differ} bytes larger or smaller than in one request`);
  await api(vault, 'DELETE', `/backup/${other.backup_id}`);
}

/** Codec, level, engine, frames. */
function formOf({ compression }: Receipt): string {
  return JSON.stringify(Object.entries(compression).toSorted());
}

async function ask(vault: Vault, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(vault.url + path, { headers: { ...authorization(vault), ...headers } });
  if (response.status !== 200 || !response.body) throw new Error(`GET ${path} was answered ${response.status}`);
  return response.body;
}

function authorization({ token }: Vault): Record<string, string> {
  return { Authorization: `Bearer ${token}` };
}
