import { applyD1Migrations, env } from 'cloudflare:test';

await applyD1Migrations(env.CATALOGUE, env.MIGRATIONS);
