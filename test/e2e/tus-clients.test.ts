import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { type PreviousUpload, Upload, type UploadOptions } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  api,
  bearer,
  curl,
  curlTo,
  eventually,
  type Job,
  jobOf,
  listed,
  MIB,
  type Receipt,
  runs,
  type Scratch,
  same,
  scratch,
  sha256Of,
} from './clients.ts';
import { authorization, created, head, receiptAt, startPatch } from './tus.ts';

let vault: LocalVault;
let files: Scratch;
let tar: string;
let content: Buffer;
let sha256: string;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 13 * MIB + 5);
  content = await readFile(tar);
  sha256 = await sha256Of(tar);
  vault = await startLocalVault();
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

/** A client of this vault; it ends with a success, or with the error that it gives up for. */
function client(file: Buffer | Readable, options: UploadOptions): { upload: Upload; ended: Promise<void> } {
  const ended = Promise.withResolvers<void>();
  ended.promise.catch(() => undefined);
  const upload = new Upload(file, {
    endpoint: `${vault.url}/tus`,
    headers: authorization(vault),
    metadata: { filename: 'site.tar' },
    retryDelays: null,
    ...options,
    onSuccess: () => ended.resolve(),
    onError: ended.reject,
  });
  return { upload, ended: ended.promise };
}

async function sent(file: Buffer | Readable, options: UploadOptions): Promise<string> {
  const { upload, ended } = client(file, options);
  upload.start();
  await ended;
  return upload.url ?? '';
}

/** Downloads what was uploaded, and compares. */
async function expectBack({ download_url, checksum }: Receipt): Promise<void> {
  expect(checksum).toBe(sha256);
  const back = files.path('tus.back');
  await curlTo(back, [...bearer(vault), vault.url + download_url]);
  await same(tar, back);
}

