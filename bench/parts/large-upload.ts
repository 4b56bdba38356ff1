/**
 * Ten GiB in pieces, made while they go out, and what the isolate holds on the way: for each GiB that was sent, and for
 * each tenth of the time in which it is read back; garbage included, and without. Run only where it is asked for by name: it takes minutes.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type HeapSample, heapRow, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { mib, type Row, speed } from '../support/report.ts';
import { MixedArchive, randomNumbers } from '../support/tars.ts';
import { UploadClient } from '../support/tus.ts';
import { type BenchVault, type Receipt, startVault, VAULT } from '../support/vault.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const PIECE_BYTES = 64 * MIB;
const PERIODS = 10;
/** The end of the archive lies behind the tenth GiB, which is the most by default. */
const VARS = { MAX_FILE_SIZE: '11GiB' };
const ISOLATE_MIB = 100;
const STATUS_EVERY_MS = 250;
const TENTHS = 10;

export const largeUpload: Part = async (bench) => {
  const archive = new MixedArchive(material(bench), bench.quick ? GIB / 16 : GIB);
  const vault = await startVault(VAULT, bench.fresh('large-vault'), VARS);
  const client = new UploadClient(vault);
  try {
    return { rows: rowsOf(await upload(vault, client, archive)) };
  } finally {
    client.close();
    await vault.stop();
  }
};

/** Of so little that it comes again within a frame, text mostly, with a stretch that nothing compresses: the disk is small. */
function material({ file, directory }: Bench): string {
  const text = Buffer.alloc(2 * MIB);
  const from = openSync(file, 'r');
  readSync(from, text, 0, text.length, 8 * MIB);
  closeSync(from);
  const random = randomNumbers();
  const noise = Buffer.from(Array.from({ length: MIB / 4 }, () => Math.floor(random() * 256)));
  const made = join(directory, 'large-material');
  writeFileSync(made, Buffer.concat([text, noise]));
  return made;
}

/** How far the upload had come between two pieces, and what was left there of the isolate after a collection. */
interface Mark {
  readonly ms: number;
  readonly sent: number;
  readonly collected: HeapSample | null;
}

interface LargeUpload {
  readonly samples: readonly HeapSample[];
  readonly marks: readonly Mark[];
  readonly durableMs: number;
  readonly doneMs: number;
  readonly receipt: Receipt;
  readonly sha256: string;
}

async function upload(vault: BenchVault, client: UploadClient, archive: MixedArchive): Promise<LargeUpload> {
  const bytes = PERIODS * archive.periodBytes + MixedArchive.END_BYTES;
  const hash = createHash('sha256');
  const content = new Chopped(archive.pieces(PERIODS), (piece) => hash.update(piece));
  const marks: Mark[] = [];
  const address = await client.create(bytes, { filename: 'large.tar' });
  const sampler = await sampleHeap(vault);
  const began = Date.now();
  const ms = () => Date.now() - began;
  let stopped = false;
  const stop = () => {
    stopped = true;
    return sampler.stop();
  };
  try {
    for (let sent = 0; sent < bytes; ) {
      const size = Math.min(PIECE_BYTES, bytes - sent);
      sent = await client.patch(address, sent, content.take(size), size);
      const tenth = Math.floor((sent * TENTHS) / bytes) > Math.floor(((sent - size) * TENTHS) / bytes);
      marks.push({ ms: ms(), sent, collected: tenth ? await sampler.collect() : null });
    }
    const durableMs = ms();
    const receipt = await client.untilDone(address, STATUS_EVERY_MS);
    const doneMs = ms();
    return { samples: await stop(), marks, durableMs, doneMs, receipt, sha256: hash.digest('hex') };
  } finally {
    if (!stopped) await sampler.stop();
  }
}

/** A sequence of bytes, taken in spans of any size. */
class Chopped {
  readonly #pieces: Iterator<Uint8Array>;
  readonly #onPiece: (piece: Uint8Array) => void;
  #rest: Uint8Array = new Uint8Array();

  /** @param onPiece told of every piece once, in their order */
  constructor(pieces: Iterable<Uint8Array>, onPiece: (piece: Uint8Array) => void) {
    this.#pieces = pieces[Symbol.iterator]();
    this.#onPiece = onPiece;
  }

  /** The next `bytes`; to be taken to their end before others are. */
  async *take(bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let left = bytes; left > 0; ) {
      if (this.#rest.length === 0) this.#rest = this.#next();
      const taken = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(taken.length);
      left -= taken.length;
      yield taken;
    }
  }

  #next(): Uint8Array {
    const { done, value } = this.#pieces.next();
    if (done) throw new Error('the content is shorter than it was said to be');
    this.#onPiece(value);
    return value;
  }
}

function rowsOf({ samples, marks, durableMs, doneMs, receipt, sha256 }: LargeUpload): Row[] {
  const { file_size, stored_size, checksum, archive } = receipt;
  const what = `tus upload of ${mib(file_size)}, made while it goes out, in pieces of ${mib(PIECE_BYTES)}`;
  const seconds = durableMs / 1000;
  const checked = (doneMs - durableMs) / 1000;
  const whole = archive !== null && archive.stopped === null;
  const receiving = samples.filter((sample) => sample.ms <= durableMs);
  const curve = {
    sent: curveOf(
      receiving,
      Array.from({ length: TENTHS }, (_, i) => timeOf(marks, ((i + 1) / TENTHS) * file_size)),
    ),
    read: curveOf(
      samples,
      Array.from({ length: TENTHS }, (_, i) => durableMs + ((i + 1) / TENTHS) * (doneMs - durableMs)),
      durableMs,
    ),
    collected: marks.flatMap(({ collected }) => (collected ? [bytesOf(collected)] : [])),
  };
  return [
    {
      what: `${what}: its SHA-256`,
      bar: "the sender's",
      measured:
        `${checksum === sha256 ? 'the same' : 'ANOTHER'}; ${mib(stored_size)} stored, ${archive?.members ?? 0} members; ` +
        `durable at ${speed(file_size, seconds)}, read back at ${speed(file_size, checked)}`,
      passes: checksum === sha256 && whole,
      facts: { receipt, sha256, durableMs, doneMs, marks },
    },
    heapRow('isolate meanwhile', ISOLATE_MIB, samples),
    {
      what: 'the same as a curve, MiB at most: each tenth that was sent; each tenth of the time that reading back took; after a collection at each tenth that was sent',
      bar: '',
      measured: `${listed(curve.sent)}; ${listed(curve.read)}; ${listed(curve.collected)}`,
      facts: curve,
    },
  ];
}

/** When so much had been sent. */
function timeOf(marks: readonly Mark[], sent: number): number {
  return marks.find((mark) => mark.sent >= sent)?.ms ?? Number.POSITIVE_INFINITY;
}

/** The most that was held up to each of `ends`, since the one before; null where the isolate did not answer in that time. */
function curveOf(samples: readonly HeapSample[], ends: readonly number[], from = 0): (number | null)[] {
  return ends.map((end, i) => {
    const start = ends[i - 1] ?? from;
    const within = samples.filter(({ ms }) => ms > start && ms <= end);
    return within.length === 0 ? null : Math.max(...within.map(bytesOf));
  });
}

function listed(curve: readonly (number | null)[]): string {
  return curve.map((bytes) => (bytes === null ? '–' : (bytes / MIB).toFixed(0))).join(' ');
}

function bytesOf({ heap, buffers }: HeapSample): number {
  return heap + buffers;
}
