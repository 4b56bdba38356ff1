/**
 * A client of tus, and of uploads in one request, over one connection each that stays open. What is sent lies in memory,
 * and goes out by Node's own http: nothing of a client's library, and no process that begins, stands in a piece's time.
 */
import { once } from 'node:events';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import type { Receipt } from './vault.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Bytes in memory, or as many as the headers say that are made while they go out. */
export type Body = Uint8Array | AsyncIterable<Uint8Array>;

/** A vault, or what else takes uploads, and who asks. */
export interface Host {
  readonly url: string;
  readonly token: string;
}

export type UploadPhase = 'receiving' | 'storing' | 'verifying' | 'done';

export interface UploadStatus {
  readonly phase: UploadPhase;
  readonly offset: number;
  readonly receipt: Receipt | null;
}

const PIECE_HEADERS = { 'content-type': 'application/offset+octet-stream' };

export class UploadClient {
  readonly #host: Host;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(host: Host) {
    this.#host = host;
  }

  /** All of it in one request. */
  async put(path: string, bytes: Uint8Array): Promise<Receipt> {
    const { body } = await this.#expect(201, 'PUT', path, {}, bytes);
    return JSON.parse(body) as Receipt;
  }

  /** The address of a new upload. `metadata`: values as text. */
  async create(length: number, metadata: Readonly<Record<string, string>>): Promise<string> {
    const pairs = Object.entries(metadata).map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`);
    const headers = { 'upload-length': String(length), 'upload-metadata': pairs.join(',') };
    const { location } = (await this.#expect(201, 'POST', '/tus', headers)).headers;
    if (location === undefined) throw new Error('POST /tus gave no Location');
    return location;
  }

  /** Sends a piece and gives where the upload stands then. `bytes`: of the body, where it is not in memory. */
  async patch(address: string, offset: number, body: Body, bytes?: number): Promise<number> {
    const headers = { ...PIECE_HEADERS, 'upload-offset': String(offset) };
    const answer = await this.#expect(204, 'PATCH', address, headers, body, bytes);
    return Number(answer.headers['upload-offset']);
  }

  async status(address: string): Promise<UploadStatus> {
    return JSON.parse((await this.#expect(200, 'GET', address)).body) as UploadStatus;
  }

  /** Asks again and again until the upload is a backup; gives its receipt. */
  async untilDone(address: string, everyMs: number): Promise<Receipt> {
    for (;;) {
      const { phase, receipt } = await this.status(address);
      if (phase === 'done' && receipt) return receipt;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  async remove(path: string): Promise<void> {
    await this.#expect(204, 'DELETE', path);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #expect(
    status: number,
    method: string,
    path: string,
    headers: Readonly<Record<string, string>> = {},
    body?: Body,
    bytes?: number,
  ): Promise<Answer> {
    const answer = await this.#ask(method, path, headers, body, bytes);
    if (answer.status !== status) throw new Error(`${method} ${path} answered ${answer.status}: ${answer.body}`);
    return answer;
  }

  async #ask(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: Body = new Uint8Array(),
    bytes = body instanceof Uint8Array ? body.length : undefined,
  ): Promise<Answer> {
    const asked = request(new URL(path, this.#host.url), {
      method,
      agent: this.#agent,
      headers: {
        authorization: `Bearer ${this.#host.token}`,
        'tus-resumable': '1.0.0',
        'content-length': bytes,
        ...headers,
      },
    });
    const answered = once(asked, 'response');
    // Told by the loop below, or at the end.
    answered.catch(() => undefined);
    if (body instanceof Uint8Array) {
      asked.end(body);
    } else {
      for await (const piece of body) {
        if (!asked.write(piece)) await Promise.race([once(asked, 'drain'), answered]);
      }
      asked.end();
    }
    const [response] = await answered;
    let text = '';
    for await (const part of response.setEncoding('utf8')) text += part;
    return { status: response.statusCode, headers: response.headers, body: text };
  }
}

/** What a tus client does: pieces of `pieceBytes`, one after the other. Resolves when the last one is answered. */
export async function sendInPieces(
  client: UploadClient,
  address: string,
  content: Uint8Array,
  pieceBytes: number,
): Promise<void> {
  for (let offset = 0; offset < content.length; ) {
    offset = await client.patch(address, offset, content.subarray(offset, offset + pieceBytes));
  }
}
