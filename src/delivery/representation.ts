import type { Backup } from '../catalogue/backups.ts';
import { base64, bytesFromHex } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';

/** How a backup can be asked for: its content, or a format by name. */
export type Format = 'identity' | 'zst' | 'gz';

/**
 * One representation of a backup (RFC 9110, section 8), as a plan without any I/O.
 * `way`: `stored` sends the object's bytes untouched, `decoded` decodes frames, `gzip` decodes and compresses again.
 */
export interface Representation {
  readonly way: 'stored' | 'decoded' | 'gzip';
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
  /** Whether the answer depends on what the client accepts. */
  readonly varies: boolean;
}

export class FormatUnavailable extends VaultError {
  constructor() {
    super('format-unavailable', 'This backup is stored as it came, not as zstd. Download it without a format.');
  }
}

/** Throws {@link FormatUnavailable} for `zst` of what is stored as it came. */
export function representationOf(backup: Backup, format: Format, acceptsZstd: boolean): Representation {
  const compressed = backup.compression.codec === 'zstd';
  const content = {
    contentType: backup.content_type,
    filename: backup.filename,
    reprDigest: `sha-256=:${base64(bytesFromHex(backup.checksum))}:`,
  };
  const stored = {
    length: backup.stored_size,
    reprDigest: `sha-256=:${base64(bytesFromHex(backup.stored_checksum))}:`,
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
        varies: false,
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
        varies: false,
      };
    case 'identity':
      if (compressed && acceptsZstd) {
        const etag = `"${backup.stored_checksum}-encoded"`;
        return { ...content, ...stored, way: 'stored', contentEncoding: 'zstd', etag, ranges: false, varies: true };
      }
      return {
        ...content,
        way: compressed ? 'decoded' : 'stored',
        contentEncoding: null,
        length: backup.file_size,
        etag: `"${tag}"`,
        ranges: true,
        varies: compressed,
      };
  }
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
