import { withinTime } from '../shared/abort.ts';
import { JOB_KEPT_MS, JOB_LEASE_MS, JOB_ROW_MS, JOB_STORED_MS } from '../shared/limits.ts';
import { IttyRoom } from './itty-room.ts';
import {
  isEnd,
  type JobEnd,
  type JobHolder,
  type JobState,
  type JobUpdate,
  type OpenUpload,
  type RunRow,
} from './messages.ts';
import {
  alarmAt,
  beginJob,
  cancelJob,
  endJob,
  hasEnded,
  heardFrom,
  isTakenOver,
  type JobRecord,
  type JobStart,
  jobState,
  moveJob,
  noteOpen,
  passLease,
  reclaimedJob,
  runOf,
  runRow,
  taskOf,
  waitingMessage,
  waitToSend,
  withinSecond,
} from './room-state.ts';
import { SocketCounts } from './socket-counts.ts';

/** An upload that fell silent, and what it may have left in storage. */
export interface LeftOver {
  readonly job_id: string;
  readonly backup_id: string;
  readonly open?: OpenUpload | undefined;
}

/** What a job object does outside of itself. What rejects is done again later. */
export interface JobDeps {
  /** Removes what a dead upload left, or finds that its backup was complete and is `kept`. */
  reclaim(left: LeftOver): Promise<'removed' | 'kept'>;
  /** Writes the row of a run, over the one that is there. */
  recordRun(row: RunRow): Promise<void>;
  /** Ends a resumable upload that another upload of its job superseded. */
  supersede(uploadId: string): Promise<void>;
}

export type BeginReply = { readonly kind: 'started' } | { readonly kind: 'running'; readonly holder: JobHolder };

/** Answer to a run: whether the job is still its own, and whether it has to end it. */
export interface RoomReply {
  readonly kind: 'accepted' | 'superseded' | 'cancelled';
}

export interface CancelReply {
  readonly kind: 'cancelling' | 'not-running';
}

const ACCEPTED: RoomReply = { kind: 'accepted' };
const SUPERSEDED: RoomReply = { kind: 'superseded' };
const NORMAL_CLOSURE = 1000;

/**
 * The Durable Object of one job: its state, its sockets, its lease, the rows of its runs. Every method that the publisher
 * calls takes one JSON string. `depsOf` gets the object's env.
 */
