/**
 * The digests of a body in headers: Content-Digest and Repr-Digest (RFC 9530), Content-MD5 (RFC 1864). The vault compares
 * every algorithm that it knows. A field that names none of them is rejected: its sender believes the bytes are checked.
 */
import { parseDictionary } from 'structured-headers';
import { DIGEST_BYTES, type DigestAlgorithm, type ExpectedDigest } from '../codec/digest.ts';
import { bytesFromBase64, hex } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';

/** RFC 9530, section 5. The deprecated ones still detect damage; a sender who fears forgery uses SHA-2. */
const ALGORITHMS: Readonly<Record<string, DigestAlgorithm>> = {
  'sha-512': 'sha512',
  'sha-256': 'sha256',
  sha: 'sha1',
  md5: 'md5',
};

export class ChecksumUnsupported extends VaultError {
  constructor(field: string, known: readonly string[]) {
    super('checksum-unsupported', `${field}: no algorithm that the vault knows. Send one of ${known.join(', ')}.`);
  }
}

class MalformedDigest extends VaultError {
  constructor(field: string, expected: string) {
    super('invalid-upload-header', `${field}: it must be ${expected}.`);
  }
}

/** Digests of the bytes of this request as they were sent. */
export function contentDigests(headers: Headers): ExpectedDigest[] {
  return [...digestField('Content-Digest', headers), ...contentMd5(headers)];
}

/** Digests of the whole upload as it is sent, in however many requests. */
export function reprDigests(headers: Headers): ExpectedDigest[] {
  return digestField('Repr-Digest', headers);
}

function digestField(name: 'Content-Digest' | 'Repr-Digest', headers: Headers): ExpectedDigest[] {
  const field = headers.get(name);
  if (field === null) return [];
  const malformed = new MalformedDigest(name, 'a dictionary of byte sequences, like sha-256=:BASE64:');
  const members = membersOf(field);
  if (members === null) throw malformed;
  const digests: ExpectedDigest[] = [];
  for (const [key, [value]] of members) {
    const algorithm = Object.hasOwn(ALGORITHMS, key) ? ALGORITHMS[key] : undefined;
    if (algorithm === undefined) continue;
    if (!(value instanceof ArrayBuffer) || value.byteLength !== DIGEST_BYTES[algorithm]) throw malformed;
    digests.push({ algorithm, hex: hex(new Uint8Array(value)) });
  }
  if (digests.length === 0) throw new ChecksumUnsupported(name, Object.keys(ALGORITHMS));
  return digests;
}

function membersOf(field: string): ReturnType<typeof parseDictionary> | null {
  try {
    return parseDictionary(field);
  } catch {
    return null;
  }
}

function contentMd5(headers: Headers): ExpectedDigest[] {
  const field = headers.get('Content-MD5');
  if (field === null) return [];
  const malformed = new MalformedDigest('Content-MD5', 'the 16 bytes of an MD5 in base64');
  try {
    const bytes = bytesFromBase64(field.trim());
    if (bytes.length !== DIGEST_BYTES.md5) throw malformed;
    return [{ algorithm: 'md5', hex: hex(bytes) }];
  } catch {
    throw malformed;
  }
}
