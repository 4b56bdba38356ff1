/**
 * One upload over tus, from the first byte to the last, through whatever happens to the connection. tus-js-client does
 * the protocol for as long as all goes well; each time it does not, a fresh one of it asks the vault (HEAD) how far it
 * is, and goes on from there.
 *
 * No Upload-Checksum goes with the pieces: with one, a piece that is cut counts nothing, without one all of it that
 * arrived does. What arrived is compared at the end, by the SHA-256 of the whole.
 */
import { DefaultHttpStack, type DetailedError, type HttpRequest, type HttpResponse, Upload } from 'tus-js-client';
import { showBytes, showDuration } from './amounts.ts';
import { CommandFailed } from './failures.ts';
import { type Patience, waitFor } from './patience.ts';
import type { PieceSize } from './piece-size.ts';
import type { PieceSource } from './piece-source.ts';
import { type VaultClient, VaultRefused, VaultUnreachable } from './vault-client.ts';

/** No byte went and no answer came for so long: the connection is dead, though nobody said so. */
const STALL_MS = 90_000;

/** How an upload is reached: its address, and what opens it. */
export interface UploadAccess {
  readonly url: string;
  /** The upload's own secret; of a server that gives none the token. */
  readonly secret: string;
}

export interface CreatedUpload extends UploadAccess {
  /** ISO 8601 */
  readonly expiresAt: string;
}

/** The vault has no such upload, or no longer: expired, removed, or failed before. */
export class UploadGone extends CommandFailed {
  override readonly name = 'UploadGone';
}

/** Another push goes on with the upload; it is that one's now. */
export class UploadTakenOver extends CommandFailed {
  override readonly name = 'UploadTakenOver';
}

export interface TusUploadOrder {
  readonly client: VaultClient;
  readonly source: PieceSource;
  readonly pieces: PieceSize;
  readonly patience: Patience;
  readonly signal: AbortSignal;
  /** Of a new upload. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Begun by an earlier run; null: a new one. */
  readonly upload: UploadAccess | null;
  /** The upload is there. Nothing is sent before it has settled. */
  onCreated(upload: CreatedUpload): Promise<void>;
  /** Where an upload of an earlier run goes on. */
  onResumed(offset: number): void;
  /** How far it is, counting what is on its way. */
  onProgress(offset: number): void;
  note(text: string): void;
}

/**
 * Sends all of the source; resolves once every byte is durable, with how to ask for the upload. Throws
 * {@link UploadGone}, {@link UploadTakenOver}, VaultRefused for what trying again does not help, and the last failure once patience is over.
 */
export async function sendByTus(order: TusUploadOrder): Promise<UploadAccess> {
  const { client, signal, patience } = order;
  const { agent } = client.connections;
  const run = new Run(order, new DefaultHttpStack({ agent }));
  while (true) {
    try {
      return await run.attempt();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const again = await run.judge(error);
      const waitMs = patience.nextWaitMs(again.leastWaitMs);
      if (waitMs === null) throw again.failure;
      order.note(`${again.failure.message} Trying again in ${showDuration(Math.max(1, waitMs / 1000))}.`);
      await waitFor(waitMs, signal);
    }
  }
}

interface TryAgain {
  readonly failure: CommandFailed;
  readonly leastWaitMs?: number;
}

class Run {
  readonly #order: TusUploadOrder;
  readonly #stack: DefaultHttpStack;
  #access: UploadAccess | null;
  /** Whether it is still to be seen if the upload of an earlier run is there. */
  #unproven: boolean;
  #durable = 0;
  /** Of the last request. */
  #method = '';

  constructor(order: TusUploadOrder, stack: DefaultHttpStack) {
    this.#order = order;
    this.#stack = stack;
    this.#access = order.upload;
    this.#unproven = order.upload !== null;
  }

