import type { Member } from '../archive/member.ts';
import type { MemberIndex } from '../archive/member-index.ts';
import type { Backup } from '../catalogue/backups.ts';
import { readLayers } from '../codec/seekable/layer-reader.ts';
import { DECODE_READ_BYTES } from '../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';
import type { ByteStream } from '../shared/streams.ts';
import { dataKey } from '../store/object-keys.ts';
import { readResuming } from '../store/resuming-read.ts';
import { memberContent } from './archive.ts';
import { type DeliveryRooms, type KeepAlive, openBody } from './body.ts';
import { directoryTar } from './directory-tar.ts';

/**
 * The way out of a member, top to bottom: its place in the archive → the frames that hold it → one read of the stored
 * object → content → the response's body. `member` has bytes of its own.
 */
export function openMember(
  rooms: DeliveryRooms,
  backup: Backup,
  index: MemberIndex,
  member: Member,
  span: ByteSpan,
  keepAlive: KeepAlive,
): Promise<ByteStream> {
  const { backup_id } = backup;
  const pieces = (signal: AbortSignal) => memberContent(tarReader(rooms, backup, index, signal), member, span);
  return openBody(rooms.budget, { backup_id, length: span.length, operation: 'member', pieces }, keepAlive);
}

/** A directory and all beneath it, as a fresh tar of a length that shows only at its end. */
export function openDirectoryTar(
  rooms: DeliveryRooms,
  backup: Backup,
  index: MemberIndex,
  directory: Uint8Array,
  keepAlive: KeepAlive,
): Promise<ByteStream> {
  const { backup_id } = backup;
  const pieces = (signal: AbortSignal) => directoryTar(index, directory, tarReader(rooms, backup, index, signal));
  return openBody(rooms.budget, { backup_id, length: null, operation: 'directory', pieces }, keepAlive);
}

/** Reads the decoded archive; a read that breaks is taken up again. */
function tarReader(rooms: DeliveryRooms, backup: Backup, index: MemberIndex, signal: AbortSignal): ReadSpan {
  const key = dataKey(backup.backup_id);
  const options = { pieceBytes: DECODE_READ_BYTES, objectBytes: backup.stored_size, signal };
  const readStored = (span: ByteSpan) => readResuming(rooms.store, key, span, options);
  return readLayers(readStored, index.layers, { engine: rooms.engine });
}
