/** One upload and one download alone, against another checkout of this project: `--before DIRECTORY`. */
import type { Bench, Part } from '../support/part.ts';
import { alternate } from '../support/rounds.ts';
import { get, putFile } from '../support/transfer.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, uploadUrl, VAULT } from '../support/vault.ts';
import { ratioRow } from './transfers.ts';

const BAR = 0.97;

export const beforeAndAfter: Part = async (bench) => {
  if (bench.before === null) throw new Error('name the other checkout: --before DIRECTORY');
  const before = await startVault(VAULT, bench.fresh('before-vault'), {}, '', bench.before);
  try {
    const after = await startVault(VAULT, bench.fresh('after-vault'));
    try {
      return { rows: await rowsOf(bench, before, after) };
    } finally {
      await after.stop();
    }
  } finally {
    await before.stop();
  }
};

async function rowsOf({ file, fileBytes, rounds }: Bench, before: BenchVault, after: BenchVault) {
  const upload = (vault: BenchVault, compression: string) => async () => {
    const { seconds, body } = await putFile(uploadUrl(vault, { compression }), file, vault.token);
    await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
    return seconds;
  };
  const download = async (vault: BenchVault, query: string) => {
    const { body } = await putFile(uploadUrl(vault, { compression: 'zstd' }), file, vault.token);
    const url = `${vault.url}/backup/${(JSON.parse(body) as Receipt).backup_id}/download${query}`;
    return async () => (await get(url, vault.token)).seconds;
  };
  const rows = [];
  for (const compression of ['zstd', 'none']) {
    const ratio = await alternate(rounds, upload(after, compression), upload(before, compression));
    rows.push(ratioRow(`upload, ${compression}: before / after`, BAR, fileBytes, ratio));
  }
  for (const [name, query] of [
    ['decoded', ''],
    ['stored', '?format=zst'],
  ] as const) {
    const ratio = await alternate(rounds, await download(after, query), await download(before, query));
    rows.push(ratioRow(`download, ${name}: before / after`, BAR, fileBytes, ratio));
  }
  return rows;
}
