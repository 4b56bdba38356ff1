import { readFile } from 'node:fs/promises';
import { runs } from '../clients.ts';

export interface AgeKey {
  /** For `age -i`. */
  readonly file: string;
  readonly recipient: string;
  readonly identity: string;
}

export async function makeAgeKey(file: string): Promise<AgeKey> {
  await runs('age-keygen', ['-o', file]);
  const text = await readFile(file, 'utf8');
  const [recipient] = /age1[0-9a-z]+/.exec(text) ?? [];
  const [identity] = /AGE-SECRET-KEY-1[0-9A-Z]+/.exec(text) ?? [];
  if (!recipient || !identity) throw new Error('age-keygen made no key');
  return { file, recipient, identity };
}
