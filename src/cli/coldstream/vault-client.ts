import { fetch, type Response } from 'undici';
import { printable } from './amounts.ts';
import { type Connections, connectionsTo } from './connections.ts';
import { CommandFailed, StoredDataDamaged, systemFailure } from './failures.ts';
import { Patience, waitFor } from './patience.ts';
import { plainWords } from './plain-words.ts';

const DAMAGE_EXIT_CODE = new StoredDataDamaged('').exitCode;

/** The vault answered, and not as was asked for (RFC 9457: docs, Errors). */
export class VaultRefused extends CommandFailed {
  override readonly name = 'VaultRefused';
  override readonly exitCode: number;
  readonly status: number;
  /** The vault's word for it; empty where something in between answered. */
  readonly code: string;
  /** From Retry-After; 0 without one. */
  readonly waitMs: number;
  /** What the vault adds to its sentence: fields that depend on the code. */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(status: number, body: string, retryAfter: string | null | undefined = null) {
    const facts = problemIn(body);
    const code = textOf(facts.code) ?? '';
    const detail = textOf(facts.detail);
    const words = detail === undefined ? foreignWords(body) : plainWords(code, detail);
    super(`${words} (${code || status})${hint(status)}`);
    this.status = status;
    this.code = code;
    this.facts = facts;
    this.exitCode = this.isDamage ? DAMAGE_EXIT_CODE : 1;
    this.waitMs = (Number(retryAfter) || 0) * 1000;
  }

  /** Whether the same request may go through a little later. */
  get isPassing(): boolean {
    if (this.isDamage) return false;
    return this.isBusy || this.status >= 500 || [408, 423, 425, 429].includes(this.status);
  }

  /** Whether the bytes that the vault stored are damaged or gone. */
  get isDamage(): boolean {
    return this.code === 'stored-data-corrupt' || this.code === 'stored-data-lost';
  }

  /**
   * Whether the vault did nothing and said when to ask again: it is busy, this token has too many transfers, or another
   * upload holds the job. A wrong token stays wrong.
   */
  get isBusy(): boolean {
    return this.waitMs > 0 && [409, 429, 503].includes(this.status) && this.code !== 'too-many-attempts';
  }
}

/** No answer came, or only a part of one. */
export class VaultUnreachable extends CommandFailed {
  override readonly name = 'VaultUnreachable';
  /** Whether another try can help. */
  readonly isPassing: boolean;

  constructor(
    { origin, proxy = null }: { readonly origin: string; readonly proxy?: string | null },
    cause: unknown,
    { isPassing = true }: { readonly isPassing?: boolean } = {},
  ) {
    const way = proxy === null ? '' : ` through the proxy ${proxy}`;
    super(`${origin} cannot be reached${way}: ${connectionFailure(cause)}`, { cause });
    this.isPassing = isPassing;
  }
}

/** Something else answers at this address. */
export class NotAVault extends CommandFailed {
  override readonly name = 'NotAVault';

  constructor(origin: string, what: string) {
    super(`${origin} is not a Coldstream vault: it answered with ${what}. Correct COLDSTREAM_URL or --url.`);
  }
}

/** The address leads elsewhere. The token must not follow: the other host may be anybody's. */
class VaultMoved extends CommandFailed {
  override readonly name = 'VaultMoved';

  constructor(origin: string, location: string | null) {
    const target = location !== null && URL.canParse(location, origin) ? new URL(location, origin) : null;
    super(
      target && target.origin !== origin
        ? `${origin} redirects to ${target.origin}. Set COLDSTREAM_URL or --url to ${target.origin}.`
        : `${origin} redirects, which a vault does not. Correct COLDSTREAM_URL or --url.`,
    );
  }
}

/** Whether the same may go well a little later. */
export function isPassing(error: unknown): boolean {
  return (error instanceof VaultUnreachable || error instanceof VaultRefused) && error.isPassing;
}

/** Does `work` until it goes well, it fails for good, or patience is over. */
export async function persist<Result>(
  signal: AbortSignal,
  patience: Patience,
  work: () => Promise<Result>,
): Promise<Result> {
  while (true) {
    try {
      const result = await work();
      patience.renew();
      return result;
    } catch (error) {
      const leastMs = error instanceof VaultRefused ? error.waitMs : 0;
      const waitMs = isPassing(error) ? patience.nextWaitMs(leastMs) : null;
      if (waitMs === null) throw error;
      await waitFor(waitMs, signal);
    }
  }
}

