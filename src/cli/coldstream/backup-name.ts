import { printable } from './amounts.ts';
import { CommandFailed, StoredDataDamaged } from './failures.ts';
import { NotAVault, nameOf, type Receipt, type VaultClient } from './vault-client.ts';

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const VERSION = /^(?<name>.+)@(?<number>[1-9]\d{0,5})$/s;
const DAY = /^(?<name>.+)@(?<day>\d{4}-\d{2}-\d{2})$/s;
const DAY_MS = 24 * 3600 * 1000;

/** Which backup an argument means. */
type Wanted =
  | { readonly kind: 'id'; readonly id: string }
  /** `number` counts from 1, the newest, and leaves damaged versions out; `before` is a time in ISO 8601. */
  | { readonly kind: 'version'; readonly name: string; readonly number: number; readonly before: string | null };

/** `ID`, `NAME`, `NAME@2` (the second newest), `NAME@2026-11-24` (the newest of that day or before it, in UTC). */
export function wantedBackup(text: string): Wanted {
  if (ULID.test(text)) return { kind: 'id', id: text };
  const { name = '', number } = VERSION.exec(text)?.groups ?? {};
  if (number !== undefined) return { kind: 'version', name, number: Number(number), before: null };
  const { name: ofDay = '', day } = DAY.exec(text)?.groups ?? {};
  const midnight = Date.parse(`${day}T00:00:00Z`);
  if (day === undefined || Number.isNaN(midnight)) return { kind: 'version', name: text, number: 1, before: null };
  return { kind: 'version', name: ofDay, number: 1, before: new Date(midnight + DAY_MS).toISOString() };
}

/**
 * The receipt of the backup that `text` names. Throws CommandFailed where there is none, StoredDataDamaged where all
 * versions are damaged.
 */
export async function findBackup(client: VaultClient, text: string): Promise<Receipt> {
  const wanted = wantedBackup(text);
  if (wanted.kind === 'id') return asReceipt(client, await client.json(`/backup/${wanted.id}`), wanted.id);
  let seen = 0;
  let damaged: Receipt | null = null;
  for await (const version of versionsOf(client, wanted.name, wanted.before)) {
    if (version.damage !== null) {
      damaged ??= version;
      continue;
    }
    seen += 1;
    if (seen === wanted.number) return version;
  }
  throw notFound(text, wanted.name, seen, damaged);
}

function notFound(text: string, name: string, seen: number, damaged: Receipt | null): CommandFailed {
  if (seen > 0)
    return new CommandFailed(
      `"${printable(name)}" has no version ${printable(text.slice(name.length + 1))}; there are ${seen}.`,
    );
  if (damaged) {
    return new StoredDataDamaged(
      `Every version of "${printable(name)}" is damaged. The newest is ${damaged.backup_id}.`,
    );
  }
  return new CommandFailed(`There is no backup "${printable(text)}". "coldstream ls" lists those there are.`);
}

/** Newest first. */
async function* versionsOf(
  client: VaultClient,
  name: string,
  before: string | null,
): AsyncGenerator<Receipt, void, undefined> {
  let cursor: string | null = null;
  do {
    const query = new URLSearchParams({ name, ...(before !== null && { before }), ...(cursor !== null && { cursor }) });
    const page: { backups?: unknown; cursor?: unknown } = await client.json(`/backup?${query}`);
    if (!Array.isArray(page.backups)) throw new NotAVault(client.origin, 'no list of backups');
    for (const backup of page.backups) {
      const receipt = asReceipt(client, backup);
      if (nameOf(receipt) === name && (before === null || receipt.created_at < before)) yield receipt;
    }
    cursor = typeof page.cursor === 'string' ? page.cursor : null;
  } while (cursor !== null);
}

/** What downloads are compared with, so nothing less than a receipt passes. Throws NotAVault. */
function asReceipt(client: VaultClient, value: unknown, id?: string): Receipt {
  const { backup_id, checksum, file_size } = (value ?? {}) as Partial<Receipt>;
  const isReceipt =
    typeof backup_id === 'string' &&
    (id === undefined || backup_id === id) &&
    /^[0-9a-f]{64}$/.test(checksum ?? '') &&
    Number.isSafeInteger(file_size);
  if (!isReceipt) throw new NotAVault(client.origin, 'something that is no receipt');
  return value as Receipt;
}
