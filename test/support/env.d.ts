import type { Env } from '../../src/services.ts';

declare module 'cloudflare:test' {
  interface ProvidedEnv extends Env {
    MIGRATIONS: D1Migration[];
  }
}