  /** Until all is sent or something fails; only then has every request of it ended. */
  attempt(): Promise<UploadAccess> {
    const { client, source, signal, metadata } = this.#order;
    return new Promise((resolve, reject) => {
      const stop = (reason: unknown) => {
        finish();
        void upload.abort();
        reject(reason);
      };
      const interrupt = () => stop(signal.reason);
      const watchdog = new Watchdog(STALL_MS, () =>
        stop(new VaultUnreachable(client, new Error(`nothing moved for ${STALL_MS / 1000} s`))),
      );
      const finish = () => {
        signal.removeEventListener('abort', interrupt);
        watchdog.rest();
      };
      let pieceBegan = 0;
      // The first argument is for sources that tus-js-client opens itself.
      const upload = new Upload(Buffer.alloc(0), {
        // Without an endpoint tus-js-client cannot make another upload where the one there is cannot be asked for.
        ...(this.#access ? { uploadUrl: this.#access.url } : { endpoint: `${client.origin}/tus` }),
        headers: { Authorization: `Bearer ${this.#access?.secret ?? client.token}` },
        metadata: { ...metadata },
        uploadLengthDeferred: source.size === null,
        fileReader: { openFile: async () => source },
        httpStack: this.#stack,
        storeFingerprintForResuming: false,
        // Waiting and trying again are sendByTus's.
        retryDelays: null,
        onBeforeRequest: (request) => {
          this.#method = request.getMethod();
          pieceBegan = performance.now();
          watchdog.wake();
        },
        onAfterResponse: async (request, response) => {
          watchdog.rest();
          // What is left of a refused piece need not be sent.
          if (response.getStatus() >= 400) void request.abort();
          await this.#hear(upload, request, response);
        },
        onProgress: (bytes) => {
          watchdog.touch();
          this.#order.onProgress(bytes);
        },
        onChunkComplete: (bytes, durable) => {
          this.#order.pieces.went(bytes, performance.now() - pieceBegan);
          this.#isDurable(durable);
        },
        onSuccess: () => {
          finish();
          if (this.#access) resolve(this.#access);
          else reject(new CommandFailed('The vault created an upload without an address.'));
        },
        onError: (error) => {
          finish();
          reject(error);
        },
      });
      signal.addEventListener('abort', interrupt);
      if (signal.aborted) interrupt();
      else upload.start();
    });
  }

  /** Answers of which tus-js-client tells nothing itself. */
  async #hear(upload: Upload, request: HttpRequest, response: HttpResponse): Promise<void> {
    if (response.getStatus() >= 300) return;
    if (request.getMethod() === 'POST') {
      const created = this.#created(response);
      this.#access = created;
      // For the requests that follow in this attempt: the token may run out before the upload does.
      upload.options.headers = { Authorization: `Bearer ${created.secret}` };
      await this.#order.onCreated(created);
    }
    if (request.getMethod() === 'HEAD') {
      const offset = Number(response.getHeader('Upload-Offset'));
      if (this.#unproven) this.#order.onResumed(offset);
      this.#unproven = false;
      this.#isDurable(offset);
    }
  }

  #created(response: HttpResponse): CreatedUpload {
    const { origin, token } = this.#order.client;
    const location = new URL(response.getHeader('Location') ?? '', `${origin}/tus`);
    if (location.origin !== origin) {
      throw new CommandFailed(`The vault sends uploads to ${location.origin}. The token goes to ${origin} only.`);
    }
    const expires = Date.parse(response.getHeader('Upload-Expires') ?? '');
    return {
      url: location.href,
      secret: response.getHeader('Coldstream-Upload-Secret') ?? token,
      expiresAt: new Date(Number.isNaN(expires) ? Date.now() + 24 * 3600 * 1000 : expires).toISOString(),
    };
  }

  #isDurable(offset: number): void {
    if (offset > this.#durable) this.#order.patience.renew();
    this.#durable = offset;
    this.#order.onProgress(offset);
  }

  /** What to say and how long to wait at least, where it is worth another try; throws where it is not. */
  async judge(error: unknown): Promise<TryAgain> {
    const { originalResponse: response, originalRequest: request, causingError } = error as Partial<DetailedError>;
    if (response) return this.#judgeAnswer(await this.#refusal(response, request?.getMethod() ?? ''));
    // From our own side: the content cannot be read.
    if (causingError instanceof CommandFailed) throw causingError;
    if (!request && !(error instanceof VaultUnreachable)) throw error;
    this.#pieceFailed();
    const isUnreachable = error instanceof VaultUnreachable;
    return { failure: isUnreachable ? error : new VaultUnreachable(this.#order.client, causingError ?? error) };
  }

  #judgeAnswer(refusal: VaultRefused): TryAgain {
    const { pieces, client } = this.#order;
    const { status, code } = refusal;
    // In this run a failed upload is the end; of an earlier run it is only none to go on with.
    if (code === 'upload-failed' && !this.#unproven) throw refusal;
    // The upload was ended on purpose: a new upload would undo that, and two of one job would supersede each other for ever.
    if ((code === 'upload-cancelled' || code === 'job-superseded') && !this.#unproven) throw refusal;
    if (this.#access && (status === 404 || status === 410)) throw new UploadGone(refusal.message);
    if (code === 'upload-superseded') {
      throw new UploadTakenOver('Another push continues this upload, so this one stops.');
    }
    // HEAD tells where it really is.
    if (code === 'offset-mismatch') return { failure: refusal };
    // No problem of the vault's own: the edge before it takes no request so large.
    if (status === 413 && code === '' && pieces.wasTooLarge()) {
      const most = showBytes(pieces.bytes);
      return {
        failure: new CommandFailed(
          `${client.origin} rejected the request as too large; continuing with ${most} at a time.`,
        ),
      };
    }
    if (!refusal.isPassing) throw refusal;
    // A busy vault says nothing about the size of the chunk.
    if (!refusal.isBusy) this.#pieceFailed();
    return { failure: refusal, leastWaitMs: refusal.waitMs };
  }

  #pieceFailed(): void {
    if (this.#method === 'PATCH') this.#order.pieces.failed();
  }

  /** What the vault says. An answer to HEAD has no words; GET of the same upload is refused with them. */
  async #refusal(response: HttpResponse, method: string): Promise<VaultRefused> {
    const status = response.getStatus();
    if (method === 'HEAD' && this.#access) {
      const { url, secret } = this.#access;
      const asked = await this.#order.client.request(url, { bearer: secret }).catch((error: unknown) => error);
      if (asked instanceof VaultRefused && asked.status === status) return asked;
    }
    return new VaultRefused(status, response.getBody(), response.getHeader('Retry-After'));
  }
}

/** Calls once where it is awake and was not touched for `ms`. */
class Watchdog {
  readonly #ms: number;
  readonly #bark: () => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(ms: number, bark: () => void) {
    this.#ms = ms;
    this.#bark = bark;
  }

  wake(): void {
    this.rest();
    this.#timer = setTimeout(this.#bark, this.#ms);
  }

  touch(): void {
    this.#timer?.refresh();
  }

  rest(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
