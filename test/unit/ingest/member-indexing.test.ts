import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { MemberIndex } from '../../../src/archive/member-index.ts';
import { getBackup } from '../../../src/catalogue/backups.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { type UploadOrder, type UploadRooms, upload } from '../../../src/ingest/upload.ts';
import type { OpenUpload } from '../../../src/progress/messages.ts';
import { services } from '../../../src/services.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import { Gate, isolateMemory } from '../../../src/shared/isolate-memory.ts';
import { KIB, MIB, PART_BYTES } from '../../../src/shared/limits.ts';
import { indexKey } from '../../../src/store/object-keys.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { type Fault, faultyBucket } from '../../support/faulty-bucket.ts';
import { sample, storedKeys } from '../../support/vault.ts';
import { END, paxMember, rawHeader, rawMember, text } from '../archive/tar-samples.ts';
import { chunked, firstDifference, noise } from '../codec/bytes.ts';
import { contentOf, gzip, memberReader, numberOf, tarOf, zstd } from './archives.ts';

let next = 0;

function order(content: AsyncIterable<Uint8Array>, more: Partial<UploadOrder> = {}): UploadOrder {
  next += 1;
  const backup_id = `01INDEX${String(next).padStart(19, '0')}`;
  return {
    backup_id,
    job_id: backup_id,
    name: 'a/a.tar',
    filename: 'a.tar',
    content_type: 'application/x-tar',
    token_id: null,
    level: 1,
    compression: 'none',
    codings: [],
    keep_frames: false,
    recipients: null,
    allow_empty: true,
    require_archive: false,
    expiry: null,
    max_bytes: 64 * MIB,
    total: 0,
    exact: false,
    content,
    ending: async () => undefined,
    ...more,
  };
}

/** Rooms in which a run holds nine members, so that runs are put aside and merged. */
function rooms(more: Partial<UploadRooms> = {}): UploadRooms {
  return { ...services(env), indexBounds: { runBytes: 260 }, ...more };
}

function faultyRooms(fault: Fault, more: Partial<UploadRooms> = {}) {
  const { bucket, calls } = faultyBucket(env.VAULT, fault);
  return { calls, rooms: rooms({ store: new ObjectStore(bucket), ...more }) };
}

const SIZES = Array.from({ length: 60 }, (_, i) => (i * 37) % 3000);
const tar = tarOf(SIZES);
const pieces = () => chunked(tar, 10_000);

async function keysOf({ backup_id }: UploadOrder): Promise<string[]> {
  return (await storedKeys()).filter((key) => key.includes(backup_id));
}

async function expectNothing(dead: UploadOrder): Promise<void> {
  expect(await keysOf(dead)).toEqual([]);
  expect(await getBackup(env.CATALOGUE, dead.backup_id)).toBeNull();
}

async function openIndexOf({ backup_id }: UploadOrder): Promise<MemberIndex> {
  const { store, engine } = services(env);
  const key = indexKey(backup_id);
  const index = await MemberIndex.open({
    readTail: (bytes) => store.readTail(key, bytes),
    read: (span) => store.readBytes(key, span),
    decompress: (frame, bytes) => engine.decompressFrame(frame, bytes),
  });
  if (!index) throw new Error('there is an index');
  return index;
}

async function pathsOf(done: UploadOrder): Promise<string[]> {
  const paths: string[] = [];
  for await (const member of (await openIndexOf(done)).from(null)) paths.push(text(member.path));
  return paths;
}

const allPaths = SIZES.map((_, i) => `${i}.bin`).sort();

