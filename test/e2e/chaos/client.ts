import { setTimeout as wait } from 'node:timers/promises';
import { MIB } from '../clients.ts';
import type { Chance } from './chance.ts';
import type { MortalVault } from './mortal-vault.ts';
import type { Conduct, Cut } from './raw-http.ts';
import { rudeRequest } from './rude-requests.ts';
import type { PatchOptions, Reply, TusUpload } from './tus-upload.ts';

const FRAME_BYTES = 4 * MIB;
/** Writes of a byte or two are for bodies up to here: each is a packet. */
const DRIP_BYTES = 3_000;
/** More steps than any plan needs: an upload that does not come to its end. */
const MOST_STEPS = 400;
/** A HEAD that finds the vault killed is asked again. */
const HEAD_TRIES = 30;

/** Beside pieces that are sent as they should be. */
const TROUBLES = {
  piece: 26,
  checked: 12,
  cut: 14,
  cutChecked: 7,
  answerLost: 7,
  heldOpen: 4,
  wrongChecksum: 7,
  wrongOffset: 7,
  repeat: 5,
  twins: 7,
  tooLong: 4,
  empty: 3,
  rude: 5,
  watched: 6,
} as const;
type Trouble = keyof typeof TROUBLES;

export interface Journey {
  /** Sends no content beyond. */
  readonly until: number;
  readonly pauseMs?: (() => number) | undefined;
  /** Kills that are left to the clients of this upload. */
  readonly kills: { left: number };
}

/**
 * One who uploads: sends pieces, gets into trouble, forgets where it was, asks, and goes on. Every step takes the offset
 * at which the client believes to be, and gives the next one; null where it does not know, and has to ask.
 */
export class Client {
  readonly #upload: TusUpload;
  readonly #vault: MortalVault;
  readonly #chance: Chance;
  readonly #name: string;
  readonly #journey: Journey;
  #troubles: number;
  /** The last piece that was acknowledged. */
  #last: { readonly from: number; readonly to: number } | null = null;
  /** What the next HEAD must say, where nobody else may have changed it. */
  #mustBe: number | null = null;
  #sends = 0;
  readonly #open: Promise<void>[] = [];
  readonly #over = Promise.withResolvers<void>();

  constructor(upload: TusUpload, vault: MortalVault, chance: Chance, name: string, journey: Journey) {
    this.#upload = upload;
    this.#vault = vault;
    this.#chance = chance;
    this.#name = name;
    this.#journey = journey;
    this.#troubles = upload.plan.troubles;
  }

