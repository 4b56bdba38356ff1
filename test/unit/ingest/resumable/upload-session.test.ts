import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, vi } from 'vitest';
import { getBackup } from '../../../../src/catalogue/backups.ts';
import { claimLink } from '../../../../src/catalogue/upload-links.ts';
import { SessionStore } from '../../../../src/ingest/resumable/session-store.ts';
import type { SessionOrder, UploadRecord } from '../../../../src/ingest/resumable/upload-record.ts';
import type { SessionView } from '../../../../src/ingest/resumable/upload-session.ts';
import { services } from '../../../../src/services.ts';
import { MIB, SESSION_KEPT_MS } from '../../../../src/shared/limits.ts';
import { dataKey } from '../../../../src/store/object-keys.ts';
import { sample, sha256Hex, storedKeys } from '../../../support/vault.ts';
import { newId, orderOf } from './orders.ts';
import { bodyOf, GRANTED, pieceAt, Sender } from './sessions.ts';

const { uploads, jobs } = services(env);
const content = sample(9 * MIB);

function stubOf(id: string) {
  return env.UPLOADS.get(env.UPLOADS.idFromName(id));
}

async function created(length: number | null, more: Partial<SessionOrder> = {}): Promise<string> {
  const { backup_id } = await uploads.create(orderOf(more), length);
  return backup_id;
}

function append(id: string, from: number, to: number): Promise<SessionView> {
  return uploads.append(id, GRANTED, pieceAt(from, { bytes: to - from }), bodyOf(content.subarray(from, to)));
}

const describeUpload = (id: string) => uploads.describe(id, GRANTED);
const terminate = (id: string) => uploads.terminate(id, GRANTED);

/** What a promise rejected with, so that nobody calls it unhandled meanwhile. */
function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => null,
    (error: unknown) => error,
  );
}

function untilAt(id: string, offset: number): Promise<void> {
  return vi.waitFor(async () => expect((await describeUpload(id)).offset).toBe(offset), { timeout: 5000, interval: 5 });
}

async function expectBackup(id: string, bytes: Uint8Array<ArrayBuffer> = content): Promise<void> {
  const backup = await getBackup(env.CATALOGUE, id);
  expect(backup).toMatchObject({ file_size: bytes.length, checksum: await sha256Hex(bytes) });
  expect(await jobs.snapshot(id)).toMatchObject({ phase: 'done', backup_id: id, current: bytes.length });
}

async function expectNothing(id: string): Promise<void> {
  expect((await storedKeys()).filter((key) => key.includes(id))).toEqual([]);
  expect(await getBackup(env.CATALOGUE, id)).toBeNull();
}

/** Changes the record where it is stored. */
function rewrite(id: string, change: (record: UploadRecord) => UploadRecord): Promise<void> {
  return runInDurableObject(stubOf(id), (_, { storage }) => {
    const store = new SessionStore(storage);
    store.record = change(store.known);
  });
}

/** What stands in the storage of a session: keys and tables. */
function leftIn(id: string): Promise<{ keys: number; tables: string[]; alarm: number | null }> {
  return runInDurableObject(stubOf(id), async (_, { storage }) => {
    const names = storage.sql.exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table'").toArray();
    const tables = names.map(({ name }) => name).filter((name) => !name.startsWith('_cf'));
    return { keys: [...storage.kv.list()].length, tables, alarm: await storage.getAlarm() };
  });
}

