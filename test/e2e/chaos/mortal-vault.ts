import { randomSecrets } from '../../../src/cli/dev-vars.ts';
import { type LocalVault, startLocalVault } from '../../../src/cli/local-vault.ts';
import type { Vault } from '../clients.ts';

/** Lines that the runtime prints of what should not be. */
const COMPLAINT = /"level":"error"|Uncaught|\[ERROR\]|code had hung|internal error|exceeded/i;
/** A vault that does not come back was killed in the wrong moment, or the machine has other work. */
const REPEATS = 20;
const LAST_CHARACTERS = 3_000;

/** A vault that is killed and comes back: on the same state, with the same secrets, at another address. */
export class MortalVault {
  readonly #persistTo: string;
  readonly #secrets: Record<string, string> = { ...randomSecrets() };
  readonly #complaints: string[] = [];
  #vars: Readonly<Record<string, string>>;
  #local: LocalVault | null = null;
  #life = 0;
  #kills = 0;
  /** From when somebody wants it killed until it runs again. */
  #dying: Promise<void> | null = null;
  /** The part of that in which it does not run. */
  #down: Promise<void> | null = null;
  /** What the next kill waits for; and what waits for kills that are planned. */
  readonly #shielded = new Set<Promise<unknown>>();
  readonly #planned = new Set<Promise<unknown>>();

  private constructor(persistTo: string, vars: Readonly<Record<string, string>>) {
    this.#persistTo = persistTo;
    this.#vars = vars;
  }

  /** @param persistTo where its state is; it stays there after {@link stop} */
  static async start(persistTo: string, vars: Readonly<Record<string, string>>): Promise<MortalVault> {
    const vault = new MortalVault(persistTo, vars);
    await vault.#rise(true);
    return vault;
  }

  /** Changes before a kill: what spans two lives may have been cut. */
  get life(): number {
    return this.#life;
  }

  get kills(): number {
    return this.#kills;
  }

  /** What the runtime complained of, in all lives that have ended. */
  get complaints(): readonly string[] {
    return this.#complaints;
  }

  /** What the runtime printed last, in the life that goes on. */
  get lastWords(): string {
    return this.#local?.logs().slice(-LAST_CHARACTERS) ?? '';
  }

  get token(): string {
    return this.#secrets.ADMIN_TOKEN ?? '';
  }

  /** Waits until it runs. */
  async now(): Promise<Vault> {
    while (this.#down) await this.#down;
    if (!this.#local) throw new Error('the vault was stopped');
    return { url: this.#local.url, token: this.token };
  }

  /** kill -9, and a new life, which has begun when this resolves. Who calls meanwhile has the same death. */
  kill(vars: Readonly<Record<string, string>> = this.#vars): Promise<void> {
    this.#vars = vars;
    this.#dying ??= this.#dieAndRise().finally(() => {
      this.#dying = null;
    });
    return this.#dying;
  }

  /**
   * Does something that kills. Shielded work is kept waiting all along: it must not wait for what the killer holds, who
   * waits for it.
   */
  async plan<T>(work: () => Promise<T>): Promise<T> {
    while (this.#dying || this.#shielded.size > 0) await Promise.allSettled([this.#dying, ...this.#shielded]);
    const planned = work();
    this.#planned.add(planned);
    try {
      return await planned;
    } finally {
      this.#planned.delete(planned);
    }
  }

  /** Does what no kill may cut. */
  async shielded<T>(work: (vault: Vault) => Promise<T>): Promise<T> {
    while (this.#dying || this.#planned.size > 0) await Promise.allSettled([this.#dying, ...this.#planned]);
    const working = this.now().then(work);
    this.#shielded.add(working);
    try {
      return await working;
    } finally {
      this.#shielded.delete(working);
    }
  }

  /** Does what may be done again, until no kill cuts it. */
  async untilDone<T>(work: (vault: Vault) => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried++) {
      const vault = await this.now();
      const { life } = this;
      try {
        return await work(vault);
      } catch (error) {
        if (life === this.#life || tried === REPEATS) throw error;
      }
    }
  }

  async stop(): Promise<void> {
    while (this.#dying) await this.#dying;
    const local = this.#local;
    this.#local = null;
    if (!local) return;
    await local.stop();
    this.#hear(local);
  }

  async #dieAndRise(): Promise<void> {
    while (this.#shielded.size > 0) await Promise.allSettled(this.#shielded);
    const local = this.#local;
    if (!local) throw new Error('the vault was stopped');
    this.#life += 1;
    this.#kills += 1;
    this.#down = this.#restart(local).finally(() => {
      this.#down = null;
    });
    await this.#down;
  }

  async #restart(local: LocalVault): Promise<void> {
    await local.crash();
    this.#hear(local);
    await local.stop();
    await this.#rise(false);
  }

  async #rise(migrate: boolean): Promise<void> {
    const vars = { ...this.#secrets, ...this.#vars };
    this.#local = await startLocalVault({ persistTo: this.#persistTo, vars, migrate });
  }

  #hear(local: LocalVault): void {
    for (const line of local.logs().split('\n')) {
      if (COMPLAINT.test(line)) this.#complaints.push(`life ${this.#life}: ${line.trim().slice(0, 500)}`);
    }
  }
}
