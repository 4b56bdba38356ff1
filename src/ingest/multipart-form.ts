/**
 * A form (multipart/form-data, RFC 7578; its framing, RFC 2046, section 5.1.1), parsed while it arrives.
 *
 *     preamble CRLF --boundary CRLF headers CRLF CRLF content CRLF --boundary CRLF … CRLF --boundary-- epilogue
 *
 * The delimiter is the CRLF *before* the dashes and all of `--boundary`; what precedes the first one is as if a CRLF
 * stood there, so one is put before the body and every delimiter is the same string. After it come blanks and a CRLF,
 * or two dashes and the form has ended. `--boundary` at the beginning of a line that goes on otherwise is content:
 * senders promise only that the delimiter's line does not occur.
 *
 * Content is searched in the pieces in which it arrives (a search runs at 10 GiB/s, a loop over bytes at a hundredth)
 * and given on as views of them. What may be the beginning of a delimiter is held back until more has come.
 */
import { Buffer } from 'node:buffer';
import { ByteReader } from '../shared/byte-reader.ts';
import { concat, utf8 } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { FORM_FIELD_BYTES, FORM_HEADER_BYTES, FORM_MARGIN_BYTES, FORM_PARTS } from '../shared/limits.ts';
import type { Pieces } from '../shared/streams.ts';
import { parseParameters, parsePartHeaders } from './part-headers.ts';

const CRLF = utf8('\r\n');
const HEADERS_END = utf8('\r\n\r\n');

/** Blanks that a delimiter's line may end with ("transport padding"); no sender adds any. */
const PADDING_BYTES = 128;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DASH = 0x2d;

/** The body is not the form that its Content-Type says. */
export class MalformedMultipart extends VaultError {
  /** Where, in bytes from the beginning of the body. */
  readonly offset: number;

  /** `reason`: what is wrong, as the end of a sentence. */
  constructor(reason: string, offset: number) {
    super('malformed-multipart', `The form is malformed at byte ${offset}: ${reason}.`);
    this.offset = offset;
  }
}

export interface FormPart {
  readonly name: string;
  /** As the sender gave it: unchecked. Undefined for a part that is no file. */
  readonly filename: string | undefined;
  readonly contentType: string | undefined;
  /** Where the content begins, in bytes from the beginning of the form. */
  readonly offset: number;
  /** The content. What is not read of it when the next part is asked for is skipped; to read it then throws. */
  readonly body: Pieces;
}

/**
 * The boundary in a Content-Type, or null where that is no multipart/form-data with one. More is taken than RFC 2046
 * allows, as long as it is printable: senders write `----=_Part` without quotes.
 */
export function boundaryOf(contentType: string): string | null {
  const [, rest] = /^[ \t]*multipart\/form-data[ \t]*(;.*)?$/is.exec(contentType) ?? [];
  const boundary = parseParameters(rest ?? '')?.get('boundary');
  return boundary !== undefined && /^[\x20-\x7e]{0,69}[\x21-\x7e]$/.test(boundary) ? boundary : null;
}

/**
 * The parts of a form, one after the other. Throws {@link MalformedMultipart} here or from the part's body, and the
 * source's own errors. Consumed to its end it has read the source to its end; left early it cancels the source.
 */
export async function* multipartParts(source: Pieces, boundary: string): AsyncGenerator<FormPart, void, undefined> {
  const form = new FormReader(source, boundary);
  try {
    await form.skipPreamble();
    for (let number = 1; form.atPart; number++) {
      if (number > FORM_PARTS) throw form.malformed(`it has more than ${FORM_PARTS} parts`);
      const headers = parsePartHeaders(await form.readHeaders(number));
      if (headers.kind === 'malformed') throw form.malformed(headers.reason);
      const { name, filename, contentType } = headers;
      yield { name, filename, contentType, offset: form.offset + CRLF.length, body: form.content(number) };
      await form.skipContent();
    }
    await form.skipEpilogue();
  } finally {
    await form.close();
  }
}

/** A field's value. Throws {@link MalformedMultipart} for one of over FORM_FIELD_BYTES, or one that is not UTF-8. */
export async function readField(part: FormPart): Promise<string> {
  const held: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of part.body) {
    bytes += piece.length;
    if (bytes > FORM_FIELD_BYTES) {
      throw new MalformedMultipart(`a field has more than ${FORM_FIELD_BYTES} bytes`, part.offset);
    }
    held.push(piece.slice());
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(concat(held));
  } catch {
    throw new MalformedMultipart('a field is not UTF-8', part.offset);
  }
}

/** Where we are in the form. A CRLF that may begin a delimiter stays unread until that is known. */
class FormReader {
  readonly #reader: ByteReader;
  readonly #delimiter: Uint8Array;
  /** What the delimiter read last announced. */
  #next: 'part' | 'end' = 'end';
  /** The part whose content is being read, counted from 1; 0 between parts. */
  #open = 0;
  /** Whether the CRLF of the empty line after the headers is still unread. */
  #fresh = false;