describe('an upload in pieces', () => {
  it('ends as a backup like any other, and its job is told on the way', async () => {
    const id = await created(content.length);
    expect(await jobs.snapshot(id)).toMatchObject({ phase: 'receiving', current: 0, total: content.length });
    expect(await append(id, 0, 5_000_000)).toMatchObject({ offset: 5_000_000, phase: 'receiving' });
    expect(await jobs.snapshot(id)).toMatchObject({ phase: 'receiving', current: 5_000_000, total: content.length });
    expect(await append(id, 5_000_000, content.length)).toMatchObject({ offset: content.length, phase: 'done' });
    await expectBackup(id);
    expect(await append(id, content.length, content.length), 'a lost answer, asked for again').toMatchObject({
      phase: 'done',
    });
  });

  it('of no bytes is whole when it is created', async () => {
    const id = await created(0);
    expect(await describeUpload(id)).toMatchObject({ phase: 'done', offset: 0, length: 0 });
    await expectBackup(id, new Uint8Array());
  });

  it('may learn its length with a piece, also with one of nothing', async () => {
    const said = await created(null);
    await append(said, 0, 1000);
    const last = pieceAt(1000, { length: content.length });
    expect(await uploads.append(said, GRANTED, last, bodyOf(content.subarray(1000)))).toMatchObject({ phase: 'done' });
    await expectBackup(said);
    const later = await created(null);
    await append(later, 0, content.length);
    const nothing = pieceAt(content.length, { bytes: 0, length: content.length });
    expect(await uploads.append(later, GRANTED, nothing, null)).toMatchObject({ phase: 'done' });
    await expectBackup(later);
  });

  it('is known to who has its secret or its token, and to nobody else', async () => {
    const [secret, token, other] = ['aa', 'bb', 'cc'].map(
      (byte) => ({ kind: 'hash', sha256: byte.repeat(32) }) as const,
    );
    const { backup_id } = await uploads.create(orderOf({ token_hash: 'bb'.repeat(32) }), 10);
    for (const access of [secret, token, GRANTED]) {
      if (access) expect(await uploads.describe(backup_id, access)).toMatchObject({ offset: 0 });
    }
    for (const call of [uploads.describe, uploads.terminate]) {
      if (other) await expect(call(backup_id, other)).rejects.toMatchObject({ code: 'unauthorized' });
    }
    expect(await describeUpload(backup_id)).toMatchObject({ phase: 'receiving' });
  });

  it('that was created once is not begun anew by who asks again', async () => {
    const order = orderOf();
    await uploads.create(order, content.length);
    await append(order.backup_id, 0, 1000);
    expect(await uploads.create(order, content.length)).toMatchObject({ offset: 1000 });
    await append(order.backup_id, 1000, content.length);
    await expectBackup(order.backup_id);
  });
});

describe('a name that nobody created', () => {
  it('is not found, and stores nothing', async () => {
    const id = newId();
    const notFound = { code: 'not-found' };
    await expect(describeUpload(id)).rejects.toMatchObject(notFound);
    await expect(append(id, 0, 1000)).rejects.toMatchObject(notFound);
    await expect(terminate(id)).rejects.toMatchObject(notFound);
    expect(await leftIn(id)).toEqual({ keys: 0, tables: [], alarm: null });
  });

  it('stays one where its job was busy', async () => {
    const first = orderOf();
    await uploads.create(first, 10);
    const second = orderOf({ job_id: first.job_id });
    await expect(uploads.create(second, 10)).rejects.toMatchObject({ code: 'job-running' });
    await expect(describeUpload(second.backup_id)).rejects.toMatchObject({ code: 'not-found' });
    expect(await leftIn(second.backup_id)).toEqual({ keys: 0, tables: [], alarm: null });
    expect(await describeUpload(first.backup_id)).toMatchObject({ phase: 'receiving' });
  });
});

describe('a piece', () => {
  it('at another offset is told the right one', async () => {
    const id = await created(content.length);
    await append(id, 0, 1000);
    for (const offset of [0, 999, 1001]) {
      await expect(append(id, offset, 5000)).rejects.toMatchObject({
        code: 'offset-mismatch',
        facts: { expected_offset: 1000, provided_offset: offset },
      });
    }
  });

  it('that is cut counts as far as it came', async () => {
    const id = await created(content.length);
    const sender = new Sender().send(content.subarray(0, 1_300_000));
    const cut = failureOf(uploads.append(id, GRANTED, pieceAt(0), sender.body));
    await untilAt(id, 1_300_000);
    sender.send(content.subarray(1_300_000, 1_400_000));
    await untilAt(id, 1_400_000);
    sender.break();
    await cut;
    expect(await describeUpload(id)).toMatchObject({ offset: 1_400_000 });
    await append(id, 1_400_000, content.length);
    await expectBackup(id);
  });

  it('with a checksum counts as a whole or not at all', async () => {
    const id = await created(content.length);
    const part = content.slice(0, 5_000_000);
    const hex = await sha256Hex(part);
    const checksum = (of: string) => pieceAt(0, { digests: [{ algorithm: 'sha256', hex: of }] });
    await expect(uploads.append(id, GRANTED, checksum('ab'.repeat(32)), bodyOf(part))).rejects.toMatchObject({
      code: 'chunk-checksum-mismatch',
    });
    expect(await describeUpload(id)).toMatchObject({ offset: 0 });
    const sender = new Sender().send(part.subarray(0, 4_999_999));
    const cut = failureOf(uploads.append(id, GRANTED, checksum(hex), sender.body));
    await scheduler.wait(50);
    expect(await describeUpload(id), 'not by a question either').toMatchObject({ offset: 0 });
    sender.break();
    await cut;
    expect(await describeUpload(id)).toMatchObject({ offset: 0 });
    expect(await uploads.append(id, GRANTED, checksum(hex), bodyOf(part))).toMatchObject({ offset: part.length });
    await append(id, part.length, content.length);
    await expectBackup(id);
  });

  it('of more bytes than there may be is not believed', async () => {
    const id = await created(1000);
    await append(id, 0, 900);
    const over = uploads.append(id, GRANTED, pieceAt(900), bodyOf(content.subarray(900, 1001)));
    await expect(over).rejects.toMatchObject({ code: 'file-too-large' });
    expect(await describeUpload(id)).toMatchObject({ offset: 900, phase: 'receiving' });
    await append(id, 900, 1000);
    await expectBackup(id, content.slice(0, 1000));
  });
});