/** The deepest cause says what happened; what is wrapped around it says "fetch failed". */
function deepestCause(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error.cause instanceof Error) return deepestCause(error.cause);
  if (error instanceof AggregateError && error.errors.length > 0) return deepestCause(error.errors[0]);
  return error;
}

/** Why, for the end of a sentence. */
export function causeOf(error: unknown): string {
  const cause = deepestCause(error);
  const system = systemFailure(cause);
  if (system) return system.replace(/\.$/, '');
  return cause instanceof Error ? printable(cause.message || cause.name) : String(cause);
}

/** Failures of a connection that say which address is wrong, and what to do. */
const CONNECTION_FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused. Start the vault, or correct COLDSTREAM_URL or --url.',
  ENOTFOUND: 'there is no host of this name. Correct COLDSTREAM_URL or --url.',
  EAI_AGAIN: 'the name cannot be resolved. Check the network, and COLDSTREAM_URL or --url.',
  EHOSTUNREACH: 'there is no route to the host. Check the network.',
  ENETUNREACH: 'there is no route to the network. Check the network.',
  ETIMEDOUT: 'it did not answer in time. Check the network, and COLDSTREAM_URL or --url.',
  UND_ERR_CONNECT_TIMEOUT: 'it did not answer in time. Check the network, and COLDSTREAM_URL or --url.',
  CERT_HAS_EXPIRED: 'its TLS certificate has expired. Renew the certificate.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its TLS certificate is for another name. Use the name in the certificate.',
};

/** OpenSSL's names of what is wrong with a chain of certificates, and of an answer that is not TLS. */
const CERTIFICATE = /SELF_SIGNED_CERT|UNABLE_TO_(GET|VERIFY)|CERT_(UNTRUSTED|SIGNATURE|NOT_YET|REJECTED|REVOKED)/;
const NOT_TLS = /^ERR_SSL|^EPROTO$/;

function connectionFailure(error: unknown): string {
  const code = codeOf(error);
  const known = CONNECTION_FAILURES[code];
  if (known) return known;
  if (CERTIFICATE.test(code)) {
    return `its TLS certificate is not trusted (${code}). If it is your own, set NODE_EXTRA_CA_CERTS to the file of its CA.`;
  }
  if (code.startsWith('HPE_')) return 'it does not speak HTTP there. If it speaks TLS, use https://.';
  if (NOT_TLS.test(code)) return 'it does not speak TLS there. Use http://, or the port of https.';
  return `${causeOf(error)}.`;
}

function codeOf(error: unknown): string {
  const cause = deepestCause(error);
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
}

/** Whether the address itself is wrong, so that no later try will find a vault there. */
function isWrongAddress(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOTFOUND' || /^(CERT_HAS|ERR_TLS)/.test(code) || CERTIFICATE.test(code) || NOT_TLS.test(code);
}

function problemIn(body: string): Record<string, unknown> {
  try {
    const problem: unknown = JSON.parse(body);
    return typeof problem === 'object' && problem !== null ? { ...problem } : {};
  } catch {
    return {};
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? printable(value) : undefined;
}

/** Something between here and the vault has answered: in a page, or in a line that may be shown. */
function foreignWords(body: string): string {
  const line = body.trim().slice(0, 200);
  return line === '' || line.startsWith('<') ? 'No reason was given.' : printable(line);
}

function hint(status: number): string {
  if (status === 401) return '\nThe token comes from COLDSTREAM_TOKEN, --token-file, --token or the config file.';
  if (status === 407) return '\nThe proxy needs credentials: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT';
  return '';
}

export interface VaultRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Instead of the token. */
  readonly bearer?: string;
  /** The answer comes only when the work is done, however long that takes. */
  readonly isLong?: boolean;
}

/** How long every command waits for a busy vault, in seconds; push and pull have patience of their own beyond it. */
const BUSY_PATIENCE_SECONDS = 60;

/** An answer's headers must have come by then; a body may take as long as it moves. */
const HEADERS_MS = 60_000;

/** The vault's HTTP interface. */
export class VaultClient {
  /** `https://vault.example.org` */
  readonly origin: string;
  readonly token: string;
  readonly connections: Connections;
  readonly #signal: AbortSignal;
  /** Whether anything has answered at this address. */
  #wasReached = false;

  constructor(origin: string, token: string, signal: AbortSignal, connections = connectionsTo(origin)) {
    this.origin = origin;
    this.token = token;
    this.connections = connections;
    this.#signal = signal;
  }

  /** For messages; null: the vault is reached directly. */
  get proxy(): string | null {
    return this.connections.proxy;
  }

