/** Bytes in and out by curl: it costs next to nothing, and the machine's cores belong to what is measured. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';

export interface Transfer {
  /** Until the last byte. */
  readonly seconds: number;
  /** Until the first byte of the answer. */
  readonly firstByteSeconds: number;
  readonly body: string;
}

/** PUT of a file with its length. */
export function putFile(url: string, file: string, token = ''): Promise<Transfer> {
  return curl(['-T', file, url], token);
}

/** POST of a file with its length. */
export function postFile(url: string, file: string, token = ''): Promise<Transfer> {
  return curl(['-X', 'POST', '-T', file, url], token);
}

/** PUT of `times` copies of a file as one body without a length. */
export function putCopies(url: string, file: string, times: number, token = ''): Promise<Transfer> {
  async function* copies() {
    for (let i = 0; i < times; i++) yield* createReadStream(file, { highWaterMark: 1024 * 1024 });
  }
  return putPieces(url, copies(), token);
}

/** A body without a length, which is made while it goes out. Its pieces are better large. */
export function putPieces(
  url: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  token = '',
  method: 'PUT' | 'POST' = 'PUT',
): Promise<Transfer> {
  return curl(['-X', method, '-T', '-', url], token, async (input) => {
    for await (const piece of pieces) {
      if (!input.write(piece)) await once(input, 'drain');
    }
    input.end();
  });
}

/** GET, to a file or to nowhere. `range`: as "0-99", of the bytes that the URL stands for. */
export function get(url: string, token = '', file = '/dev/null', range = ''): Promise<Transfer> {
  const span = range === '' ? [] : ['-r', range];
  return curl(['-o', file, '-H', 'Accept-Encoding: identity', ...span, url], token);
}

/** GET of an encrypted backup's content, to nowhere. */
export function getDecrypted(url: string, token: string, identity: string): Promise<Transfer> {
  const headers = ['-H', 'Accept-Encoding: identity', '-H', `X-Age-Identity: ${identity}`];
  return curl(['-o', '/dev/null', ...headers, url], token);
}

async function curl(
  args: string[],
  token: string,
  feed?: (input: NodeJS.WritableStream) => Promise<void>,
): Promise<Transfer> {
  const auth = token === '' ? [] : ['-H', `Authorization: Bearer ${token}`];
  const child = spawn(
    'curl',
    ['-sS', '-f', '--max-time', '300', '-w', '\n%{time_starttransfer} %{time_total}', ...auth, ...args],
    {
      stdio: [feed ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  let errors = '';
  child.stdout?.on('data', (text) => {
    output += String(text);
  });
  child.stderr?.on('data', (text) => {
    errors += String(text);
  });
  const closed = once(child, 'close');
  if (feed && child.stdin) {
    child.stdin.on('error', () => undefined);
    await feed(child.stdin);
  }
  const [code] = await closed;
  if (code !== 0) throw new Error(`curl ${args.at(-1)} ended with ${code}: ${errors}${output}`);
  const cut = output.lastIndexOf('\n');
  const [firstByteSeconds = Number.NaN, seconds = Number.NaN] = output
    .slice(cut + 1)
    .split(' ')
    .map(Number);
  return { seconds, firstByteSeconds, body: output.slice(0, cut) };
}

/** Seconds that a command takes from its start to its end, its output thrown away. */
export async function timeCommand(command: string, args: string[], output = '/dev/null'): Promise<number> {
  const sink = await open(output, 'w');
  try {
    const began = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', sink.fd, 'ignore'] });
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
    return (performance.now() - began) / 1000;
  } finally {
    await sink.close();
  }
}
