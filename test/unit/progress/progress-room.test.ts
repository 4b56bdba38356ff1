import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { JobMessage } from '../../../src/progress/messages.ts';
import { type JobDeps, progressRoom } from '../../../src/progress/progress-room.ts';
import { type JobPublisher, jobRooms } from '../../../src/progress/publisher.ts';
import type { JobRecord } from '../../../src/progress/room-state.ts';
import { JOB_KEPT_MS } from '../../../src/shared/limits.ts';

const rooms = jobRooms(env.JOBS);
const publishers: JobPublisher[] = [];
let jobs = 0;

function newJob(): string {
  return `job-${++jobs}`;
}

function stubOf(jobId: string) {
  return env.JOBS.get(env.JOBS.idFromName(jobId));
}

async function begin(jobId: string, backupId = `${jobId}-run`, total = 1000): Promise<JobPublisher> {
  const begun = await rooms.begin({ job_id: jobId, backup_id: backupId, message: 'Receiving site.tar', total });
  expect(begun.kind).toBe('started');
  const publisher = rooms.publisher(jobId, backupId);
  publishers.push(publisher);
  return publisher;
}

afterEach(async () => {
  for (const publisher of publishers.splice(0)) {
    await publisher.finish({ phase: 'failed', code: 'test-over', detail: '', message: '' });
  }
});

class Watcher {
  readonly messages: JobMessage[] = [];
  readonly pongs: string[] = [];
  readonly socket: WebSocket;
  closedWith: number | null = null;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.addEventListener('message', ({ data }) => {
      if (data === 'pong') this.pongs.push(data);
      else this.messages.push(JSON.parse(String(data)) as JobMessage);
    });
    socket.addEventListener('close', ({ code }) => {
      this.closedWith = code;
    });
    socket.accept();
  }

  get last(): JobMessage | undefined {
    return this.messages.at(-1);
  }

  async until(phase: string): Promise<JobMessage | undefined> {
    await vi.waitFor(() => expect(this.last?.phase).toBe(phase), { timeout: 5000, interval: 10 });
    return this.last;
  }
}

async function watch(jobId: string): Promise<Watcher> {
  const response = await rooms.subscribe(jobId, 'token x', 1_000);
  expect(response.status).toBe(101);
  if (!response.webSocket) throw new Error('no socket');
  return new Watcher(response.webSocket);
}

function end(backupId: string) {
  return { phase: 'done', backup_id: backupId, current: 1000, total: 1000, stored: 400, message: 'Stored' } as const;
}

/** The object as its methods see it; its class is private to the room. */
interface Inside {
  record: JobRecord | null;
}

function stored(jobId: string): Promise<Map<string, unknown>> {
  return runInDurableObject(stubOf(jobId), (_, state) => state.storage.list());
}

