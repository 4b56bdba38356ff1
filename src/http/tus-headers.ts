/** What tus 1.0.0 says in headers: https://tus.io/protocols/resumable-upload (sections named below). */
import { DIGEST_BYTES, type ExpectedDigest } from '../codec/digest.ts';
import { bytesFromBase64, hex } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { ChecksumUnsupported } from './digest-fields.ts';

export const TUS_VERSION = '1.0.0' as const;
export const TUS_EXTENSIONS = 'creation,creation-with-upload,creation-defer-length,expiration,checksum,termination';
export const TUS_MEDIA_TYPE = 'application/offset+octet-stream';

export const TUS_CHECKSUMS = ['sha1', 'sha256'] as const;

export class InvalidUploadHeader extends VaultError {
  constructor(detail: string) {
    super('invalid-upload-header', detail);
  }
}

/** A number of bytes; null where the header is missing. */
export function bytesIn(name: string, value: string | undefined): number | null {
  if (value === undefined) return null;
  const bytes = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) throw new InvalidUploadHeader(`${name}: a number of bytes.`);
  return bytes;
}

/**
 * "Creation", "Upload-Length" and "Upload-Defer-Length": one of the two must be there, and the latter is 1. Null: the
 * length comes later.
 */
export function announcedLength(length: string | undefined, defer: string | undefined): number | null {
  if (defer !== undefined && defer !== '1') throw new InvalidUploadHeader('Upload-Defer-Length: must be 1.');
  const bytes = bytesIn('Upload-Length', length);
  if ((bytes === null) === (defer === undefined)) {
    throw new InvalidUploadHeader('Send either Upload-Length or "Upload-Defer-Length: 1".');
  }
  return bytes;
}

/**
 * "Upload-Metadata": pairs of a key and a value in base64, separated by commas. A value may be missing; a key must be
 * there, be ASCII without blanks and commas, and come once. Values are UTF-8 where anybody has to read them: see {@link textOf}.
 */
export function parseMetadata(header: string | undefined): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  if (header === undefined || header.trim() === '') return values;
  for (const pair of header.split(',')) {
    // Not by one pattern: several runs of blanks in it take quadratic time, which a sender of 60 KB of them can ask for.
    const [key = '', encoded = '', ...more] = pair.split(' ').filter((word) => word !== '');
    if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(key) || more.length > 0)
      throw new InvalidUploadHeader('Upload-Metadata: pairs of a key and a value in base64, with commas.');
    if (values.has(key)) throw new InvalidUploadHeader('Upload-Metadata: a key comes twice.');
    values.set(key, decoded('Upload-Metadata', encoded));
  }
  return values;
}

/** A value as text; undefined where the key is missing or its value empty. */
export function textOf(metadata: ReadonlyMap<string, Uint8Array>, key: string): string | undefined {
  const value = metadata.get(key);
  if (!value || value.length === 0) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    throw new InvalidUploadHeader(`Upload-Metadata: ${key} must be UTF-8.`);
  }
}

/** "Upload-Checksum": the algorithm and the checksum in base64. */
export function parseChecksum(header: string | undefined): ExpectedDigest[] {
  if (header === undefined) return [];
  const [, algorithm, encoded] = /^([a-z0-9-]+) +([^ ]+)$/.exec(header.trim()) ?? [];
  if (algorithm === undefined || encoded === undefined) {
    throw new InvalidUploadHeader('Upload-Checksum: the algorithm and the checksum in base64.');
  }
  if (algorithm !== 'sha1' && algorithm !== 'sha256') throw new ChecksumUnsupported('Upload-Checksum', TUS_CHECKSUMS);
  const digest = decoded('Upload-Checksum', encoded);
  if (digest.length !== DIGEST_BYTES[algorithm]) {
    throw new InvalidUploadHeader(`Upload-Checksum: ${algorithm} has ${DIGEST_BYTES[algorithm]} bytes.`);
  }
  return [{ algorithm, hex: hex(digest) }];
}

function decoded(name: string, encoded: string): Uint8Array {
  try {
    return bytesFromBase64(encoded);
  } catch {
    throw new InvalidUploadHeader(`${name}: a value is not base64.`);
  }
}
