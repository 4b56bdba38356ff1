import { env as startEnv } from 'cloudflare:workers';
import { LRUCache } from 'lru-cache';
import type { MemberIndex } from './archive/member-index.ts';
import { purgeJobs, recordRun } from './catalogue/jobs.ts';
import { TokenLookup } from './catalogue/token-lookup.ts';
import { purgeLinks } from './catalogue/upload-links.ts';
import { checkRecipient } from './codec/age-keys.ts';
import type { ZstdEngine } from './codec/zstd/engine.ts';
import { selectEngine } from './codec/zstd/select-engine.ts';
import { withDeadlines } from './databases/deadlines.ts';
import type { OpenIndexes } from './delivery/archive.ts';
import type { KnownPoints } from './delivery/download.ts';
import { tidyDeletions } from './ingest/deletion.ts';
import { deleteExpired } from './ingest/expiry.ts';
import { reclaim } from './ingest/reclaim.ts';
import { type SessionObject, type UploadSessions, uploadSessions } from './ingest/resumable/upload-sessions.ts';
import { parseSigningKeys, type SigningKey } from './links/signed-link.ts';
import type { JobDeps } from './progress/progress-room.ts';
import { type JobRooms, jobRooms } from './progress/publisher.ts';
import { type Config, parseConfig, parseEngine } from './shared/config.ts';
import { HolderLimit } from './shared/holder-limit.ts';
import { type IsolateMemory, isolateMemory } from './shared/isolate-memory.ts';
import { JOB_KEPT_MS, KNOWN_INDEX_BYTES, KNOWN_POINTS_BYTES } from './shared/limits.ts';
import type { SeekPoints } from './shared/seek-points.ts';
import type { PeerLimits } from './shared/watchdog.ts';
import { ObjectStore } from './store/object-store.ts';

/** The bindings of `wrangler.toml`; variables and secrets stand beside them. Nobody below knows it. */
export interface Env {
  readonly VAULT: R2Bucket;
  readonly CATALOGUE: D1Database;
  readonly JOBS: DurableObjectNamespace;
  readonly UPLOADS: DurableObjectNamespace<SessionObject>;
  readonly WRONG_CREDENTIALS: RateLimit;
}

export interface Services {
  readonly config: Config;
  readonly store: ObjectStore;
  readonly catalogue: D1Database;
  readonly tokens: TokenLookup;
  /** Counts a wrong credential for a network; false where it is one too many. */
  readonly mayErrAgain: (network: string) => Promise<boolean>;
  /** What import and export may reach, by the names that clients use: `DATABASE_SAMPLE` is `sample`. */
  readonly databases: ReadonlyMap<string, D1Database>;
  readonly jobs: JobRooms;
  readonly uploads: UploadSessions;
  readonly engine: ZstdEngine;
  readonly memory: IsolateMemory;
  readonly readerLimits: PeerLimits;
  readonly defaultRecipients: readonly string[];
  readonly uploadRate: number | null;
  /** The transfers of each token or link in this isolate. */
  readonly transfers: HolderLimit;
  /** What a sender must send to be waited for. */
  readonly senderLimits: PeerLimits;
  readonly cpuLimitMs: number;
  readonly indexes: OpenIndexes;
  readonly points: KnownPoints;
  readonly signingKeys: readonly SigningKey[];
  /** What job objects do outside of themselves. */
  readonly jobDeps: JobDeps;
  /** Removes what has had its time: ends of jobs, claims of expired links, expired backups, deletions. Finishes interrupted deletions. */
  readonly tidy: () => Promise<void>;
}

/** The engine is chosen while the script starts: only then may zstd-codec make the functions that it needs. */
const engine = selectEngine(parseEngine(Reflect.get(startEnv, 'ZSTD_ENGINE')));

/** One for the isolate, as its memory is. */
const memory = isolateMemory();

/** One for the isolate, since its memory is what they share. */
const transfers = new HolderLimit();

const made = new WeakMap<object, Services>();

/** The composition root: env in, everything the rooms use out. Throws where a variable cannot be used. */
export function services(env: Env): Services {
  const known = made.get(env);
  if (known) return known;
  const config = parseConfig({ ...env });
  const catalogue = withDeadlines(env.CATALOGUE);
  const store = new ObjectStore(env.VAULT);
  const uploads = uploadSessions(env.UPLOADS);
  const all: Services = {
    config,
    store,
    catalogue,
    tokens: new TokenLookup(catalogue),
    mayErrAgain: async (network) => (await env.WRONG_CREDENTIALS.limit({ key: network })).success,
    databases: databasesOf({ ...env }),
    jobs: jobRooms(env.JOBS),
    uploads,
    engine,
    memory,
    readerLimits: { idleMs: config.downloadIdleMs, minRate: config.minRate },
    defaultRecipients: config.defaultRecipients.map(checkRecipient),
    uploadRate: config.uploadRate,
    transfers,
    senderLimits: { idleMs: config.uploadIdleMs, minRate: config.minRate },
    cpuLimitMs: config.cpuLimitMs,
    indexes: new LRUCache<string, MemberIndex>({
      maxSize: KNOWN_INDEX_BYTES,
      sizeCalculation: (index) => index.heldBytes,
    }),
    points: new LRUCache<string, SeekPoints>({
      maxSize: KNOWN_POINTS_BYTES,
      sizeCalculation: ({ encoded }) => 16 * encoded.length,
    }),
    signingKeys: parseSigningKeys(config.linkSigningKeys),
    jobDeps: {
      reclaim: (left) => reclaim(store, catalogue, left),
      recordRun: (row) => recordRun(catalogue, row),
      supersede: (uploadId) => uploads.supersede(uploadId),
    },
    tidy: async () => {
      await purgeJobs(catalogue, new Date(Date.now() - JOB_KEPT_MS).toISOString());
      await purgeLinks(catalogue, new Date().toISOString());
      await deleteExpired({ store, catalogue });
      await tidyDeletions({ store, catalogue });
    },
  };
  made.set(env, all);
  return all;
}

const DATABASE = 'DATABASE_';

function databasesOf(bindings: Readonly<Record<string, unknown>>): Map<string, D1Database> {
  const databases = new Map<string, D1Database>();
  for (const [name, binding] of Object.entries(bindings)) {
    if (name.startsWith(DATABASE) && isDatabase(binding)) {
      databases.set(name.slice(DATABASE.length).toLowerCase(), withDeadlines(binding));
    }
  }
  return databases;
}

function isDatabase(binding: unknown): binding is D1Database {
  return typeof binding === 'object' && binding !== null && 'prepare' in binding;
}
