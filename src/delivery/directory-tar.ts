import type { Member } from '../archive/member.ts';
import type { MemberIndex } from '../archive/member-index.ts';
import { comparePaths, startsWith } from '../archive/member-order.ts';
import { TAR_END, tarHeader, tarPadding } from '../archive/tar-write.ts';
import { inBatches } from '../shared/batches.ts';
import { concat } from '../shared/bytes.ts';
import { DIRECTORY_BATCH_MEMBERS } from '../shared/limits.ts';
import type { ReadSpan } from '../shared/seek-points.ts';
import { ArchiveIncomplete, bytesOwner, hasBytes, memberContent } from './archive.ts';
import { ForwardReader } from './forward-reader.ts';

const SLASH = Uint8Array.of(0x2f);

type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

/**
 * A directory and all beneath it as a fresh tar, under the paths that they have in the archive; an empty path is the
 * whole archive. Of members of one name the last one goes out; sparse files go out with their holes filled.
 *
 * The index has the order of paths, the bytes have the order of the archive. So members go out in batches, each in the
 * archive's order, which one decoder passes once; between the batches stays the order of paths, by which directories
 * come before what is in them. A hard link stands in its place too if what it links to is out by then; GNU tar has set
 * a directory's time when something else followed, and would not do so again for a link that comes late. All others
 * come last: as links where what they link to lies in the directory, else as what that is. Memory is a batch.
 *
 * An index that ended early may lack members, so {@link ArchiveIncomplete} is thrown in the place of the end marker: the
 * tar must not look whole.
 *
 * @param readTar reads the decoded archive
 */
export async function* directoryTar(index: MemberIndex, directory: Uint8Array, readTar: ReadSpan): Bytes {
  let late = false;
  for await (const batch of inBatches(directoryMembers(index, directory), DIRECTORY_BATCH_MEMBERS)) {
    const lastPath = lastPathOf(batch);
    batch.sort((a, b) => a.headerOffset - b.headerOffset);
    const reader = new ForwardReader(readTar, index.layers, endOf(batch));
    try {
      for (const member of batch) {
        const owner = member.type === 'hardlink' ? await ownerBefore(index, directory, member, lastPath) : member;
        if (owner === null) late = true;
        else if (owner === member) yield* tarEntry(member, member, reader.span);
        else yield linkHeader(member, owner);
      }
    } finally {
      await reader.close();
    }
  }
  if (late) yield* lateLinks(index, directory, readTar);
  if (index.stopped) throw new ArchiveIncomplete(index.stopped);
  yield TAR_END;
}

async function* lateLinks(index: MemberIndex, directory: Uint8Array, readTar: ReadSpan): Bytes {
  for await (const batch of inBatches(directoryMembers(index, directory), DIRECTORY_BATCH_MEMBERS)) {
    const lastPath = lastPathOf(batch);
    for (const link of batch) {
      if (link.type !== 'hardlink' || (await ownerBefore(index, directory, link, lastPath))) continue;
      yield* lateLink(index, directory, link, readTar);
    }
  }
}

async function* lateLink(index: MemberIndex, directory: Uint8Array, link: Member, readTar: ReadSpan): Bytes {
  const owner = await bytesOwner(index, link);
  const isOut = owner !== null && owner !== link && (await goesOut(index, directory, owner));
  if (owner === null) yield tarHeader(link);
  else if (isOut) yield linkHeader(link, owner);
  else if (!hasBytes(owner)) yield tarHeader({ ...owner, path: link.path });
  else yield* tarEntry({ ...link, type: 'file', linkTarget: null, size: owner.size }, owner, readTar);
}

/** A link straight to the owner: of links between them, some may come later, or be replaced by another member. */
function linkHeader(link: Member, owner: Member): Uint8Array {
  return tarHeader({ ...link, linkTarget: owner.path });
}

/**
 * What a hard link links to, if that is out when the link's turn comes: an owner stands before its links in the archive,
 * so it is if it belongs to the link's batch, which ends with `lastPath`, or to one before. Else null.
 */
async function ownerBefore(
  index: MemberIndex,
  directory: Uint8Array,
  link: Member,
  lastPath: Uint8Array,
): Promise<Member | null> {
  const owner = await bytesOwner(index, link);
  if (owner === null || owner === link) return null;
  if (comparePaths(owner.path, owner.path.length, lastPath, lastPath.length) > 0) return null;
  return (await goesOut(index, directory, owner)) ? owner : null;
}

/** Whether that member, and none that came later under its name, is part of the directory's tar. */
async function goesOut(index: MemberIndex, directory: Uint8Array, member: Member): Promise<boolean> {
  if (!liesIn(directory, member.path) || member.type === 'hardlink') return false;
  return (await index.find(member.path))?.headerOffset === member.headerOffset;
}

/** A header, and what the owner of the bytes holds. */
async function* tarEntry(member: Member, owner: Member, readTar: ReadSpan): Bytes {
  const plain: Member = member.type === 'sparse' ? { ...member, type: 'file' } : member;
  yield tarHeader(plain);
  if (plain.type !== 'file') return;
  if (owner.size > 0) yield* memberContent(readTar, owner, { offset: 0, length: owner.size });
  yield tarPadding(owner.size);
}

/** The members of a directory, itself among them, in the order of paths; of each path the last one. */
async function* directoryMembers(index: MemberIndex, directory: Uint8Array): AsyncGenerator<Member, void, undefined> {
  let last: Member | null = directory.length === 0 ? null : await index.find(directory);
  const prefix = directory.length === 0 ? directory : concat([directory, SLASH]);
  for await (const member of index.from({ path: prefix, headerOffset: 0 })) {
    if (!startsWith(member.path, prefix)) break;
    if (last && !samePath(last, member)) yield last;
    last = member;
  }
  if (last) yield last;
}

function liesIn(directory: Uint8Array, path: Uint8Array): boolean {
  if (directory.length === 0 || samePath({ path: directory }, { path })) return true;
  return startsWith(path, concat([directory, SLASH]));
}

function samePath(a: Pick<Member, 'path'>, b: Pick<Member, 'path'>): boolean {
  return a.path.length === b.path.length && startsWith(a.path, b.path);
}

function endOf(batch: readonly Member[]): number {
  return batch.reduce((end, member) => Math.max(end, member.dataOffset + member.dataBytes), 0);
}

/** Of a batch that is still in the order of paths. */
function lastPathOf(batch: readonly Member[]): Uint8Array {
  return batch.at(-1)?.path ?? new Uint8Array();
}
