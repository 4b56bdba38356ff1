import type { D1Migration } from 'cloudflare:test';
import type { SessionObject } from '../../src/ingest/resumable/upload-sessions.ts';

declare global {
  namespace Cloudflare {
    interface GlobalProps {
      mainModule: typeof import('../../src/index.ts');
    }
    interface Env {
      readonly VAULT: R2Bucket;
      readonly CATALOGUE: D1Database;
      readonly DATABASE_SAMPLE: D1Database;
      readonly JOBS: DurableObjectNamespace;
      readonly UPLOADS: DurableObjectNamespace<SessionObject>;
      readonly WRONG_CREDENTIALS: RateLimit;
      readonly ZSTD_ENGINE: string;
      readonly ADMIN_TOKEN: string;
      readonly LINK_SIGNING_KEYS: string;
      readonly MIGRATIONS: D1Migration[];
      readonly SAMPLE_MIGRATIONS: D1Migration[];
    }
  }
}
