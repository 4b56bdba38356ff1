/**
 * What the isolate holds while a GiB of rows goes in, and out, and a GiB is encrypted.
 *
 * V8 lets garbage lie for as long as it is allowed to. At the edge that is what is left of an isolate's 128 MB; here
 * nothing bounds it, and rows of ten kilobytes are a new string at every step. So each flow is measured in an isolate
 * whose heap may have {@link LIMIT_MIB}, which is ended where it cannot do with that, and once more without a bound.
 * Figures are all that the isolate has, at rest and garbage included, and the buffers beside the heap.
 */
import { setTimeout } from 'node:timers/promises';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { type HeapSample, type HeapSampler, heapRow, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import { mib, type Row } from '../support/report.ts';
import { largeRows } from '../support/rows.ts';
import { get, putCopies, putPieces } from '../support/transfer.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, uploadUrl, VAULT } from '../support/vault.ts';

const MIB = 1024 * 1024;
const LIMIT_MIB = 64;
const BOUNDED = `--max-heap-size=${LIMIT_MIB}`;
const GIB_MIB = 1024;
const ROW_BYTES = 10 * 1024;
/** Into what has begun and is not over. */
const COLLECT_AFTER_MS = 2_000;
const COLLECTIONS = 8;
/** A hundred rows of ten kilobytes are more than one statement takes. */
const VARS = { MAX_IMPORT_QUERIES: '1000000' };
const ITEMS = 'database=sample&table=items&format=ndjson';

interface Flow {
  readonly what: string;
  readonly state: string;
  readonly work: (vault: BenchVault) => Promise<void>;
}

export const longFlows: Part = async (bench) => {
  const bytes = (bench.quick ? GIB_MIB / 4 : GIB_MIB) * MIB;
  const rows: Row[] = [];
  for (const v8Flags of [BOUNDED, '']) {
    for (const flow of flows(bench, bytes)) rows.push(await watched(flow, v8Flags));
  }
  return { rows };
};

function flows(bench: Bench, bytes: number): Flow[] {
  // The table that the import fills is exported.
  const state = bench.fresh('long-flows-vault');
  return [
    { what: `import of ${mib(bytes)} of rows of 10 KiB, most of each a BLOB`, state, work: importing(bytes) },
    { what: `export of these rows`, state, work: exporting },
    {
      what: `encrypted upload of ${mib(bytes)} of tar, zstd 3, length unknown`,
      state: bench.fresh('long-flows-vault'),
      work: encrypting(bench, bytes),
    },
  ];
}

function importing(bytes: number): Flow['work'] {
  return async (vault) => {
    const count = Math.ceil(bytes / ROW_BYTES);
    const url = `${vault.url}/import/stream?${ITEMS}`;
    const { body } = await putPieces(url, largeRows(count, ROW_BYTES), vault.token, 'POST');
    const { written } = JSON.parse(body) as { written: number };
    if (written !== count) throw new Error(`${written} of ${count} rows were written`);
  };
}

async function exporting(vault: BenchVault): Promise<void> {
  await get(`${vault.url}/export/stream?${ITEMS}`, vault.token);
}

function encrypting({ file, fileBytes }: Bench, bytes: number): Flow['work'] {
  return async (vault) => {
    const recipient = await identityToRecipient(await generateIdentity());
    const url = uploadUrl(vault, { compression: 'zstd', level: '3', recipient });
    const { body } = await putCopies(url, file, Math.ceil(bytes / fileBytes), vault.token);
    await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
  };
}

/** In a vault of its own, so that none inherits another's garbage. */
async function watched({ what, state, work }: Flow, v8Flags: string): Promise<Row> {
  const vault = await startVault(VAULT, state, VARS, v8Flags);
  try {
    const sampler = await sampleHeap(vault);
    const rest = bytesOf(await sampler.collect());
    const [, held] = await Promise.all([work(vault), inMidst(sampler)]);
    const row = heapRow(`isolate during an ${what}`, LIMIT_MIB, await sampler.stop());
    const measured = `${row.measured}; after collections ${mib(held)} in its midst, ${mib(rest)} at rest`;
    if (v8Flags !== '') return { ...row, what: `${row.what}, in a heap of ${LIMIT_MIB} MiB`, measured };
    return { what: `${row.what}, in a heap without a bound`, bar: '', measured, facts: row.facts };
  } finally {
    await vault.stop();
  }
}

/** An isolate that is at work makes garbage between a collection and its count: the least of some is what is held. */
async function inMidst(sampler: HeapSampler): Promise<number> {
  let held = Number.POSITIVE_INFINITY;
  await setTimeout(COLLECT_AFTER_MS);
  for (let look = 0; look < COLLECTIONS; look++) held = Math.min(held, bytesOf(await sampler.collect()));
  return held;
}

function bytesOf({ heap, buffers }: HeapSample): number {
  return heap + buffers;
}
