import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/**
 * An HTTP/1.1 client of one request a connection, which can stop anywhere: it writes pieces of any size, cuts the
 * connection after any byte, holds it open without a word, or leaves before it has read the answer.
 */

export interface RawRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Sizes of the chunks of a body that goes without its length; without it there is a Content-Length. */
  readonly chunkBytes?: (() => number) | undefined;
}

/** `fin` closes as a program does that ends, `rst` as one whose machine does. */
export type Cut = 'fin' | 'rst';

export interface Conduct {
  /** Size of the next write. */
  readonly writeBytes: () => number;
  /** What is done once so much of the request is written: from 0, before its first byte, to 1, behind its last. */
  readonly deed?: { readonly at: number; readonly act: () => Promise<Cut | 'go-on'> } | undefined;
}

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** `cut`: by this side. `lost`: by the other, before a whole answer had come. `sent`: bytes of the body, at most. */
export type Outcome = { readonly sent: number } & (
  | { readonly kind: 'answer'; readonly answer: RawAnswer }
  | { readonly kind: 'cut' }
  | { readonly kind: 'lost'; readonly why: string }
);

/** Without a byte in either direction for so long, nobody is there any more. */
const SILENCE_MS = 90_000;
/** How long a closed connection may take to be gone; what comes on it meanwhile is read and thrown away. */
const LINGER_MS = 300;

export async function exchange(origin: string, request: RawRequest, conduct: Conduct): Promise<Outcome> {
  const { hostname, port, host } = new URL(origin);
  const head = headOf(request, host);
  const body = request.chunkBytes ? chunked(request.body ?? Buffer.alloc(0), request.chunkBytes) : request.body;
  const wire = body ? Buffer.concat([head, body]) : head;
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const answering = answerOn(socket, request.method);
  const { written, cut } = await send(socket, wire, conduct);
  const sent = Math.max(0, Math.min(request.body?.length ?? 0, written - head.length));
  if (cut) {
    await close(socket, cut);
    return { kind: 'cut', sent };
  }
  const answer = await answering;
  socket.destroy();
  return typeof answer === 'string' ? { kind: 'lost', why: answer, sent } : { kind: 'answer', answer, sent };
}

/** Writes until the end, until the deed cuts, or until the other side takes no more. */
async function send(socket: Socket, wire: Buffer, { writeBytes, deed }: Conduct) {
  const place = deed ? Math.floor(deed.at * wire.length) : -1;
  for (let written = 0; ; ) {
    if (deed && written === place) {
      // Who holds the connection open waits for as long as it likes.
      socket.setTimeout(0);
      const next = await deed.act();
      socket.setTimeout(SILENCE_MS);
      if (next !== 'go-on') return { written, cut: next };
    }
    if (written === wire.length) return { written, cut: null };
    const end = Math.min(wire.length, written + writeBytes(), written < place ? place : wire.length);
    if (!(await write(socket, wire.subarray(written, end)))) return { written: end, cut: null };
    written = end;
  }
}

function write(socket: Socket, bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    if (socket.destroyed) return resolve(false);
    const gone = () => resolve(false);
    socket.once('close', gone);
    socket.write(bytes, (error) => {
      socket.off('close', gone);
      resolve(!error);
    });
  });
}

async function close(socket: Socket, cut: Cut): Promise<void> {
  if (socket.destroyed) return;
  if (cut === 'rst') {
    socket.resetAndDestroy();
    return;
  }
  socket.end();
  const late = setTimeout(() => socket.destroy(), LINGER_MS);
  if (!socket.destroyed) await once(socket, 'close').catch(() => undefined);
  clearTimeout(late);
}

function headOf({ method, target, headers, body, chunkBytes }: RawRequest, host: string): Buffer {
  const length = body || method === 'POST' || method === 'PATCH' ? { 'Content-Length': String(body?.length ?? 0) } : {};
  const all = {
    Host: host,
    Connection: 'close',
    ...headers,
    ...(chunkBytes ? { 'Transfer-Encoding': 'chunked' } : length),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
}

function chunked(body: Uint8Array, chunkBytes: () => number): Buffer {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < body.length; ) {
    const piece = body.subarray(at, at + chunkBytes());
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
    at += piece.length;
  }
  return Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')]);
}

/** The answer, or why there is none. */
function answerOn(socket: Socket, method: string): Promise<RawAnswer | string> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let why = 'the connection was closed';
    const read = (ended: boolean) => {
      const answer = parse(Buffer.concat(pieces), method, ended);
      if (answer) resolve(answer);
    };
    socket.setTimeout(SILENCE_MS, () => {
      why = `nothing came for ${SILENCE_MS} ms`;
      socket.destroy();
    });
    socket.on('data', (bytes: Buffer) => {
      pieces.push(bytes);
      read(false);
    });
    socket.on('error', (error) => {
      why = error.message;
    });
    socket.on('close', () => {
      read(true);
      resolve(why);
    });
  });
}

/** Null while it is not whole. */
function parse(bytes: Buffer, method: string, ended: boolean): RawAnswer | null {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [first = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const status = Number(first.split(' ')[1]);
  const rest = bytes.subarray(end + 4);
  if (status < 200) return parse(rest, method, ended);
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  if (method === 'HEAD' || status === 204) return { status, headers, body: Buffer.alloc(0) };
  const body = headers.get('transfer-encoding') === 'chunked' ? unchunk(rest) : bodyOf(rest, headers, ended);
  return body && { status, headers, body };
}

function bodyOf(rest: Buffer, headers: ReadonlyMap<string, string>, ended: boolean): Buffer | null {
  const length = headers.get('content-length');
  if (length === undefined) return ended ? rest : null;
  return rest.length >= Number(length) ? rest.subarray(0, Number(length)) : null;
}

function unchunk(bytes: Buffer): Buffer | null {
  const pieces: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return null;
    const length = Number.parseInt(bytes.subarray(at, line).toString('latin1'), 16);
    const from = line + 2;
    if (bytes.length < from + length + 2) return null;
    if (length === 0) return Buffer.concat(pieces);
    pieces.push(bytes.subarray(from, from + length));
    at = from + length + 2;
  }
}
