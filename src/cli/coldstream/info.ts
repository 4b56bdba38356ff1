import { printable, showBytes } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { print, printJson } from './output.ts';
import { storedAs } from './push.ts';
import type { Session } from './session.ts';
import { nameOf, type Receipt } from './vault-client.ts';

/** Shows the receipt of a backup. */
export async function info(session: Session, wanted: string): Promise<void> {
  const receipt = await findBackup(session.client, wanted);
  if (session.json) return printJson(receipt);
  const lines = factsOf(receipt).map(([name, value]) => `${name.padEnd(10)}${printable(value)}\n`);
  await print(lines.join(''));
}

function factsOf(receipt: Receipt): readonly (readonly [string, string])[] {
  const { backup_id, created_at, file_size, stored_size, checksum, content_type, archive, expires_at } = receipt;
  return [
    ['name', nameOf(receipt)],
    ['id', backup_id],
    ['created', created_at],
    ['size', `${file_size} bytes (${showBytes(file_size)})`],
    ['stored', `${showBytes(stored_size)}, ${storedAs(receipt)}`],
    ['sha256', checksum],
    ['type', content_type],
    ...(archive ? [['archive', archiveText(archive)] as const] : []),
    ...(expires_at ? [['expires', expires_at] as const] : []),
    ['verified', verifiedText(receipt)],
  ];
}

function archiveText({ members, stopped }: NonNullable<Receipt['archive']>): string {
  const count = `${members} ${members === 1 ? 'entry' : 'entries'}`;
  return stopped ? `${count}; it breaks off at byte ${stopped.offset}: ${stopped.reason}` : count;
}

function verifiedText({ damage, verified_at }: Receipt): string {
  if (damage) return `DAMAGED at ${damagePlace(damage)}, found ${damage.found_at}: ${damage.reason}`;
  return verified_at ?? 'never';
}

/** `frame 17, byte 71303168` of the stored bytes, as far as it is known. */
export function damagePlace({ frame, offset }: NonNullable<Receipt['damage']>): string {
  const places = [...(frame === null ? [] : [`frame ${frame}`]), ...(offset === null ? [] : [`byte ${offset}`])];
  return places.join(', ') || 'an unknown place';
}
