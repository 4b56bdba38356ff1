import {
  DEFAULT_CPU_LIMIT_MS,
  DEFAULT_IMPORT_QUERIES,
  DEFAULT_MAX_FILE_BYTES,
  DEFAULT_MAX_SOCKETS,
  DEFAULT_MAX_TRANSFERS,
  DEFAULT_MIN_RATE,
  DEFAULT_PEER_IDLE_MS,
  MAX_CPU_LIMIT_MS,
  MAX_OBJECT_BYTES,
  MAX_PEER_IDLE_MS,
  MAX_UPLOAD_TTL_MS,
} from './limits.ts';
import { DURATION_GRAMMAR, FLAGS, parseDuration, parseFlag, parseSize, SIZE_GRAMMAR } from './units.ts';

export type EngineChoice = 'auto' | 'native' | 'wasm';

/** The variables of a deployment and its two secrets. Sizes and durations have the grammar of shared/units.ts. */
export interface Config {
  /** `MAX_FILE_SIZE`: largest upload in bytes. Default 10 GiB. */
  readonly maxFileBytes: number;
  /** `ALLOWED_SUFFIXES`: separated by commas or blanks, lower case here. Default: none, which allows any. */
  readonly allowedSuffixes: readonly string[];
  /** `ZSTD_ENGINE`: `auto` (default), `native` or `wasm`. */
  readonly engine: EngineChoice;
  /** `ALLOWED_ORIGINS`: browsers' origins beside our own, for CORS and WebSockets. */
  readonly allowedOrigins: readonly string[];
  /** `MAX_REQUEST_BYTES`: what the plan's edge lets through in one request; only told to clients. */
  readonly maxRequestBytes: number | null;
  /** `MAX_UPLOAD_RATE`: bytes a second that one upload may send. Default: no limit. */
  readonly uploadRate: number | null;
  /** `DEFAULT_RECIPIENTS`: age recipients that uploads are encrypted for unless they name others. Default: none. */
  readonly defaultRecipients: readonly string[];
  /** `MAX_IMPORT_QUERIES`: statements that one import may run; one writes some hundred rows. Default 1,000, as D1 has it. */
  readonly maxImportQueries: number;
  /** `UPLOAD_TTL`: how long an upload in pieces may take, in ms here. Default, and at most, 6 days. */
  readonly uploadTtlMs: number;
  /** `UPLOAD_IDLE`: a sender that moves no byte for so long is stalled, in ms here. Default 60 s, at most an hour. */
  readonly uploadIdleMs: number;
  /** `DOWNLOAD_IDLE`: a reader that takes no byte for so long is dropped, in ms here. Default 60 s, at most an hour. */
  readonly downloadIdleMs: number;
  /** `MIN_RATE`: a peer below it over a minute of waiting counts as stalled, in bytes a second. Default 1 KiB. */
  readonly minRate: number;
  /** `CPU_LIMIT`: what the platform lets one request compute, in ms here. Default 300 s, as `cpu_ms` of wrangler.toml; at most an hour. */
  readonly cpuLimitMs: number;
  /** `MAX_TRANSFERS_PER_TOKEN`: transfers that one token or link may have in one isolate at a time. Default 64. */
  readonly maxTransfers: number;
  /** `MAX_SOCKETS_PER_TOKEN`: WebSockets that one token or link may have in one isolate at a time. Default 1,000. */
  readonly maxSockets: number;
  /** `RESUMABLE_DRAFT`: a flag that adds the IETF's draft of resumable uploads beside tus. */
  readonly resumableDraft: boolean;
  /** `ADMIN_TOKEN`: secret. Without one, only tokens made before are accepted. */
  readonly adminToken: string | null;
  /** `LINK_SIGNING_KEYS`: secret, `id:base64url,…`, the newest first. */
  readonly linkSigningKeys: string;
}

