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

/** Names of systems as packages write them → as npm does. */
const SYSTEMS: Readonly<Record<string, string>> = {
  android: 'android',
  darwin: 'darwin',
  linux: 'linux',
  win32: 'win32',
  windows: 'win32',
};

/** `workerd-darwin-64`, `cli-linux-x64-musl` → where they run; null for a name that says no system. */
function systemOf(name: string): { os: string[]; cpu: string[]; libc?: string[] } | null {
  const [, os = '', cpu = '', libc] =
    /-(android|darwin|linux|win32|windows)-(arm64|x64|64)(?:-(musl))?$/.exec(name) ?? [];
  const system = SYSTEMS[os];
  if (!system) return null;
  return { os: [system], cpu: [cpu === '64' ? 'x64' : cpu], ...(libc ? { libc: [libc] } : {}) };
}

/** Whether `name` is found from the package at `path`, as Node would: beside it, or in a node_modules further up. */
function isLocked(packages: Lock['packages'], path: string, name: string, version: string): boolean {
  for (let from = `${path}/`; ; ) {
    const entry = packages[`${from}node_modules/${name}`];
    if (entry) return entry.version === version || !/^\d/.test(version);
    if (from === '') return false;
    from = from.slice(0, from.lastIndexOf('node_modules/', from.length - 2));
  }
}

/** Adds what lacks beside each package that wants it; gives the paths added. */
function completeLock(lock: Lock): string[] {
  const added: string[] = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const system = systemOf(name);
      if (!system || isLocked(lock.packages, path, name, version)) continue;
      const beside = `${path.slice(0, path.lastIndexOf('node_modules/'))}node_modules/${name}`;
      lock.packages[beside] = { version, ...system, dev: true, optional: true };
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
