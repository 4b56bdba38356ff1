/** Archives for the tests: those of other programs, and ones made by hand. */
import type { Member } from '../../../src/archive/member.ts';
import { scanTar, type TarEnd } from '../../../src/archive/tar-scan.ts';
import { concat, utf8 } from '../../../src/shared/bytes.ts';
import type { ListedMember, TarVector } from '../../vectors/tar.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

async function gunzip(base64: string): Promise<Bytes> {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Response(packed).body?.pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function unpack(vector: TarVector): Promise<{ archive: Bytes; listing: ListedMember[] }> {
  const [archive, json] = await Promise.all([gunzip(vector.archive), gunzip(vector.listing)]);
  return { archive, listing: JSON.parse(new TextDecoder().decode(json)) };
}

/** Pieces of `bytes`, each gone (overwritten) at the next pull, as the contract of Pieces allows. */
export async function* inPieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = new Uint8Array(Math.min(pieceBytes, bytes.length));
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
    buffer.fill(0xee);
  }
}

export async function scanned(bytes: Uint8Array, pieceBytes = 64 * 1024): Promise<{ members: Member[]; end: TarEnd }> {
  const members: Member[] = [];
  const end = await scanTar(inPieces(bytes, pieceBytes), (member) => {
    members.push(member);
  });
  return { members, end };
}

export const text = (bytes: Uint8Array | null | undefined): string => new TextDecoder().decode(bytes ?? undefined);

/** Fields of a header as they stand in it, by their offsets. */
export interface RawHeader {
  readonly name?: string;
  readonly typeflag?: string;
  /** Text of the field. */
  readonly size?: string;
  readonly link?: string;
  readonly magic?: string;
  readonly fields?: Readonly<Record<number, string | Uint8Array>>;
  readonly signed?: boolean;
}

export const USTAR = 'ustar\x0000';
export const GNU = 'ustar  \0';

const OFFSETS = { name: 0, size: 124, typeflag: 156, link: 157, magic: 257 } as const;

/** One block, with a good checksum. */
export function rawHeader({ fields = {}, signed = false, ...named }: RawHeader): Bytes {
  const block = new Uint8Array(512);
  const values = { typeflag: '0', magic: USTAR, ...named };
  for (const key of ['name', 'size', 'typeflag', 'link', 'magic'] as const)
    block.set(utf8(values[key] ?? ''), OFFSETS[key]);
  for (const [offset, value] of Object.entries(fields)) {
    block.set(typeof value === 'string' ? utf8(value) : value, Number(offset));
  }
  return withChecksum(block, signed);
}

export function withChecksum(block: Bytes, signed = false): Bytes {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((all, byte) => all + (signed && byte > 127 ? byte - 256 : byte), 0);
  block.set(utf8(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return block;
}

export function padded(content: Uint8Array): Uint8Array {
  return concat([content, new Uint8Array((512 - (content.length % 512)) % 512)]);
}

export const octal = (value: number): string => value.toString(8).padStart(11, '0');

/** A header and its content. */
export function rawMember(header: RawHeader, content: string | Uint8Array = ''): Uint8Array {
  const bytes = typeof content === 'string' ? utf8(content) : content;
  return concat([rawHeader({ size: octal(bytes.length), ...header }), padded(bytes)]);
}

export function paxRecord(key: string, value: string | Uint8Array): Uint8Array {
  const rest = concat([utf8(` ${key}=`), typeof value === 'string' ? utf8(value) : value, utf8('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length > length) length += 1;
  return concat([utf8(String(length)), rest]);
}

export function paxMember(records: readonly (readonly [string, string | Uint8Array])[], typeflag = 'x'): Uint8Array {
  return rawMember({ name: 'pax', typeflag }, concat(records.map(([key, value]) => paxRecord(key, value))));
}

export const END = new Uint8Array(1024);
