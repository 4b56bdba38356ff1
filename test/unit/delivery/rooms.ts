/** What the ways out are given, over any bucket; nothing is known at first. */
import { env } from 'cloudflare:workers';
import { LRUCache } from 'lru-cache';
import type { MemberIndex } from '../../../src/archive/member-index.ts';
import { type Backup, getBackup } from '../../../src/catalogue/backups.ts';
import type { ZstdEngine } from '../../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../../src/codec/zstd/native-engine.ts';
import { type ArchiveDeps, findMember, openIndex } from '../../../src/delivery/archive.ts';
import type { Reader } from '../../../src/delivery/body.ts';
import { type DownloadDeps, openDownload } from '../../../src/delivery/download.ts';
import { openMember } from '../../../src/delivery/member.ts';
import { representationOf } from '../../../src/delivery/representation.ts';
import { utf8 } from '../../../src/shared/bytes.ts';
import { HolderLimit } from '../../../src/shared/holder-limit.ts';
import { isolateMemory } from '../../../src/shared/isolate-memory.ts';
import type { ByteSpan, SeekPoints } from '../../../src/shared/seek-points.ts';
import type { ByteStream } from '../../../src/shared/streams.ts';
import { ObjectStore } from '../../../src/store/object-store.ts';
import { put } from '../../support/vault.ts';

export type Rooms = ArchiveDeps & DownloadDeps;

export function roomsOver(bucket: R2Bucket, engine: ZstdEngine = nativeEngine): Rooms {
  return {
    store: new ObjectStore(bucket),
    engine,
    memory: isolateMemory(),
    transfers: new HolderLimit(),
    readerLimits: { idleMs: 60_000, minRate: 1 },
    indexes: new LRUCache<string, MemberIndex>({ max: 10 }),
    points: new LRUCache<string, SeekPoints>({ max: 10 }),
  };
}

/** Uploads, and gives the row. */
export async function stored(name: string, bytes: Uint8Array<ArrayBuffer>, query = ''): Promise<Backup> {
  const { backup_id } = await put(name, bytes, query);
  const backup = await getBackup(env.CATALOGUE, backup_id);
  if (!backup) throw new Error('the backup is not listed');
  return backup;
}

/** A member's bytes, or a span of them, as a request would have them. */
export async function memberBody(
  rooms: Rooms,
  backup: Backup,
  path: string,
  span?: ByteSpan,
  keepAlive: Reader['keepAlive'] = () => undefined,
): Promise<ByteStream> {
  const index = await openIndex(rooms, backup);
  const member = await findMember(index, utf8(path));
  return openMember(rooms, backup, index, member, span ?? { offset: 0, length: member.size }, {
    holder: 'test',
    keepAlive,
  });
}

const ASKED = { format: 'identity', takesZstd: false, decrypts: false } as const;

/** Decoded content, or a span of it. */
export function contentBody(
  rooms: Rooms,
  backup: Backup,
  span?: ByteSpan,
  keepAlive: Reader['keepAlive'] = () => undefined,
): Promise<ByteStream> {
  return openDownload(rooms, backup, representationOf(backup, ASKED), { span }, { holder: 'test', keepAlive });
}

export async function bytesOf(body: ByteStream): Promise<Uint8Array> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** Shares of the isolate's memory that are held. */
export function heldShares({ memory: { turns, small, windows } }: Pick<Rooms, 'memory'>): number {
  return turns.used + small.used + windows.used;
}
