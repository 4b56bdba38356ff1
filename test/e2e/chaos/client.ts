import { setTimeout as wait } from 'node:timers/promises';
import type { Chance } from './chance.ts';
import type { MortalVault } from './mortal-vault.ts';
import { Sender } from './sender.ts';
import { kill, sendPiece, TROUBLES, tellLength } from './troubles.ts';
import type { TusUpload } from './tus-upload.ts';

/** More steps than any plan needs: an upload that does not come to its end. */
const MOST_STEPS = 400;
/** A HEAD that finds the vault killed is asked again. */
const HEAD_TRIES = 30;

type Trouble = keyof typeof TROUBLES;
const WEIGHTS = Object.fromEntries(Object.entries(TROUBLES).map(([name, { weight }]) => [name, weight])) as Record<
  Trouble,
  number
>;

export interface Journey {
  /** Sends no content beyond. */
  readonly until: number;
  readonly pauseMs?: (() => number) | undefined;
  /** Kills that are left to the clients of this upload. */
  readonly kills: { left: number };
}

/** One who uploads: sends pieces, gets into trouble, forgets where it was, asks, and goes on. */
export class Client {
  readonly #upload: TusUpload;
  readonly #sender: Sender;
  readonly #chance: Chance;
  readonly #journey: Journey;
  #troubles: number;
  readonly #over = Promise.withResolvers<void>();

  constructor(upload: TusUpload, vault: MortalVault, chance: Chance, name: string, journey: Journey) {
    this.#upload = upload;
    this.#sender = new Sender(upload, vault, chance, name, journey.until, this.#over.promise);
    this.#chance = chance;
    this.#journey = journey;
    this.#troubles = upload.plan.troubles;
  }

  /** Ends at the journey's end, or where the upload is gone. */
  async travel(): Promise<void> {
    let offset: number | null = null;
    for (let step = 0; step < MOST_STEPS; step++) {
      offset ??= await this.#ask();
      if (offset === null || this.#hasArrived(offset)) return;
      offset = await this.#step(offset);
      if (offset !== null && this.#chance.happens(0.4)) offset = this.#sender.forget(offset);
      if (this.#journey.pauseMs) await wait(this.#journey.pauseMs());
    }
    this.#upload.log.accuse(`${this.#sender.name} does not come to an end`);
  }

  /** Lets go of connections that were held open. */
  async leave(): Promise<void> {
    this.#over.resolve();
    await Promise.all(this.#sender.open);
  }

  #hasArrived(offset: number): boolean {
    return offset >= this.#journey.until && (this.#upload.lengthKnown || this.#journey.until < this.#upload.total);
  }

  /** Where the upload stands; null where it is gone. */
  async #ask(): Promise<number | null> {
    const { log } = this.#upload;
    const mustBe = this.#upload.isCalm ? this.#sender.mustBe : null;
    this.#sender.mustBe = null;
    for (let tried = 0; tried < HEAD_TRIES; tried++) {
      const reply = await this.#upload.head(this.#sender.name);
      if (this.#upload.isGone(reply) || !this.#upload.expect(reply, '200')) return null;
      if (reply.offset === null) continue;
      if (mustBe !== null && reply.offset !== mustBe) {
        log.accuse(`HEAD told ${reply.offset} where the upload stood at ${mustBe}`);
      }
      return reply.offset;
    }
    log.accuse('no HEAD was answered');
    return null;
  }

  #step(offset: number): Promise<number | null> {
    const { kills, until } = this.#journey;
    if (offset >= until) return tellLength(this.#sender, offset);
    const near = this.#troubles <= 1 || until - offset < until / 4;
    if (kills.left > 0 && (near || this.#chance.happens(0.3))) {
      kills.left -= 1;
      return kill(this.#sender, offset);
    }
    this.#troubles -= 1;
    this.#sender.inHaste = this.#troubles < 0;
    if (this.#sender.inHaste) return sendPiece(this.#sender, offset);
    return TROUBLES[this.#chance.weighted<Trouble>(WEIGHTS)].step(this.#sender, offset);
  }
}