describe('of two pieces at once', () => {
  it('the newer goes on where the older one stood, and nothing of that one counts any more', async () => {
    const id = await created(content.length);
    const old = new Sender().send(content.subarray(0, 2_000_000));
    const superseded = failureOf(uploads.append(id, GRANTED, pieceAt(0), old.body));
    await untilAt(id, 2_000_000);
    expect(await append(id, 2_000_000, content.length - 1)).toMatchObject({ phase: 'receiving' });
    old.send(new Uint8Array(1_000_000)).end();
    expect(await superseded).toMatchObject({ code: 'upload-superseded' });
    expect(await append(id, content.length - 1, content.length)).toMatchObject({ phase: 'done' });
    await expectBackup(id);
  });

  it('the newer may say other bytes for what was not durable', async () => {
    const id = await created(content.length);
    const old = new Sender().send(new Uint8Array(9 * MIB - 1));
    const digest = { algorithm: 'sha1', hex: '00'.repeat(20) } as const;
    const superseded = failureOf(uploads.append(id, GRANTED, pieceAt(0, { digests: [digest] }), old.body));
    await scheduler.wait(50);
    await append(id, 0, content.length);
    old.end();
    await expectBackup(id);
    expect(await superseded).toMatchObject({ code: 'upload-superseded' });
  });

  it('the last of many in a row has it', async () => {
    const id = await created(content.length);
    const senders = Array.from({ length: 6 }, () => new Sender().send(new Uint8Array(0)));
    const olds = senders.map((sender) => failureOf(uploads.append(id, GRANTED, pieceAt(0), sender.body)));
    await scheduler.wait(20);
    await append(id, 0, content.length);
    for (const sender of senders) sender.end();
    for (const old of olds) expect(await old).toMatchObject({ code: 'upload-superseded' });
    await expectBackup(id);
  });
});

describe('a restart', () => {
  it('between two pieces changes nothing', async () => {
    const id = await created(content.length);
    await append(id, 0, 8_500_000);
    await evictDurableObject(stubOf(id));
    expect(await describeUpload(id)).toMatchObject({ offset: 8_500_000, phase: 'receiving' });
    await append(id, 8_500_000, content.length);
    await expectBackup(id);
  });

  it('within a piece keeps what was told', async () => {
    const id = await created(content.length);
    const sender = new Sender().send(content.subarray(0, 8_400_000));
    const lost = failureOf(uploads.append(id, GRANTED, pieceAt(0), sender.body));
    await untilAt(id, 8_400_000);
    // Its share of the isolate stays with the dead for a lease: one crash is what the tests of a file can have.
    await runInDurableObject(stubOf(id), (_, state) => state.abort('a crash')).catch(() => undefined);
    expect(await lost).not.toBeNull();
    expect(await describeUpload(id)).toMatchObject({ offset: 8_400_000 });
    await append(id, 8_400_000, content.length);
    await expectBackup(id);
  });
});

