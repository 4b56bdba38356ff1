import type { z } from '@hono/zod-openapi';
import type { Backup } from '../catalogue/backups.ts';
import {
  DECODE_BYTES,
  EXPORT_PAGES,
  MEMORY,
  type OperationMemory,
  READER_CHUNK_BYTES,
  READER_KEPT_BYTES,
  TURNS_PER_ISOLATE,
} from '../shared/limits.ts';
import type { BackupSchema, CapabilitiesSchema, OperationMemorySchema } from './schemas.ts';

/** A backup as clients see it. */
export function backupView(backup: Backup): z.infer<typeof BackupSchema> {
  const { stored_checksum: _, ...view } = backup;
  return { ...view, download_url: `/backup/${backup.backup_id}/download` };
}

/** The memory configuration as clients see it. */
export function memoryView(): z.infer<typeof CapabilitiesSchema>['memory'] {
  const { isolateBytes, operations } = MEMORY;
  return {
    isolate_transfer_bytes: isolateBytes,
    upload_bytes: operations.upload.budgetBytes,
    decode_bytes: DECODE_BYTES,
    decoding_at_once: TURNS_PER_ISOLATE,
    slow_reader_bytes: READER_KEPT_BYTES + READER_CHUNK_BYTES,
    stopped_reader_bytes: READER_CHUNK_BYTES,
    export_pages_at_once: EXPORT_PAGES,
    operations: Object.fromEntries(
      Object.entries(operations).map(([name, operation]) => [name, operationView(operation)]),
    ),
  };
}

function operationView(operation: OperationMemory): z.infer<typeof OperationMemorySchema> {
  const { budgetBytes, chunkBytes, batch, level, parallelTasks } = operation;
  return { budget_bytes: budgetBytes, chunk_bytes: chunkBytes, batch, level, parallel_tasks: parallelTasks };
}