describe('a subscriber', () => {
  it('before the start sees waiting, stores nothing, and then sees the job', async () => {
    const job = newJob();
    const watcher = await watch(job);
    expect(await watcher.until('waiting')).toMatchObject({ job_id: job, percentage: 0 });
    expect((await stored(job)).size).toBe(0);
    await begin(job);
    expect(await watcher.until('receiving')).toMatchObject({ total: 1000, message: 'Receiving site.tar' });
  });

  it('in the middle gets the newest state at once', async () => {
    const job = newJob();
    const publisher = await begin(job);
    publisher.publish({ phase: 'receiving', current: 250, total: 1000, stored: 90, message: 'Receiving site.tar' });
    await vi.waitFor(async () => expect((await rooms.snapshot(job)).current).toBe(250), { timeout: 3000 });
    expect(await (await watch(job)).until('receiving')).toMatchObject({ current: 250, percentage: 25, stored: 90 });
  });

  it('after the end gets the final state and close 1000', async () => {
    const job = newJob();
    const publisher = await begin(job);
    await publisher.finish(end(`${job}-run`));
    const watcher = await watch(job);
    expect(await watcher.until('done')).toMatchObject({ backup_id: `${job}-run`, percentage: 100 });
    await vi.waitFor(() => expect(watcher.closedWith).toBe(1000), { timeout: 15_000 });
  });

  it('gets the last message and close 1000 when the job ends', async () => {
    const job = newJob();
    const publisher = await begin(job);
    const watcher = await watch(job);
    await publisher.finish({ phase: 'failed', code: 'file-too-large', detail: 'Send less.', message: 'Failed' });
    expect(await watcher.until('failed')).toMatchObject({ code: 'file-too-large', detail: 'Send less.' });
    await vi.waitFor(() => expect(watcher.closedWith).toBe(1000), { timeout: 15_000 });
  });

  it('gets pong for ping, and no answer to anything else', async () => {
    const job = newJob();
    const watcher = await watch(job);
    await watcher.until('waiting');
    watcher.socket.send('{"phase":"done"}');
    watcher.socket.send(new Uint8Array(1000));
    watcher.socket.send('ping');
    await vi.waitFor(() => expect(watcher.pongs).toEqual(['pong']));
    expect(watcher.messages.length).toBe(1);
    expect((await rooms.snapshot(job)).phase).toBe('waiting');
  });

  it('that went away does not keep the others from the last message', async () => {
    const job = newJob();
    const publisher = await begin(job);
    const watchers = await Promise.all([watch(job), watch(job), watch(job)]);
    watchers[0]?.socket.close(1001, 'gone');
    await runInDurableObject(stubOf(job), (_, state) => {
      const dead = state.getWebSockets().find((socket) => socket.readyState === WebSocket.READY_STATE_OPEN);
      dead?.close(1011, 'dead');
    });
    await publisher.finish(end(`${job}-run`));
    await vi.waitFor(() => expect(watchers.filter((one) => one.last?.phase === 'done').length).toBe(1));
    expect((await rooms.snapshot(job)).phase).toBe('done');
  });
});

describe('names and words', () => {
  it('take 64 hex digits as a name like any other', async () => {
    const job = 'a1'.repeat(32);
    const publisher = await begin(job);
    const watcher = await watch(job);
    await publisher.finish(end(`${job}-run`));
    expect(await watcher.until('done')).toMatchObject({ job_id: job });
  });

  it('keep any Unicode', async () => {
    const job = newJob();
    const message = 'Receiving 文書 “ü” \u{1F4BE} \u2028\r\n\\u0041.tar';
    await rooms.begin({ job_id: job, backup_id: 'one', message, total: 0 });
    expect((await rooms.snapshot(job)).message).toBe(message);
    const publisher = rooms.publisher(job, 'one');
    await publisher.finish({ phase: 'failed', code: 'no-file', detail: message, message });
    expect(await rooms.snapshot(job)).toMatchObject({ message, detail: message });
  });

  it('are cut to a size that a header holds', async () => {
    const job = newJob();
    await rooms.begin({ job_id: job, backup_id: 'one', message: '文'.repeat(100_000), total: 0 });
    expect((await rooms.snapshot(job)).message).toMatch(/^文{499}…$/);
  });
});

