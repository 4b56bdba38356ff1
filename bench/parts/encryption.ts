/** What age costs on the way in and on the way out. */
import { generateIdentity, identityToRecipient } from 'age-encryption';
import type { Bench, Part } from '../support/part.ts';
import { type Row, speed } from '../support/report.ts';
import { alternate } from '../support/rounds.ts';
import { get, getDecrypted, putFile } from '../support/transfer.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, uploadUrl, VAULT } from '../support/vault.ts';
import { ratioRow } from './transfers.ts';

const BAR = 0.5;
const ZSTD_3 = { compression: 'zstd', level: '3' };

export const encryption: Part = async (bench) => {
  const identity = await generateIdentity();
  const encrypted = { ...ZSTD_3, recipient: await identityToRecipient(identity) };
  const vault = await startVault(VAULT, bench.fresh('encryption-vault'));
  try {
    return { rows: [await wayIn(bench, vault, encrypted), await wayOut(bench, vault, encrypted, identity)] };
  } finally {
    await vault.stop();
  }
};

async function wayIn(bench: Bench, vault: BenchVault, encrypted: Readonly<Record<string, string>>): Promise<Row> {
  const { file, fileBytes, rounds } = bench;
  const upload = async (options: Readonly<Record<string, string>>) => {
    const { seconds, body } = await putFile(uploadUrl(vault, options), file, vault.token);
    await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
    return seconds;
  };
  const ratio = await alternate(
    rounds,
    () => upload(encrypted),
    () => upload(ZSTD_3),
  );
  return ratioRow('encrypted upload, zstd 3 / the same unencrypted', BAR, fileBytes, ratio);
}

async function wayOut(
  bench: Bench,
  vault: BenchVault,
  encrypted: Readonly<Record<string, string>>,
  identity: string,
): Promise<Row> {
  const { file, fileBytes, rounds } = bench;
  const stored = async (options: Readonly<Record<string, string>>) => {
    const { body } = await putFile(uploadUrl(vault, options), file, vault.token);
    return `${vault.url}/backup/${(JSON.parse(body) as Receipt).backup_id}/download`;
  };
  const [sealed, plain] = [await stored(encrypted), await stored(ZSTD_3)];
  const ratio = await alternate(
    rounds,
    async () => (await getDecrypted(sealed, vault.token, identity)).seconds,
    async () => (await get(plain, vault.token)).seconds,
  );
  return {
    what: 'download decrypted and decoded / decoded, of the same content unencrypted',
    bar: '',
    measured: `${ratio.ratio.toFixed(2)} (${speed(fileBytes, ratio.seconds)})`,
    facts: ratio,
  };
}
