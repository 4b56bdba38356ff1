import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { Decrypter } from 'age-encryption';
import { printable } from './amounts.ts';
import { CommandFailed, UsageError } from './failures.ts';
import { causeOf, type Receipt } from './vault-client.ts';
import { hasZstd } from './zstd-frames.ts';

/** Opens encrypted backups on this machine: an identity never leaves it. */
export interface Opener {
  /** The content of the age file `stored`, decompressed where the vault had compressed it. */
  open(stored: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
}

/** @param path a file of age identities, as age-keygen writes it */
export async function identityOpener(path: string, { encryption, compression }: Receipt): Promise<Opener> {
  if (encryption === null) throw new UsageError('This backup is not encrypted. Leave out --identity.');
  const isCompressed = encryption.by === 'vault' && compression.codec === 'zstd';
  if (isCompressed && !hasZstd()) {
    throw new UsageError(
      `--identity needs Node 22.15 or newer; this is ${process.versions.node}. Pull without it, then: age -d -i ${path} FILE | zstd -d`,
    );
  }
  const identities = await identitiesIn(path);
  return {
    open: (stored) => {
      const content = decrypted(stored, identities);
      return isCompressed ? decompressed(content) : content;
    },
  };
}

async function identitiesIn(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new CommandFailed(`The identity cannot be read: ${causeOf(error)}.`);
  });
  const identities = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length === 0) throw new CommandFailed(`${printable(path)} holds no age identity (AGE-SECRET-KEY-1…).`);
  return identities;
}

async function* decrypted(
  stored: AsyncIterable<Uint8Array>,
  identities: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const decrypter = new Decrypter();
  try {
    for (const identity of identities) decrypter.addIdentity(identity);
  } catch {
    // Its own message may show the identity.
    throw new CommandFailed('The file of --identity holds something that is no age identity.');
  }
  // What breaks the source is its own failure; everything else is age's.
  let sourceFailure: unknown = null;
  const watched = (async function* () {
    try {
      yield* stored;
    } catch (error) {
      sourceFailure = error;
      throw error;
    }
  })();
  try {
    const content = await decrypter.decrypt(ReadableStream.from(watched) as ReadableStream<Uint8Array<ArrayBuffer>>);
    for await (const chunk of content as unknown as AsyncIterable<Uint8Array>) yield chunk;
  } catch (error) {
    throw sourceFailure ?? new CommandFailed(`The backup cannot be decrypted: ${causeOf(error)}.`);
  }
}

async function* decompressed(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const source = Readable.from(content);
  const zstd = zlib.createZstdDecompress();
  source.on('error', (error) => zstd.destroy(error));
  for await (const chunk of source.pipe(zstd)) yield chunk as Buffer;
}
