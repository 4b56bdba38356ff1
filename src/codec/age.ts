/**
 * The age format, version 1: https://age-encryption.org/v1
 *
 * A header in text wraps a fresh file key for every recipient and is authenticated by it; behind it come a nonce and the
 * payload in sealed chunks (age-chunks.ts). The header is the age-encryption package's work. The payload is ours: the
 * package ciphers it in JavaScript and the runtime at seven times the speed (docs/decisions/0009-age.md).
 */
import { Buffer } from 'node:buffer';
import { Decrypter, type Stanza } from 'age-encryption';
import { ByteReader } from '../shared/byte-reader.ts';
import { release } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { AGE_HEADER_BYTES } from '../shared/limits.ts';
import type { ByteSpan, ReadSpan } from '../shared/seek-points.ts';
import type { Pieces, Stage } from '../shared/streams.ts';
import { CHUNK_BYTES, ChunkCipher, ChunkCutter, SEALED_BYTES, TAG_BYTES } from './age-chunks.ts';
import { AGE_ARMOR_BEGIN, AGE_VERSION_LINE } from './age-header.ts';
import { checkIdentity, checkRecipients } from './age-keys.ts';
import { AgeSealer, type AgeSealing, NONCE_BYTES, payloadKey } from './age-sealer.ts';

/** The line of the header's authentication code, which is its last. */
const LAST_LINE = '\n---';

/** Bytes that are no age file, or a damaged one. `offset` counts the bytes before the header or chunk that is at fault. */
export class MalformedAge extends VaultError {
  readonly offset: number;
  readonly reason: string;

  constructor(reason: string, offset: number, options?: ErrorOptions) {
    super('malformed-age', `The age data cannot be decrypted at byte ${offset}: ${reason}.`, options);
    this.offset = offset;
    this.reason = reason;
  }
}

/** The file is for others. */
export class WrongIdentity extends VaultError {
  constructor(wantsPassphrase: boolean) {
    const detail = wantsPassphrase
      ? 'It is encrypted with a passphrase, which no identity opens.'
      : 'It is encrypted, and none of its recipients is the one of this identity.';
    super('wrong-identity', detail);
  }
}

/**
 * Content as an age file for `recipients`, each of whom can read it alone. Throws {@link InvalidRecipient}.
 * Holds one chunk and a piece of sealed ones.
 */
export function ageEncrypt(recipients: readonly string[]): Stage {
  const checked = checkRecipients(recipients);
  return async function* ageEncrypted(source) {
    const reader = new ByteReader(source);
    let sealer: AgeSealer | null = null;
    try {
      // A source that has not begun cannot be left: it is asked before anything can fail, or be given.
      await reader.fill(1);
      const begun = await AgeSealer.begin(checked);
      sealer = begun.sealer;
      yield begun.header;
      for await (const part of rest(reader)) yield* sealer.seal(part);
      yield sealer.end();
    } finally {
      sealer?.release();
      await reader.close();
    }
  };
}

/**
 * The content of an age file. Throws {@link InvalidIdentity} when called; before any byte {@link WrongIdentity}, or
 * {@link MalformedAge} for another format, ASCII armor (`age -d` reads it, and so does a tool that decodes base64) and a
 * broken header; and {@link MalformedAge} for a chunk that is damaged, missing, out of its place, or behind the last.
 * A chunk goes out when it is verified; what was given before an error is content from before the fault.
 *
 * Holds a sealed chunk, the chunk that is going out, and a header of {@link AGE_HEADER_BYTES} at most.
 */
export function ageDecrypt(identity: string): Stage {
  const checked = checkIdentity(identity);
  return async function* ageDecrypted(source) {
    const reader = new ByteReader(source);
    try {
      const key = await openKey(reader, checked);
      yield* openPayload(reader, new ChunkCipher(key), reader.position);
    } finally {
      await reader.close();
    }
  };
}

