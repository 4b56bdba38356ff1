import { createCipheriv, createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { tarMember } from '../../../bench/support/tars.ts';
import { MIB } from '../clients.ts';
import type { Chance } from './chance.ts';

export type ContentKind = 'text' | 'random' | 'mixed' | 'tar' | 'tar.gz';

export interface Content {
  readonly bytes: Buffer;
  /** Hex. */
  readonly sha256: string;
  /** Of an archive, how many it has; null of anything else. */
  readonly members: number | null;
}

const BLOCK_BYTES = 4096;

/** About `size` bytes (exactly, but for archives), no part of which is like another: a piece that is misplaced shows. */
export function makeContent(kind: ContentKind, size: number, chance: Chance): Content {
  const { bytes, members = null } = make(kind, size, chance);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), members };
}

function make(kind: ContentKind, size: number, chance: Chance): { bytes: Buffer; members?: number } {
  switch (kind) {
    case 'text':
      return { bytes: text(size, chance) };
    case 'random':
      return { bytes: random(size, chance) };
    case 'mixed':
      return { bytes: mixed(size, chance) };
    case 'tar':
      return tar(size, chance);
    case 'tar.gz': {
      const { bytes, members } = tar(size, chance);
      return { bytes: gzipSync(bytes, { level: 1 }), members };
    }
  }
}

/** What zstd makes no smaller. */
function random(size: number, chance: Chance): Buffer {
  const key = Buffer.alloc(16);
  for (let at = 0; at < key.length; at += 2) key.writeUInt16LE(chance.below(65_536), at);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** Lines that repeat, with a number in every block. */
function text(size: number, chance: Chance): Buffer {
  const from = chance.below(1_000_000_000);
  const line = `2026-11-23T07:30:00Z INFO backup ${from}: volume mounted, snapshot taken, nothing to do\n`;
  const bytes = Buffer.alloc(size, line);
  for (let at = 0, block = 0; at < size; at += BLOCK_BYTES, block++) bytes.write(`\n#${from + block} `, at, 'latin1');
  return bytes;
}

function mixed(size: number, chance: Chance): Buffer {
  const spans: Buffer[] = [];
  for (let left = size; left > 0; ) {
    const bytes = Math.min(left, chance.between(1, 3 * MIB));
    spans.push(chance.happens(0.5) ? text(bytes, chance) : random(bytes, chance));
    left -= bytes;
  }
  return Buffer.concat(spans);
}

function tar(size: number, chance: Chance): { bytes: Buffer; members: number } {
  const members: Buffer[] = [];
  for (let bytes = 0; bytes < size || members.length === 0; ) {
    const content = chance.happens(0.5) ? text : random;
    const most = Math.min(MIB, Math.max(1, size - bytes));
    const member = tarMember(`srv/data/file-${members.length}.txt`, content(chance.between(0, most), chance));
    members.push(member);
    bytes += member.length;
  }
  return { bytes: Buffer.concat([...members, Buffer.alloc(1024)]), members: members.length };
}
