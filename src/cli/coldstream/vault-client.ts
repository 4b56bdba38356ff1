import { printable } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import { Patience, waitFor } from './patience.ts';

/** The vault answered, and not as was asked for (RFC 9457: docs, Errors). */
export class VaultRefused extends CommandFailed {
  override readonly name = 'VaultRefused';
  readonly status: number;
  /** The vault's word for it; empty where something in between answered. */
  readonly code: string;
  /** From Retry-After; 0 without one. */
  readonly waitMs: number;
  /** Of an upload that failed: the code of why. */
  readonly reason: string;

  constructor(status: number, body: string, retryAfter: string | null | undefined = null) {
    const problem = problemIn(body);
    const code = problem.code ?? '';
    super(`${problem.detail ?? foreignWords(body)} (${[status, code].filter(Boolean).join(' ')})${hint(status)}`);
    this.status = status;
    this.code = code;
    this.reason = problem.reason ?? '';
    this.waitMs = (Number(retryAfter) || 0) * 1000;
  }

  /** Whether the same request may go through a little later. */
  get isPassing(): boolean {
    return this.isBusy || this.status >= 500 || [408, 423, 425, 429].includes(this.status);
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

  constructor(origin: string, cause: unknown, { isPassing = true }: { readonly isPassing?: boolean } = {}) {
    super(`${origin} cannot be reached: ${connectionFailure(cause)}`, { cause });
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

export function causeOf(error: unknown): string {
  const cause = deepestCause(error);
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

function problemIn(body: string): { code?: string; detail?: string; reason?: string } {
  try {
    const problem = JSON.parse(body) as Record<string, unknown>;
    const text = (name: string) => (typeof problem[name] === 'string' ? { [name]: printable(problem[name]) } : {});
    return { ...text('code'), ...text('detail'), ...text('reason') };
  } catch {
    return {};
  }
}

/** Something between here and the vault has answered: in a page, or in a line that may be shown. */
function foreignWords(body: string): string {
  const line = body.trim().slice(0, 200);
  return line === '' || line.startsWith('<') ? 'No reason was given.' : printable(line);
}

function hint(status: number): string {
  return status === 401 ? '\nThe token comes from COLDSTREAM_TOKEN, --token-file or --token.' : '';
}

export interface VaultRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Instead of the token. */
  readonly bearer?: string;
}

/** How long every command waits for a busy vault, in seconds; push and pull have patience of their own beyond it. */
const BUSY_PATIENCE_SECONDS = 60;

/** An answer's headers must have come by then; a body may take as long as it moves. */
const HEADERS_MS = 60_000;

/** The vault's API over Node's own fetch. */
export class VaultClient {
  /** `https://vault.example.org` */
  readonly origin: string;
  readonly token: string;
  readonly #signal: AbortSignal;
  /** Whether anything has answered at this address. */
  #wasReached = false;

  constructor(origin: string, token: string, signal: AbortSignal) {
    this.origin = origin;
    this.token = token;
    this.#signal = signal;
  }

  /**
   * Resolves with any 2xx answer of a vault. A busy vault is asked again after its Retry-After, for up to a minute. Throws {@link VaultRefused}, {@link VaultUnreachable}, {@link NotAVault}, and
   * the signal's reason once it is aborted.
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

  async #once(path: string, { method = 'GET', headers = {}, json, bearer }: VaultRequest): Promise<Response> {
    const credential = bearer ?? this.token;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${HEADERS_MS / 1000} s`)), HEADERS_MS);
    try {
      const response = await fetch(new URL(path, this.origin), {
        method,
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
      throw new VaultUnreachable(this.origin, error, { isPassing: this.#wasReached || !isWrongAddress(error) });
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
      throw new VaultUnreachable(this.origin, error);
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

/** What a backup's receipt tells (docs: Backup); of an upload it has a `message` too. */
export interface Receipt {
  readonly backup_id: string;
  readonly job_id: string;
  readonly filename: string;
  readonly file_size: number;
  readonly checksum: string;
  readonly stored_size: number;
  readonly compression: { readonly codec: string; readonly level?: number };
  readonly encryption: { readonly format: string } | null;
  readonly created_at: string;
  readonly download_url: string;
}
