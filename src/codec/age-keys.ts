/** Whom an age file is for, and who opens it: in text, as age-keygen prints them. */
import { Decrypter, Encrypter } from 'age-encryption';
import { VaultError } from '../shared/errors.ts';
import { AGE_RECIPIENTS } from '../shared/limits.ts';

/** Bech32 of 32 bytes: 52 characters and a checksum of six. The package checks the latter. */
const RECIPIENT = /^age1[02-9ac-hj-np-z]{58}$/;
const IDENTITY = /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/;

/** Says nothing of what was given, here as below: it may be a secret in the wrong place. */
export class InvalidRecipient extends VaultError {
  constructor(message: string, options?: ErrorOptions) {
    super('invalid-recipient', message, options);
  }
}

export class InvalidIdentity extends VaultError {
  constructor() {
    super('invalid-identity', 'An identity is AGE-SECRET-KEY-1 and 58 more characters, as age-keygen prints it.');
  }
}

/**
 * A recipient without the white space around it. Only X25519 recipients (`age1` and 58 characters) are taken, which
 * every age can restore from, also Debian's 1.1: the post-quantum and hardware-bound ones that the package knows too
 * need a newer one, or a plugin, on the day of the restore.
 */
export function checkRecipient(recipient: string): string {
  const trimmed = recipient.trim();
  if (/^AGE-SECRET-KEY-/i.test(trimmed)) {
    throw new InvalidRecipient('This is a secret key. A recipient is its public half: age-keygen -y prints it.');
  }
  if (!RECIPIENT.test(trimmed) || !isTaken(() => new Encrypter().addRecipient(trimmed))) {
    throw new InvalidRecipient('A recipient is age1 and 58 more characters (X25519), as age-keygen prints it.');
  }
  return trimmed;
}

/** Each recipient once, of at least one and at most {@link AGE_RECIPIENTS}. */
export function checkRecipients(recipients: readonly string[]): string[] {
  const different = [...new Set(recipients.map(checkRecipient))];
  if (different.length === 0) throw new InvalidRecipient('At least one recipient is needed to encrypt.');
  if (different.length > AGE_RECIPIENTS) {
    throw new InvalidRecipient(`A backup may have ${AGE_RECIPIENTS} recipients at most.`);
  }
  return different;
}

/** An X25519 identity without the white space around it. */
export function checkIdentity(identity: string): string {
  const trimmed = identity.trim();
  if (!IDENTITY.test(trimmed) || !isTaken(() => new Decrypter().addIdentity(trimmed))) throw new InvalidIdentity();
  return trimmed;
}

function isTaken(add: () => void): boolean {
  try {
    add();
    return true;
  } catch {
    return false;
  }
}