/** What uploads a client has begun, for another client to go on with. */
class Remembered {
  readonly #uploads = new Map<string, PreviousUpload>();
  findAllUploads = async () => [...this.#uploads.values()];
  findUploadsByFingerprint = async (fingerprint: string) =>
    [...this.#uploads].flatMap(([key, upload]) => (key.startsWith(fingerprint) ? [upload] : []));
  removeUpload = async (key: string) => void this.#uploads.delete(key);
  addUpload = async (fingerprint: string, upload: PreviousUpload) => {
    const key = `${fingerprint}/${this.#uploads.size}`;
    this.#uploads.set(key, { ...upload, urlStorageKey: key });
    return key;
  };
}

describe('tus-js-client', () => {
  it('uploads a file in chunks, with metadata in any script', async () => {
    const metadata = { filename: 'Größe – 測試.tar', filetype: 'application/x-tar', job_id: 'chunked', level: '1' };
    const accepted: number[] = [];
    const url = await sent(createReadStream(tar), {
      chunkSize: 5 * MIB,
      metadata,
      onChunkComplete: (_, bytes) => accepted.push(bytes),
    });
    expect(accepted).toEqual([5 * MIB, 10 * MIB, content.length]);
    const receipt = await receiptAt(vault, url);
    expect(receipt).toMatchObject({
      filename: 'Größe – 測試.tar',
      job_id: 'chunked',
      compression: { codec: 'zstd', level: 1, frames: 4 },
    });
    await expectBack(receipt);
    expect(await jobOf(vault, 'chunked')).toMatchObject({ phase: 'done', percentage: 100 });
  });

  it.each<[string, UploadOptions]>([
    ['in one piece', {}],
    ['with the first chunk in the creation', { chunkSize: 5 * MIB + 1, uploadDataDuringCreation: true }],
    ['whole in the creation', { uploadDataDuringCreation: true }],
    ['by POST alone, with the method in a header', { chunkSize: 8 * MIB, overridePatchMethod: true }],
  ])('uploads a file %s', async (_, options) => {
    await expectBack(await receiptAt(vault, await sent(content, options)));
  });

  it('uploads a pipe, of which nobody knows the length', async () => {
    const pipe = () => Readable.from(createReadStream(tar, { highWaterMark: 100_000 }), { objectMode: false });
    const options = { uploadLengthDeferred: true, chunkSize: 4 * MIB };
    await expectBack(await receiptAt(vault, await sent(pipe(), options)));
    // It sends nothing with such a creation, and waits for the offset all the same.
    const inCreation = { ...options, uploadDataDuringCreation: true };
    await expectBack(await receiptAt(vault, await sent(pipe(), inCreation)));
  });

  it('uploads an empty file', async () => {
    const url = await sent(Buffer.alloc(0), { metadata: { filename: 'empty.tar', allow_empty: 'true' } });
    expect(await receiptAt(vault, url)).toMatchObject({ file_size: 0 });
  });

  it('is aborted within a chunk, and another client goes on where it stood', async () => {
    const urlStorage = new Remembered();
    const aborted = Promise.withResolvers<void>();
    const first = client(createReadStream(tar), {
      urlStorage,
      chunkSize: 5 * MIB,
      onProgress: (bytes) => {
        if (bytes > 7 * MIB) aborted.resolve(first.upload.abort());
      },
    });
    first.upload.start();
    // Not before: two that send at once take over from each other.
    await aborted.promise;
    const { url } = first.upload;
    await eventually(
      10_000,
      async () => Number((await head(vault, url ?? '')).get('upload-offset')),
      (offset) => offset >= 5 * MIB,
    );
    let from = -1;
    const next = client(createReadStream(tar), {
      urlStorage,
      chunkSize: 5 * MIB,
      onProgress: (bytes) => {
        if (from < 0) from = bytes;
      },
    });
    const [previous] = await next.upload.findPreviousUploads();
    if (!previous) throw new Error('the client remembers no upload');
    next.upload.resumeFromPreviousUpload(previous);
    next.upload.start();
    await next.ended;
    expect(next.upload.url).toBe(url);
    expect(from).toBeGreaterThanOrEqual(5 * MIB);
    await expectBack(await receiptAt(vault, url ?? ''));
    // A third one finds that there is nothing left to do.
    expect(await sent(content, { uploadUrl: url })).toBe(url);
  });

  it('terminates what it has begun', async () => {
    const stopped = Promise.withResolvers<void>();
    const { upload } = client(createReadStream(tar), {
      chunkSize: 4 * MIB,
      metadata: { filename: 'terminated.tar', job_id: 'terminated' },
      onChunkComplete: () => {
        upload.abort(true).then(stopped.resolve, stopped.reject);
      },
    });
    upload.start();
    await stopped.promise;
    const gone = await curl([...bearer(vault), upload.url ?? '']);
    expect(gone.status).toBe(410);
    expect(JSON.parse(gone.body)).toMatchObject({ code: 'upload-gone' });
    expect(await listed(vault)).not.toContain('terminated.tar');
    const url = await sent(content, { metadata: { filename: 'forgotten.tar' } });
    await Upload.terminate(url, { headers: authorization(vault) });
    expect((await curl([...bearer(vault), url])).status).toBe(410);
    expect(await listed(vault)).toContain('forgotten.tar');
  });

  it.each<[string, UploadOptions, number, string]>([
    ['without a token', { headers: {} }, 401, 'unauthorized'],
    ['with a name that cannot be kept', { metadata: { filename: '..' } }, 400, 'invalid-name'],
    ['with a checksum that the content does not have', { metadata: wrongSum() }, 422, 'checksum-mismatch'],
  ])('is told why it is refused %s', async (_, options, status, code) => {
    const { upload, ended } = client(content, options);
    upload.start();
    const error = await ended.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    const response = Reflect.get(Object(error), 'originalResponse');
    expect(response?.getStatus()).toBe(status);
    expect(JSON.parse(response?.getBody() ?? '')).toMatchObject({ code });
  });
});

function wrongSum() {
  return { filename: 'site.tar', sha256: '0'.repeat(64) };
}

/** As a person would type it, with what a shell has. */
const BY_HAND = `
  auth="Authorization: Bearer $TOKEN"
  tus="Tus-Resumable: 1.0.0"
  type="Content-Type: application/offset+octet-stream"
  sha1() { python3 -c "import base64, hashlib, sys; print(base64.b64encode(hashlib.sha1(sys.stdin.buffer.read()).digest()).decode())"; }
  header() { tr -d '\\r' | sed -n "s/^$1: //Ip"; }

  address=$(curl -fsS -D - -o /dev/null -X POST -H "$auth" -H "$tus" -H "Upload-Length: $(stat -c %s "$FILE")" \\
    -H "Upload-Metadata: filename $(printf 'von Hand – 手.tar' | base64)" "$VAULT/tus" | header location)
  upload="$VAULT$address"
  at() { curl -fsS -I -H "$auth" -H "$tus" "$upload" | header upload-offset; }
  piece() { dd if="$FILE" iflag=skip_bytes,count_bytes skip="$(at)" count="$1" status=none; }
  from() { curl -fsS -H "$auth" -H "$tus" -H "$type" -H "Upload-Offset: $(at)" --data-binary @- "$@" "$upload"; }

  piece 5000000 | from -X PATCH
  piece 1 | from -X PATCH -H "Upload-Checksum: sha1 $(piece 1 | sha1)"
  piece 99999999 | from -X POST -H "X-HTTP-Method-Override: PATCH"
  curl -fsS -H "$auth" "$upload"
`;

describe('curl by hand', () => {
  it('uploads a file in three pieces, one of them with its checksum and one by POST', async () => {
    const env = { TOKEN: vault.token, VAULT: vault.url, FILE: tar };
    const { stdout } = await runs('bash', ['-euo', 'pipefail', '-c', BY_HAND], { env });
    const { receipt } = JSON.parse(stdout.toString()) as { receipt: Receipt };
    expect(receipt).toMatchObject({ filename: 'von Hand – 手.tar', message: 'Upload successful' });
    await expectBack(receipt);
  });

  it('reads what a refusal says though it still sends', async () => {
    const url = await created(vault, { length: content.length });
    const args = [...bearer(vault), '-H', 'Tus-Resumable: 1.0.0', '-X', 'PATCH', '--data-binary', `@${tar}`, url];
    const type = ['-H', 'Content-Type: application/offset+octet-stream'];
    const tries: [string[], number, string][] = [
      [[...type, '-H', 'Upload-Offset: 7'], 409, 'offset-mismatch'],
      [['-H', 'Content-Type: text/plain', '-H', 'Upload-Offset: 0'], 415, 'unsupported-media-type'],
      [[...type, '-H', 'Upload-Offset: 0', '-H', `Upload-Checksum: sha1 ${sumOf('')}`], 460, 'chunk-checksum-mismatch'],
      [[...type, '-H', 'Upload-Offset: -1'], 400, 'invalid-upload-header'],
    ];
    for (const [headers, status, code] of tries) {
      const answer = await curl([...headers, ...args]);
      expect(answer).toMatchObject({ code: 0, status, contentType: 'application/problem+json' });
      expect(JSON.parse(answer.body)).toMatchObject({ code });
    }
    expect((await head(vault, url)).get('upload-offset')).toBe('0');
  });
});

function sumOf(text: string): string {
  return createHash('sha1').update(text).digest('base64');
}

async function slice(name: string, from: number, to?: number): Promise<string> {
  const file = files.path(name);
  await writeFile(file, content.subarray(from, to));
  return file;
}

interface Watching {
  readonly seen: Job[];
  readonly first: Promise<Job>;
  readonly ended: Promise<void>;
}

async function watching(jobId: string): Promise<Watching> {
  const { body } = await api<{ url: string }>(vault, 'POST', `/jobs/${jobId}/links`, {});
  const socket = new WebSocket(body.url);
  const seen: Job[] = [];
  const first = Promise.withResolvers<Job>();
  const ended = Promise.withResolvers<void>();
  socket.addEventListener('message', ({ data }) => {
    const message = JSON.parse(String(data)) as Job;
    seen.push(message);
    first.resolve(message);
    if (message.phase === 'done' || message.phase === 'failed') ended.resolve();
  });
  socket.addEventListener('error', () => {
    for (const { reject } of [first, ended]) reject(new Error('the WebSocket failed'));
  });
  for (const { promise } of [first, ended]) (promise as Promise<unknown>).catch(() => undefined);
  return { seen, first: first.promise, ended: ended.promise };
}

const PHASES = ['waiting', 'receiving', 'storing', 'verifying', 'done'];

describe('one WebSocket', () => {
  it('sees the whole upload grow across its pieces and a broken connection, up to done', async () => {
    const cuts = [0, 4 * MIB, 9 * MIB, content.length];
    const watched = await watching('in-pieces');
    expect(await watched.first).toMatchObject({ phase: 'waiting', current: 0, total: 0 });
    const url = await created(vault, { length: content.length, job_id: 'in-pieces' });
    const later: Watching[] = [];
    for (const [index, from] of cuts.slice(0, -1).entries()) {
      const file = await slice('piece', from, cuts[index + 1]);
      if (index === 1) {
        // This piece breaks off on its way; what had come of it stays.
        const { child, answer } = startPatch(vault, url, from, file, '4M');
        await eventually(
          10_000,
          () => jobOf(vault, 'in-pieces'),
          ({ current }) => current > from + 2 * MIB,
        );
        child.kill('SIGKILL');
        await answer;
      } else expect((await startPatch(vault, url, from, file, '3M').answer).status).toBe(204);
      const offset = Number((await head(vault, url)).get('upload-offset'));
      if (index === 1) {
        expect(offset).toBeGreaterThan(from + 2 * MIB);
        const rest = await slice('piece', offset, cuts[2]);
        expect((await startPatch(vault, url, offset, rest).answer).status).toBe(204);
      }
      if (index < 2) {
        const reconnected = await watching('in-pieces');
        expect((await reconnected.first).current).toBeGreaterThanOrEqual(cuts[index + 1] ?? 0);
        later.push(reconnected);
      }
    }
    const receipt = await receiptAt(vault, url);
    for (const { seen, ended } of [watched, ...later]) {
      await ended;
      expectCourse(seen, content.length);
      expect(seen.at(-1)?.backup_id).toBe(receipt.backup_id);
    }
    for (const [index, from] of cuts.slice(0, -1).entries()) {
      const within = ({ phase, current }: Job) =>
        phase === 'receiving' && current > from && current <= (cuts[index + 1] ?? 0);
      expect(watched.seen.filter(within).length, `piece ${index}`).toBeGreaterThan(0);
    }
    await expectBack(receipt);
  });
});

/** Phases come in their order, and nothing goes back within one. */
function expectCourse(seen: readonly Job[], total: number): void {
  for (const [index, now] of seen.entries()) {
    const before = seen[index - 1];
    if (now.phase !== 'waiting') expect(now.total).toBe(total);
    if (!before) continue;
    if (before.phase === now.phase) expect(now.current).toBeGreaterThanOrEqual(before.current);
    else expect(PHASES.indexOf(now.phase)).toBeGreaterThan(PHASES.indexOf(before.phase));
  }
  expect(seen.at(-1)).toMatchObject({ phase: 'done', percentage: 100, current: total, total });
}
