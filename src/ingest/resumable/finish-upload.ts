import { releaseLinksOf } from '../../catalogue/upload-links.ts';
import type { JobPublisher } from '../../progress/publisher.ts';
import { sentKey } from '../../store/object-keys.ts';
import type { OpenUpload } from '../../store/object-store.ts';
import { commitBackup, rollBack } from '../commit-backup.ts';
import { decodeSent } from './decode-sent.ts';
import { readBack } from './read-back.ts';
import type { SessionRooms } from './session-rooms.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionWriter } from './session-writer.ts';
import { finished, kept, type StoredObject, type UploadRecord, withStored } from './upload-record.ts';

/**
 * What follows the last byte: seal the object, complete it, read it back, write receipt and row. Every step is noted, or
 * can be done again, so that whoever is cut off anywhere begins with this function anew. `signal` ends it early, until
 * the row is there.
 */
export async function finishUpload(
  rooms: SessionRooms,
  store: SessionStore,
  session: SessionWriter,
  signal: AbortSignal,
): Promise<void> {
  const { job_id, backup_id } = store.known;
  const job = rooms.jobs.publisher(job_id, backup_id);
  try {
    const stored = store.known.stored ?? (await seal(session, store, job, signal));
    if (stored.open) await rooms.store.completeUpload(stored.open, store.parts(), stored.bytes);
    await verify(rooms, store, stored, job, signal);
  } finally {
    await job.pause();
  }
}

/** The object, with everything of it in the storage. */
async function seal(
  session: SessionWriter,
  store: SessionStore,
  job: JobPublisher,
  signal: AbortSignal,
): Promise<StoredObject> {
  const record = store.known;
  report(job, record, 'storing', record.written.offset);
  const writer = session.take();
  const fence = () => writer.fence();
  signal.addEventListener('abort', fence);
  try {
    return await writer.seal((stored) => {
      store.record = withStored(store.known, stored);
    });
  } finally {
    signal.removeEventListener('abort', fence);
    await session.drop();
  }
}

/** What is stored becomes a backup, once it was read. */
async function verify(
  rooms: SessionRooms,
  store: SessionStore,
  stored: StoredObject,
  job: JobPublisher,
  signal: AbortSignal,
): Promise<void> {
  const record = store.known;
  const onRead = (bytes: number) => {
    signal.throwIfAborted();
    report(job, record, 'verifying', bytes);
  };
  report(job, record, 'verifying', 0);
  // Of a try before, which died: it would hold its parts for a week.
  for (const open of [store.decodedOpen, store.indexOpen]) if (open) await rooms.store.abortUpload(open);
  const noteIndex = async (open: OpenUpload) => {
    store.indexOpen = open;
  };
  const noteData = async (open: OpenUpload) => {
    store.decodedOpen = open;
  };
  const backup =
    record.codings.length > 0
      ? await decodeSent(rooms, record, { onRead, noteData, noteIndex, signal })
      : await readBack(rooms, record, stored, store.sealing, onRead, noteIndex);
  signal.throwIfAborted();
  // An end that `signal` asks for after that comes too late: the backup is listed.
  await commitBackup(rooms, backup, signal);
  store.record = finished(store.known, Date.now());
}

function report(job: JobPublisher, record: UploadRecord, phase: 'storing' | 'verifying', current: number): void {
  const { filename, written, stored } = record;
  const message = `${phase === 'storing' ? 'Storing' : 'Checking'} ${filename}`;
  job.publish({ phase, current, total: written.offset, stored: stored?.bytes ?? written.encoded_bytes, message });
}

/**
 * After the end: a failed upload is rolled back, the job learns the end, and only the record is left in the
 * upload storage. An upload that turns out to be committed has not failed: its object died after the commit, before it
 * was recorded. May be called again where it was cut off; rejects where it cannot be done now.
 */
export async function settleUpload(rooms: SessionRooms, store: SessionStore): Promise<void> {
  const { phase, backup_id } = store.known;
  if (phase === 'failed') {
    const open = [store.open, store.decodedOpen, store.indexOpen].filter((each) => each !== null);
    if ((await rollBack(rooms, backup_id, open)) === 'kept') store.record = kept(store.known);
    else await releaseLinksOf(rooms.catalogue, backup_id);
  }
  if (store.known.codings.length > 0) await rooms.store.remove([sentKey(backup_id)]);
  await tellEnd(rooms, store.known);
  store.transaction(() => {
    store.dropContent();
    // Not the record from before: its sender may have removed a finished upload meanwhile.
    store.record = { ...store.known, settled: true };
  });
}

/** The job has nobody else to learn the end from. */
async function tellEnd({ jobs }: SessionRooms, record: UploadRecord): Promise<void> {
  const { job_id, backup_id, filename, written, stored } = record;
  const failure = record.phase === 'failed' ? record.failure : null;
  const { offset } = written;
  const told = await jobs.publisher(job_id, backup_id).finish(
    failure?.code === 'upload-cancelled'
      ? { phase: 'cancelled', message: `Upload of ${filename} was cancelled` }
      : failure
        ? { phase: 'failed', ...failure, message: `Upload of ${filename} failed` }
        : {
            phase: 'done',
            backup_id,
            current: offset,
            total: offset,
            stored: stored?.bytes ?? 0,
            message: `Stored ${filename}`,
          },
  );
  if (!told) throw new Error('the job could not be told');
}
