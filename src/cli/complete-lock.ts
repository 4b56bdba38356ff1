/**
 * `npm run lock`: npm install, then this.
 *
 * A package for another system is an optional dependency, and npm leaves it out of the lock where the registry at hand
 * does not have it (yet). `npm ci` then refuses the whole lock: "Missing: @cloudflare/workerd-darwin-64 from lock
 * file" (npm 11.19). An entry that names version and system, without address and checksum, satisfies it: on this system
 * it is skipped, and on that one npm asks the registry.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT_DIR } from './wrangler.ts';

interface LockEntry {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

interface Lock {
  packages: Record<string, LockEntry>;
  readonly [field: string]: unknown;
}

/** `workerd-darwin-arm64` → where it runs. workerd says 64 for what npm calls x64. */
function systemOf(name: string): { os: string[]; cpu: string[] } {
  const [, os = '', cpu = ''] = /-(darwin|linux|windows)-(arm64|64)$/.exec(name) ?? [];
  if (os === '') throw new Error(`${name}: the system it is for cannot be told from its name`);
  return { os: [os === 'windows' ? 'win32' : os], cpu: [cpu === '64' ? 'x64' : cpu] };
}

/** Adds what lacks beside each workerd; gives the paths added. */
function completeLock(lock: Lock): string[] {
  const added: string[] = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (!path.endsWith('node_modules/workerd')) continue;
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const beside = path.replace(/workerd$/, name);
      if (lock.packages[beside]?.version === version) continue;
      lock.packages[beside] = { version, ...systemOf(name), dev: true, optional: true };
      added.push(beside);
    }
  }
  // npm keeps the paths in order; so the next install changes no more than it must.
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en')));
  return added;
}

const path = join(PROJECT_DIR, 'package-lock.json');
const lock: Lock = JSON.parse(await readFile(path, 'utf8'));
const added = completeLock(lock);
await writeFile(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(
  added.length === 0 ? 'package-lock.json is complete.' : `Added to package-lock.json:\n  ${added.join('\n  ')}`,
);
