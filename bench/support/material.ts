/** The file that everything is measured with: a mixed tar of what lies on this machine. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, statSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MODULES = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'node_modules');
/** Mostly text otherwise: one program of machine code comes last, the others and the runtime's would be half of it. */
const BINARIES = ['workerd', 'workerd-*', '@biomejs', 'node', 'node-bin-*', '.cache', '.vite'];

/**
 * A tar of `bytes` exactly, made of this project's own node_modules, cut at its end; where they are too small they
 * come again under other names.
 */
export function mixedTar(directory: string, bytes: number): string {
  const file = join(directory, 'mixed.tar');
  for (let copy = 0; !existsSync(file) || statSync(file).size < bytes; copy++) {
    if (copy > 20) throw new Error('node_modules hold too little to make a tar of');
    const mode = copy === 0 ? '-cf' : '-rf';
    tar(mode, file, `--transform=s,^[.],copy-${copy},`, ...BINARIES.map((name) => `--exclude=${name}`), '.');
    if (existsSync(join(MODULES, '@biomejs'))) tar('-rf', file, `--transform=s,^,copy-${copy}/,`, '@biomejs');
  }
  truncateSync(file, bytes);
  return file;
}

const PACKERS = { zst: ['zstd', '-3'], gz: ['gzip', '-1'] } as const;

/** The file compressed beside it, made once. */
export function pack(file: string, suffix: keyof typeof PACKERS): string {
  const packed = `${file}.${suffix}`;
  if (existsSync(packed)) return packed;
  const [command, level] = PACKERS[suffix];
  const output = openSync(packed, 'w');
  const { status, stderr } = spawnSync(command, [level, '-c', file], { stdio: ['ignore', output, 'pipe'] });
  closeSync(output);
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return packed;
}

function tar(mode: string, file: string, ...what: string[]): void {
  const stable = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  const { status, stderr } = spawnSync('tar', [...stable, '-C', MODULES, mode, file, ...what], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tar: ${stderr}`);
}
