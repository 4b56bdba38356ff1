import { VaultError } from '../../shared/errors.ts';

/**
 * What the codec asks of a zstd implementation. Everything about files (many frames, skippable frames, limits, seek
 * tables) is above this line, written once; an engine knows single frames.
 */
export interface ZstdEngine {
  readonly name: 'native' | 'wasm';
  /** Whether the frames it makes carry a content checksum (RFC 8878, section 3.1.1). */
  readonly writesChecksum: boolean;
  /** Highest level it can compress a frame of FRAME_BYTES at within its memory; 1 is the lowest. */
  readonly highestLevel: number;
  /** Largest window a frame may need to be decoded, in bytes. */
  readonly largestWindowBytes: number;

  /** What the engine holds for all transfers of the isolate together, at most, in bytes. */
  readonly heapBytes: number;
  /** Content of a frame up to which `decompressFrame` may be used, in bytes. */
  readonly oneShotBytes: number;

  /**
   * One frame with its content size, in memory of its own.
   *
   * @param content at most FRAME_BYTES
   * @param level 1 to `highestLevel`: the caller has checked
   */
  compressFrame(content: Uint8Array, level: number): Uint8Array;

  /** Makes many frames of one level with one context: `compressFrame` for those who have more than one. */
  compressor(level: number): FrameCompressor;

  /**
   * The content of exactly one whole frame, in memory of its own.
   *
   * @param contentBytes what the frame's header says, at most `oneShotBytes`: the caller has checked
   * @throws MalformedZstd, offsets counted from the frame's start
   */
  decompressFrame(frame: Uint8Array, contentBytes: number): Uint8Array;

  /**
   * For one frame that is too large to be decoded at once, or of unknown size. Where an engine has but one, the next
   * waits for its turn; one in the background does not wait, but throws {@link DecoderBusy}, and does so too once
   * somebody else wants its place.
   */
  decompressor(windowBytes: number, options?: { readonly background?: boolean }): FrameDecompressor;
}

/** The engine's only decoder is wanted for something else: what was to be done in the background is left undone. */
export class DecoderBusy extends VaultError {
  constructor() {
    super('internal-error', 'The decoder was needed for something else.');
  }
}

/** Makes frames, one call after the other. To be closed in a `finally`. */
export interface FrameCompressor {
  /** As `compressFrame`; `content` has at least one byte, and may be used again once this is settled. */
  compress(content: Uint8Array): Promise<Uint8Array> | Uint8Array;
  /** Frees what the engine holds. Harmless twice. */
  close(): void;
}

/** Decodes one frame, fed in order. To be closed in a `finally`. */
export interface FrameDecompressor {
  /**
   * What the input gives, in memory of its own. The input may be used again once this is settled. Output is bounded by
   * the input alone: feed few blocks at a time. Throws MalformedZstd, offset 0.
   */
  push(input: Uint8Array): Promise<Uint8Array[]> | Uint8Array[];
  /** After the last block and the checksum have been pushed. Throws MalformedZstd where the engine wanted more. */
  end(): void;
  /** Frees what the engine holds. Harmless twice. */
  close(): void;
}
