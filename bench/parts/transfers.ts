/** Uploads and downloads over HTTP, against a bare Worker. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalWorker, startWorker } from '../support/local-worker.ts';
import type { Bench, Part } from '../support/part.ts';
import { type Row, speed } from '../support/report.ts';
import { alternate, type Ratio } from '../support/rounds.ts';
import { get, putFile } from '../support/transfer.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, uploadUrl, VAULT } from '../support/vault.ts';

interface Sides {
  readonly vault: BenchVault;
  readonly control: LocalWorker;
}

export const uploads: Part = (bench) =>
  withBoth(bench, 'uploads', async (sides) => ({
    rows: [
      await uploadRow(bench, sides, 'upload, `compression=none` / bare put', 0.9, { compression: 'none' }),
      await uploadRow(bench, sides, 'upload, zstd 3 / bare put', 1.3, { compression: 'zstd', level: '3' }),
    ],
  }));

export const downloads: Part = (bench) =>
  withBoth(bench, 'downloads', async (sides) => ({ rows: await downloadRows(bench, sides) }));

async function withBoth<T>(bench: Bench, name: string, measure: (sides: Sides) => Promise<T>): Promise<T> {
  const control = await startWorker('bench/workers/control.wrangler.toml', bench.fresh(`${name}-control`));
  try {
    const vault = await startVault(VAULT, bench.fresh(`${name}-vault`));
    try {
      return await measure({ vault, control });
    } finally {
      await vault.stop();
    }
  } finally {
    await control.stop();
  }
}

async function uploadRow(
  { file, fileBytes, rounds }: Bench,
  { vault, control }: Sides,
  what: string,
  bar: number,
  options: Record<string, string>,
): Promise<Row> {
  const ours = async () => {
    const { seconds, body } = await putFile(uploadUrl(vault, options), file, vault.token);
    await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
    return seconds;
  };
  const bare = async () => {
    const { seconds } = await putFile(`${control.url}/put`, file);
    await fetch(`${control.url}/put`, { method: 'DELETE' });
    return seconds;
  };
  return ratioRow(what, bar, fileBytes, await alternate(rounds, ours, bare));
}

async function downloadRows(bench: Bench, { vault, control }: Sides): Promise<Row[]> {
  const { file, fileBytes, rounds } = bench;
  const sent = await putFile(uploadUrl(vault, { compression: 'zstd' }), file, vault.token);
  const { backup_id, stored_size } = JSON.parse(sent.body) as Receipt;
  const address = `${vault.url}/backup/${backup_id}/download`;
  const storedFile = join(bench.directory, 'mixed.tar.zst');
  await get(`${address}?format=zst`, vault.token, storedFile);
  if (statSync(storedFile).size !== stored_size) throw new Error('the stored file came short');
  await putFile(`${control.url}/stored?parts`, storedFile);
  await putFile(`${control.url}/content?parts`, file);

  const stored = async () => (await get(`${address}?format=zst`, vault.token)).seconds;
  const decoded = async () => (await get(address, vault.token)).seconds;
  const bareStored = async () => (await get(`${control.url}/stored`)).seconds;
  const bareContent = async () => (await get(`${control.url}/content`)).seconds;
  return [
    ratioRow('download of the stored file / bare get', 0.97, stored_size, await alternate(rounds, stored, bareStored)),
    ratioRow(
      'download decoded / bare get of the same content',
      0.95,
      fileBytes,
      await alternate(rounds, decoded, bareContent),
    ),
    ratioRow(
      'download decoded / bare get of an object as large as what is stored (in time)',
      0.75,
      fileBytes,
      await alternate(rounds, decoded, bareStored),
    ),
  ];
}

/** `bytes`: what one run of ours moves, as its client counts. */
export function ratioRow(what: string, bar: number, bytes: number, ratio: Ratio): Row {
  return {
    what,
    bar: String(bar),
    measured: `${ratio.ratio.toFixed(2)} (${speed(bytes, ratio.seconds)})`,
    passes: ratio.ratio >= bar,
    facts: ratio,
  };
}
