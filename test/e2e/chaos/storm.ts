import { setTimeout as wait } from 'node:timers/promises';
import { api, type Job, jobOf, type Receipt, type Scratch, scratch, type Vault } from '../clients.ts';
import { type AgeKey, makeAgeKey } from './age-key.ts';
import { Chance } from './chance.ts';
import { findLeftovers, type Leftovers } from './leftovers.ts';
import { MortalVault } from './mortal-vault.ts';
import { isShortLived, planUpload, type UploadPlan } from './plan.ts';
import { Tally } from './upload-log.ts';
import { type RunReport, runUpload } from './upload-run.ts';

export interface StormOptions {
  readonly seed: number;
  readonly runs: number;
  /** These alone, by their numbers. */
  readonly only?: readonly number[];
  /** Uploads at once. */
  readonly atOnce: number;
  /** Of the largest content. */
  readonly mostBytes: number;
  /** Every so many uploads one kills the runtime. */
  readonly killEvery: number;
  /** How long those live that are to expire: a kill, and what follows it, takes about six of it. */
  readonly shortTtlSeconds: number;
  /** What goes on, a line an upload. */
  readonly say?: (line: string) => void;
}

export interface StormReport {
  readonly runs: readonly RunReport[];
  /** What the vault must never do: of uploads, with their numbers, and of what is left in the end. */
  readonly violations: readonly string[];
  readonly tally: Tally;
  readonly kills: number;
  readonly leftovers: Leftovers;
  readonly complaints: readonly string[];
}

/** From the end of the last upload until nothing is left of any: a creation that died midway is found by its job. */
const SWEPT_MS = 150_000;
/** What an alarm may still have to do. */
const AFTER_SWEEP_MS = 2_000;

/**
 * Many uploads at once in a vault that is killed again and again. First those whose time is short, in lives that give no
 * more; then all others. In the end nothing is there but the backups that were told of.
 */
export async function storm(options: StormOptions): Promise<StormReport> {
  const files = await scratch();
  try {
    return await new Storm(options, files, await makeAgeKey(files.path('key'))).run();
  } finally {
    await files.remove();
  }
}

class Storm {
  readonly #options: StormOptions;
  readonly #files: Scratch;
  readonly #key: AgeKey;
  readonly #chance: Chance;
  readonly #tally = new Tally();
  readonly #reports: RunReport[] = [];

  constructor(options: StormOptions, files: Scratch, key: AgeKey) {
    this.#key = key;
    this.#options = options;
    this.#files = files;
    this.#chance = new Chance(`storm ${options.seed}`);
  }

  async run(): Promise<StormReport> {
    const { runs, only, shortTtlSeconds } = this.#options;
    const plans = Array.from({ length: runs }, (_, i) => planUpload(i, this.#chance.of(i), this.#options)).filter(
      ({ number }) => !only || only.includes(number),
    );
    const persistTo = this.#files.path('state');
    const vault = await MortalVault.start(persistTo, { UPLOAD_TTL: `${shortTtlSeconds}s` });
    try {
      await this.#all(plans.filter(isShortLived), vault);
      await vault.kill({});
      await this.#all(
        plans.filter((plan) => !isShortLived(plan)),
        vault,
      );
      const violations = await this.#sweep(vault).catch((error: unknown) => [
        `the vault cannot be asked any more (${error}); it said last: ${vault.lastWords}`,
      ]);
      await vault.stop();
      const backups = new Map(this.#backups().map(({ backup_id, stored_size }) => [backup_id, stored_size]));
      const leftovers = findLeftovers(persistTo, backups);
      return this.#report(vault, leftovers, violations);
    } finally {
      await vault.stop();
    }
  }

  async #all(plans: readonly UploadPlan[], vault: MortalVault): Promise<void> {
    const waiting = [...plans];
    const rooms = { vault, files: this.#files, tally: this.#tally, key: this.#key };
    const work = async () => {
      for (let plan = waiting.shift(); plan; plan = waiting.shift()) {
        const report = await runUpload(plan, this.#chance.of(`run ${plan.number}`), rooms);
        this.#reports.push(report);
        this.#options.say?.(lineOf(report));
      }
    };
    await Promise.all(Array.from({ length: this.#options.atOnce }, work));
  }

  /** Waits until every job has ended; then the backups are those that were told of. Gives what is wrong. */
  async #sweep(vault: MortalVault): Promise<string[]> {
    const violations: string[] = [];
    const deadline = Date.now() + SWEPT_MS;
    const at = await vault.now();
    for (const { plan, ended } of this.#reports) {
      let job = await jobOf(at, plan.jobId);
      while (!hasEnded(job) && Date.now() < deadline) {
        await wait(1000);
        job = await jobOf(at, plan.jobId);
      }
      if (!hasEnded(job)) violations.push(`${plan.number}: its job is still ${JSON.stringify(job)}`);
      if (ended.kind === 'backup' && job.phase !== 'done') violations.push(`${plan.number}: its job ${job.phase}`);
      if (job.phase === 'failed') this.#tally.count(`jobs failed: ${job.code}`);
    }
    await wait(AFTER_SWEEP_MS);
    const known = new Set(this.#backups().map(({ backup_id }) => backup_id));
    for (const id of await listedIds(at)) if (!known.delete(id)) violations.push(`backup ${id} is listed`);
    for (const id of known) violations.push(`backup ${id} is not listed`);
    return violations;
  }

  #backups(): Receipt[] {
    return this.#reports.flatMap(({ ended }) => (ended.kind === 'backup' ? [ended.receipt] : []));
  }

  #report(vault: MortalVault, leftovers: Leftovers, swept: readonly string[]): StormReport {
    const ofUploads = this.#reports.flatMap(({ plan, log }) => log.violations.map((text) => `${plan.number}: ${text}`));
    const unknown = this.#reports.filter(({ ended, log }) => ended.kind === 'unknown' && log.violations.length === 0);
    return {
      runs: this.#reports,
      violations: [
        ...ofUploads,
        ...unknown.map(({ plan }) => `${plan.number}: came to no end`),
        ...swept,
        ...leftovers.orphans.map((orphan) => `left over: ${orphan}`),
      ],
      tally: this.#tally,
      kills: vault.kills,
      leftovers,
      complaints: vault.complaints,
    };
  }
}

function hasEnded({ phase }: Job): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'waiting';
}

async function listedIds(vault: Vault): Promise<string[]> {
  const { body } = await api<{ backups: Receipt[] }>(vault, 'GET', '/backup?limit=1000');
  return body.backups.map(({ backup_id }) => backup_id);
}

function lineOf({ plan, ended, log }: RunReport): string {
  const end = ended.kind === 'refused' ? ended.code : ended.kind;
  const wrong = log.violations.length > 0 ? ` VIOLATIONS: ${log.violations.join('; ')}` : '';
  return `${plan.number} ${plan.fate}, ${plan.kind} of ${plan.bytes}: ${end}${wrong}`;
}
