import { globSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** What lies on the disk of a vault that was stopped, below the interfaces of its storage. */
export interface Leftovers {
  /** What belongs to no backup. */
  readonly orphans: readonly string[];
  /** What the local simulator of R2 itself lost when it was killed: files that no object and no part names. */
  readonly lostFiles: number;
  readonly lostBytes: number;
  /** Multipart uploads without a part, whose creation was killed before anybody knew of it. R2 aborts them itself. */
  readonly emptyUploads: number;
}

/** @param backups those that there should be, with their stored sizes */
export function findLeftovers(stateDir: string, backups: ReadonlyMap<string, number>): Leftovers {
  const orphans: string[] = [];
  const bucket = lookIntoBucket(stateDir, backups, orphans);
  lookIntoCatalogue(stateDir, backups, orphans);
  lookIntoSessions(stateDir, orphans);
  return { orphans, ...bucket };
}

const KINDS = ['data', 'receipt', 'index'];

function lookIntoBucket(stateDir: string, backups: ReadonlyMap<string, number>, orphans: string[]) {
  const named = new Map<string, number>();
  let emptyUploads = 0;
  for (const db of databases(stateDir, 'r2')) {
    const data = new Set<string>();
    for (const { key, size, blob_id } of rows(db, 'SELECT key, size, blob_id FROM _mf_objects')) {
      const [kind = '', id = ''] = String(key).split('/');
      const isMarker = kind === 'deleted' && !backups.has(id);
      if (!isMarker && !(backups.has(id) && KINDS.includes(kind))) orphans.push(`object ${key} of ${size} bytes`);
      if (kind === 'data') data.add(id);
      if (kind === 'data' && backups.has(id) && backups.get(id) !== size)
        orphans.push(`object ${key} has ${size} bytes`);
      if (blob_id !== null) named.set(String(blob_id), Number(size));
    }
    for (const id of backups.keys()) if (!data.has(id)) orphans.push(`backup ${id} without its data`);
    const parts = rows(db, 'SELECT upload_id, part_number, blob_id, size, object_key FROM _mf_multipart_parts');
    for (const { upload_id, part_number, blob_id, size, object_key } of parts) {
      if (object_key === null) orphans.push(`part ${part_number} of ${size} bytes of the open upload ${upload_id}`);
      named.set(String(blob_id), Number(size));
    }
    for (const { key, upload_id } of rows(db, 'SELECT key, upload_id FROM _mf_multipart_uploads WHERE state = 0')) {
      if (parts.some((part) => part.upload_id === upload_id)) orphans.push(`open multipart upload of ${key}`);
      else emptyUploads += 1;
    }
    db.close();
  }
  return { emptyUploads, ...lookAtFiles(stateDir, named, orphans) };
}

/** The files behind objects and parts: each there, of its size, and no others. */
function lookAtFiles(stateDir: string, named: ReadonlyMap<string, number>, orphans: string[]) {
  const files = new Map(
    globSync(join(stateDir, '**/r2/**/blobs/*')).map((file) => [basename(file), statSync(file).size]),
  );
  for (const [blob, size] of named) {
    if (files.get(blob) !== size) orphans.push(`file ${blob} has ${files.get(blob)} bytes, not ${size}`);
  }
  const lost = [...files].filter(([blob]) => !named.has(blob));
  return { lostFiles: lost.length, lostBytes: lost.reduce((sum, [, size]) => sum + size, 0) };
}

function lookIntoCatalogue(stateDir: string, backups: ReadonlyMap<string, number>, orphans: string[]): void {
  for (const db of databases(stateDir, 'd1')) {
    if (has(db, 'backups')) {
      const ids = new Set(rows(db, 'SELECT backup_id FROM backups').map(({ backup_id }) => String(backup_id)));
      for (const id of ids) if (!backups.has(id)) orphans.push(`row of ${id}`);
      for (const id of backups.keys()) if (!ids.has(id)) orphans.push(`backup ${id} without its row`);
      for (const { job_id, phase } of rows(db, 'SELECT job_id, phase FROM jobs WHERE ended_at IS NULL')) {
        orphans.push(`row of the job ${job_id}, ${phase}`);
      }
      for (const { link_id, backup_id } of rows(db, 'SELECT link_id, backup_id FROM upload_links')) {
        if (!backups.has(String(backup_id))) orphans.push(`link ${link_id} of ${backup_id}`);
      }
    }
    db.close();
  }
}

/** Sessions of ended uploads have nothing but their record. */
function lookIntoSessions(stateDir: string, orphans: string[]): void {
  for (const db of databases(stateDir, 'do', '*UploadSession')) {
    for (const table of ['kept', 'parts', 'frames']) {
      if (!has(db, table)) continue;
      const [count] = rows(db, `SELECT count(*) AS rows FROM ${table}`);
      if (count?.rows !== 0) orphans.push(`${count?.rows} rows of ${table} in the session ${db.location()}`);
    }
    db.close();
  }
}

function* databases(stateDir: string, kind: string, folder = '*'): Generator<DatabaseSync> {
  for (const file of globSync(join(stateDir, 'v3', kind, folder, '*.sqlite'))) {
    if (basename(file) !== 'metadata.sqlite') yield new DatabaseSync(file);
  }
}

function rows(db: DatabaseSync, sql: string): Record<string, unknown>[] {
  return db.prepare(sql).all();
}

function has(db: DatabaseSync, table: string): boolean {
  return db.prepare(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?`).get(table) !== undefined;
}
