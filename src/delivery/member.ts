import type { Member } from '../archive/member.ts';
import type { MemberIndex } from '../archive/member-index.ts';
import type { Backup } from '../catalogue/backups.ts';
import { readLayers } from '../codec/seekable/layer-reader.ts';
import { DECODE_READ_BYTES, REDECODED_BYTES, STORED_READ_BYTES, ZSTD_WINDOW_BYTES } from '../shared/limits.ts';
import { type ByteSpan, type Layer, largestGroup, type ReadSpan } from '../shared/seek-points.ts';
import type { ByteStream, Pieces } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import { readResuming } from '../store/resuming-read.ts';
import { memberContent } from './archive.ts';
import { brokenDownload, type DeliveryDeps, openBody, patienceOf, type Reader } from './body.ts';
import { directoryTar } from './directory-tar.ts';
import { patientReader } from './patient-reader.ts';

/**
 * The way out of a member, top to bottom: its place in the archive → the frames that hold it → reads of the stored
 * object → content → the response's body. `member` has bytes of its own.
 */
export function openMember(
  deps: DeliveryDeps,
  backup: Backup,
  index: MemberIndex,
  member: Member,
  span: ByteSpan,
  reader: Reader,
): Promise<ByteStream> {
  const pieces = fromTar(deps, backup, index, reader, (readTar) => memberContent(readTar, member, span));
  return openBody(deps.readerLimits, { log: brokenDownload(backup), length: span.length, pieces }, reader.keepAlive);
}

/** A directory and all beneath it, as a fresh tar of a length that shows only at its end. */
export async function openDirectoryTar(
  deps: DeliveryDeps,
  backup: Backup,
  index: MemberIndex,
  directory: Uint8Array,
  reader: Reader,
): Promise<ByteStream> {
  // A header of the tar goes out before the first byte is read, so lost data would only show as a broken body.
  await deps.store.requireSize(dataKey(backup.backup_id), backup.stored_size);
  const pieces = fromTar(deps, backup, index, reader, (readTar) => directoryTar(index, directory, readTar));
  return openBody(deps.readerLimits, { log: brokenDownload(backup), length: null, pieces }, reader.keepAlive);
}

/**
 * What `make` makes of the decoded archive. Layers that can be decoded from near any offset are read for a slow client,
 * which holds a chunk while it stops. A layer that is decoded from its start only (gzip, one large zstd frame) keeps its
 * decoder. That of gzip is small; the windows of zstd are up to 8 MiB, and {@link IsolateMemory.windows} bounds how many.
 */
function fromTar(
  deps: DeliveryDeps,
  backup: Backup,
  { layers }: MemberIndex,
  { holder }: Reader,
  make: (readTar: ReadSpan) => Pieces,
): (signal: AbortSignal) => Pieces {
  const first = layers.findIndex(({ points }) => largestGroup(points) > REDECODED_BYTES);
  const reopened = first < 0 ? layers : layers.slice(0, first);
  const streamed = layers.slice(reopened.length);
  const holdsWindow = streamed.some(({ codec }) => codec === 'zstd');
  return async function* pieces(signal) {
    const window = holdsWindow ? await deps.memory.windows.acquire(holder, signal, ZSTD_WINDOW_BYTES) : null;
    try {
      yield* make(readLayers(patientTar(deps, backup, reopened, holder, signal), streamed, deps));
    } finally {
      window?.release();
    }
  };
}

/** Reads what the layers hold; a read that breaks is resumed. Bytes that no layer was around hold little as they are. */
function patientTar(
  deps: DeliveryDeps,
  backup: Backup,
  layers: readonly Layer[],
  holder: string,
  signal: AbortSignal,
): ReadSpan {
  const pieceBytes = layers.length > 0 ? DECODE_READ_BYTES : STORED_READ_BYTES;
  const options = { pieceBytes, objectBytes: backup.stored_size, version: {}, signal };
  const stored: ReadSpan = (span) => readResuming(deps.store, dataKey(backup.backup_id), span, options);
  if (layers.length === 0) return stored;
  return patientReader(readLayers(stored, layers, deps), patienceOf(deps, holder, signal));
}