describe('the index of an upload', () => {
  it.each([
    ['none', tar],
    ['zstd', tar],
    ['none', zstd(tar)],
    ['zstd', zstd(tar)],
    ['none', gzip(tar)],
    ['zstd', gzip(tar)],
  ] as const)('with compression=%s says where each member is in what is stored (%#)', async (compression, uploaded) => {
    const done = order(chunked(uploaded, 30_000), { compression });
    const { archive } = await upload(rooms(), done);
    expect(archive).toEqual({ format: 'tar', members: 60, stopped: null });
    expect(await keysOf(done)).toEqual(['data', 'index', 'receipt'].map((kind) => `${kind}/${done.backup_id}`));
    const index = await openIndexOf(done);
    const stored = new Uint8Array((await (await env.VAULT.get(`data/${done.backup_id}`))?.arrayBuffer()) ?? []);
    for await (const member of index.from(null)) {
      const number = numberOf(member);
      const content = await memberReader(stored, index.layers, nativeEngine).content(member);
      expect(firstDifference(content, contentOf(number, SIZES[number] ?? -1)), `${number}`).toBeNull();
    }
  });

  it('survives any one failure of the storage, whichever call it hits, also where only its answer is lost', async () => {
    const counted = faultyRooms({ at: Number.POSITIVE_INFINITY });
    await upload(counted.rooms, order(pieces()));
    expect(counted.calls.length).toBeGreaterThan(15);
    for (const answerLost of [false, true]) {
      for (let at = 1; at <= counted.calls.length; at++) {
        const done = order(pieces());
        const { archive } = await upload(faultyRooms({ at, answerLost }).rooms, done);
        expect(archive).toMatchObject({ members: 60, stopped: null });
      }
    }
  });

  it('leaves nothing where a call fails for good, whichever it is', async () => {
    const counted = faultyRooms({ at: Number.POSITIVE_INFINITY, match: /put|get/ });
    await upload(counted.rooms, order(pieces()));
    const calls = counted.calls.filter((name) => /put|get/.test(name)).length;
    for (let at = 1; at <= calls; at++) {
      const dead = order(pieces());
      const failing = faultyRooms({ at, times: 1000, match: /put|get/ });
      await expect(upload(failing.rooms, dead), `call ${at}`).rejects.toMatchObject({ code: 'storage-failed' });
      await expectNothing(dead);
      expect(await services(env).jobs.snapshot(dead.job_id)).toMatchObject({ phase: 'failed', code: 'storage-failed' });
    }
  });

  it('is whole also where its runs could not be removed: they go with the backup', async () => {
    const done = order(pieces());
    const { archive } = await upload(faultyRooms({ at: 1, times: 1000, match: /delete/ }).rooms, done);
    expect(archive).toMatchObject({ members: 60 });
    expect(await pathsOf(done)).toEqual(allPaths);
    expect((await keysOf(done)).some((key) => key.startsWith(`tmp/${done.backup_id}/index-run/`))).toBe(true);
    await env.CATALOGUE.prepare('DELETE FROM backups WHERE backup_id = ?').bind(done.backup_id).run();
    expect(await services(env).jobDeps.reclaim(done)).toBe('removed');
    await expectNothing(done);
  });

  it('is taken back with the rest: a sender that breaks off, a checksum, the cap, another run of the job', async () => {
    async function* cut(at: number) {
      let given = 0;
      for await (const piece of pieces()) {
        if (given >= at) throw new Error('the cable was pulled');
        given += piece.length;
        yield piece;
      }
    }
    for (let at = 0; at < tar.length; at += 20_000) {
      const dead = order(cut(at));
      await expect(upload(rooms(), dead)).rejects.toMatchObject({ code: 'upload-interrupted' });
      await expectNothing(dead);
    }
    const wrong = order(pieces(), { ending: async () => 'ab'.repeat(32) });
    await expect(upload(rooms(), wrong)).rejects.toMatchObject({ code: 'checksum-mismatch' });
    await expectNothing(wrong);
    const large = order(pieces(), { max_bytes: tar.length - 1 });
    await expect(upload(rooms(), large)).rejects.toMatchObject({ code: 'file-too-large' });
    await expectNothing(large);
    const short = order(pieces(), { total: tar.length + 1, exact: true });
    await expect(upload(rooms(), short)).rejects.toMatchObject({ code: 'upload-interrupted' });
    await expectNothing(short);
    const { jobs } = services(env);
    for (const aliveFor of [0, 3, 8]) {
      let asked = 0;
      const alive = () => asked++ < aliveFor;
      const stolen = order(pieces());
      const taken = rooms({ jobs: { ...jobs, publisher: (...ids) => ({ ...jobs.publisher(...ids), alive }) } });
      await expect(upload(taken, stolen)).rejects.toMatchObject({ code: 'upload-superseded' });
      await expectNothing(stolen);
    }
  });

  it('ends where it takes no more members, and says so; the backup is whole', async () => {
    const done = order(pieces());
    const { archive, file_size } = await upload(rooms({ indexBounds: { runBytes: 190, maxRuns: 3 } }), done);
    expect(file_size).toBe(tar.length);
    expect(archive?.stopped?.reason).toBe('the archive has more files than an index takes');
    expect(archive?.members).toBeGreaterThan(3);
    expect(await pathsOf(done)).toHaveLength(archive?.members ?? -1);
    expect((await openIndexOf(done)).stopped).toEqual(archive?.stopped);
    expect(archive?.stopped?.offset).toBeGreaterThan(0);
  });

  it.each([
    ['a header that is broken', noise(512), /checksum/],
    ['content that is cut', rawHeader({ name: 'cut', size: '00000077777' }), /ends within the member/],
  ])('ends at %s, with what came before', async (_, broken, reason) => {
    const before = concat([rawMember({ name: 'a' }, 'first'), rawMember({ name: 'b' }, 'second')]);
    const file = concat([before, broken, rawMember({ name: 'c' }, 'third'), END]);
    for (const uploaded of [file, zstd(file), gzip(file)]) {
      const done = order(chunked(uploaded, 700));
      const { archive, file_size } = await upload(services(env), done);
      expect(file_size).toBe(uploaded.length);
      expect(archive).toMatchObject({ members: 2, stopped: { offset: before.length } });
      expect(archive?.stopped?.reason).toMatch(reason);
      expect(await pathsOf(done)).toEqual(['a', 'b']);
    }
  });

  it('takes ids below zero and times of any kind, as programs have written them', async () => {
    const minusTwo = new Uint8Array(8).fill(0xff);
    minusTwo[7] = 0xfe;
    const odd = [
      rawMember({ name: 'nobody', fields: { 108: minusTwo, 116: minusTwo, 136: new Uint8Array(12).fill(0xff) } }),
      paxMember([
        ['uid', '-2'],
        ['mtime', '-1.5'],
      ]),
      rawMember({ name: 'old' }),
    ];
    const done = order(chunked(concat([...odd, END]), 512));
    expect((await upload(services(env), done)).archive).toEqual({ format: 'tar', members: 2, stopped: null });
    expect(await (await openIndexOf(done)).find(utf8('nobody'))).toMatchObject({
      uid: 2 ** 32 - 2,
      gid: 2 ** 32 - 2,
      mtime: { seconds: -1 },
    });
  });

  it.each([
    ['nothing', new Uint8Array()],
    ['one byte', sample(1)],
    ['text', sample(3 * MIB)],
    ['zeros', new Uint8Array(64 * KIB)],
    ['a broken zstd file', concat([zstd(noise(10)).slice(0, 9), noise(MIB)])],
    ['a broken gzip file', concat([gzip(noise(10)).slice(0, 12), noise(MIB)])],
  ])('is not made of %s', async (name, uploaded) => {
    for (const compression of ['none', 'zstd', 'auto'] as const) {
      const done = order(chunked(uploaded, 100_000), { compression });
      const backup = await upload(services(env), done);
      expect(backup.archive).toEqual(name === 'zeros' ? { format: 'tar', members: 0, stopped: null } : null);
      expect(backup.file_size).toBe(uploaded.length);
    }
  });

  it('of very many members goes in parts, and its job knows of the open upload before the first', async () => {
    const members = Array.from({ length: 50_000 }, (_, i) => longNamed(i));
    const large = concat([...members, END]);
    const known: OpenUpload[] = [];
    const { jobs } = services(env);
    const counted = faultyBucket(env.VAULT, { at: Number.POSITIVE_INFINITY });
    const noted: string[] = [];
    const publisher: UploadRooms['jobs']['publisher'] = (...ids) => {
      const job = jobs.publisher(...ids);
      return {
        ...job,
        async noteOpen(open) {
          known.push(open);
          noted.push(`${open.key.split('/')[0]} after ${counted.calls.filter((name) => name === 'uploadPart').length}`);
          await job.noteOpen(open);
        },
      };
    };
    const watched = rooms({ jobs: { ...jobs, publisher }, indexBounds: {} });
    const done = order(chunked(large, 512 * KIB));
    const { archive } = await upload({ ...watched, store: new ObjectStore(counted.bucket) }, done);
    expect(archive).toMatchObject({ members: 50_000, stopped: null });
    const parts = Math.ceil(large.length / PART_BYTES);
    expect(noted).toEqual(['data after 0', `index after ${parts}`]);
    expect((await env.VAULT.head(indexKey(done.backup_id)))?.size).toBeGreaterThan(5 * MIB);
    const index = await openIndexOf(done);
    expect(await index.find(utf8(nameOf(17)))).toMatchObject({ size: 0 });

    // The same, but the index cannot be completed: nothing is left, nor any part of an open upload.
    const failing = faultyBucket(env.VAULT, { at: 2, times: 1000, match: /complete/ });
    const dead = order(chunked(large, 512 * KIB));
    known.length = 0;
    await expect(upload({ ...watched, store: new ObjectStore(failing.bucket) }, dead)).rejects.toMatchObject({
      code: 'storage-failed',
    });
    await expectNothing(dead);
    await expectGone(known);

    // And where not even the abort can be done, in its three tries, it is left to the alarm.
    const away = faultyBucket(env.VAULT, { at: 2, times: 6, match: /complete|abort/ });
    const left = order(chunked(large, 512 * KIB));
    known.length = 0;
    await expect(upload({ ...watched, store: new ObjectStore(away.bucket) }, left)).rejects.toMatchObject({
      code: 'storage-failed',
    });
    expect((await services(env).jobs.snapshot(left.job_id)).phase).not.toBe('failed');
    expect(await services(env).jobDeps.reclaim({ ...left, open: known.at(-1) })).toBe('removed');
    await expectNothing(left);
    await expectGone(known);
  });
});

