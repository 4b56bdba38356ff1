import { printable } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import { type Patience, waitFor } from './patience.ts';

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
    return this.status >= 500 || [408, 423, 425, 429].includes(this.status);
  }
}

/** No answer came, or only a part of one. Always worth another try. */
export class VaultUnreachable extends CommandFailed {
  override readonly name = 'VaultUnreachable';

  constructor(origin: string, cause: unknown) {
    super(`${origin} cannot be reached: ${causeOf(cause)}.`, { cause });
  }
}

/** Whether the same may go well a little later. */
export function isPassing(error: unknown): boolean {
  return error instanceof VaultUnreachable || (error instanceof VaultRefused && error.isPassing);
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
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return causeOf(error.cause);
  if (error instanceof AggregateError && error.errors.length > 0) return causeOf(error.errors[0]);
  return printable(error.message || error.name);
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

/** An answer's headers must have come by then; a body may take as long as it moves. */
const HEADERS_MS = 60_000;

/** The vault's API over Node's own fetch. */
export class VaultClient {
  /** `https://vault.example.org` */
  readonly origin: string;
  readonly token: string;
  readonly #signal: AbortSignal;

  constructor(origin: string, token: string, signal: AbortSignal) {
    this.origin = origin;
    this.token = token;
    this.#signal = signal;
  }

  /** Any 2xx answer; throws {@link VaultRefused} or {@link VaultUnreachable}, and the signal's reason once it is aborted. */
  async request(path: string, { method = 'GET', headers = {}, json, bearer }: VaultRequest = {}): Promise<Response> {
    const credential = bearer ?? this.token;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${HEADERS_MS / 1000} s`)), HEADERS_MS);
    try {
      const response = await fetch(new URL(path, this.origin), {
        method,
        headers: {
          ...(credential === '' ? {} : { authorization: `Bearer ${credential}` }),
          ...(json === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        signal: AbortSignal.any([this.#signal, late.signal]),
      });
      if (response.ok) return response;
      const body = await response.text();
      throw new VaultRefused(response.status, body, response.headers.get('retry-after'));
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      throw error instanceof VaultRefused ? error : new VaultUnreachable(this.origin, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async json<T>(path: string, request?: VaultRequest): Promise<T> {
    const response = await this.request(path, request);
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw new VaultUnreachable(this.origin, error);
    }
  }
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