describe('a run', () => {
  it('is refused a job that another has, and may have it after the end', async () => {
    const job = newJob();
    const first = await begin(job, 'one');
    const other = { job_id: job, backup_id: 'two', message: 'Receiving b.tar', total: 5 };
    expect(await rooms.begin(other)).toMatchObject({ kind: 'running', holder: { run_id: 'one' } });
    await first.finish(end('one'));
    expect(await rooms.begin(other)).toEqual({ kind: 'started' });
    expect(await rooms.snapshot(job)).toMatchObject({ phase: 'receiving', current: 0, total: 5 });
  });

  it('that lost its job hears so, and cannot note or end anything', async () => {
    const job = newJob();
    const first = await begin(job, 'one');
    await rooms.publisher(job, 'one').finish({ phase: 'failed', code: 'x', detail: 'y', message: 'z' });
    await begin(job, 'two');
    expect(first.alive()).toBe(true);
    first.publish({ phase: 'storing', current: 9, total: 9, message: 'Old' });
    await vi.waitFor(() => expect(first.alive()).toBe(false));
    await expect(first.noteOpen({ key: 'k', upload_id: 'u' })).rejects.toMatchObject({ code: 'upload-superseded' });
    await first.finish(end('one'));
    expect((await rooms.snapshot(job)).phase).toBe('receiving');
  });

  it('notes an open upload durably', async () => {
    const job = newJob();
    const publisher = await begin(job);
    await publisher.noteOpen({ key: 'data/x', upload_id: 'u-1' });
    expect((await stored(job)).get('data')).toMatchObject({
      record: { open: { key: 'data/x', upload_id: 'u-1' } },
    });
  });

  it('reaches every socket with the last of many updates, at most four in any second', async () => {
    const job = newJob();
    const publisher = await begin(job, 'one', 20_000);
    const watchers = await Promise.all(Array.from({ length: 50 }, () => watch(job)));
    const arrivals: number[] = [];
    watchers[0]?.socket.addEventListener('message', () => {
      arrivals.push(Date.now());
    });
    for (let current = 1; current <= 20_000; current++) {
      publisher.publish({ phase: 'receiving', current, total: 20_000, message: 'Receiving' });
      if (current % 1000 === 0) await scheduler.wait(100);
    }
    await publisher.finish({ ...end('one'), current: 20_000, total: 20_000 });
    for (const watcher of watchers) await watcher.until('done');
    const seen = watchers[0]?.messages ?? [];
    expect(seen.length).toBeGreaterThan(3);
    const currents = seen.map((message) => message.current);
    expect(currents).toEqual(currents.toSorted((a, b) => a - b));
    for (const from of arrivals.slice(1)) {
      // A little over: these are the times of arrival.
      expect(arrivals.filter((time) => time >= from && time < from + 950).length).toBeLessThanOrEqual(4);
    }
  });

  it('shows its newest state also when it came in a full second and nothing follows', async () => {
    const job = newJob();
    const publisher = await begin(job);
    const watcher = await watch(job);
    for (const phase of ['receiving', 'storing', 'verifying'] as const) {
      publisher.publish({ phase, current: 1, total: 2, message: phase });
      await scheduler.wait(30);
    }
    await watcher.until('verifying');
  });

  it('shows where a run stands that rests, also when that came in a full second', async () => {
    const job = newJob();
    const watcher = await watch(job);
    await begin(job, 'one');
    for (const current of [10, 20, 30]) {
      const piece = rooms.publisher(job, 'one');
      piece.publish({ phase: 'receiving', current, total: 1000, message: 'Receiving' });
      await piece.pause();
    }
    await vi.waitFor(() => expect(watcher.last?.current).toBe(30), { timeout: 3000 });
  });

  it('never waits for and never fails by a room that cannot be reached', async () => {
    const broken = new Proxy(env.JOBS, {
      get: (target, name) => {
        if (name === 'idFromName') return target.idFromName.bind(target);
        return () => ({ fetch: () => Promise.reject(new Error('down')) });
      },
    });
    const publisher = jobRooms(broken).publisher('any', 'one');
    publisher.publish({ phase: 'receiving', current: 1, total: 2, message: '' });
    await scheduler.wait(20);
    expect(publisher.alive()).toBe(true);
    await publisher.finish(end('one'));
    await expect(jobRooms(broken).snapshot('any')).rejects.toMatchObject({ code: 'job-unavailable', jobId: 'any' });
  });
});

describe('hibernation and restarts', () => {
  it('keep sockets, job and open upload', async () => {
    const job = newJob();
    const publisher = await begin(job);
    await publisher.noteOpen({ key: 'k', upload_id: 'u' });
    const watcher = await watch(job);
    await watcher.until('receiving');
    await evictDurableObject(stubOf(job), { webSockets: 'hibernate' });
    watcher.socket.send('not a ping');
    expect((await rooms.snapshot(job)).phase).toBe('receiving');
    publisher.publish({ phase: 'storing', current: 10, total: 1000, message: 'Storing' });
    expect(await watcher.until('storing')).toMatchObject({ current: 10 });
    await publisher.finish(end(`${job}-run`));
    await watcher.until('done');
    await evictDurableObject(stubOf(job), { webSockets: 'hibernate' });
    expect(await rooms.snapshot(job)).toMatchObject({ phase: 'done', backup_id: `${job}-run` });
  });
});

