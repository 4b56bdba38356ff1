/** Asks the instrumented vault what it read and decoded. */
import type { BenchVault } from './vault.ts';

export interface StorageRead {
  readonly key: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface Reads {
  readonly gets: readonly StorageRead[];
  /** Content of each frame that was decoded, blocks of the members' index among them, in bytes. */
  readonly frames: readonly number[];
}

/** What the vault read while `work` was done. */
export async function readsOf(vault: BenchVault, work: () => Promise<unknown>): Promise<Reads> {
  await ask(vault, 'reads');
  await work();
  return (await ask(vault, 'reads')) as Reads;
}

/** The vault forgets the indexes and seek tables that it has kept. */
export async function forget(vault: BenchVault): Promise<void> {
  await ask(vault, 'forget');
}

/** The URL that reads these bytes with one bare R2 range get. */
export function bareRead(vault: BenchVault, { key, offset, bytes }: StorageRead): string {
  return `${vault.url}/bench/range?${new URLSearchParams({ key, offset: String(offset), bytes: String(bytes) })}`;
}

export function readsUnder(reads: Reads, name: 'data' | 'index'): StorageRead[] {
  return reads.gets.filter(({ key }) => key.endsWith(`/${name}`));
}

export function bytesOf(reads: readonly StorageRead[]): number {
  return reads.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function ask(vault: BenchVault, what: string): Promise<unknown> {
  const answer = await fetch(`${vault.url}/bench/${what}`);
  if (!answer.ok) throw new Error(`/bench/${what} answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}