/** Reads the variables; throws an Error that names the variable where one cannot be used. */
export function parseConfig(vars: Readonly<Record<string, unknown>>): Config {
  const text = (name: string): string | null => {
    const value = vars[name];
    if (value === undefined || value === null || value === '') return null;
    return String(value).trim();
  };
  const maxFileBytes = parseBytes('MAX_FILE_SIZE', text('MAX_FILE_SIZE')) ?? DEFAULT_MAX_FILE_BYTES;
  if (maxFileBytes > MAX_OBJECT_BYTES) {
    throw new Error(`MAX_FILE_SIZE: at most ${MAX_OBJECT_BYTES} bytes fit into the parts of one R2 object here`);
  }
  return {
    maxFileBytes,
    allowedSuffixes: words((text('ALLOWED_SUFFIXES') ?? '').toLowerCase()),
    engine: parseEngine(text('ZSTD_ENGINE')),
    allowedOrigins: parseOrigins(text('ALLOWED_ORIGINS') ?? ''),
    maxRequestBytes: parseBytes('MAX_REQUEST_BYTES', text('MAX_REQUEST_BYTES')),
    uploadRate: parseBytes('MAX_UPLOAD_RATE', text('MAX_UPLOAD_RATE')),
    defaultRecipients: words(text('DEFAULT_RECIPIENTS') ?? ''),
    maxImportQueries: parseCount('MAX_IMPORT_QUERIES', text('MAX_IMPORT_QUERIES')) ?? DEFAULT_IMPORT_QUERIES,
    uploadTtlMs: parseMs('UPLOAD_TTL', text('UPLOAD_TTL'), MAX_UPLOAD_TTL_MS) ?? MAX_UPLOAD_TTL_MS,
    uploadIdleMs: parseMs('UPLOAD_IDLE', text('UPLOAD_IDLE'), MAX_PEER_IDLE_MS) ?? DEFAULT_PEER_IDLE_MS,
    downloadIdleMs: parseMs('DOWNLOAD_IDLE', text('DOWNLOAD_IDLE'), MAX_PEER_IDLE_MS) ?? DEFAULT_PEER_IDLE_MS,
    maxTransfers: parseCount('MAX_TRANSFERS_PER_TOKEN', text('MAX_TRANSFERS_PER_TOKEN')) ?? DEFAULT_MAX_TRANSFERS,
    maxSockets: parseCount('MAX_SOCKETS_PER_TOKEN', text('MAX_SOCKETS_PER_TOKEN')) ?? DEFAULT_MAX_SOCKETS,
    minRate: parseBytes('MIN_RATE', text('MIN_RATE')) ?? DEFAULT_MIN_RATE,
    cpuLimitMs: parseMs('CPU_LIMIT', text('CPU_LIMIT'), MAX_CPU_LIMIT_MS) ?? DEFAULT_CPU_LIMIT_MS,
    resumableDraft: parseSwitch('RESUMABLE_DRAFT', text('RESUMABLE_DRAFT')) ?? false,
    adminToken: parseAdminToken(text('ADMIN_TOKEN')),
    linkSigningKeys: text('LINK_SIGNING_KEYS') ?? '',
  };
}

export function parseEngine(text: unknown): EngineChoice {
  if (text === null || text === undefined || text === '' || text === 'auto') return 'auto';
  if (text === 'native' || text === 'wasm') return text;
  throw new Error('ZSTD_ENGINE: one of auto, native, wasm');
}

/** Anything shorter is a word or a name, and can be guessed. */
const MIN_ADMIN_TOKEN_CHARS = 24;

function parseAdminToken(token: string | null): string | null {
  if (token !== null && token.length < MIN_ADMIN_TOKEN_CHARS) {
    throw new Error(
      `ADMIN_TOKEN: it has ${token.length} characters and needs at least ${MIN_ADMIN_TOKEN_CHARS}, e.g. from "openssl rand -base64 32"`,
    );
  }
  return token;
}

function parseOrigins(text: string): string[] {
  const origins = words(text);
  if (origins.some((origin) => origin.includes('*'))) {
    throw new Error('ALLOWED_ORIGINS: it names each origin, as https://app.example.com; "*" would let every page in');
  }
  return origins;
}

function words(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

function parseCount(name: string, text: string | null): number | null {
  if (text === null) return null;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name}: a whole number`);
  return Number(text);
}

function parseMs(name: string, text: string | null, mostMs: number): number | null {
  if (text === null) return null;
  const seconds = parseDuration(text);
  const ms = seconds === null ? 0 : Math.round(seconds * 1000);
  if (ms < 1 || ms > mostMs) throw new Error(`${name}: ${DURATION_GRAMMAR}; at most ${mostMs / 1000} s`);
  return ms;
}

function parseBytes(name: string, text: string | null): number | null {
  if (text === null) return null;
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1) throw new Error(`${name}: ${SIZE_GRAMMAR}`);
  return bytes;
}

function parseSwitch(name: string, text: string | null): boolean | null {
  if (text === null) return null;
  const on = parseFlag(text);
  if (on === null) throw new Error(`${name}: one of ${FLAGS.join(', ')}`);
  return on;
}
