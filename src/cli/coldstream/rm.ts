import { findBackup } from './backup-name.ts';
import { eachBackup } from './each-backup.ts';
import { print, printJson } from './output.ts';
import type { Session } from './session.ts';
import { nameOf } from './vault-client.ts';

/** Deletes backups; of a name the version that it means, and no other. */
export async function rm(session: Session, wanted: readonly string[]): Promise<void> {
  await eachBackup(session, wanted, async (one) => {
    const receipt = await findBackup(session.client, one);
    await session.client.request(`/backup/${receipt.backup_id}`, { method: 'DELETE' });
    if (session.json) await printJson({ deleted: receipt.backup_id, name: nameOf(receipt) });
    else if (!session.quiet) await print(`${receipt.backup_id}  deleted  ${nameOf(receipt)}\n`);
  });
}
