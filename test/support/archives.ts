/** Archives made by hand, in our own headers: what a test wants to know of a member it says here. */
import { expect } from 'vitest';
import type { Member } from '../../src/archive/member.ts';
import { TAR_END, tarHeader, tarPadding } from '../../src/archive/tar-write.ts';
import { gzipEncode } from '../../src/codec/gzip.ts';
import { seekableEncode } from '../../src/codec/seekable/seekable-encoder.ts';
import { nativeEngine } from '../../src/codec/zstd/native-engine.ts';
import { concat, utf8 } from '../../src/shared/bytes.ts';
import type { Pieces } from '../../src/shared/streams.ts';
import { ask, put } from './vault.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

/** A member to be written. Text is UTF-8; of content only files have any. */
export interface Entry extends Partial<Pick<Member, 'type' | 'mode' | 'uid' | 'gid' | 'mtime' | 'device'>> {
  readonly path: string | Uint8Array;
  readonly content?: string | Uint8Array;
  readonly linkTarget?: string;
}

/** Before any backup of the tests. */
export const MTIME = { seconds: 1_700_000_000, nanos: 0 };

/** An archive of these members in this order. */
export function tarOf(entries: readonly Entry[], end: Uint8Array = TAR_END): Bytes {
  return owned(concat([...entries.flatMap(entryBytes), end]));
}

function entryBytes({ path, content = '', linkTarget, ...more }: Entry): Uint8Array[] {
  const data = asBytes(content);
  const header = tarHeader({
    type: 'file',
    mode: 0o644,
    uid: 1000,
    gid: 100,
    mtime: MTIME,
    device: null,
    ...more,
    path: asBytes(path),
    size: data.length,
    linkTarget: linkTarget === undefined ? null : utf8(linkTarget),
  });
  return [header, data, tarPadding(data.length)];
}

/** Uploads an archive of these members, as "members.tar", and gives its id. */
export async function backupOf(entries: readonly Entry[]): Promise<string> {
  return (await put('members.tar', tarOf(entries))).backup_id;
}

export function asBytes(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? utf8(text) : text;
}

/** One gzip file. */
export async function gzipped(bytes: Uint8Array): Promise<Bytes> {
  return owned(await whole(gzipEncode()(inOne(bytes))));
}

/** One zstd frame, as `zstd` writes it of a small file. */
export function oneFrame(bytes: Uint8Array): Bytes {
  return owned(nativeEngine.compressFrame(bytes, 3));
}

/** A zstd file of frames of `frameBytes` each, with a seek table. */
export async function manyFrames(bytes: Uint8Array, frameBytes: number): Promise<Bytes> {
  return owned(await whole(seekableEncode({ engine: nativeEngine, level: 3, frameBytes })(inOne(bytes))));
}

async function* inOne(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > 0) yield bytes;
}

/** All of the pieces, copied as each comes. */
export async function whole(pieces: Pieces): Promise<Uint8Array> {
  const held: Uint8Array[] = [];
  for await (const piece of pieces) held.push(piece.slice());
  return concat(held);
}

/** As a request body takes it. */
export function owned(bytes: Uint8Array): Bytes {
  return new Uint8Array(bytes);
}

/** A member as the listing has it. */
export interface ListedFile {
  path: string;
  type: string;
  size: number;
  mode: string;
  uid: number;
  gid: number;
  mtime: string;
  link_target: string | null;
  device?: { major: number; minor: number };
  offset: number;
  url: string;
}

export interface FilePage {
  files: ListedFile[];
  prefixes?: string[];
  cursor: string | null;
  stopped: { offset: number; reason: string } | null;
}

/** A page of a backup's members; `query` with its question mark. */
export async function filesPage(backupId: string, query = ''): Promise<FilePage> {
  const response = await ask(`/backup/${backupId}/files${query}`);
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

/** The address of a member whose path stands in a URL as it is. */
export function fileUrl(backupId: string, path: string): string {
  return `/backup/${backupId}/files/${path}`;
}

export async function bodyOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

export async function textAt(url: string): Promise<string> {
  const response = await ask(url);
  expect(response.status, url).toBe(200);
  return new TextDecoder().decode(await response.arrayBuffer());
}