/** Random hexadecimal in name and prefix: 250 bytes that do not compress much. */
function longNamed(i: number): Uint8Array {
  const [prefix = '', name = ''] = nameOf(i).split('/');
  return rawHeader({ name, fields: { 345: prefix } });
}

function nameOf(i: number): string {
  const digits = Array.from(noise(125, i + 1), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${digits.slice(0, 150)}/${digits.slice(150, 250)}`;
}

/** Parts can no longer be sent to these. */
async function expectGone(uploads: readonly OpenUpload[]): Promise<void> {
  expect(uploads).toHaveLength(2);
  for (const { key, upload_id } of uploads) {
    const part = env.VAULT.resumeMultipartUpload(key, upload_id).uploadPart(1, new Uint8Array(10));
    await expect(part).rejects.toThrow(/10024|does not exist/);
  }
}

describe('an archive within zstd, whose frames are decoded along', () => {
  it('borrows room for a frame, and gives it back at the end', async () => {
    const memory = isolateMemory();
    const large = zstd(tarOf([MIB]));
    let most = 0;
    async function* watched() {
      for await (const piece of chunked(large, 10_000)) {
        yield piece;
        most = Math.max(most, memory.windows.used);
      }
    }
    const backup = await upload(rooms({ memory }), order(watched(), { filename: 'a.tar.zst' }));
    expect(backup.archive).toMatchObject({ members: 1, stopped: null });
    expect(most).toBeGreaterThanOrEqual(MIB);
    expect(memory.windows.used).toBe(0);
  });

  it('is rejected with busy where there is no room for long, and leaves nothing', async () => {
    const memory = { ...isolateMemory(), windows: new Gate({ units: 8 * MIB, waitMs: 50 }) };
    await memory.windows.acquire('another', undefined, 8 * MIB);
    const refused = order(chunked(zstd(tarOf([MIB])), 10_000), { filename: 'a.tar.zst' });
    await expect(upload(rooms({ memory }), refused)).rejects.toMatchObject({ code: 'busy' });
    await expectNothing(refused);
  });
});