  /** Ends at the journey's end, or where the upload is gone. */
  async travel(): Promise<'arrived' | 'gone'> {
    let offset: number | null = null;
    for (let step = 0; step < MOST_STEPS; step++) {
      if (offset === null) {
        offset = await this.#ask();
        if (offset === null) return 'gone';
      }
      if (this.#hasArrived(offset)) return 'arrived';
      offset = await this.#step(offset);
      if (offset !== null && this.#chance.happens(0.4)) offset = this.#forget(offset);
      if (this.#journey.pauseMs) await wait(this.#journey.pauseMs());
    }
    this.#upload.log.accuse(`${this.#name} does not come to an end`);
    return 'gone';
  }

  /** Lets go of connections that were held open. */
  async leave(): Promise<void> {
    this.#over.resolve();
    await Promise.all(this.#open);
  }

  #hasArrived(offset: number): boolean {
    return offset >= this.#journey.until && (this.#upload.lengthKnown || this.#journey.until < this.#upload.total);
  }

  #forget(offset: number): null {
    if (this.#upload.isCalm) this.#mustBe = offset;
    return null;
  }

  /** Where the upload stands; null where it is gone. */
  async #ask(): Promise<number | null> {
    const mustBe = this.#upload.isCalm ? this.#mustBe : null;
    this.#mustBe = null;
    for (let tried = 0; tried < HEAD_TRIES; tried++) {
      const reply = await this.#upload.head(this.#name);
      if (this.#upload.isGone(reply) || !this.#upload.expect(reply, '200')) return null;
      if (reply.offset === null) continue;
      if (mustBe !== null && reply.offset !== mustBe) {
        this.#upload.log.accuse(`HEAD told ${reply.offset} where the upload stood at ${mustBe}`);
      }
      return reply.offset;
    }
    this.#upload.log.accuse('no HEAD was answered');
    return null;
  }

  #step(offset: number): Promise<number | null> {
    const { kills, until } = this.#journey;
    if (offset >= until) return this.#tellLength(offset);
    const near = this.#troubles <= 1 || until - offset < until / 4;
    if (kills.left > 0 && (near || this.#chance.happens(0.3))) {
      kills.left -= 1;
      return this.#kill(offset);
    }
    if (this.#troubles <= 0) return this.#piece(offset);
    this.#troubles -= 1;
    return this.#trouble(this.#chance.weighted<Trouble>(TROUBLES), offset);
  }

  #trouble(trouble: Trouble, offset: number): Promise<number | null> {
    switch (trouble) {
      case 'piece':
        return this.#piece(offset);
      case 'checked':
        return this.#piece(offset, { checksum: true });
      case 'cut':
        return this.#cut(offset, false);
      case 'cutChecked':
        return this.#cut(offset, true);
      case 'answerLost':
        return this.#loseAnswer(offset);
      case 'heldOpen':
        return this.#holdOpen(offset);
      case 'wrongChecksum':
        return this.#wrongChecksum(offset);
      case 'wrongOffset':
        return this.#wrongOffset(offset);
      case 'repeat':
        return this.#repeat(offset);
      case 'twins':
        return this.#twins(offset);
      case 'tooLong':
        return this.#tooLong(offset);
      case 'empty':
        return this.#empty(offset);
      case 'rude':
        return this.#beRude(offset);
      case 'watched':
        return this.#watched(offset);
    }
  }

  /** A piece, and all is well. */
  async #piece(offset: number, { checksum = false } = {}): Promise<number | null> {
    const piece = this.#content(offset);
    if (checksum) this.#count('pieces with a checksum');
    return this.#landed(offset, piece.length, await this.#send(offset, piece, { ...this.#checked(piece, checksum) }));
  }

  /** What follows from the answer to a piece that should have been taken. */
  #landed(offset: number, bytes: number, { reply, calm }: Sent): number | null {
    const { upload, log } = this.#at;
    const competed = calm ? [] : ['409 offset-mismatch', '409 upload-superseded'];
    upload.expect(reply, '204', ...competed);
    if (reply.status !== 204) return null;
    // It was the newest: whatever was on its way before writes no more.
    if (upload.plan.clients === 1) upload.unsettled = false;
    this.#count('pieces that counted');
    if (reply.offset === null) log.accuse('204 without Upload-Offset');
    this.#last = { from: offset, to: offset + bytes };
    return reply.offset;
  }

  /** The connection breaks. Without a checksum what had arrived may count. */
  async #cut(offset: number, checksum: boolean): Promise<number | null> {
    const { upload } = this.#at;
    const piece = this.#content(offset);
    const how = this.#chance.pick<Cut>(['fin', 'rst']);
    const pauseMs = this.#chance.pick([0, 0, 20, 200]);
    const act = async () => {
      await wait(pauseMs);
      return how;
    };
    const conduct = this.#conduct(piece.length, { at: this.#chance.share(), act });
    const calm = upload.isCalm;
    upload.unsettled = true;
    const options = { conduct, ...this.#checked(piece, checksum), note: `cut by ${how}` };
    const { reply } = await this.#send(offset, piece, options);
    if (reply.label === 'cut') this.#count(how === 'fin' ? 'connections closed midway' : 'connections reset midway');
    else upload.expect(reply, ...this.#refusals(calm));
    // Of a checked piece nothing counts; what else might be on its way was not there.
    if (checksum && calm && reply.label === 'cut') await this.#headIs(offset);
    return null;
  }

  /** All is sent, and nobody is there to hear that it arrived. */
  async #loseAnswer(offset: number): Promise<number | null> {
    const piece = this.#content(offset);
    const how = this.#chance.pick<Cut>(['fin', 'rst']);
    const pauseMs = this.#chance.pick([0, 5, 50, 400]);
    const act = async () => {
      await wait(pauseMs);
      return how;
    };
    this.#upload.unsettled = true;
    const conduct = this.#conduct(piece.length, { at: 1, act });
    const checked = this.#checked(piece, this.#chance.happens(0.3));
    const { reply } = await this.#send(offset, piece, { conduct, ...checked, note: `answer lost by ${how}` });
    if (reply.label === 'cut') this.#count('answers lost');
    return null;
  }

  /** The client falls silent within a piece and its connection stays; another goes on. */
  async #holdOpen(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const piece = this.#content(offset);
    const wakes = this.#chance.happens(0.5);
    const reached = Promise.withResolvers<void>();
    const act = async () => {
      reached.resolve();
      await this.#over.promise;
      return wakes ? 'go-on' : 'rst';
    };
    upload.unsettled = true;
    this.#count('connections held open');
    const conduct = this.#conduct(piece.length, { at: this.#chance.share(), act });
    const sending = this.#send(offset, piece, { conduct, note: 'held open' }).then(({ reply }) => {
      reached.resolve();
      if (reply.status === 204) upload.log.accuse('a piece that was held open was taken in the end');
      if (reply.status > 0) upload.expect(reply, '409 upload-superseded', '409 offset-mismatch');
    });
    this.#open.push(sending);
    await reached.promise;
    await wait(this.#chance.pick([0, 30, 300]));
    return null;
  }

  async #wrongChecksum(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const piece = this.#content(offset);
    const spoiled = Buffer.from(piece);
    const place = this.#chance.below(spoiled.length);
    spoiled[place] = (spoiled[place] ?? 0) ^ 1;
    const algorithm = this.#chance.pick(['sha1', 'sha256']);
    // Either the bytes are others, or the checksum is.
    const [body, of] = this.#chance.happens(0.5) ? [spoiled, piece] : [piece, spoiled];
    this.#count('wrong checksums');
    const { reply, calm } = await this.#send(offset, body, {
      checksum: { algorithm, of },
      counts: false,
      note: 'wrong',
    });
    upload.expect(reply, '460 chunk-checksum-mismatch', ...this.#competed(calm));
    return calm && reply.status === 460 ? this.#forget(offset) : null;
  }

  async #wrongOffset(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const { total } = upload;
    const others = [offset + 1, offset - 1, 0, offset + FRAME_BYTES, this.#chance.between(0, total)];
    const possible = others.filter((at) => at !== offset && at >= 0 && at < total);
    if (possible.length === 0) return this.#beyond(offset);
    const at = this.#chance.pick(possible);
    // Content that belongs there: where others are on their way, it may be the right place after all.
    const piece = upload.bytes.subarray(at, Math.min(total, at + this.#chance.between(1, MIB)));
    this.#count('wrong offsets');
    const { reply, calm } = await this.#send(at, piece, { note: 'wrong offset' });
    upload.expect(reply, '409 offset-mismatch', ...(calm ? [] : ['204', '409 upload-superseded']));
    return calm ? this.#forget(offset) : null;
  }

  /** At an offset that no content reaches. */
  async #beyond(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const at = upload.total + this.#chance.between(1, 1000);
    this.#count('wrong offsets');
    const body = Buffer.alloc(this.#chance.between(1, 100));
    const { reply, calm } = await this.#send(at, body, { counts: false, note: 'beyond the end' });
    upload.expect(reply, '409 offset-mismatch');
    return calm ? this.#forget(offset) : null;
  }

  /** The piece before, once more. */
  async #repeat(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const last = this.#last;
    if (!last || last.from === last.to) return this.#piece(offset);
    this.#count('pieces sent again');
    const piece = upload.bytes.subarray(last.from, last.to);
    const checked = this.#checked(piece, this.#chance.happens(0.3));
    const { reply, calm } = await this.#send(last.from, piece, { ...checked, note: 'again' });
    // An acknowledged piece is never taken again, whoever else is there.
    upload.expect(reply, '409 offset-mismatch');
    return calm ? this.#forget(offset) : null;
  }

  /** Two connections go on at the same place. */
  async #twins(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    this.#count('races');
    const alone = upload.isCalm;
    upload.unsettled = true;
    const pieces = [this.#content(offset), this.#content(offset)] as const;
    const laterMs = this.#chance.pick([0, 0, 10, 100]);
    const sent = await Promise.all(
      pieces.map(async (piece, i) => {
        if (i === 1) await wait(laterMs);
        return this.#send(offset, piece, { by: `${this.#name}${'ab'[i]}`, note: 'twin' });
      }),
    );
    for (const { reply } of sent) upload.expect(reply, '204', '409 offset-mismatch', '409 upload-superseded');
    const taken = sent.filter(({ reply }) => reply.status === 204).length;
    const disturbed = sent.some(({ reply }) => reply.disturbed || upload.isGone(reply));
    if (taken > 1) upload.log.accuse('two pieces at the same offset were taken');
    if (taken === 0 && alone && !disturbed) upload.log.accuse('of two pieces at the same offset none was taken');
    // Both were answered: nobody else is on the way.
    if (alone && !disturbed) upload.unsettled = false;
    return null;
  }

  /** The rest, and more than there may be. */
  async #tooLong(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    if (!upload.lengthKnown || this.#journey.until < upload.total || upload.total - offset > 8 * MIB) {
      return this.#piece(offset);
    }
    this.#count('pieces too long');
    const body = Buffer.concat([upload.bytes.subarray(offset), Buffer.alloc(this.#chance.between(1, 100_000))]);
    const { reply, calm } = await this.#send(offset, body, { note: 'too long' });
    upload.expect(reply, '413 file-too-large', ...this.#competed(calm));
    return null;
  }

  /** Nothing, at the right place. */
  async #empty(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const { reply, calm } = await this.#send(offset, Buffer.alloc(0), { note: 'empty' });
    upload.expect(reply, '204', ...this.#competed(calm));
    return reply.offset;
  }

  async #beRude(offset: number): Promise<number | null> {
    this.#count('malformed requests');
    const piece = this.#content(offset).subarray(0, 100_000);
    const rude = rudeRequest(this.#chance, this.#upload.hasKeyInAddress);
    const options = { headers: rude.headers, counts: false, note: rude.note };
    const { reply, calm } = await this.#send(offset, piece, options);
    this.#upload.expect(reply, rude.label);
    return calm ? this.#forget(offset) : null;
  }

  /** Somebody asks while a piece is on its way, and is not kept waiting. */
  async #watched(offset: number): Promise<number | null> {
    const { upload } = this.#at;
    const piece = this.#content(offset);
    this.#count('HEAD beside a piece');
    const act = async () => {
      upload.expect(await upload.head(`${this.#name}w`), '200');
      return 'go-on' as const;
    };
    const conduct = this.#conduct(piece.length, { at: this.#chance.share(), act });
    const checked = this.#checked(piece, this.#chance.happens(0.3));
    return this.#landed(
      offset,
      piece.length,
      await this.#send(offset, piece, { conduct, ...checked, note: 'watched' }),
    );
  }

  /** kill -9 of the runtime within a piece, behind its last byte, or behind the last of all. */
  async #kill(offset: number): Promise<number | null> {
    const where = this.#chance.pick(['within', 'behind', 'last', 'last']);
    const piece = where === 'last' ? this.#upload.bytes.subarray(offset, this.#journey.until) : this.#content(offset);
    const pauseMs = where === 'within' ? 0 : this.#chance.pick([0, 10, 50, 100, 200, 400, 800]);
    const act = async () => {
      await wait(pauseMs);
      await this.#vault.kill();
      return 'go-on' as const;
    };
    this.#count(where === 'within' ? 'killed within a piece' : 'killed behind the last byte');
    const conduct = this.#conduct(piece.length, { at: where === 'within' ? this.#chance.share() : 1, act });
    const options = { conduct, note: `killed ${where}`, length: true };
    const { reply } = await this.#vault.plan(() => this.#send(offset, piece, options));
    this.#upload.expect(reply, '204', '409 offset-mismatch', '409 upload-superseded');
    return null;
  }

  /** All content is there, but not its length. */
  async #tellLength(offset: number): Promise<number | null> {
    const { reply, calm } = await this.#send(offset, Buffer.alloc(0), { length: true, note: 'the length' });
    this.#upload.expect(reply, '204', ...this.#competed(calm));
    return null;
  }

  async #headIs(offset: number): Promise<void> {
    const { upload } = this.#at;
    const reply = await upload.head(this.#name);
    if (upload.expect(reply, '200') && reply.offset !== null && reply.offset !== offset) {
      upload.log.accuse(`HEAD told ${reply.offset} after a piece at ${offset} that did not count`);
    }
  }

  get #at() {
    return { upload: this.#upload, log: this.#upload.log };
  }

  #count(name: string): void {
    this.#upload.tally.count(name);
  }

  #competed(calm: boolean): string[] {
    return calm ? [] : ['409 offset-mismatch', '409 upload-superseded'];
  }

  #refusals(calm: boolean): string[] {
    return ['cut', 'lost', ...this.#competed(calm)];
  }

  /** Content at an offset: a byte, up to a border of frames or parts, or much. */
  #content(offset: number): Buffer {
    const left = this.#journey.until - offset;
    const usual = Math.ceil(this.#upload.total / this.#upload.plan.pieces);
    const choice = this.#troubles > 0 ? this.#chance.weighted({ tiny: 12, border: 20, usual: 68 }) : 'rest';
    const toBorder = FRAME_BYTES * this.#chance.between(1, 2) - (offset % FRAME_BYTES) + this.#chance.between(-1, 1);
    const bytes = {
      tiny: this.#chance.between(1, 20),
      border: toBorder,
      usual: this.#chance.between(1, 2 * usual),
      rest: this.#chance.happens(0.5) ? usual : left,
    }[choice];
    return this.#upload.bytes.subarray(offset, offset + Math.max(1, Math.min(left, bytes)));
  }

  #checked(piece: Buffer, checksum: boolean): Pick<PatchOptions, 'checksum'> {
    return checksum ? { checksum: { algorithm: this.#chance.pick(['sha1', 'sha256']), of: piece } } : {};
  }

  /** Sizes of writes: of all at once, odd ones, or a byte or two. */
  #conduct(bytes: number, deed?: Conduct['deed']): Conduct {
    const style = this.#chance.weighted({ bulk: 5, odd: 3, drip: bytes < DRIP_BYTES ? 3 : 0 });
    const sizes = this.#chance.of(`writes ${this.#sends++}`);
    const most = { bulk: MIB, odd: 60_000, drip: 3 }[style];
    return { writeBytes: () => sizes.between(1, most), deed };
  }

  async #send(offset: number, piece: Buffer, options: Partial<PatchOptions> = {}): Promise<Sent> {
    const { upload } = this.#at;
    const calm = upload.isCalm;
    const sizes = this.#chance.of(`chunks ${this.#sends++}`);
    const chunkBytes = this.#chance.happens(0.2) ? () => sizes.between(1, 200_000) : undefined;
    const ends = offset + piece.length === upload.total;
    const length = upload.plan.deferred && (ends ? this.#chance.happens(0.8) : this.#chance.happens(0.1));
    const reply = await upload.patch(offset, piece, {
      by: this.#name,
      conduct: this.#conduct(piece.length),
      chunkBytes,
      length,
      overridden: this.#chance.happens(0.08),
      ...options,
    });
    return { reply, calm };
  }
}

interface Sent {
  readonly reply: Reply;
  /** Whether nobody else had anything on the way when it was sent. */
  readonly calm: boolean;
}