describe('the alarm', () => {
  it('leaves a run alone that gives signs of life', async () => {
    const job = newJob();
    const publisher = await begin(job);
    for (let lease = 1; lease <= 4; lease++) {
      publisher.publish({ phase: 'receiving', current: lease, total: 1000, message: 'Receiving' });
      await vi.waitFor(async () => expect((await rooms.snapshot(job)).current).toBe(lease), { timeout: 3000 });
      expect(await runDurableObjectAlarm(stubOf(job))).toBe(true);
    }
    expect(publisher.alive()).toBe(true);
    expect((await rooms.snapshot(job)).phase).toBe('receiving');
  });

  it('ends a run as interrupted that fell silent, tells the sockets, and lets the job start anew', async () => {
    const job = newJob();
    await rooms.begin({ job_id: job, backup_id: '01JC00000000000000000DEAD0', message: 'Receiving', total: 9 });
    const watcher = await watch(job);
    await evictDurableObject(stubOf(job), { webSockets: 'hibernate' });
    await runDurableObjectAlarm(stubOf(job));
    await evictDurableObject(stubOf(job), { webSockets: 'hibernate' });
    expect((await rooms.snapshot(job)).phase).toBe('receiving');
    await runDurableObjectAlarm(stubOf(job));
    expect(await watcher.until('failed')).toMatchObject({ code: 'upload-interrupted' });
    expect((await rooms.begin({ job_id: job, backup_id: 'two', message: '', total: 9 })).kind).toBe('started');
  });

  it('forgets everything, but only when the final state has been kept long enough', async () => {
    const job = newJob();
    const publisher = await begin(job);
    await publisher.finish(end(`${job}-run`));
    await runDurableObjectAlarm(stubOf(job));
    expect((await rooms.snapshot(job)).phase).toBe('done');
    await runInDurableObject(stubOf(job), (instance) => {
      const inside = instance as Partial<Inside>;
      if (inside.record) inside.record = { ...inside.record, ended_at: Date.now() - JOB_KEPT_MS };
    });
    await runDurableObjectAlarm(stubOf(job));
    expect((await rooms.snapshot(job)).phase).toBe('waiting');
    expect((await stored(job)).size).toBe(0);
    expect(await runDurableObjectAlarm(stubOf(job))).toBe(false);
  });
});

function depsWith(reclaim: JobDeps['reclaim']): JobDeps {
  return { reclaim, recordRun: async () => undefined, supersede: async () => undefined };
}

describe('the rows of runs', () => {
  it('that cannot be written are written by the alarm, each with the last state of its run', async () => {
    const rows = new Map<string, string>();
    let away = true;
    const deps: JobDeps = {
      ...depsWith(async () => 'removed'),
      async recordRun({ run_id, phase }) {
        if (away) throw new Error('D1 is away');
        rows.set(run_id, phase);
      },
    };
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await runInDurableObject(stubOf(newJob()), async (_, state) => {
      const room = new (progressRoom(() => deps))(state, {});
      await room.loadFromStorage();
      const start = { job_id: 'rows', message: '', total: 1 };
      const end = { phase: 'failed', code: 'no-file', detail: '', message: '' };
      await room.begin(JSON.stringify({ ...start, backup_id: 'one' }));
      await room.finish(JSON.stringify({ run_id: 'one', end }));
      expect(await state.storage.getAlarm()).toBeLessThan(Date.now() + 60_000);
      await room.begin(JSON.stringify({ ...start, backup_id: 'two' }));
      expect(rows.size).toBe(0);
      away = false;
      await room.alarm();
      expect([...rows]).toEqual([
        ['one', 'failed'],
        ['two', 'receiving'],
      ]);
      await state.storage.deleteAll();
    });
    vi.restoreAllMocks();
  });

  it('and the end of a superseded upload survive a job object that dies between', async () => {
    const superseded: string[] = [];
    const deps: JobDeps = {
      ...depsWith(async () => 'removed'),
      async supersede(uploadId) {
        superseded.push(uploadId);
        if (superseded.length === 1) throw new Error('the upload object is away');
      },
    };
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await runInDurableObject(stubOf(newJob()), async (_, state) => {
      const room = new (progressRoom(() => deps))(state, {});
      await room.loadFromStorage();
      const start = { job_id: 'held', message: '', total: 1 };
      await room.begin(JSON.stringify({ ...start, backup_id: 'old', expires_at: Date.now() + 60_000 }));
      if (room.record) room.record = { ...room.record, idle_since: 0 };
      expect(await room.begin(JSON.stringify({ ...start, backup_id: 'new' }))).toEqual({ kind: 'started' });
      await vi.waitFor(() => expect(superseded).toEqual(['old']));
      const again = new (progressRoom(() => deps))(state, {});
      await again.alarm();
      expect(superseded).toEqual(['old', 'old']);
      await state.storage.deleteAll();
    });
    vi.restoreAllMocks();
  });
});