/** The content of an age file, at any offset. */
export interface AgeContent {
  readonly contentBytes: number;
  /** Chunks as ageDecrypt has them. A read to the content's end also verifies that the file ends where it should. */
  readonly read: ReadSpan;
}

/** Opens the header of the age file of `fileBytes` that `read` reads, in one read. Throws as {@link ageDecrypt}. */
export async function openAge(read: ReadSpan, fileBytes: number, identity: string): Promise<AgeContent> {
  const checked = checkIdentity(identity);
  const reader = new ByteReader(read({ offset: 0, length: Math.min(fileBytes, AGE_HEADER_BYTES + NONCE_BYTES) }));
  try {
    const key = await openKey(reader, checked);
    const start = reader.position;
    const chunks = Math.max(1, Math.ceil((fileBytes - start) / SEALED_BYTES));
    const payload: Payload = { key, start, contentBytes: Math.max(0, fileBytes - start - chunks * TAG_BYTES) };
    return { contentBytes: payload.contentBytes, read: (span) => openSpan(read, fileBytes, payload, span) };
  } finally {
    await reader.close();
  }
}

interface Payload {
  readonly key: Uint8Array;
  /** Where it begins in the file. */
  readonly start: number;
  readonly contentBytes: number;
}

async function* openSpan(
  read: ReadSpan,
  fileBytes: number,
  { key, start, contentBytes }: Payload,
  span: ByteSpan,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (span.length === 0 && contentBytes > 0) return;
  const firstChunk = Math.floor(span.offset / CHUNK_BYTES);
  const endChunk = Math.ceil((span.offset + span.length) / CHUNK_BYTES);
  const toEnd = span.offset + span.length >= contentBytes;
  const from = start + firstChunk * SEALED_BYTES;
  // One byte of the next chunk shows that none of these is the last.
  const end = toEnd ? fileBytes : Math.min(fileBytes, start + endChunk * SEALED_BYTES + 1);
  const reader = new ByteReader(read({ offset: from, length: end - from }));
  let skipped = span.offset - firstChunk * CHUNK_BYTES;
  let left = span.length;
  try {
    for await (const chunk of openPayload(reader, new ChunkCipher(key, firstChunk), start, from)) {
      const wanted = chunk.subarray(skipped, skipped + left);
      skipped = 0;
      left -= wanted.length;
      if (wanted.length > 0) yield wanted;
      if (left === 0 && !toEnd) return;
    }
  } finally {
    await reader.close();
  }
}

/**
 * The content of a file that was sealed here, for who still knows how. Throws {@link MalformedAge}, also where the header
 * is another one: its recipients could open nothing then, and nobody else would notice.
 */
export function ageOpen({ key, header }: AgeSealing): Stage {
  return async function* ageOpened(source) {
    const reader = new ByteReader(source);
    try {
      const begins = (await reader.fill(header.length)).subarray(0, header.length);
      if (Buffer.compare(begins, header) !== 0) throw new MalformedAge('the header is not the one that was made', 0);
      reader.consume(header.length);
      yield* openPayload(reader, new ChunkCipher(key), reader.position);
    } finally {
      await reader.close();
    }
  };
}

/** The key of the payload; the reader stands at its first chunk afterwards. */
async function openKey(reader: ByteReader, identity: string): Promise<Uint8Array> {
  const fileKey = await openHeader(await readHeader(reader), identity);
  const nonce = (await reader.fill(NONCE_BYTES)).slice(0, NONCE_BYTES);
  if (nonce.length < NONCE_BYTES) throw new MalformedAge('the data ends before its payload', reader.position);
  reader.consume(NONCE_BYTES);
  return payloadKey(fileKey, nonce);
}

