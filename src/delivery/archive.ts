import type { LRUCache } from 'lru-cache';
import type { Member } from '../archive/member.ts';
import { MemberIndex } from '../archive/member-index.ts';
import { startsWith } from '../archive/member-order.ts';
import { sparseContent } from '../archive/tar-sparse.ts';
import type { Backup } from '../catalogue/backups.ts';
import { plainBytes } from '../codec/plain-bytes.ts';
import { concat, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';
import type { Pieces } from '../shared/streams.ts';
import { indexKey } from '../store/object-keys.ts';
import { StoredDataLost } from '../store/stored-data-lost.ts';
import type { DeliveryDeps } from './body.ts';

/** Indexes that this isolate has opened, by backup; they never change. Bounded by what they hold. */
export type OpenIndexes = LRUCache<string, MemberIndex>;

export interface ArchiveDeps extends DeliveryDeps {
  readonly indexes: OpenIndexes;
}

export class NotAnArchive extends VaultError {
  constructor(filename: string) {
    super('not-an-archive', `"${filename}" is no tar archive that the vault could read, so it has no files to list.`);
  }
}

export class BackupEncrypted extends VaultError {
  constructor(filename: string) {
    super(
      'backup-encrypted',
      `"${filename}" is encrypted: the vault keeps no list of its files in clear. Download it and use tar on it.`,
    );
  }
}

/** The backup itself is not lost with its index. */
class MemberIndexLost extends VaultError {
  constructor(options?: ErrorOptions) {
    super(
      'stored-data-lost',
      'The list of members of this archive is missing or incomplete. Download the backup and use tar on it.',
      options,
    );
  }
}

function asIndex(error: unknown): never {
  throw error instanceof StoredDataLost ? new MemberIndexLost({ cause: error }) : error;
}

export class MemberNotFound extends VaultError {
  constructor() {
    super('not-found', 'The archive has no such member. List those it has: GET /backup/{id}/files.');
  }
}

/** The index of a backup's members: one read of the storage, or none. Throws {@link NotAnArchive}, {@link BackupEncrypted}, {@link MemberIndexLost}. */
export async function openIndex({ store, engine, indexes }: ArchiveDeps, backup: Backup): Promise<MemberIndex> {
  const known = indexes.get(backup.backup_id);
  if (known) return known;
  if (backup.encryption) throw new BackupEncrypted(backup.filename);
  if (!backup.archive) throw new NotAnArchive(backup.filename);
  const key = indexKey(backup.backup_id);
  const index = await MemberIndex.open({
    readTail: (bytes) => store.readTail(key, bytes),
    read: (span) => store.readBytes(key, span).catch(asIndex),
    decompress: (frame, contentBytes) => plainBytes(engine.decompressFrame(frame, contentBytes)),
  });
  if (!index) throw new MemberIndexLost();
  indexes.set(backup.backup_id, index);
  return index;
}

const HERE = utf8('./');
const SLASH = utf8('/');

/**
 * The member of that path, the last one where there are several. An archive of "." has paths that begin with "./",
 * which no URL can hold: those are found without it too. Throws {@link MemberNotFound}.
 */
export async function findMember(index: MemberIndex, path: Uint8Array): Promise<Member> {
  const member = (await index.find(path)) ?? (await index.find(concat([HERE, path])));
  if (!member) throw new MemberNotFound();
  return member;
}

/**
 * The path of a directory as the archive has it, an empty one being the whole archive. It may have no member of its own,
 * only some beneath it. Throws {@link MemberNotFound}.
 */
export async function findDirectory(index: MemberIndex, path: Uint8Array): Promise<Uint8Array> {
  if (path.length === 0) return path;
  for (const candidate of [path, concat([HERE, path])]) {
    if ((await index.find(candidate))?.type === 'directory') return candidate;
    const beneath = concat([candidate, SLASH]);
    for await (const first of index.from({ path: beneath, headerOffset: 0 })) {
      if (startsWith(first.path, beneath)) return candidate;
      break;
    }
  }
  throw new MemberNotFound();
}

/**
 * The member that holds the bytes of a hard link: the last one of the target's name before the link, as tar itself
 * would have made it. null where the archive holds none. Any other member is its own.
 */
export async function bytesOwner(index: MemberIndex, member: Member): Promise<Member | null> {
  let owner: Member | null = member;
  // Every step goes towards the archive's beginning, so a circle of links ends.
  while (owner?.type === 'hardlink' && owner.dataBytes === 0 && owner.linkTarget) {
    owner = await index.find(owner.linkTarget, owner.headerOffset);
  }
  return owner;
}

/** Whether a member is bytes that can be read, and not only a name. A hard link is what its owner is. */
export function hasBytes({ type }: Member): boolean {
  return type === 'file' || type === 'sparse' || type === 'hardlink';
}

/** Bytes `span` of a member that has bytes of its own. `readTar` reads the decoded archive. */
export function memberContent(readTar: ReadSpan, member: Member, span: ByteSpan): Pieces {
  if (member.type !== 'sparse') return readTar({ offset: member.dataOffset + span.offset, length: span.length });
  const length = member.dataOffset + member.dataBytes - member.headerOffset;
  return sparseContent(readTar({ offset: member.headerOffset, length }), member, span);
}
