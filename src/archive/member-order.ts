/** The order of an index: the bytes of the path, unsigned, then the place in the archive. */

/** A place in that order, whether or not a member stands there. */
export interface MemberKey {
  readonly path: Uint8Array;
  readonly headerOffset: number;
}

/** Something whose path is the beginning of a buffer. */
export interface PathHolder {
  readonly pathBuffer: Uint8Array;
  readonly pathBytes: number;
  readonly headerOffset: number;
}

/** Less than 0 where `a` comes first. */
export function comparePaths(a: Uint8Array, aBytes: number, b: Uint8Array, bBytes: number): number {
  const shorter = Math.min(aBytes, bBytes);
  for (let i = 0; i < shorter; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return aBytes - bBytes;
}

export function compareKeys(a: MemberKey, b: MemberKey): number {
  return comparePaths(a.path, a.path.length, b.path, b.path.length) || a.headerOffset - b.headerOffset;
}

export function compareHolders(a: PathHolder, b: PathHolder): number {
  return comparePaths(a.pathBuffer, a.pathBytes, b.pathBuffer, b.pathBytes) || a.headerOffset - b.headerOffset;
}

export function compareToKey(a: PathHolder, key: MemberKey): number {
  return comparePaths(a.pathBuffer, a.pathBytes, key.path, key.path.length) || a.headerOffset - key.headerOffset;
}

export function startsWith(path: Uint8Array, prefix: Uint8Array): boolean {
  if (path.length < prefix.length) return false;
  return prefix.every((byte, i) => path[i] === byte);
}

/** How many bytes two paths have in common from their start. */
export function sharedBytes(a: Uint8Array, aBytes: number, b: Uint8Array, bBytes: number): number {
  const shorter = Math.min(aBytes, bBytes);
  let shared = 0;
  while (shared < shorter && a[shared] === b[shared]) shared++;
  return shared;
}
