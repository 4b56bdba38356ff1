import type { LRUCache } from 'lru-cache';
import type { Member, Stopped } from '../archive/member.ts';
import { MemberIndex } from '../archive/member-index.ts';
import { startsWith } from '../archive/member-order.ts';
import { findSpelt, withoutLead } from '../archive/path-spelling.ts';
import { sparseContent } from '../archive/tar-sparse.ts';
import type { Backup } from '../catalogue/backups.ts';
import { plainBytes } from '../codec/plain-bytes.ts';
import { parseFrameHeader } from '../codec/zstd/frame-header.ts';
import { concat, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { MIB, ZSTD_WINDOW_BYTES } from '../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';
import { shownName } from '../shared/shown-name.ts';
import type { Pieces } from '../shared/streams.ts';
import { indexKey } from '../store/object-keys.ts';
import { StoredDataLost } from '../store/stored-data-lost.ts';
import type { DeliveryDeps } from './body.ts';
import { readContent } from './download.ts';

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

/** It may be an archive. Decoding it takes more memory than there is. */
export class WindowTooLarge extends VaultError {
  constructor(filename: string, windowBytes: number) {
    super(
      'window-too-large',
      `"${filename}" is zstd with a window of ${Math.ceil(windowBytes / MIB)} MiB. The vault decodes windows of at most ` +
        `${ZSTD_WINDOW_BYTES / MIB} MiB, so it cannot list files in it. Compress with zstd -19 or less, without --long.`,
    );
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

/** Reading the archive ended before its end, so the index does not know what lies behind. */
export class ArchiveIncomplete extends VaultError {
  constructor({ offset, reason }: Stopped) {
    super(
      'archive-incomplete',
      `The vault could read this archive only up to byte ${offset}: ${reason}. What you asked for may lie behind it. ` +
        'Download the whole backup and use tar on it.',
    );
  }
}

/** A hard link is the bytes of another member, and there are none. */
export class HardLinkUnresolved extends VaultError {
  constructor({ linkTarget }: Member, owner: Member | null) {
    const target = shownName(new TextDecoder().decode(linkTarget ?? undefined));
    const reason = owner ? `is a ${owner.type}, which has no bytes` : 'is not in the archive before the link';
    super(
      'hard-link-unresolved',
      `This is a hard link to ${target}, which ${reason}. Download what it should link to.`,
    );
  }
}

function missing({ stopped }: MemberIndex): VaultError {
  return stopped ? new ArchiveIncomplete(stopped) : new MemberNotFound();
}

/** The index of a backup's members: one read of the storage, or none. Throws {@link NotAnArchive}, {@link WindowTooLarge}, {@link BackupEncrypted}, {@link MemberIndexLost}. */
export async function openIndex(deps: ArchiveDeps, backup: Backup): Promise<MemberIndex> {
  const { store, engine, indexes } = deps;
  const known = indexes.get(backup.backup_id);
  if (known) return known;
  if (backup.encryption) throw new BackupEncrypted(backup.filename);
  if (!backup.archive) throw await noArchive(deps, backup);
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

/** Why a backup has no index: its first bytes tell where it could not be decoded. */
async function noArchive(deps: ArchiveDeps, backup: Backup): Promise<VaultError> {
  for await (const first of readContent(deps, backup, null)) {
    const header = parseFrameHeader(first);
    if (header.kind === 'frame' && header.frame.windowBytes > deps.engine.largestWindowBytes) {
      return new WindowTooLarge(backup.filename, header.frame.windowBytes);
    }
    break;
  }
  return new NotAnArchive(backup.filename);
}

const HERE = utf8('./');
const SLASH = utf8('/');

/** The path as it was asked for, and as the archive may have it: a leading "/" or "./" is forgiven, on either side. */
function spellings(path: Uint8Array): Uint8Array[] {
  const plain = withoutLead(path);
  if (plain.length === 0) return [path];
  const usual = [path, plain, concat([HERE, plain]), concat([SLASH, plain])];
  // An archive of "./." may repeat what the request has already.
  return plain.length === path.length ? usual : [...usual, concat([HERE, path])];
}

/**
 * Returns the member of that path, the last one where there are several. Throws {@link MemberNotFound}, and
 * {@link ArchiveIncomplete} where it may lie behind the end of the index.
 */
export async function findMember(index: MemberIndex, path: Uint8Array): Promise<Member> {
  for (const spelling of spellings(path)) {
    const member = await index.find(spelling);
    if (member) return member;
  }
  throw missing(index);
}

/**
 * Returns the path of a directory as the archive has it, an empty one being the whole archive. It may have no member of
 * its own, only some beneath it. Throws {@link MemberNotFound} and {@link ArchiveIncomplete}.
 */
export async function findDirectory(index: MemberIndex, path: Uint8Array): Promise<Uint8Array> {
  if (path.length === 0) return path;
  for (const candidate of spellings(path)) {
    if ((await index.find(candidate))?.type === 'directory') return candidate;
    const beneath = concat([candidate, SLASH]);
    for await (const first of index.from({ path: beneath, headerOffset: 0 })) {
      if (startsWith(first.path, beneath)) return candidate;
      break;
    }
  }
  throw missing(index);
}

/**
 * Returns the member that holds the bytes of a hard link: the last one of the target's path before the link, as tar itself
 * would have made it. null where the archive holds none. Any other member is its own.
 */
export async function bytesOwner(index: MemberIndex, member: Member): Promise<Member | null> {
  let owner: Member | null = member;
  // Every step goes towards the archive's beginning, so a circle of links ends.
  while (owner?.type === 'hardlink' && owner.dataBytes === 0 && owner.linkTarget) {
    owner = await findSpelt(index, owner.linkTarget, owner.headerOffset);
  }
  return owner;
}

/** The same, of a member that is asked for: a hard link without bytes is an error, {@link HardLinkUnresolved}. */
export async function requireOwner(index: MemberIndex, member: Member): Promise<Member> {
  const owner = await bytesOwner(index, member);
  if (owner && (member.type !== 'hardlink' || hasBytes(owner))) return owner;
  throw new HardLinkUnresolved(member, owner);
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