export function progressRoom(depsOf: (env: unknown) => JobDeps) {
  return class ProgressRoom extends IttyRoom {
    // The own properties, hence what is stored.
    record: JobRecord | null = null;
    /** Newest rows of runs that the catalogue does not have yet. */
    unwritten: RunRow[] = [];
    /** Resumable uploads that lost the job and do not know it yet. */
    superseded: string[] = [];

    // Memory only: lost on hibernation, which costs at most one message more or one lease counted as missed.
    readonly #env: unknown;
    readonly #sockets = new SocketCounts();
    #heard = false;
    #storedAt = 0;
    #reporting: Promise<void> | null = null;
    #sent: number[] = [];
    #later: ReturnType<typeof setTimeout> | undefined;

    constructor(state: DurableObjectState, env: unknown) {
      super(state, {});
      this.#env = env;
    }

    async begin(json: string): Promise<BeginReply> {
      const begun = beginJob(this.record, JSON.parse(json) as JobStart, Date.now());
      if (begun.kind === 'running') return begun;
      this.#heard = true;
      if (begun.record !== this.record) {
        if (begun.superseded) {
          this.#noteRow(begun.superseded);
          this.superseded.push(runOf(begun.superseded));
        }
        this.record = begun.record;
        this.#noteRow(begun.record);
        this.#announce();
        await this.#store(begun.record);
        // The run begins meanwhile: its row is for lists, and the alarm writes one that is lost here.
        void this.#report();
      }
      return { kind: 'started' };
    }

    /** `idle`: the request that reports has ended, and its run waits for another. */
    async update(json: string): Promise<RoomReply> {
      const { run_id, update, idle } = JSON.parse(json) as { run_id: string; update: JobUpdate | null; idle?: true };
      const now = Date.now();
      const moved = moveJob(this.record, run_id, update, now);
      if (moved.kind === 'superseded') return SUPERSEDED;
      this.#heard = true;
      const record = heardFrom(moved.record, now, idle);
      const missed = record.missed !== moved.record.missed;
      this.record = record;
      if (moved.changed) this.#announce();
      if (moved.phaseChanged) this.#noteRow(record);
      if (moved.phaseChanged || missed || idle || now - this.#storedAt >= JOB_STORED_MS) await this.#persist();
      if (moved.phaseChanged) void this.#report();
      return record.cancelling ? { kind: 'cancelled' } : ACCEPTED;
    }

    async finish(json: string): Promise<RoomReply> {
      const { run_id, end } = JSON.parse(json) as { run_id: string; end: JobEnd };
      const moved = endJob(this.record, run_id, end, Date.now());
      if (moved.kind === 'superseded') return SUPERSEDED;
      if (moved.changed) await this.#end(moved.record);
      return ACCEPTED;
    }

    async noteOpen(json: string): Promise<RoomReply> {
      const { run_id, open } = JSON.parse(json) as { run_id: string; open: OpenUpload };
      const noted = noteOpen(this.record, run_id, open);
      if (!noted) return SUPERSEDED;
      this.#heard = true;
      this.record = heardFrom(noted, Date.now());
      await this.#persist();
      return ACCEPTED;
    }

    /** The run learns of it by the answer to its next sign of life. */
    async cancel(json: string): Promise<CancelReply> {
      const { run_id } = JSON.parse(json) as { run_id: string };
      const cancelling = cancelJob(this.record, run_id);
      if (!cancelling) return { kind: 'not-running' };
      this.record = cancelling;
      await this.#persist();
      return { kind: 'cancelling' };
    }

    snapshot(json: string): JobState {
      const { job_id } = JSON.parse(json) as { job_id: string };
      return this.record ? jobState(this.record) : waitingMessage(job_id, Date.now());
    }

    /** A 101, or an answer that is none: an error of the object would be taken for its failure. */
    subscribe(json: string): Response | { readonly kind: 'too-many' } {
      const { job_id, holder, most } = JSON.parse(json) as { job_id: string; holder: string; most: number };
      this.#countSockets(holder);
      if (SocketCounts.of(holder) >= most) return { kind: 'too-many' };
      const { 0: client, 1: server } = new WebSocketPair();
      this.state.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'));
      this.state.acceptWebSocket(server, [holder]);
      this.#countSockets(holder);
      const now = this.record?.message ?? waitingMessage(job_id, Date.now());
      server.send(JSON.stringify(now));
      if (isEnd(now.phase)) server.close(NORMAL_CLOSURE, now.phase);
      return new Response(null, { status: 101, webSocket: client });
    }

    /** Subscribers have nothing to say; `ping` is answered by the runtime. */
    webSocketMessage(): void {}

    webSocketClose(socket: WebSocket): void {
      closeQuietly(socket, NORMAL_CLOSURE, '');
      this.#forgetSocket(socket);
    }

    webSocketError(socket: WebSocket): void {
      closeQuietly(socket, 1011, 'socket failed');
      this.#forgetSocket(socket);
    }

    /** Its tag names the holder. It may still be in the list while it closes. */
    #forgetSocket(socket: WebSocket): void {
      for (const holder of this.state.getTags(socket)) this.#countSockets(holder, socket);
    }

    #countSockets(holder: string, closing?: WebSocket): void {
      const open = this.state.getWebSockets(holder).filter((socket: WebSocket) => socket !== closing);
      this.#sockets.note(holder, open.length);
    }

    async alarm(): Promise<void> {
      await this.loadFromStorage();
      if (!this.record) return;
      await this.#report();
      if (this.record.ended_at !== undefined) return this.#forget(this.record, this.record.ended_at);
      const passed = passLease(this.record, this.#heard, Date.now());
      this.#heard = false;
      const changed = passed !== this.record;
      this.record = passed;
      // The next alarm is set before the cleanup, so that one which is cut off is taken up again.
      if (changed) await this.#store(passed);
      else await this.#setAlarm(passed);
      if (isTakenOver(passed)) await this.#reclaim(passed);
    }

    async #reclaim(taken: JobRecord): Promise<void> {
      const { job_id, open } = taken;
      try {
        // Nothing that another run leaves may be removed.
        const isUpload = taskOf(taken) === 'upload';
        const left = { job_id, backup_id: runOf(taken), open };
        const outcome = isUpload ? await depsOf(this.#env).reclaim(left) : 'kept';
        if (this.record === taken) await this.#end(reclaimedJob(taken, outcome, Date.now()));
      } catch (error) {
        // The alarm that is set already tries again.
        console.error(JSON.stringify({ event: 'reclaim-failed', job_id, run_id: runOf(taken), error: String(error) }));
      }
    }

    async #end(record: JobRecord): Promise<void> {
      this.record = record;
      this.#noteRow(record);
      this.#announce();
      await this.#store(record);
      await withinTime(this.#report(), JOB_ROW_MS, 'no row of the run').catch(() => undefined);
      await this.#setAlarm(record);
    }

    #noteRow(record: JobRecord): void {
      const row = runRow(record);
      this.unwritten = [...this.unwritten.filter(({ run_id }) => run_id !== row.run_id), row];
    }

    /**
     * Writes the rows that the catalogue does not have, in order, and ends the uploads that lost the job. One pass at a
     * time, which also does what is noted while it runs. Never rejects: the alarm does again what failed.
     */
    #report(): Promise<void> {
      this.#reporting ??= this.#reportAll().finally(() => {
        this.#reporting = null;
      });
      return this.#reporting;
    }

    async #reportAll(): Promise<void> {
      if (!this.#mustReport) return;
      try {
        const deps = depsOf(this.#env);
        while (this.#mustReport) {
          const [row] = this.unwritten;
          const [uploadId] = this.superseded;
          if (row) await deps.recordRun(row);
          else if (uploadId !== undefined) await deps.supersede(uploadId);
          this.unwritten = this.unwritten.filter((other) => other !== row);
          if (!row) this.superseded = this.superseded.filter((other) => other !== uploadId);
        }
        await this.#persist();
      } catch (error) {
        const job_id = this.record?.job_id;
        console.error(JSON.stringify({ level: 'error', event: 'job-not-reported', job_id, error: String(error) }));
      }
    }

    get #mustReport(): boolean {
      return this.unwritten.length > 0 || this.superseded.length > 0;
    }

    async #persist(): Promise<void> {
      this.#storedAt = Date.now();
      await this.persist();
    }

    /** Puts and alarm in one turn: storage takes both or neither. */
    async #store(record: JobRecord): Promise<void> {
      await Promise.all([this.#persist(), this.#setAlarm(record)]);
    }

    #setAlarm(record: JobRecord): Promise<void> {
      const now = Date.now();
      const at = alarmAt(record, now);
      return this.state.storage.setAlarm(this.#mustReport ? Math.min(at, now + JOB_LEASE_MS) : at);
    }

    async #forget(record: JobRecord, endedAt: number): Promise<void> {
      if (this.#mustReport || Date.now() < endedAt + JOB_KEPT_MS) return this.#setAlarm(record);
      this.record = null;
      await this.state.storage.deleteAll();
    }

    /** Sends the newest state to every socket: now, or as soon as the second has room for it. */
    #announce(): void {
      clearTimeout(this.#later);
      const record = this.record;
      if (!record) return;
      const now = Date.now();
      this.#sent = withinSecond(this.#sent, now);
      const waitMs = waitToSend(this.#sent, record.message.phase, now);
      if (waitMs > 0) {
        this.#later = setTimeout(() => this.#announce(), waitMs);
        return;
      }
      this.#sent.push(now);
      const text = JSON.stringify(record.message);
      for (const socket of this.state.getWebSockets()) {
        sendOrDrop(socket, text);
        if (hasEnded(record)) closeQuietly(socket, NORMAL_CLOSURE, record.message.phase);
      }
    }
  };
}

/** `send` only queues, so a slow socket holds nobody; one that is dead throws, and is let go. */
function sendOrDrop(socket: WebSocket, text: string): void {
  try {
    socket.send(text);
  } catch {
    closeQuietly(socket, 1011, 'cannot send');
  }
}

function closeQuietly(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // Closed already.
  }
}
