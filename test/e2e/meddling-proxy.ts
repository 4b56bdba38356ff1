import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

/** What something between the command and the vault does to a request or to its answer. */
export interface Meddling {
  /** Answers in the vault's place; true: it did. */
  answer?(request: IncomingMessage, response: ServerResponse): boolean | Promise<boolean>;
  /** Changes the headers of an answer of the vault. */
  headers?(request: IncomingMessage, headers: Record<string, string | string[] | undefined>): void;
  /** Changes a chunk of its body; the chunk begins at byte `at`. */
  body?(request: IncomingMessage, chunk: Buffer, at: number): void;
}

export interface MeddlingProxy {
  readonly url: string;
  /** Requests so far, such as `GET http://vault.invalid/backup` or `CONNECT vault.invalid:80`. */
  readonly asked: readonly string[];
}

/**
 * A server that passes requests on to the vault, whatever host they name: in the vault's place, as a reverse proxy, and
 * as a forward proxy too (absolute addresses and CONNECT).
 */
export async function throughProxy(
  vaultUrl: string,
  meddling: Meddling,
  use: (proxy: MeddlingProxy) => Promise<void>,
): Promise<void> {
  const { hostname, port } = new URL(vaultUrl);
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (await meddling.answer?.(request, response)) return;
    const { pathname, search } = new URL(request.url ?? '/', vaultUrl);
    const target = { hostname, port, method: request.method, path: pathname + search, headers: request.headers };
    const passed = httpRequest(target, (answer) => {
      const headers = { ...answer.headers };
      meddling.headers?.(request, headers);
      response.writeHead(answer.statusCode ?? 502, headers);
      let at = 0;
      answer.on('data', (chunk: Buffer) => {
        meddling.body?.(request, chunk, at);
        at += chunk.length;
        response.write(chunk);
      });
      answer.on('end', () => response.end());
      answer.on('error', () => response.destroy());
      answer.on('aborted', () => response.destroy());
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  server.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const tunnel = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      socket.pipe(tunnel).pipe(socket);
    });
    tunnel.on('error', () => socket.destroy());
    socket.on('error', () => tunnel.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
