/**
 * Numbers as bytes: varints of seven bits, the lowest first, as everywhere (protobuf, LEB128), for whole numbers from 0
 * to 2^53 - 1. They go past 32 bits, so that they are divided, not shifted.
 */
import { release } from '../shared/bytes.ts';
import { IndexCorrupt } from './index-errors.ts';

/** A buffer that grows by doubling. */
export class BytesOut {
  #buffer: Uint8Array;
  length = 0;

  constructor(firstBytes = 1024) {
    this.#buffer = new Uint8Array(firstBytes);
  }

  /** The buffer itself: valid until something is written. */
  get buffer(): Uint8Array {
    return this.#buffer;
  }

  /** What was written: valid until more is written. */
  get written(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  byte(value: number): void {
    this.#room(1);
    this.#buffer[this.length++] = value;
  }

  uint32(value: number): void {
    for (let shift = 0; shift < 32; shift += 8) this.byte(value >>> shift);
  }

  /** Throws a RangeError for what is no whole number from 0 to 2^53 - 1. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no size, offset or id`);
    this.#room(8);
    let rest = value;
    for (; rest > 0x7f_ff_ff_ff; rest = Math.floor(rest / 128)) this.#buffer[this.length++] = (rest % 128) | 0x80;
    for (; rest > 0x7f; rest >>>= 7) this.#buffer[this.length++] = (rest & 0x7f) | 0x80;
    this.#buffer[this.length++] = rest;
  }

  /** From -(2^53 - 1) to 2^53 - 1: the sign and six bits in the first byte; doubled as in zigzag they would not fit. */
  signed(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is no whole number`);
    const magnitude = Math.abs(value);
    const first = (value < 0 ? 1 : 0) | ((magnitude % 64) << 1);
    this.byte(magnitude < 64 ? first : first | 0x80);
    if (magnitude >= 64) this.varint(Math.floor(magnitude / 64));
  }

  bytes(value: Uint8Array, from = 0, to = value.length): void {
    this.#room(to - from);
    const buffer = this.#buffer;
    let at = this.length;
    // Suffixes of paths are short: a loop is faster than a view.
    if (to - from < 64) for (let i = from; i < to; i++) buffer[at++] = value[i] ?? 0;
    else buffer.set(value.subarray(from, to), at);
    this.length += to - from;
  }

  /** Bytes that were written before, once more. (A view of them would be empty where the buffer has to grow.) */
  again(start: number, bytes: number): void {
    this.#room(bytes);
    this.#buffer.copyWithin(this.length, start, start + bytes);
    this.length += bytes;
  }

  clear(): void {
    this.length = 0;
  }

  release(): void {
    release(this.#buffer);
    this.#buffer = new Uint8Array(0);
    this.length = 0;
  }

  #room(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.#buffer.length) return;
    let capacity = Math.max(this.#buffer.length, 64);
    while (capacity < needed) capacity *= 2;
    const grown = new Uint8Array(capacity);
    grown.set(this.written);
    release(this.#buffer);
    this.#buffer = grown;
  }
}

/** Reads what {@link BytesOut} wrote. Every read past the end, and every number that cannot be, throws IndexCorrupt. */
export class BytesIn {
  readonly buffer: Uint8Array;
  at: number;
  readonly end: number;

  constructor(buffer: Uint8Array, at = 0, end = buffer.length) {
    this.buffer = buffer;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  byte(): number {
    if (this.at >= this.end) throw new IndexCorrupt('it is cut short');
    return this.buffer[this.at++] ?? 0;
  }

  uint32(): number {
    let value = 0;
    for (let shift = 0; shift < 32; shift += 8) value |= this.byte() << shift;
    return value >>> 0;
  }

  varint(): number {
    let byte = this.byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let scale = 128; ; scale *= 128) {
      byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value) || scale > Number.MAX_SAFE_INTEGER)
        throw new IndexCorrupt('a number is too large');
      if (byte < 0x80) return value;
    }
  }

  signed(): number {
    const first = this.byte();
    let magnitude = (first >> 1) & 0x3f;
    if (first >= 0x80) magnitude += checkedNumber(this.varint() * 64);
    checkedNumber(magnitude);
    return (first & 1) === 1 ? -magnitude : magnitude;
  }

  /** A count of things that take at least `eachBytes` here: it is checked before room is made for them. */
  count(eachBytes: number): number {
    const count = this.varint();
    if (count * eachBytes > this.left) throw new IndexCorrupt('it counts more than it holds');
    return count;
  }

  /** A view. */
  bytes(length: number): Uint8Array {
    if (length > this.left) throw new IndexCorrupt('it is cut short');
    this.at += length;
    return this.buffer.subarray(this.at - length, this.at);
  }
}

/**
 * Gives the memory of `bytes` back at once, as `release` does, and of small buffers too: thousands of them make tens of
 * megabytes before the collector comes. Only for what nobody else uses; views of a larger buffer are left alone.
 */
export function discard(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer && bytes.buffer.byteLength === bytes.byteLength) bytes.buffer.transfer(0);
}

/** Sums of two numbers may be too large, and then they are not exact. */
export function checkedNumber(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new IndexCorrupt('a number is too large');
  return value;
}
