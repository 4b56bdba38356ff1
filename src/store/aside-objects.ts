import type { AsideStorage } from '../shared/upload-memory.ts';
import { asideKey } from './object-keys.ts';
import type { ObjectStore } from './object-store.ts';

/** Unfinished bytes of an upload as objects below its `tmp/` prefix, which rollback and reclaim delete too. */
export function asideObjects(store: ObjectStore, backupId: string): AsideStorage {
  return {
    put: (segment, bytes) => store.put(asideKey(backupId, segment), bytes),
    read: (segment, bytes) => store.readBytes(asideKey(backupId, segment), { offset: 0, length: bytes }),
    remove: (segments) => store.remove(segments.map((segment) => asideKey(backupId, segment))),
  };
}
