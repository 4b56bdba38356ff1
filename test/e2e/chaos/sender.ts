import { MIB } from '../clients.ts';
import type { Chance } from './chance.ts';
import type { MortalVault } from './mortal-vault.ts';
import type { Conduct } from './raw-http.ts';
import type { PatchOptions, Reply, TusUpload } from './tus-upload.ts';

export const FRAME_BYTES = 4 * MIB;
/** Writes of a byte or two are for bodies up to here: each is a packet. */
const DRIP_BYTES = 3_000;

export interface Sent {
  readonly reply: Reply;
  /** Whether nobody else had anything on the way when it was sent. */
  readonly calm: boolean;
}

/** What one client has to send with: its choice of pieces, its manners, and what it remembers. */
export class Sender {
  readonly upload: TusUpload;
  readonly vault: MortalVault;
  readonly chance: Chance;
  readonly name: string;
  /** Sends no content beyond. */
  readonly until: number;
  /** The last piece that was acknowledged. */
  last: { readonly from: number; readonly to: number } | null = null;
  /** What the next HEAD must say, where nobody else may have changed it. */
  mustBe: number | null = null;
  /** Only sends what is left, in pieces that are worth it. */
  inHaste = false;
  /** Connections that are held open, until {@link over}. */
  readonly open: Promise<void>[] = [];
  readonly over: Promise<void>;
  #sends = 0;

  constructor(upload: TusUpload, vault: MortalVault, chance: Chance, name: string, until: number, over: Promise<void>) {
    this.upload = upload;
    this.vault = vault;
    this.chance = chance;
    this.name = name;
    this.until = until;
    this.over = over;
  }

  /** Content at an offset: a byte, up to a border of frames or parts, or much. */
  content(offset: number): Buffer {
    const { chance, upload } = this;
    const left = this.until - offset;
    const usual = Math.ceil(upload.total / upload.plan.pieces);
    const choice = this.inHaste ? 'rest' : chance.weighted({ tiny: 12, border: 20, usual: 68 });
    const bytes = {
      tiny: chance.between(1, 20),
      border: FRAME_BYTES * chance.between(1, 2) - (offset % FRAME_BYTES) + chance.between(-1, 1),
      usual: chance.between(1, 2 * usual),
      rest: chance.happens(0.5) ? usual : left,
    }[choice];
    return upload.bytes.subarray(offset, offset + Math.max(1, Math.min(left, bytes)));
  }

  checked(piece: Buffer, checksum: boolean): Pick<PatchOptions, 'checksum'> {
    return checksum ? { checksum: { algorithm: this.chance.pick(['sha1', 'sha256']), of: piece } } : {};
  }

  /** Sizes of writes: large ones, odd ones, or a byte or two. */
  conduct(bytes: number, deed?: Conduct['deed']): Conduct {
    const style = this.chance.weighted({ bulk: 5, odd: 3, drip: bytes < DRIP_BYTES ? 3 : 0 });
    const sizes = this.chance.of(`writes ${this.#sends++}`);
    const most = { bulk: MIB, odd: 60_000, drip: 3 }[style];
    return { writeBytes: () => sizes.between(1, most), deed };
  }

  async send(offset: number, piece: Buffer, options: Partial<PatchOptions> = {}): Promise<Sent> {
    const { chance, upload } = this;
    const calm = upload.isCalm;
    const sizes = chance.of(`chunks ${this.#sends++}`);
    const chunkBytes = chance.happens(0.2) ? () => sizes.between(1, 200_000) : undefined;
    const ends = offset + piece.length === upload.total;
    const length = upload.plan.deferred && (ends ? chance.happens(0.8) : chance.happens(0.1));
    const reply = await upload.patch(offset, piece, {
      by: this.name,
      conduct: this.conduct(piece.length),
      chunkBytes,
      length,
      overridden: chance.happens(0.08),
      ...options,
    });
    return { reply, calm };
  }

  /** What follows from the answer to a piece that should have been taken. */
  landed(offset: number, bytes: number, { reply, calm }: Sent): number | null {
    const { upload } = this;
    upload.expect(reply, '204', ...this.competed(calm));
    if (reply.status !== 204) return null;
    // It was the newest: whatever was on its way before writes no more.
    if (upload.plan.clients === 1) upload.unsettled = false;
    this.count('pieces that counted');
    this.last = { from: offset, to: offset + bytes };
    return reply.offset;
  }

  /** Answers that are right where others are on their way. */
  competed(calm: boolean): string[] {
    return calm ? [] : ['409 offset-mismatch', '409 upload-superseded'];
  }

  /** Has to ask next, and knows the answer, unless others are on their way. */
  forget(offset: number): null {
    if (this.upload.isCalm) this.mustBe = offset;
    return null;
  }

  count(name: string): void {
    this.upload.tally.count(name);
  }
}