  constructor(source: Pieces, boundary: string) {
    this.#reader = new ByteReader(afterCrlf(source));
    this.#delimiter = utf8(`\r\n--${boundary}`);
  }

  /** Bytes read, of the form as it was sent. */
  get offset(): number {
    return Math.max(0, this.#reader.position - CRLF.length);
  }

  get atPart(): boolean {
    return this.#next === 'part';
  }

  malformed(reason: string): MalformedMultipart {
    return new MalformedMultipart(reason, this.offset);
  }

  async skipPreamble(): Promise<void> {
    let skipped = 0;
    for await (const piece of this.#untilDelimiter('its boundary does not occur in it')) {
      skipped += piece.length;
      if (skipped > FORM_MARGIN_BYTES) throw this.malformed('its boundary does not occur where it begins');
    }
  }

  /** The header block of part `number`: what stands between the delimiter's line and the empty line. */
  async readHeaders(number: number): Promise<Uint8Array> {
    let held = await this.#reader.fill(HEADERS_END.length);
    let end = indexOf(held, HEADERS_END);
    while (end < 0 && held.length < FORM_HEADER_BYTES + HEADERS_END.length) {
      if (!(await this.#reader.more())) throw this.#cut('it ends within the headers of a part');
      held = this.#reader.buffered;
      end = indexOf(held, HEADERS_END);
    }
    if (end < 0 || end > FORM_HEADER_BYTES) {
      throw this.malformed(`the headers of a part have more than ${FORM_HEADER_BYTES} bytes`);
    }
    const block = held.slice(CRLF.length, Math.max(CRLF.length, end));
    this.#reader.consume(end + CRLF.length);
    this.#open = number;
    this.#fresh = true;
    return block;
  }

  /**
   * The content of part `number`. Throws where the part has been left before its end: a body that just ended there
   * would look complete.
   */
  async *content(number: number): AsyncGenerator<Uint8Array, void, undefined> {
    this.#checkOpen(number);
    for await (const piece of this.#untilDelimiter('it ends within a part, before its closing boundary')) {
      yield piece;
      this.#checkOpen(number);
    }
    this.#open = 0;
  }

  #checkOpen(number: number): void {
    if (this.#open !== number)
      throw new Error('this part of the form has been left; its content cannot be read any more');
  }

  /** What is left of the part that is being read, if any. */
  async skipContent(): Promise<void> {
    if (this.#open === 0) return;
    for await (const _ of this.content(this.#open));
  }

  async skipEpilogue(): Promise<void> {
    let skipped = 0;
    while (true) {
      const { length } = await this.#reader.fill(1);
      if (length === 0) return;
      this.#reader.consume(length);
      skipped += length;
      if (skipped > FORM_MARGIN_BYTES) throw this.malformed('it goes on after its closing boundary');
    }
  }

  async close(): Promise<void> {
    this.#open = 0;
    await this.#reader.close();
  }

  /** Everything before the next delimiter, which is stepped over; `missing` is the complaint where there is none. */
  async *#untilDelimiter(missing: string): AsyncGenerator<Uint8Array, void, undefined> {
    const delimiterBytes = this.#delimiter.length;
    while (true) {
      const held = await this.#reader.fill(delimiterBytes);
      if (held.length < delimiterBytes) throw this.#cut(missing);
      const at = indexOf(held, this.#delimiter);
      if (at === 0 && (await this.#stepOverDelimiter())) return;
      if (this.#fresh) {
        this.#fresh = false;
        this.#reader.consume(CRLF.length);
      } else if (at < 0) {
        yield this.#take(held.length - delimiterBytes + 1);
      } else {
        yield this.#take(at === 0 ? CRLF.length : at);
      }
    }
  }

  /** Whether what begins like a delimiter is one, to the end of its line (but for that line's CRLF). */
  async #stepOverDelimiter(): Promise<boolean> {
    const from = this.#delimiter.length;
    for (let at = from; at <= from + PADDING_BYTES; at++) {
      const held = await this.#reader.fill(at + 2);
      if (held.length < at + 2) throw this.#cut('it ends within a boundary');
      const [first, second] = [held[at], held[at + 1]];
      if (at === from && first === DASH && second === DASH) return this.#announce('end', at + 2);
      if (first === CR && second === LF) return this.#announce('part', at);
      if (first !== SPACE && first !== TAB) return false;
    }
    return false;
  }

  #announce(next: 'part' | 'end', bytes: number): true {
    this.#reader.consume(bytes);
    this.#next = next;
    this.#fresh = false;
    return true;
  }

  #take(bytes: number): Uint8Array {
    const piece = this.#reader.buffered.subarray(0, bytes);
    this.#reader.consume(bytes);
    return piece;
  }

  /** The complaint about a form that has ended too early: its place is the end. */
  #cut(reason: string): MalformedMultipart {
    this.#reader.consume(this.#reader.buffered.length);
    return this.malformed(reason);
  }
}

async function* afterCrlf(source: Pieces): AsyncGenerator<Uint8Array, void, undefined> {
  yield CRLF;
  yield* source;
}

/** The runtime's own search; a Uint8Array's indexOf looks for one byte only. */
function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(wanted);
}
