/**
 * Clients that are slow, or stop: connections whose rate is ours. One process holds them all, because a process for each
 * would take the cores from what is measured.
 */
import { connect, type Socket } from 'node:net';
import type { BenchVault } from './vault.ts';

/** What goes out or is taken at once; a slow line delivers no larger pieces. */
const CHUNK_BYTES = 32 * 1024;

export interface Member {
  /** Bytes of the body that this side has sent or received. */
  readonly moved: number;
  /** Stops without closing: nothing more is sent or taken. */
  stop(): void;
  close(): void;
}

/** A PUT of unknown length that repeats `content` at `rate` bytes a second, until it is stopped. */
export function slowUpload(vault: BenchVault, path: string, content: Uint8Array, rate: number): Member {
  const socket = open(vault);
  socket.write(head(vault, 'PUT', path, ['Transfer-Encoding: chunked', 'Content-Type: application/octet-stream']));
  // An answer before the end is a refusal; the counters show it.
  socket.resume();
  let moved = 0;
  const timer = setInterval(
    () => {
      // A socket that does not drain holds the bytes in this process: they would count as sent.
      if (socket.writableNeedDrain || socket.destroyed) return;
      const at = moved % (content.length - CHUNK_BYTES);
      socket.write(`${CHUNK_BYTES.toString(16)}\r\n`);
      socket.write(content.subarray(at, at + CHUNK_BYTES));
      socket.write('\r\n');
      moved += CHUNK_BYTES;
    },
    (CHUNK_BYTES / rate) * 1000,
  );
  return member(socket, timer, () => moved);
}

/** A GET whose body is taken at `rate` bytes a second, until it is stopped. */
export function slowDownload(vault: BenchVault, path: string, rate: number): Member {
  const socket = open(vault);
  socket.write(head(vault, 'GET', path, ['Accept-Encoding: identity']));
  let moved = 0;
  // Without a listener for data the socket fills its buffer and leaves the rest to the sender.
  const timer = setInterval(
    () => {
      const chunk: Buffer | null = socket.read(Math.min(CHUNK_BYTES, socket.readableLength));
      moved += chunk?.length ?? 0;
    },
    (CHUNK_BYTES / rate) * 1000,
  );
  return member(socket, timer, () => moved);
}

/** Sends the head of a request and the beginning of its body, and then nothing. */
export function openRequest(
  vault: BenchVault,
  method: string,
  path: string,
  headers: readonly string[],
  beginning: Uint8Array,
): Member {
  const socket = open(vault);
  socket.write(head(vault, method, path, headers));
  socket.write(beginning);
  socket.resume();
  return member(socket, undefined, () => beginning.length);
}

function open({ url }: BenchVault): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  // A connection that the vault ends is what some of these clients are after.
  socket.on('error', () => undefined);
  return socket;
}

function head({ url, token }: BenchVault, method: string, path: string, headers: readonly string[]): string {
  const auth = token === '' ? [] : [`Authorization: Bearer ${token}`];
  return [`${method} ${path} HTTP/1.1`, `Host: ${new URL(url).host}`, ...auth, ...headers, '', ''].join('\r\n');
}

function member(socket: Socket, timer: NodeJS.Timeout | undefined, moved: () => number): Member {
  return {
    get moved() {
      return moved();
    },
    stop() {
      clearInterval(timer);
      socket.pause();
    },
    close() {
      clearInterval(timer);
      socket.destroy();
    },
  };
}