  /**
   * Resolves with any 2xx answer of a vault. A busy vault is asked again after its Retry-After, for up to a minute.
   * Throws {@link VaultRefused}, {@link VaultUnreachable}, {@link NotAVault}, and the signal's reason once it is aborted.
   */
  async request(path: string, request: VaultRequest = {}): Promise<Response> {
    const patience = new Patience(BUSY_PATIENCE_SECONDS);
    while (true) {
      try {
        return await this.#once(path, request);
      } catch (error) {
        const waitMs = error instanceof VaultRefused && error.isBusy ? patience.nextWaitMs(error.waitMs) : null;
        if (waitMs === null) throw error;
        await waitFor(waitMs, this.#signal);
      }
    }
  }

  async #once(path: string, request: VaultRequest): Promise<Response> {
    const { method = 'GET', headers = {}, json, bearer, isLong = false } = request;
    const credential = bearer ?? this.token;
    const late = new AbortController();
    const tooLate = () => late.abort(new Error(`no answer within ${HEADERS_MS / 1000} s`));
    const timer = isLong ? undefined : setTimeout(tooLate, HEADERS_MS);
    try {
      const response = await fetch(new URL(path, this.origin), {
        method,
        dispatcher: this.connections.fetching,
        redirect: 'manual',
        headers: {
          ...(credential === '' ? {} : { authorization: `Bearer ${credential}` }),
          ...(json === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        signal: AbortSignal.any([this.#signal, late.signal]),
      });
      this.#wasReached = true;
      if (response.status >= 300 && response.status < 400) {
        throw new VaultMoved(this.origin, response.headers.get('location'));
      }
      if (response.ok && isVaults(response)) return response;
      const body = await response.text();
      if (response.ok) throw new NotAVault(this.origin, contentOf(response));
      const refused = new VaultRefused(response.status, body, response.headers.get('retry-after'));
      // An answer to HEAD has no code.
      if (refused.code !== '' || method === 'HEAD' || !NOT_FOUND.includes(response.status)) throw refused;
      throw new NotAVault(this.origin, `${response.status} and ${contentOf(response)}`);
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      if (error instanceof CommandFailed) throw error;
      throw new VaultUnreachable(this, error, { isPassing: this.#wasReached || !isWrongAddress(error) });
    } finally {
      clearTimeout(timer);
    }
  }

  async json<T>(path: string, request?: VaultRequest): Promise<T> {
    const response = await this.request(path, request);
    try {
      return (await response.json()) as T;
    } catch (error) {
      if (error instanceof SyntaxError) throw new NotAVault(this.origin, contentOf(response));
      throw new VaultUnreachable(this, error);
    }
  }
}

/** Statuses by which a server says that it has no such route. A vault names a code with them. */
const NOT_FOUND: readonly number[] = [400, 404, 405, 410, 501];

/** A vault names each request. Others do too, and answer any path with their page; a vault's HTML is a download. */
function isVaults({ headers }: Response): boolean {
  if (!headers.has('x-request-id')) return false;
  return headers.has('content-disposition') || !headers.get('content-type')?.startsWith('text/html');
}

function contentOf({ headers }: Response): string {
  const type = printable(headers.get('content-type')?.split(';')[0] ?? '');
  if (type === 'text/html') return 'a web page';
  return type === '' ? 'something else' : type;
}

/** Where stored bytes are damaged; null: not in a frame, unknown. */
export interface Damage {
  readonly found_at: string;
  readonly reason: string;
  readonly frame: number | null;
  readonly offset: number | null;
}

/** A receipt (docs: Backup). Of an upload it has a `message` too. */
export interface Receipt {
  readonly backup_id: string;
  readonly job_id: string;
  /** The path that the backup is named by; vaults before names of several segments send `filename` only. */
  readonly name?: string;
  readonly filename: string;
  readonly content_type: string;
  readonly file_size: number;
  readonly checksum: string;
  readonly stored_size: number;
  readonly stored_checksum?: string;
  readonly compression: {
    readonly codec: string;
    readonly level?: number | null;
    readonly frames?: number;
    /** `client`: frames of the sender, of any length. */
    readonly engine?: string;
  };
  readonly encryption: { readonly format: string; readonly by: string; readonly recipients: readonly string[] } | null;
  readonly archive: {
    readonly members: number;
    readonly stopped: { readonly offset: number; readonly reason: string } | null;
  } | null;
  readonly created_at: string;
  readonly expires_at?: string | null;
  readonly verified_at: string | null;
  readonly damage: Damage | null;
  readonly download_url: string;
}

export function nameOf({ name, filename }: Pick<Receipt, 'name' | 'filename'>): string {
  return name ?? filename;
}
