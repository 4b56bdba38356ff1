import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';

/** The two secrets of a deployment, as `.dev.vars` holds them. */
export interface Secrets {
  readonly ADMIN_TOKEN: string;
  /** `id:base64url`: one key of 256 bits, as HMAC-SHA-256 wants. */
  readonly LINK_SIGNING_KEYS: string;
}

export function randomSecrets(): Secrets {
  return {
    ADMIN_TOKEN: randomBytes(32).toString('base64url'),
    LINK_SIGNING_KEYS: `k1:${randomBytes(32).toString('base64url')}`,
  };
}

export function formatVars(vars: Readonly<Record<string, string>>): string {
  return Object.entries(vars)
    .map(([name, value]) => `${name}="${value}"\n`)
    .join('');
}

/** Writes new secrets, readable by their owner alone, unless the file is there. True if it was made. */
export async function makeVarsFile(path: string): Promise<boolean> {
  try {
    await writeFile(path, formatVars({ ...randomSecrets() }), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** The variables of a file; none where there is no such file. */
export async function readVarsFile(path: string): Promise<Record<string, string | undefined>> {
  try {
    return { ...parseEnv(await readFile(path, 'utf8')) };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
}
