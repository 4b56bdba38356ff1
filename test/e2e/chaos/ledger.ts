/**
 * What the vault may say of an upload's offset, by what it has said and by what it was sent:
 *
 * - never less than it told anybody before the question was asked: what is acknowledged is not lost;
 * - never what the pieces sent cannot have come to, each begun where another had brought the upload: what is counted is
 *   there.
 */
export class Ledger {
  #floor = 0;
  readonly #pieces = new Set<SentPiece>();

  /** The most that was told. Who asks notes it before. */
  get floor(): number {
    return this.#floor;
  }

  /** A piece sets out. One that may not count at all is not told to the ledger. */
  sends(piece: SentPiece): SentPiece {
    this.#pieces.add(piece);
    return piece;
  }

  /** The piece came to its end before its last byte: what counts of it is less, or nothing. */
  wasCut(piece: SentPiece, sentBytes: number): void {
    if (piece.from + sentBytes >= piece.to) return;
    if (piece.whole) this.#pieces.delete(piece);
    else piece.to = piece.from + sentBytes;
  }

  /** Nothing of the piece counts, or ever will. */
  withdraw(piece: SentPiece): void {
    this.#pieces.delete(piece);
  }

  /** Takes an answer. Gives what is wrong with it, or null. */
  told(offset: number, floorWhenAsked: number): string | null {
    this.#floor = Math.max(this.#floor, offset);
    if (offset < floorWhenAsked) return `offset ${offset} was told, after ${floorWhenAsked} had been acknowledged`;
    if (!this.mayStandAt(offset)) return `offset ${offset} was told, to which no piece that was sent can have led`;
    return null;
  }

  mayStandAt(offset: number): boolean {
    const known = new Map([[0, true]]);
    const stands = (at: number): boolean => {
      const found = known.get(at) ?? [...this.#pieces].some((piece) => reaches(piece, at) && stands(piece.from));
      known.set(at, found);
      return found;
    };
    return stands(offset);
  }
}

/** Content from byte `from` up to `to`. */
export interface SentPiece {
  readonly from: number;
  to: number;
  /** It has a checksum: all of it counts, or nothing. */
  readonly whole: boolean;
}

function reaches({ from, to, whole }: SentPiece, offset: number): boolean {
  return from < offset && (whole ? offset === to : offset <= to);
}
