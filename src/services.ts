import { selectEngine } from './codec/zstd/select-engine.ts';
import { type DeadUpload, reclaim } from './ingest/reclaim.ts';
import { parseSigningKeys, type SigningKey } from './links/signed-link.ts';
import { type JobRooms, jobRooms } from './progress/publisher.ts';
import { type Config, parseConfig, parseEngine } from './shared/config.ts';
import type { ZstdEngine } from './codec/zstd/engine.ts';
import { IsolateBudget } from './shared/isolate-budget.ts';
import { ObjectStore } from './store/object-store.ts';
import { env as startEnv } from 'cloudflare:workers';

/** The bindings and variables of `wrangler.toml`, and the secrets. Nobody below knows them. */
export interface Env {
  readonly VAULT: R2Bucket;
  readonly CATALOGUE: D1Database;
  readonly JOBS: DurableObjectNamespace;
  readonly [variable: string]: unknown;
}

export interface Services {
  readonly config: Config;
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly jobs: JobRooms;
  readonly engine: ZstdEngine;
  readonly budget: IsolateBudget;
  readonly signingKeys: readonly SigningKey[];
  readonly reclaim: (dead: DeadUpload) => Promise<'removed' | 'kept'>;
}

/** The engine is chosen while the script starts: only then may zstd-codec make the functions that it needs. */
const engine = selectEngine(parseEngine(Reflect.get(startEnv, 'ZSTD_ENGINE')));

/** One for the isolate, as its memory is. */
const budget = new IsolateBudget();

const made = new WeakMap<object, Services>();

/** The composition root: env in, everything the rooms use out. Throws where a variable cannot be used. */
export function services(env: Env): Services {
  const known = made.get(env);
  if (known) return known;
  const config = parseConfig(env);
  const store = new ObjectStore(env.VAULT);
  const all: Services = {
    config,
    store,
    catalogue: env.CATALOGUE,
    jobs: jobRooms(env.JOBS),
    engine,
    budget,
    signingKeys: parseSigningKeys(config.linkSigningKeys),
    reclaim: (dead) => reclaim(store, env.CATALOGUE, dead),
  };
  made.set(env, all);
  return all;
}
