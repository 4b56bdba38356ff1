import { MIB } from '../clients.ts';
import type { Chance } from './chance.ts';
import type { ContentKind } from './content.ts';

/** What is to become of an upload. What its clients do on the way is drawn as they go. */
export interface UploadPlan {
  readonly number: number;
  readonly filename: string;
  readonly jobId: string;
  readonly kind: ContentKind;
  /** Archives become a little larger. */
  readonly bytes: number;
  /** Null: as the vault does it by itself. */
  readonly compression: 'auto' | 'zstd' | 'none' | null;
  readonly level: number | null;
  readonly sha256: 'right' | 'wrong' | null;
  readonly encrypted: boolean;
  /** The length comes with a later piece. */
  readonly deferred: boolean;
  /** Share of the content that comes with the creation. */
  readonly first: number;
  readonly createdBy: 'token' | 'link';
  readonly goesOnWith: 'token' | 'secret';
  /** Clients that know nothing of each other. */
  readonly clients: 1 | 2;
  /** Steps of each client that may go wrong, before it only sends what is left. */
  readonly troubles: number;
  /** Into how many pieces the content would fall without trouble. */
  readonly pieces: number;
  readonly fate: Fate;
  /** Times that a client of this upload kills the runtime. */
  readonly kills: number;
}

/**
 * - `finish`: becomes a backup; `forget`: and then the upload is removed, but not the backup;
 * - `terminate`: is removed on the way;
 * - `mismatch`: all of it comes, and is not what its sender said;
 * - `abandon`: nobody goes on with it, and its time runs out;
 * - `linger`: its client is so slow that its time may run out;
 * - `orphan`: whoever created it never got an answer, and tries again.
 */
export type Fate = 'finish' | 'forget' | 'terminate' | 'mismatch' | 'abandon' | 'linger' | 'orphan';

export interface PlanOptions {
  /** Of the largest content. */
  readonly mostBytes: number;
  /** Every so many uploads one kills the runtime. */
  readonly killEvery: number;
}

/** Those that are left in the middle: many have parts in the storage by then. */
const LEFT: readonly Fate[] = ['terminate', 'abandon'];

/** Whether it wants a vault whose uploads expire while one waits. */
export function isShortLived({ fate }: UploadPlan): boolean {
  return fate === 'abandon' || fate === 'linger' || fate === 'orphan';
}

export function planUpload(number: number, chance: Chance, options: PlanOptions): UploadPlan {
  const fate = chance.weighted<Fate>({
    finish: 74,
    forget: 4,
    terminate: 6,
    mismatch: 4,
    abandon: 4,
    linger: 4,
    orphan: 4,
  });
  const large = LEFT.includes(fate) && chance.happens(0.6);
  const kind = large
    ? 'random'
    : chance.weighted<ContentKind>({ text: 15, random: 30, mixed: 25, tar: 20, 'tar.gz': 10 });
  const bytes = large ? chance.between(options.mostBytes / 2, options.mostBytes) : sizeOf(options.mostBytes, chance);
  const given = chance.happens(0.4) ? 'right' : null;
  return {
    number,
    filename: filenameOf(number, kind, chance),
    jobId: `chaos-${number}`,
    kind,
    // What has no content is whole at once.
    bytes: Math.max(LEFT.includes(fate) || fate === 'orphan' ? 1 : 0, bytes),
    ...compressionOf(chance),
    sha256: fate === 'mismatch' ? 'wrong' : given,
    encrypted: chance.happens(0.15),
    deferred: chance.happens(0.25),
    first: chance.happens(0.3) ? chance.share() : 0,
    createdBy: chance.happens(0.15) && fate !== 'orphan' ? 'link' : 'token',
    goesOnWith: chance.pick(['token', 'secret']),
    clients: chance.happens(0.2) ? 2 : 1,
    troubles: chance.between(2, 9),
    pieces: chance.between(1, 8),
    fate,
    kills: number % options.killEvery === 0 ? 1 : 0,
  };
}

/** Without compression a level has no effect, so the vault rejects it. */
function compressionOf(chance: Chance): Pick<UploadPlan, 'compression' | 'level'> {
  const compression = chance.pick([null, null, 'auto', 'zstd', 'none'] as const);
  const level = chance.pick([null, null, 1, 3, 6, 9]);
  return { compression, level: compression === 'none' ? null : level };
}

function filenameOf(number: number, kind: ContentKind, chance: Chance): string {
  const name = chance.pick(['backup', 'site', 'Sicherung Übermorgen', '備份']);
  const suffix = kind === 'text' ? chance.pick(['sql', 'json', 'dump']) : kind === 'tar.gz' ? kind : 'tar';
  return `${name}-${number}.${suffix}`;
}

/** Small ones, some around the borders of frames (4 MiB) and parts (8 MiB), and the rest up to the largest. */
function sizeOf(most: number, chance: Chance): number {
  const choice = chance.weighted({ tiny: 10, small: 15, border: 20, any: 55 });
  if (choice === 'tiny') return chance.pick([0, 0, 1, 2, 100, chance.between(3, 5000)]);
  if (choice === 'small') return chance.between(1, MIB);
  if (choice === 'any') return Math.ceil(most * chance.share() ** 1.5);
  const border = 4 * MIB * chance.between(1, Math.max(1, Math.floor(most / (4 * MIB))));
  return border + chance.between(-1, 1);
}
