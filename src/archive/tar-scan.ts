/**
 * Reads a tar archive from its first byte to its last and tells its members, in constant memory: content is stepped
 * over. What real archives hold decides: several archives in one (`cat`, `tar -A` of old), no end marker, junk after
 * it, lone blocks of zeros, a size where there is no data.
 */
import { ByteReader } from '../shared/byte-reader.ts';
import type { Pieces } from '../shared/streams.ts';
import type { Member, Stopped } from './member.ts';
import type { PaxValues } from './pax-records.ts';
import { type Gap, readTarEntry, type TarEntry } from './tar-entry.ts';
import { BrokenTar } from './tar-errors.ts';
import { BLOCK_BYTES, paddedBytes } from './tar-header.ts';

export type TarEnd =
  | { readonly kind: 'complete' }
  /** It does not begin like a tar archive, or has no bytes. */
  | { readonly kind: 'not-an-archive' }
  | { readonly kind: 'stopped'; readonly stopped: Stopped };

/** Blocks of zeros that end an archive. */
const END_BLOCKS = 2;

/**
 * Tells the members in the order of the archive, each when the archive was seen to hold all of its data. `take` is
 * awaited where it gives a promise. What the source or `take` throws passes through. The source is left when there is
 * nothing more to learn from it: at once where it is no archive, else at its end, or where reading stopped.
 */
export async function scanTar(source: Pieces, take: (member: Member) => void | Promise<void>): Promise<TarEnd> {
  const reader = new ByteReader(source);
  try {
    return await scan(reader, take);
  } finally {
    await reader.close();
  }
}

async function scan(reader: ByteReader, take: (member: Member) => void | Promise<void>): Promise<TarEnd> {
  const globals: PaxValues = new Map();
  let seen = false;
  let zeroBlocks = 0;
  while (true) {
    const offset = reader.position;
    const entry = await readEntry(reader, globals);
    if (entry instanceof BrokenTar) return stopped(offset, entry.reason);
    if (reader.position > offset) {
      seen = true;
      zeroBlocks = 0;
    }
    if (entry.kind === 'zeros') {
      reader.consume(BLOCK_BYTES);
      zeroBlocks += 1;
      // What a global header says is said of its own archive, and the next one may follow.
      if (zeroBlocks === END_BLOCKS) globals.clear();
      continue;
    }
    if (entry.kind !== 'entry') return endAt(entry, { seen, zeroBlocks, offset: reader.position });
    if (!(await skipData(reader, entry))) return stopped(offset, "the archive ends within the member's data");
    const taken = entry.member && take(entry.member);
    if (taken) await taken;
  }
}

async function readEntry(reader: ByteReader, globals: PaxValues): Promise<TarEntry | Gap | BrokenTar> {
  try {
    return await readTarEntry(reader, { globals });
  } catch (error) {
    if (error instanceof BrokenTar) return error;
    throw error;
  }
}

/** False where the data are not all there. Padding may be missing at the end: some programs write none. */
async function skipData(reader: ByteReader, { skipBytes }: TarEntry): Promise<boolean> {
  const padded = paddedBytes(skipBytes);
  if (padded <= reader.held) {
    reader.consume(padded);
    return true;
  }
  const whole = await reader.skip(skipBytes);
  if (whole) await reader.skip(padded - skipBytes);
  return whole;
}

interface Place {
  /** Whether a header came before. */
  readonly seen: boolean;
  /** Blocks of zeros just before. */
  readonly zeroBlocks: number;
  readonly offset: number;
}

/**
 * What it means that no member begins here: the end, if there is nothing more, or something after an end marker,
 * which is not the archive's. An end marker that is cut is one.
 */
function endAt(gap: Gap, { seen, zeroBlocks, offset }: Place): TarEnd {
  const begun = seen || zeroBlocks > 0;
  if (gap.kind === 'nothing') return begun ? { kind: 'complete' } : { kind: 'not-an-archive' };
  if (gap.kind === 'cut' && gap.onlyZeros && begun) return { kind: 'complete' };
  if (!seen) return { kind: 'not-an-archive' };
  if (zeroBlocks >= END_BLOCKS) return { kind: 'complete' };
  return stopped(offset, gap.kind === 'broken' ? "the header's checksum is wrong" : 'the archive ends within a header');
}

function stopped(offset: number, reason: string): TarEnd {
  return { kind: 'stopped', stopped: { offset, reason } };
}
