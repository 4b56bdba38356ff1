import type { Backup } from '../catalogue/backups.ts';
import { base64, bytesFromHex } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';

/** How a backup can be asked for: its content, or a format by name. */
export type Format = 'identity' | 'zst' | 'gz';

/**
 * One representation of a backup (RFC 9110, section 8), as a plan without any I/O.
 * `way`: `stored` sends the object's bytes untouched, `decoded` what they hold, `frames` the zstd file that is encrypted
 * in them, `gzip` their content compressed again.
 */
export interface Representation {
  readonly way: 'stored' | 'decoded' | 'frames' | 'gzip';
  readonly contentEncoding: 'zstd' | null;
  /** Bytes of the body; null where it is known only at its end. */
  readonly length: number | null;
  readonly contentType: string;
  readonly filename: string;
  /** Strong, quoted; another one for each representation. */
  readonly etag: string;
  /** RFC 9530 */
  readonly reprDigest: string | null;
  /** Whether a byte range of it can be served: not of what is made anew each time, nor of what stands for other bytes. */
  readonly ranges: boolean;
  /** The request's header that the answer depends on. */
  readonly varies: 'Accept-Encoding' | 'X-Age-Identity' | null;
}

export class FormatUnavailable extends VaultError {
  constructor(reason = 'This backup is stored as it came, not as zstd. Download it without a format.') {
    super('format-unavailable', reason);
  }
}

export interface Asked {
  readonly format: Format;
  /** The client decodes zstd itself. */
  readonly takesZstd: boolean;
  /** The client sent an identity to decrypt with. */
  readonly decrypts: boolean;
}

/** Throws {@link FormatUnavailable} for what cannot be made of what is stored. */
export function representationOf(backup: Backup, { format, takesZstd, decrypts }: Asked): Representation {
  if (backup.encryption && decrypts) return decrypted(backup, format);
  if (backup.encryption?.by === 'vault') return encrypted(backup, format);
  const compressed = backup.compression.codec === 'zstd';
  const varies = backup.encryption ? 'X-Age-Identity' : null;
  const content = {
    contentType: backup.content_type,
    filename: backup.filename,
    reprDigest: digestField(backup.checksum),
  };
  const stored = {
    length: backup.stored_size,
    reprDigest: digestField(backup.stored_checksum),
  };
  const tag = backup.checksum;
  switch (format) {
    case 'zst':
      if (!compressed) throw new FormatUnavailable();
      return {
        ...stored,
        way: 'stored',
        contentEncoding: null,
        contentType: 'application/zstd',
        filename: `${backup.filename}.zst`,
        etag: `"${backup.stored_checksum}-zst"`,
        ranges: true,
        varies,
      };
    case 'gz':
      return {
        way: 'gzip',
        contentEncoding: null,
        length: null,
        contentType: 'application/gzip',
        filename: `${backup.filename}.gz`,
        etag: `"${tag}-gz"`,
        reprDigest: null,
        ranges: false,
        varies,
      };
    case 'identity':
      if (compressed && takesZstd) {
        const etag = `"${backup.stored_checksum}-encoded"`;
        const varies = 'Accept-Encoding';
        return { ...content, ...stored, way: 'stored', contentEncoding: 'zstd', etag, ranges: false, varies };
      }
      return {
        ...content,
        way: compressed ? 'decoded' : 'stored',
        contentEncoding: null,
        length: backup.file_size,
        etag: `"${tag}"`,
        ranges: true,
        varies: compressed ? 'Accept-Encoding' : varies,
      };
  }
}

/** The age file as it is stored: nobody without an identity has anything else of it. */
function encrypted(backup: Backup, format: Format): Representation {
  if (format !== 'identity') {
    throw new FormatUnavailable(
      'This backup is encrypted: send an identity in X-Age-Identity, or download it without a format and use age.',
    );
  }
  return {
    way: 'stored',
    contentEncoding: null,
    length: backup.stored_size,
    contentType: 'application/octet-stream',
    filename: `${backup.filename}${backup.compression.codec === 'zstd' ? '.zst' : ''}.age`,
    etag: `"${backup.stored_checksum}-age"`,
    reprDigest: digestField(backup.stored_checksum),
    ranges: true,
    varies: 'X-Age-Identity',
  };
}

/** Made anew for whoever has the identity, and so without ranges. */
function decrypted(backup: Backup, format: Format): Representation {
  const made = {
    contentEncoding: null,
    length: null,
    reprDigest: null,
    ranges: false,
    varies: 'X-Age-Identity',
  } as const;
  const contentType = 'application/octet-stream';
  const { filename, encryption, checksum, stored_checksum } = backup;
  if (encryption?.by === 'sender') {
    if (format !== 'identity') throw new FormatUnavailable('What was encrypted before it came has no other format.');
    const etag = `"${checksum}-decrypted"`;
    return { ...made, way: 'decoded', contentType, filename: filename.replace(/\.age$/i, ''), etag };
  }
  switch (format) {
    case 'zst': {
      if (backup.compression.codec !== 'zstd') throw new FormatUnavailable();
      const etag = `"${stored_checksum}-zst"`;
      return { ...made, way: 'frames', contentType: 'application/zstd', filename: `${filename}.zst`, etag };
    }
    case 'gz':
      return {
        ...made,
        way: 'gzip',
        contentType: 'application/gzip',
        filename: `${filename}.gz`,
        etag: `"${checksum}-gz"`,
      };
    case 'identity': {
      const { content_type, file_size: length } = backup;
      const reprDigest = digestField(checksum);
      return {
        ...made,
        way: 'decoded',
        contentType: content_type,
        filename,
        length,
        reprDigest,
        etag: `"${checksum}"`,
      };
    }
  }
}

/** RFC 9530 */
function digestField(sha256: string): string {
  return `sha-256=:${base64(bytesFromHex(sha256))}:`;
}

/**
 * Whether `Accept-Encoding` takes zstd (RFC 9110, section 12.5.3). Only by its own name: `*` comes from clients that
 * never heard of it.
 */
export function acceptsZstd(acceptEncoding: string | null | undefined): boolean {
  for (const item of (acceptEncoding ?? '').split(',')) {
    const [coding, ...parameters] = item.split(';').map((word) => word.trim().toLowerCase());
    if (coding !== 'zstd') continue;
    const weight = parameters.find((parameter) => parameter.startsWith('q='));
    return weight === undefined || Number(weight.slice(2)) > 0;
  }
  return false;
}
