import { printable } from './amounts.ts';
import { findBackup } from './backup-name.ts';
import { eachBackup } from './each-backup.ts';
import { StoredDataDamaged } from './failures.ts';
import { damagePlace } from './info.ts';
import type { JobUpdate } from './job-updates.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';
import { type Damage, nameOf, type Receipt, VaultRefused } from './vault-client.ts';

interface Verification {
  readonly frames_checked: number;
  readonly broken_frames: number;
  readonly damage: Damage | null;
}

const POLL_MS = 1000;

/** Lets the vault read backups back and compare them. Throws StoredDataDamaged with the place of the damage. */
export async function verify(session: Session, wanted: readonly string[]): Promise<void> {
  await eachBackup(session, wanted, async (one) => {
    const receipt = await findBackup(session.client, one);
    const result = await verification(session, receipt);
    if (session.json) return printJson(result);
    if (!session.quiet) await print(`${receipt.backup_id}  whole  ${nameOf(receipt)}\n`);
  });
}

async function verification(session: Session, receipt: Receipt): Promise<Verification> {
  const { backup_id } = receipt;
  const progress = watched(session, receipt);
  try {
    return await session.client.json<Verification>(`/backup/${backup_id}/verify`, { method: 'POST', isLong: true });
  } catch (error) {
    if (!(error instanceof VaultRefused) || error.code !== 'stored-data-corrupt') throw error;
    if (session.json) await printJson(error.facts);
    const { damage, frames_checked, broken_frames } = error.facts as unknown as Partial<Verification>;
    const place = damage ? `${damagePlace(damage)}: ${printable(damage.reason)}` : 'an unknown place';
    const frames = frames_checked ? ` ${broken_frames} of ${frames_checked} frames are broken.` : '';
    throw new StoredDataDamaged(`${backup_id} (${printable(nameOf(receipt))}) is damaged at ${place}.${frames}`);
  } finally {
    progress.end();
  }
}

/** Shows how far the verification is, until `end`. */
function watched({ client, view }: Session, { backup_id, stored_size, ...receipt }: Receipt): { end(): void } {
  const transfer = view.begin(nameOf(receipt), stored_size);
  transfer.phase('verifying', stored_size);
  const timer = setInterval(async () => {
    // The answer of the verification counts; its progress may be unknown.
    const job = await client.json<JobUpdate>(`/jobs/verify-${backup_id}`).catch(() => null);
    if (job?.phase === 'verifying') transfer.at(job.current);
  }, POLL_MS);
  return {
    end: () => {
      clearInterval(timer);
      transfer.end();
    },
  };
}