describe('the cleanup after a silent run', () => {
  /** A room of its own on the storage of a fresh object, so that the test decides what the cleanup says. */
  async function silentRoom(
    reclaim: JobDeps['reclaim'],
    check: (room: InstanceType<ReturnType<typeof progressRoom>>) => Promise<void>,
  ) {
    await runInDurableObject(stubOf(newJob()), async (_, state) => {
      const room = new (progressRoom(() => depsWith(reclaim)))(state, {
        storage: 'a variable with the name of a property',
      });
      await room.loadFromStorage();
      await room.begin(JSON.stringify({ job_id: 'silent', backup_id: 'one', message: 'Receiving', total: 10 }));
      await room.noteOpen(JSON.stringify({ run_id: 'one', open: { key: 'k', upload_id: 'u' } }));
      for (let lease = 0; lease < 3; lease++) await room.alarm();
      await check(room);
      await state.storage.deleteAll();
    });
  }

  it('is told the run and what it left open', async () => {
    const reclaim = vi.fn<JobDeps['reclaim']>().mockResolvedValue('removed');
    await silentRoom(reclaim, async (room) => {
      expect(reclaim.mock.calls).toEqual([
        [{ job_id: 'silent', backup_id: 'one', open: { key: 'k', upload_id: 'u' } }],
      ]);
      expect(room.record?.message).toMatchObject({ phase: 'failed', code: 'upload-interrupted' });
    });
  });

  it('that finds the backup complete ends the job as done', async () => {
    await silentRoom(
      async () => 'kept',
      async (room) => {
        expect(room.record?.message).toMatchObject({ phase: 'done', backup_id: 'one', percentage: 100 });
      },
    );
  });

  it('is not called for a verification, which ends as failed', async () => {
    const reclaim = vi.fn<JobDeps['reclaim']>().mockResolvedValue('kept');
    await runInDurableObject(stubOf(newJob()), async (_, state) => {
      const room = new (progressRoom(() => depsWith(reclaim)))(state, {});
      await room.loadFromStorage();
      const start = { task: 'verify', job_id: 'silent', backup_id: 'one', run_id: 'two', message: '', total: 10 };
      await room.begin(JSON.stringify(start));
      for (let lease = 0; lease < 3; lease++) await room.alarm();
      expect(reclaim).not.toHaveBeenCalled();
      expect(room.record?.message).toMatchObject({ phase: 'failed', code: 'verify-interrupted' });
      await state.storage.deleteAll();
    });
  });

  it.each([{}, { backup_id: 'one' }])('is not called for an import, which ends as failed (%j)', async (backup) => {
    const reclaim = vi.fn<JobDeps['reclaim']>().mockResolvedValue('kept');
    await runInDurableObject(stubOf(newJob()), async (_, state) => {
      const room = new (progressRoom(() => depsWith(reclaim)))(state, {});
      await room.loadFromStorage();
      const run = { task: 'import', job_id: 'silent', run_id: 'two', ...backup };
      await room.begin(JSON.stringify({ ...run, message: '', total: 10 }));
      for (let lease = 0; lease < 3; lease++) await room.alarm();
      expect(reclaim).not.toHaveBeenCalled();
      expect(room.record?.message).toMatchObject({ phase: 'failed', code: 'import-interrupted' });
      await state.storage.deleteAll();
    });
  });

  it('that fails is tried again by the next alarm', async () => {
    const reclaim = vi
      .fn<JobDeps['reclaim']>()
      .mockRejectedValueOnce(new Error('storage is down'))
      .mockResolvedValue('removed');
    vi.spyOn(console, 'error').mockImplementationOnce(() => {});
    await silentRoom(reclaim, async (room) => {
      expect(room.record?.message.phase).toBe('receiving');
      const other = { job_id: 'silent', backup_id: 'two', message: '', total: 1 };
      expect(await room.begin(JSON.stringify(other))).toMatchObject({ kind: 'running' });
      expect(await room.state.storage.getAlarm()).toBeGreaterThan(Date.now());
      await room.alarm();
      expect(room.record?.message.phase).toBe('failed');
    });
  });
});
