import { JOB_KEPT_MS } from '../shared/limits.ts';
import { IttyRoom } from './itty-room.ts';
import { isEnd, type JobEnd, type JobMessage, type JobUpdate, type OpenUpload, type TaskRun } from './messages.ts';
import {
  beginJob,
  endJob,
  hasEnded,
  heardFrom,
  isTakenOver,
  type JobRecord,
  type JobStart,
  leaseMs,
  type Moved,
  moveJob,
  noteOpen,
  passLease,
  reclaimedJob,
  runOf,
  waitingMessage,
  waitToSend,
  withinSecond,
} from './room-state.ts';

/** A run that fell silent, and what an upload may have left in storage. */
export type LeftOver = TaskRun & { readonly job_id: string; readonly open?: OpenUpload };

/**
 * Removes what a dead upload left, or says that its backup was complete and is `kept`. Of other runs nothing may be
 * removed. Rejects to be called again.
 */
export type Reclaim = (left: LeftOver) => Promise<'removed' | 'kept'>;

/** Answer to a run: whether the job is still its own. */
export type RoomReply = { readonly kind: 'accepted' } | { readonly kind: 'superseded' };

const ACCEPTED: RoomReply = { kind: 'accepted' };
const SUPERSEDED: RoomReply = { kind: 'superseded' };
const NORMAL_CLOSURE = 1000;

/**
 * The Durable Object of one job: its state, its sockets, its lease. Every method that the publisher calls takes one
 * JSON string. `makeReclaim` gets the object's env once a run has fallen silent.
 */
export function progressRoom(makeReclaim: (env: unknown) => Reclaim) {
  return class ProgressRoom extends IttyRoom {
    /** The one own property, hence the one thing that is stored. */
    record: JobRecord | null = null;

    // Memory only: lost on hibernation, which costs at most one message more or one lease counted as missed.
    readonly #env: unknown;
    #heard = false;
    #sent: number[] = [];
    #later: ReturnType<typeof setTimeout> | undefined;

    constructor(state: DurableObjectState, env: unknown) {
      super(state, {});
      this.#env = env;
    }

    async begin(json: string): Promise<{ kind: 'started' } | { kind: 'running' }> {
      const begun = beginJob(this.record, JSON.parse(json) as JobStart, Date.now());
      if (begun.kind === 'running') return { kind: 'running' };
      this.#heard = true;
      if (begun.record !== this.record) {
        this.record = begun.record;
        this.#announce();
        await this.#store(leaseMs(begun.record));
      }
      return { kind: 'started' };
    }

    async update(json: string): Promise<RoomReply> {
      const { run_id, update } = JSON.parse(json) as { run_id: string; update: JobUpdate | null };
      const moved = moveJob(this.record, run_id, update, Date.now());
      return this.#take(moved);
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
      this.record = heardFrom(noted);
      await this.persist();
      return ACCEPTED;
    }

    snapshot(json: string): JobMessage {
      const { job_id } = JSON.parse(json) as { job_id: string };
      return this.record?.message ?? waitingMessage(job_id, Date.now());
    }

    subscribe(json: string): Response {
      const { 0: client, 1: server } = new WebSocketPair();
      this.state.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'));
      this.state.acceptWebSocket(server);
      const now = this.snapshot(json);
      server.send(JSON.stringify(now));
      if (isEnd(now.phase)) server.close(NORMAL_CLOSURE, now.phase);
      return new Response(null, { status: 101, webSocket: client });
    }

    /** Subscribers have nothing to say; `ping` is answered by the runtime. */
    webSocketMessage(): void {}

    webSocketClose(socket: WebSocket): void {
      closeQuietly(socket, NORMAL_CLOSURE, '');
    }

    webSocketError(socket: WebSocket): void {
      closeQuietly(socket, 1011, 'socket failed');
    }

    async alarm(): Promise<void> {
      await this.loadFromStorage();
      if (!this.record) return;
      if (this.record.ended_at !== undefined) return this.#forget(this.record.ended_at);
      const passed = passLease(this.record, this.#heard);
      this.#heard = false;
      const changed = passed !== this.record;
      this.record = passed;
      // The next alarm is set before the cleanup, so that one which is cut off is taken up again.
      if (changed) await this.#store(leaseMs(passed));
      else await this.state.storage.setAlarm(Date.now() + leaseMs(passed));
      if (isTakenOver(passed)) await this.#reclaim(passed);
    }

    async #take(moved: Moved): Promise<RoomReply> {
      if (moved.kind === 'superseded') return SUPERSEDED;
      this.#heard = true;
      const alive = heardFrom(moved.record);
      const worthStoring = moved.phaseChanged || alive !== moved.record;
      this.record = alive;
      if (moved.changed) this.#announce();
      if (worthStoring) await this.persist();
      return ACCEPTED;
    }

    async #reclaim(taken: JobRecord): Promise<void> {
      const { job_id } = taken;
      try {
        const outcome = await makeReclaim(this.#env)(leftOver(taken));
        if (this.record === taken) await this.#end(reclaimedJob(taken, outcome, Date.now()));
      } catch (error) {
        // The alarm that is set already tries again.
        console.error(JSON.stringify({ event: 'reclaim-failed', job_id, run_id: runOf(taken), error: String(error) }));
      }
    }

    async #end(record: JobRecord): Promise<void> {
      this.record = record;
      this.#announce();
      await this.#store(JOB_KEPT_MS);
    }

    /** Puts and alarm in one turn: storage takes both or neither. */
    async #store(alarmInMs: number): Promise<void> {
      await Promise.all([this.persist(), this.state.storage.setAlarm(Date.now() + alarmInMs)]);
    }

    async #forget(endedAt: number): Promise<void> {
      const due = endedAt + JOB_KEPT_MS;
      if (Date.now() < due) return this.state.storage.setAlarm(due);
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

function leftOver(dead: JobRecord): LeftOver {
  const { message: _, missed: __, ended_at: ___, ...left } = dead;
  return left.task === undefined ? { ...left, task: 'upload' } : left;
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
