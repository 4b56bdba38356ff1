import { WRITER_RESTS_MS } from '../../shared/limits.ts';
import { ResumableWriter } from './resumable-writer.ts';
import type { SessionRooms } from './session-rooms.ts';
import type { SessionStore } from './session-store.ts';
import { isUnfinished, type UploadRecord, withWritten } from './upload-record.ts';

/**
 * The one writer of a session. Between two pieces it is kept for a moment: the next one finds its buffers filled and its
 * parts on their way, where it would else wait for those and read back the rest.
 */
export class SessionWriter {
  readonly #rooms: SessionRooms;
  readonly #store: SessionStore;
  #held: ResumableWriter | null = null;
  #inUse = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(rooms: SessionRooms, store: SessionStore) {
    this.#rooms = rooms;
    this.#store = store;
  }

  /** The writer, standing where the record does. */
  take(): ResumableWriter {
    clearTimeout(this.#timer);
    // Its parts are kept: the next one sends them again.
    if (this.#held?.broken) void this.drop();
    if (!this.#held) {
      const { memory, engine, store: objects } = this.#rooms;
      const record = this.#store.known;
      this.#held = new ResumableWriter(objects, memory, this.#store, engine, record, record.written);
    }
    this.#inUse = true;
    return this.#held;
  }

  /**
   * Makes durable what `writer` took, and `change` of the record with it. With the last byte, the alarm that goes on is
   * set in the same turn: storage takes both or neither.
   */
  note(writer: ResumableWriter, change: (record: UploadRecord) => UploadRecord = (record) => record): void {
    writer.checkpoint((written) => {
      this.#store.record = withWritten(change(this.#store.known), written);
    });
    if (isUnfinished(this.#store.known)) void this.#store.setAlarm(Date.now());
  }

  /** After a piece of which all counts: another may come in a moment. */
  rest(): void {
    clearTimeout(this.#timer);
    this.#inUse = false;
    this.#timer = setTimeout(() => void this.#cool(), WRITER_RESTS_MS);
  }

  /**
   * Gives the writer up: it changes nothing any more, what was not noted is as if it had not come, and the next one begins
   * at the record. Resolves when all memory is back, which nobody needs to wait for.
   */
  async drop(): Promise<void> {
    clearTimeout(this.#timer);
    const held = this.#held;
    this.#held = null;
    if (!held) return;
    held.fence();
    await held.close();
  }

  /** Nobody came: parts that have arrived since are noted, and the writer is given up. */
  async #cool(): Promise<void> {
    const writer = this.#held;
    if (!writer) return;
    await writer.settle();
    // Somebody may have come meanwhile, who has it now.
    if (this.#held !== writer || this.#inUse) return;
    try {
      this.note(writer);
    } finally {
      await this.drop();
    }
  }
}
