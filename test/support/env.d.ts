import type { D1Migration } from 'cloudflare:test';

declare global {
  namespace Cloudflare {
    interface Env {
      readonly VAULT: R2Bucket;
      readonly CATALOGUE: D1Database;
      readonly JOBS: DurableObjectNamespace;
      readonly ADMIN_TOKEN: string;
      readonly LINK_SIGNING_KEYS: string;
      readonly MIGRATIONS: D1Migration[];
    }
  }
}
