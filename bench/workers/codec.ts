/**
 * The codec alone. The source is given once (PUT /source) and lies in memory; each run answers when it has ended, so
 * that time is told from outside: this runtime's own clock stands still without I/O.
 */
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from 'node:zlib';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { scanTar } from '../../src/archive/tar-scan.ts';
import { ageDecrypt, ageEncrypt } from '../../src/codec/age.ts';
import { updateCrc32 } from '../../src/codec/crc32.ts';
import { sha256Digest } from '../../src/codec/digest.ts';
import { seekableEncode } from '../../src/codec/seekable/seekable-encoder.ts';
import type { ZstdEngine } from '../../src/codec/zstd/engine.ts';
import { nativeEngine } from '../../src/codec/zstd/native-engine.ts';
import { startWasmEngine } from '../../src/codec/zstd/wasm-engine.ts';
import { zstdDecode } from '../../src/codec/zstd/zstd-decode.ts';
import { FRAME_BYTES, MIB } from '../../src/shared/limits.ts';
import { jsonItems } from '../../src/transfer/json-items.ts';

const wasmEngine = startWasmEngine();

let source = new Uint8Array();
let stored: Uint8Array[] = [];
let packed: { readonly piece: Uint8Array; readonly contentBytes: number }[] = [];

export default {
  async fetch(request) {
    const url = new URL(request.url);
    const option = (name: string) => url.searchParams.get(name) ?? '';
    const engine = option('engine') === 'wasm' ? wasmEngine : nativeEngine;
    switch (url.pathname) {
      case '/source':
        source = new Uint8Array(await request.arrayBuffer());
        return Response.json({ bytes: source.length });
      case '/in':
        return Response.json(await wayIn(engine, Number(option('level') || 3), option('keep') !== ''));
      case '/stored':
        return new Response(new Blob(stored).stream());
      case '/out':
        return Response.json(await wayOut(engine));
      case '/pack':
        return Response.json(pack(codec(option('codec'), engine, Number(option('level')))));
      case '/unpack':
        return Response.json(unpack(codec(option('codec'), engine, Number(option('level')))));
      case '/rate':
        return Response.json({ content: await work(option('what')) });
      case '/':
        return Response.json({ highest: { native: nativeEngine.highestLevel, wasm: wasmEngine.highestLevel } });
      default:
        return new Response(null, { status: 404 });
    }
  },
} satisfies ExportedHandler;

async function* pieces(bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < source.length; at += bytes) yield source.subarray(at, at + bytes);
}

async function* storedPieces(bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of stored) {
    for (let at = 0; at < piece.length; at += bytes) yield piece.subarray(at, at + bytes);
  }
}

/** As `ingest/upload.ts` chains it, the storage replaced by an array. */
async function wayIn(engine: ZstdEngine, level: number, keep: boolean) {
  const content = sha256Digest();
  const storage = sha256Digest();
  async function* digested() {
    for await (const piece of pieces(FRAME_BYTES)) {
      content.update(piece);
      yield piece;
    }
  }
  if (keep) stored = [];
  let bytes = 0;
  for await (const piece of seekableEncode({ engine, level })(digested())) {
    storage.update(piece);
    bytes += piece.length;
    if (keep) stored.push(new Uint8Array(piece));
  }
  content.digest();
  storage.digest();
  return { content: source.length, stored: bytes };
}

/** As `delivery/download.ts` chains it, the reader replaced by a counter. */
async function wayOut(engine: ZstdEngine) {
  let bytes = 0;
  const decode = zstdDecode({ engine, maxBytes: source.length });
  for await (const piece of decode(storedPieces(MIB))) bytes += piece.length;
  return { content: bytes };
}

/** What the flows compute beside zstd and gzip. Resolves with the bytes of content that were worked on. */
async function work(what: string): Promise<number> {
  switch (what) {
    case 'sha256': {
      const digest = sha256Digest();
      for await (const piece of pieces(MIB)) digest.update(piece);
      digest.digest();
      return source.length;
    }
    case 'crc32': {
      let crc = 0;
      for await (const piece of pieces(MIB)) crc = updateCrc32(crc, piece);
      return source.length;
    }
    case 'age-seal':
      return drained(ageEncrypt([await identityToRecipient(await generateIdentity())])(pieces(MIB)));
    case 'age-seal-open': {
      const identity = await generateIdentity();
      const sealed = ageEncrypt([await identityToRecipient(identity)])(pieces(MIB));
      return drained(ageDecrypt(identity)(sealed));
    }
    case 'tar':
      await scanTar(pieces(MIB), () => undefined);
      return source.length;
    case 'json': {
      const rows = jsonRows(source.length);
      const options = { format: 'ndjson', maxItemBytes: MIB, maxDepth: 100 } as const;
      for await (const _ of jsonItems(repeated(rows), options));
      return source.length;
    }
    default:
      throw new Error(`no work ${what}`);
  }
}

async function drained(made: AsyncIterable<Uint8Array>): Promise<number> {
  for await (const _ of made);
  return source.length;
}

/** Lines of JSON, about half a MiB of them. */
function jsonRows(bytes: number): { readonly lines: Uint8Array; readonly times: number } {
  const row = (id: number) => `{"id":${id},"name":"item ${id}","value":${id / 7},"note":"some words of a note"}\n`;
  const lines = new TextEncoder().encode(Array.from({ length: 6000 }, (_, id) => row(id)).join(''));
  return { lines, times: Math.ceil(bytes / lines.length) };
}

async function* repeated({ lines, times }: ReturnType<typeof jsonRows>): AsyncGenerator<Uint8Array, void, undefined> {
  for (let time = 0; time < times; time++) yield lines.slice();
}

interface Codec {
  pack(piece: Uint8Array): Uint8Array;
  unpack(packed: Uint8Array, contentBytes: number): Uint8Array;
}

function codec(name: string, engine: ZstdEngine, level: number): Codec {
  switch (name) {
    case 'zstd':
      return {
        pack: (piece) => engine.compressFrame(piece, level),
        unpack: (frame, contentBytes) => engine.decompressFrame(frame, contentBytes),
      };
    case 'gzip':
      return {
        pack: (piece) => gzipSync(piece, { level, chunkSize: MIB }),
        unpack: (bytes) => gunzipSync(bytes, { chunkSize: MIB }),
      };
    case 'brotli': {
      const params = { [constants.BROTLI_PARAM_QUALITY]: level };
      return {
        pack: (piece) => brotliCompressSync(piece, { params, chunkSize: MIB }),
        unpack: (bytes) => brotliDecompressSync(bytes, { chunkSize: MIB }),
      };
    }
    default:
      throw new Error(`no codec ${name}`);
  }
}

/** Every codec gets the stored form's own pieces. */
function pack({ pack }: Codec) {
  packed = [];
  let bytes = 0;
  for (let at = 0; at < source.length; at += FRAME_BYTES) {
    const piece = source.subarray(at, at + FRAME_BYTES);
    const result = pack(piece);
    bytes += result.length;
    packed.push({ piece: new Uint8Array(result), contentBytes: piece.length });
    free(result);
  }
  return { content: source.length, packed: bytes };
}

function unpack({ unpack }: Codec) {
  let bytes = 0;
  for (const { piece, contentBytes } of packed) {
    const content = unpack(piece, contentBytes);
    bytes += content.length;
    free(content);
  }
  return { content: bytes };
}

/** At once, as the vault does it: results that wait for the collector would make the next ones slow. */
function free({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && byteLength > 64 * 1024) buffer.transfer(0);
}