describe('the end', () => {
  it.each([0, 5_000_000])('by its sender takes back all of it, also what is on its way (%i bytes)', async (bytes) => {
    const id = await created(content.length);
    if (bytes > 0) await append(id, 0, bytes);
    const sender = new Sender().send(content.subarray(bytes, bytes + 3_500_000));
    const superseded = failureOf(uploads.append(id, GRANTED, pieceAt(bytes), sender.body));
    await untilAt(id, bytes + 3_500_000);
    await terminate(id);
    sender.end();
    expect(await superseded).toMatchObject({ code: 'upload-gone' });
    for (const call of [describeUpload, terminate, (gone: string) => append(gone, 0, 10)]) {
      await expect(call(id)).rejects.toMatchObject({ code: 'upload-gone' });
    }
    await expectNothing(id);
    expect(await jobs.snapshot(id)).toMatchObject({ phase: 'failed', code: 'upload-gone' });
  });

  it('of a finished upload by its sender leaves the backup', async () => {
    const id = await created(1000);
    await append(id, 0, 1000);
    await terminate(id);
    await expect(describeUpload(id)).rejects.toMatchObject({ code: 'upload-gone' });
    await expectBackup(id, content.slice(0, 1000));
  });

  it('is the answer to an append of unknown length again, if that has no bytes', async () => {
    const id = await created(1000);
    await append(id, 0, 1000);
    const nothing = new Sender().end();
    expect(await uploads.append(id, GRANTED, pieceAt(1000), nothing.body)).toMatchObject({
      offset: 1000,
      phase: 'done',
    });
    const more = new Sender().send(content.slice(0, 1)).end();
    expect(await failureOf(uploads.append(id, GRANTED, pieceAt(1000), more.body))).toMatchObject({
      code: 'file-too-large',
    });
  });

  it('comes by itself when the time is over, also while a sender hangs', async () => {
    const id = await created(content.length);
    await append(id, 0, 8_500_000);
    const sender = new Sender();
    const hanging = failureOf(uploads.append(id, GRANTED, pieceAt(8_500_000), sender.body));
    await scheduler.wait(20);
    expect(await runDurableObjectAlarm(stubOf(id)), 'too early: it changes nothing').toBe(true);
    expect(await describeUpload(id)).toMatchObject({ offset: 8_500_000, phase: 'receiving' });
    await rewrite(id, (record) => ({ ...record, expires_at: Date.now() - 1 }));
    await runDurableObjectAlarm(stubOf(id));
    await expect(describeUpload(id)).rejects.toMatchObject({ code: 'upload-expired' });
    sender.end();
    expect(await hanging).toMatchObject({ code: 'upload-expired' });
    await expectNothing(id);
    expect(await jobs.snapshot(id)).toMatchObject({ phase: 'failed', code: 'upload-expired' });
  });

  it('by a checksum that differs is the answer to the last piece, and the reason later', async () => {
    const id = await created(1000, { sha256: 'ab'.repeat(32) });
    await expect(append(id, 0, 1000)).rejects.toMatchObject({ code: 'checksum-mismatch' });
    await expect(describeUpload(id)).rejects.toMatchObject({
      code: 'upload-failed',
      facts: { reason: 'checksum-mismatch' },
    });
    await expectNothing(id);
    expect(await jobs.snapshot(id)).toMatchObject({ phase: 'failed', code: 'checksum-mismatch' });
  });

  it('that is no good one makes its link usable again', async () => {
    const id = await created(1000);
    const link = { link_id: 'link-1', expires_at: '2099-01-01T00:00:00.000Z' };
    expect(await claimLink(env.CATALOGUE, { ...link, backup_id: id })).toBe(true);
    expect(await claimLink(env.CATALOGUE, { ...link, backup_id: 'other' })).toBe(false);
    await terminate(id);
    expect(await claimLink(env.CATALOGUE, { ...link, backup_id: 'other' })).toBe(true);
  });

  it('is remembered for its time, and then forgotten', async () => {
    const id = await created(1000);
    await append(id, 0, 1000);
    await runDurableObjectAlarm(stubOf(id));
    expect(await describeUpload(id)).toMatchObject({ phase: 'done' });
    await rewrite(id, (record) => ({ ...record, ended_at: Date.now() - SESSION_KEPT_MS }));
    await runDurableObjectAlarm(stubOf(id));
    await expect(describeUpload(id)).rejects.toMatchObject({ code: 'not-found' });
    expect(await leftIn(id)).toEqual({ keys: 0, tables: [], alarm: null });
    expect(await env.VAULT.head(dataKey(id))).not.toBeNull();
  });
});
