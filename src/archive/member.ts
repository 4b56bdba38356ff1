/** What a tar archive says of one member. */

export type MemberType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'character'
  | 'block'
  | 'fifo'
  /** A file with holes: the archive holds a map and the bytes between them. */
  | 'sparse';

export interface Member {
  /** Bytes as they stand in the archive, mostly UTF-8; without slashes at the end. */
  readonly path: Uint8Array;
  readonly type: MemberType;
  /** Bytes of the file (of a sparse one: with its holes); 0 for what has no bytes of its own. */
  readonly size: number;
  /** Permission bits, without those of the type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Unix time: whole seconds (negative before 1970), and 0 to 999,999,999 nanoseconds on top of them. */
  readonly mtime: { readonly seconds: number; readonly nanos: number };
  /** Of symbolic and hard links; else null. */
  readonly linkTarget: Uint8Array | null;
  /** Of device nodes; else null. */
  readonly device: { readonly major: number; readonly minor: number } | null;
  /** Where its first header begins (extended headers come before the member's own), in bytes of the archive. */
  readonly headerOffset: number;
  /** Where its data begin. Of a sparse member in PAX format 1.0 they begin with the map. */
  readonly dataOffset: number;
  /** Bytes that the archive holds of it, without the padding. The same as `size`, but for a sparse member. */
  readonly dataBytes: number;
}

/** Where and why reading an archive ended before its end. */
export interface Stopped {
  /** Bytes of the (decoded) archive up to the member that could not be read. */
  readonly offset: number;
  /** A sentence without a full stop: "the header's checksum is wrong". */
  readonly reason: string;
}