/** @param payloadStart where the payload begins in the file; `from` is where the reader's first chunk begins */
async function* openPayload(
  reader: ByteReader,
  cipher: ChunkCipher,
  payloadStart: number,
  from = payloadStart,
): AsyncGenerator<Uint8Array, void, undefined> {
  const cutter = new ChunkCutter(SEALED_BYTES);
  let offset = from;
  try {
    for await (const part of rest(reader)) {
      for (const sealed of cutter.cut(part)) {
        const chunk = cipher.open(sealed, false);
        if (!chunk) throw new MalformedAge('a chunk is damaged or not in its place', offset);
        offset += SEALED_BYTES;
        yield chunk;
        release(chunk);
      }
    }
    const sealed = cutter.last();
    if (sealed.length < TAG_BYTES) throw new MalformedAge('the data ends within a chunk', offset);
    const chunk = cipher.open(sealed, true);
    if (!chunk) throw new MalformedAge('the last chunk is damaged, or not the last', offset);
    if (chunk.length > 0) yield chunk;
    else if (offset > payloadStart) throw new MalformedAge('the last chunk is empty', offset);
    release(chunk);
  } finally {
    cutter.release();
  }
}

/** What a reader has not consumed, as the pieces that its source gives. */
async function* rest(reader: ByteReader): Pieces & AsyncGenerator<Uint8Array, void, undefined> {
  for (let held = await reader.fill(1); held.length > 0; held = await reader.fill(1)) {
    reader.consume(held.length);
    yield held;
  }
}

/** The header to the end of its last line. It is opened as a whole, so its size is bounded. */
async function readHeader(reader: ByteReader): Promise<Uint8Array> {
  checkVersion(await reader.fill(AGE_VERSION_LINE.length));
  let from = 0;
  while (true) {
    const { buffered } = reader;
    const text = Buffer.from(buffered.buffer, buffered.byteOffset, Math.min(buffered.length, AGE_HEADER_BYTES));
    const lastLine = text.indexOf(LAST_LINE, from);
    const end = lastLine < 0 ? -1 : text.indexOf('\n', lastLine + 1);
    if (end >= 0) {
      const header = buffered.slice(0, end + 1);
      reader.consume(header.length);
      return header;
    }
    if (text.length === AGE_HEADER_BYTES) {
      throw new MalformedAge(`the header is longer than ${AGE_HEADER_BYTES} bytes`, 0);
    }
    from = lastLine < 0 ? Math.max(0, text.length - LAST_LINE.length + 1) : lastLine;
    if (!(await reader.more())) throw new MalformedAge('the data ends within its header', reader.held);
  }
}

function checkVersion(first: Uint8Array): void {
  const text = Buffer.from(first.buffer, first.byteOffset, Math.min(first.length, AGE_VERSION_LINE.length)).toString(
    'latin1',
  );
  if (text === AGE_VERSION_LINE) return;
  if (text === AGE_ARMOR_BEGIN.slice(0, AGE_VERSION_LINE.length))
    throw new MalformedAge('it is in ASCII armor, and only the binary form is read', 0);
  throw new MalformedAge('no age file begins here', 0);
}

/** The file key, from the first stanza that `identity` opens, once the header has proved to be the one it was made with. */
async function openHeader(header: Uint8Array, identity: string): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  // Identities are asked in turn, and the last only where none before it has opened anything.
  decrypter.addIdentity({ unwrapFileKey: checkStanzas });
  decrypter.addIdentity(identity);
  decrypter.addIdentity({
    unwrapFileKey: (stanzas) => {
      throw new WrongIdentity(stanzas.some(isPassphrase));
    },
  });
  return await decrypter.decryptHeader(header).catch((cause: unknown) => {
    throw cause instanceof WrongIdentity ? cause : new MalformedAge('the header is broken', 0, { cause });
  });
}

/** Whoever knows a passphrase could have made the file: beside others it would pass for theirs. */
function checkStanzas(stanzas: readonly Stanza[]): null {
  if (stanzas.length > 1 && stanzas.some(isPassphrase)) throw new Error('a passphrase is not alone');
  return null;
}

function isPassphrase({ args }: Stanza): boolean {
  return args[0] === 'scrypt';
}
