import { applyD1Migrations, env } from 'cloudflare:test';

await applyD1Migrations(env.CATALOGUE, env.MIGRATIONS);
await applyD1Migrations(env.DATABASE_SAMPLE, env.SAMPLE_MIGRATIONS);
