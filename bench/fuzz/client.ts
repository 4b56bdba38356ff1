/** Sends what `fetch` would not: paths that nothing normalizes, odd headers, bodies of any method. */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { FuzzRequest } from './request.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  /** Its first bytes. */
  readonly text: string;
  readonly seconds: number;
}

export type Outcome =
  | ({ readonly kind: 'answered' } & Answer)
  /** node itself refuses to send it. */
  | { readonly kind: 'unsendable' }
  | { readonly kind: 'broken'; readonly cause: string }
  | { readonly kind: 'hung' };

/** Bytes of an answer that are read: more would only measure the machine. */
const READ_BYTES = 256 * 1024;

export function newAgent(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 64 });
}

/** The answer, once its body has ended or enough of it has come. Nothing of it hangs longer than `boundMs`. */
export function send(url: string, asked: FuzzRequest, agent: Agent, boundMs: number): Promise<Outcome> {
  const { hostname, port } = new URL(url);
  const began = performance.now();
  return new Promise((resolve) => {
    const end = (outcome: Outcome) => {
      clearTimeout(timer);
      resolve(outcome);
      request?.destroy();
    };
    const timer = setTimeout(() => end({ kind: 'hung' }), boundMs);
    let request: ReturnType<typeof httpRequest> | undefined;
    try {
      request = httpRequest({ hostname, port, method: asked.method, path: asked.path, agent, setHost: true });
      for (const [name, value] of asked.headers) request.appendHeader(name, value);
      // Said for every method: of a GET node would send the body without either, as the next request.
      if (asked.body && asked.chunked) request.setHeader('transfer-encoding', 'chunked');
      else if (asked.body) request.setHeader('content-length', asked.body.length);
    } catch {
      return end({ kind: 'unsendable' });
    }
    request.on('error', (error) => end({ kind: 'broken', cause: String(error) }));
    request.on('upgrade', ({ statusCode = 0, headers }) =>
      end({ kind: 'answered', status: statusCode, headers, text: '', seconds: (performance.now() - began) / 1000 }),
    );
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      const finish = () => {
        clearTimeout(timer);
        const text = Buffer.concat(chunks).subarray(0, 4096).toString();
        const seconds = (performance.now() - began) / 1000;
        resolve({ kind: 'answered', status: response.statusCode ?? 0, headers: response.headers, text, seconds });
      };
      response.on('data', (chunk: Buffer) => {
        if (bytes < 4096) chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > READ_BYTES) {
          finish();
          request?.destroy();
        }
      });
      response.on('end', finish);
      // A body that breaks off is one of the vault's answers: the data behind it cannot be made.
      response.on('error', finish);
    });
    request.end(asked.body ?? undefined);
  });
}
