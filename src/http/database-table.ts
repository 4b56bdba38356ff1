import { openTable, type Table } from '../databases/table.ts';
import { VaultError } from '../shared/errors.ts';

/** The table that a request names, in one of the databases that this vault may reach. */
export async function databaseTable(
  databases: ReadonlyMap<string, D1Database>,
  database: string,
  table: string | undefined,
): Promise<Table> {
  const db = databases.get(database);
  if (!db) throw new VaultError('invalid-option', `database: ${there(databases)}.`);
  if (table === undefined || table === '') throw new VaultError('invalid-option', 'table: name the table.');
  const found = await openTable(db, table);
  if (!found) throw new VaultError('not-found', `The database ${database} has no table of this name.`);
  return found;
}

function there(databases: ReadonlyMap<string, D1Database>): string {
  const names = [...databases.keys()].sort();
  return names.length > 0 ? `one of ${names.join(', ')}` : 'this vault has none';
}
