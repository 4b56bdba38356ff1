/** What the isolate holds while much goes in and out. */
import { heapRow, sampleHeap } from '../support/heap-sampler.ts';
import { pack } from '../support/material.ts';
import type { Bench, Part } from '../support/part.ts';
import { mib, type Row } from '../support/report.ts';
import { get, putCopies } from '../support/transfer.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, uploadUrl, VAULT } from '../support/vault.ts';

const LIMIT_MIB = 100;
const LONG_COPIES = 8;
const AT_ONCE = 8;

export const memory: Part = async (bench) => {
  const rows: Row[] = [];
  for (const compression of ['zstd', 'none']) rows.push(await longUpload(bench, compression));
  for (const suffix of ['gz', 'zst'] as const) rows.push(await packedUploads(bench, suffix));
  rows.push(...(await manyAtOnce(bench)));
  return { rows };
};

function longUpload(bench: Bench, compression: string): Promise<Row> {
  const copies = bench.quick ? 2 : LONG_COPIES;
  const what = `isolate during an upload of ${mib(copies * bench.fileBytes)}, ${compression}, length unknown`;
  return watched(bench, what, async (vault) => {
    const { body } = await putCopies(uploadUrl(vault, { compression }), bench.file, copies, vault.token);
    const { backup_id, file_size } = JSON.parse(body) as Receipt;
    if (file_size !== copies * bench.fileBytes) throw new Error(`${file_size} bytes arrived`);
    await removeBackup(vault, backup_id);
  });
}

/** Archives that came compressed: they are decoded along for their index. */
function packedUploads(bench: Bench, suffix: 'gz' | 'zst'): Promise<Row> {
  const what = `isolate during uploads of a tar.${suffix}, ${AT_ONCE} × ${mib(bench.fileBytes)} of content at once`;
  const file = pack(bench.file, suffix);
  return watched(bench, what, async (vault) => {
    // Twice: one round is over before there is a curve.
    for (let round = 0; round < 2; round++) {
      const each = Array.from({ length: AT_ONCE }, () => putCopies(uploadUrl(vault), file, 1, vault.token));
      for (const { body } of await Promise.all(each)) {
        const { backup_id, archive } = JSON.parse(body) as Receipt;
        if (!archive?.members) throw new Error(`no index of a tar.${suffix}`);
        await removeBackup(vault, backup_id);
      }
    }
  });
}

/** Uploads, then downloads of them, each kind all at once. */
async function manyAtOnce(bench: Bench): Promise<Row[]> {
  const vault = await startVault(VAULT, bench.fresh('memory-vault'));
  const each = Array.from({ length: AT_ONCE }, (_, i) => i);
  const size = `${AT_ONCE} × ${mib(bench.fileBytes)} at once`;
  try {
    const ids: string[] = [];
    const up = await sampled(vault, `isolate during uploads, zstd, ${size}`, async () => {
      const sent = await Promise.all(
        each.map(() => putCopies(uploadUrl(vault, { compression: 'zstd' }), bench.file, 1, vault.token)),
      );
      const receipts = sent.map(({ body }) => JSON.parse(body) as Receipt);
      if (new Set(receipts.map(({ checksum }) => checksum)).size !== 1) throw new Error('copies of one file differ');
      ids.push(...receipts.map(({ backup_id }) => backup_id));
    });
    const down = await sampled(vault, `isolate during decoded downloads, ${size}`, async () => {
      // Twice: one round is over before there is a curve.
      for (let round = 0; round < 2; round++) {
        await Promise.all(ids.map((id) => get(`${vault.url}/backup/${id}/download`, vault.token)));
      }
    });
    return [up, down];
  } finally {
    await vault.stop();
  }
}

/** In a vault of its own, so that none inherits another's garbage. */
async function watched(bench: Bench, what: string, work: (vault: BenchVault) => Promise<void>): Promise<Row> {
  const vault = await startVault(VAULT, bench.fresh('memory-vault'));
  try {
    return await sampled(vault, what, () => work(vault));
  } finally {
    await vault.stop();
  }
}

async function sampled(vault: BenchVault, what: string, work: () => Promise<void>): Promise<Row> {
  const sampler = await sampleHeap(vault);
  try {
    await work();
  } catch (error) {
    await sampler.stop();
    throw error;
  }
  return heapRow(what, LIMIT_MIB, await sampler.stop());
}
