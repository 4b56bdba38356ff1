import type { z } from '@hono/zod-openapi';
import type { Backup } from '../catalogue/backups.ts';
import type { ZstdEngine } from '../codec/zstd/engine.ts';
import {
  BUSY_WAIT_MS,
  DECODE_BYTES,
  EXPORT_PAGES,
  FLIGHTS_PER_ISOLATE,
  FLIGHTS_PER_UPLOAD,
  MOST_KEPT_BYTES,
  READER_CHUNK_BYTES,
  READERS_KEPT_BYTES,
  REST_BYTES,
  TURNS_PER_ISOLATE,
  WINDOW_BYTES,
  WRITTEN_BATCH_BYTES,
} from '../shared/limits.ts';
import type { BackupSchema, CapabilitiesSchema } from './response-schemas.ts';

/** A backup as clients see it. */
export function backupView(backup: Backup): z.infer<typeof BackupSchema> {
  const { stored_checksum: _, ...view } = backup;
  return { ...view, download_url: `/backup/${backup.backup_id}/download` };
}

/** The classes of the account of an isolate's memory (shared/isolate-memory.ts), as clients see them. */
export function memoryView(engine: ZstdEngine): z.infer<typeof CapabilitiesSchema>['memory'] {
  return {
    engine_bytes: engine.heapBytes,
    unfinished_bytes: REST_BYTES,
    parts_at_once: FLIGHTS_PER_ISOLATE,
    parts_at_once_per_upload: FLIGHTS_PER_UPLOAD,
    decoder_window_bytes: WINDOW_BYTES,
    import_batch_bytes: WRITTEN_BATCH_BYTES,
    decode_bytes: DECODE_BYTES,
    decoding_at_once: TURNS_PER_ISOLATE,
    slow_readers_bytes: READERS_KEPT_BYTES,
    slow_reader_bytes: MOST_KEPT_BYTES + READER_CHUNK_BYTES,
    stopped_reader_bytes: READER_CHUNK_BYTES,
    export_pages_at_once: EXPORT_PAGES,
    longest_wait_seconds: BUSY_WAIT_MS / 1000,
  };
}
