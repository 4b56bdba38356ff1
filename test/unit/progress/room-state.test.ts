import { describe, expect, it } from 'vitest';
import { type JobEnd, type JobUpdate, percentage } from '../../../src/progress/messages.ts';
import {
  beginJob,
  cancelJob,
  endJob,
  heardFrom,
  isTakenOver,
  type JobRecord,
  type JobStart,
  moveJob,
  noteOpen,
  passLease,
  reclaimedJob,
  runView,
  waitingMessage,
  waitToSend,
  withinSecond,
} from '../../../src/progress/room-state.ts';

const NOW = Date.UTC(2026, 10, 23, 7, 30, 1, 120);
const START = { job_id: 'nightly', backup_id: 'run-1', message: 'Receiving site.tar', total: 1000 };
const DONE: JobEnd = { phase: 'done', backup_id: 'run-1', current: 1000, total: 1000, stored: 400, message: 'Stored' };
const FAILED: JobEnd = { phase: 'failed', code: 'checksum-mismatch', detail: 'Send it again.', message: 'Failed' };

function started(): JobRecord {
  const begun = beginJob(null, START, NOW);
  if (begun.kind !== 'started') throw new Error('a new job did not start');
  return begun.record;
}

function moved(record: JobRecord, update: Partial<JobUpdate>): JobRecord {
  const whole: JobUpdate = { phase: 'receiving', current: 0, total: 1000, message: 'Receiving site.tar', ...update };
  const answer = moveJob(record, 'run-1', whole, NOW);
  if (answer.kind !== 'accepted') throw new Error('the update was not accepted');
  return answer.record;
}

function ended(record: JobRecord, end: JobEnd): JobRecord {
  const answer = endJob(record, 'run-1', end, NOW);
  if (answer.kind !== 'accepted') throw new Error('the end was not accepted');
  return answer.record;
}

/** After two leases without a sign of life. */
function silent(record: JobRecord): JobRecord {
  return passLease(passLease(record, false, NOW), false, NOW);
}

describe('percentage', () => {
  it.each([
    [0, 0, 0],
    [500, 0, 0],
    [0, 10, 0],
    [67108864, 268435456, 25],
    [1, 3, 33.33],
    [2, 3, 66.67],
    [99_999, 100_000, 99.99],
    [999_999, 1_000_000, 99.99],
    [10, 10, 100],
    [20, 10, 100],
  ])('of %d in %d bytes is %d', (current, total, expected) => {
    expect(percentage(current, total)).toBe(expected);
  });
});

describe('the start of a job', () => {
  it('is waiting while nobody has started it', () => {
    expect(waitingMessage('nightly', NOW)).toEqual({
      job_id: 'nightly',
      phase: 'waiting',
      current: 0,
      total: 0,
      percentage: 0,
      message: 'Waiting for the job to start',
      timestamp: '2026-11-23T07:30:01.120Z',
    });
  });

  it('gives the first state', () => {
    expect(started().message).toMatchObject({ phase: 'receiving', current: 0, total: 1000, percentage: 0 });
  });

  it('is refused while another run has the job', () => {
    expect(beginJob(started(), { ...START, backup_id: 'run-2' }, NOW)).toMatchObject({ kind: 'running' });
  });

  it('may be told twice by the same run', () => {
    const record = moved(started(), { current: 10 });
    expect(beginJob(record, START, NOW)).toEqual({ kind: 'started', record, superseded: null });
  });

  it.each([DONE, FAILED])('is anew after an end ($phase)', (end) => {
    const again = beginJob(
      ended(noteOpen(started(), 'run-1', { key: 'k', upload_id: 'u' }) ?? started(), end),
      {
        ...START,
        backup_id: 'run-2',
        total: 0,
      },
      NOW,
    );
    expect(again).toMatchObject({ kind: 'started', record: { backup_id: 'run-2', missed: 0 } });
    expect(again).not.toHaveProperty('record.open');
    expect(again).not.toHaveProperty('record.ended_at');
    expect(again).not.toHaveProperty('record.message.backup_id');
  });

  it('is refused while what a dead run left is still there', () => {
    const dead = silent(started());
    expect(beginJob(dead, { ...START, backup_id: 'run-2' }, NOW)).toMatchObject({ kind: 'running' });
  });
});

describe('an update', () => {
  it('never moves current back within a phase', () => {
    expect(moved(moved(started(), { current: 500 }), { current: 300 }).message.current).toBe(500);
  });

  it('may move current back with a new phase', () => {
    const stored = moved(moved(started(), { current: 500 }), { phase: 'verifying', current: 0 });
    expect(stored.message).toMatchObject({ phase: 'verifying', current: 0 });
  });

  it.each([Number.NaN, -5, Number.POSITIVE_INFINITY])('with %d bytes shows none and no NaN', (bad) => {
    const { message } = moved(started(), { current: bad, total: bad, stored: bad });
    expect(message).toMatchObject({ current: 0, total: 0, percentage: 0, stored: 0 });
  });

  it('of another run is superseded', () => {
    const update: JobUpdate = { phase: 'receiving', current: 1, total: 2, message: '' };
    expect(moveJob(started(), 'run-0', update, NOW)).toEqual({ kind: 'superseded' });
    expect(moveJob(null, 'run-1', update, NOW)).toEqual({ kind: 'superseded' });
    expect(moveJob(ended(started(), FAILED), 'run-1', update, NOW)).toEqual({ kind: 'superseded' });
  });

  it('that says nothing new changes nothing', () => {
    const record = moved(started(), { current: 10 });
    const again: JobUpdate = { phase: 'receiving', current: 10, total: 1000, message: 'Receiving site.tar' };
    expect(moveJob(record, 'run-1', again, NOW + 5000)).toMatchObject({ record, changed: false });
    expect(moveJob(record, 'run-1', null, NOW + 5000)).toMatchObject({ record, changed: false });
  });

  it('cannot end a job without what an end must carry', () => {
    const update: JobUpdate = { phase: 'done', current: 10, total: 10, message: '' };
    expect(moveJob(started(), 'run-1', update, NOW)).toMatchObject({ kind: 'accepted', changed: false });
  });

  it('says when the phase changed', () => {
    const update: JobUpdate = { phase: 'storing', current: 0, total: 1000, message: 'Storing' };
    expect(moveJob(started(), 'run-1', update, NOW)).toMatchObject({ changed: true, phaseChanged: true });
  });
});

describe('the end', () => {
  it('done carries the backup', () => {
    expect(ended(started(), DONE).message).toMatchObject({ phase: 'done', backup_id: 'run-1', percentage: 100 });
  });

  it('failed carries code and detail and how far it came', () => {
    const record = ended(moved(started(), { current: 250, stored: 100 }), FAILED);
    expect(record.message).toMatchObject({
      phase: 'failed',
      code: 'checksum-mismatch',
      detail: 'Send it again.',
      current: 250,
      stored: 100,
      percentage: 25,
    });
    expect(record.message).not.toHaveProperty('backup_id');
  });

  it('told twice is accepted twice, told differently it is superseded', () => {
    const record = ended(started(), DONE);
    expect(endJob(record, 'run-1', DONE, NOW + 1)).toMatchObject({ kind: 'accepted', record, changed: false });
    expect(endJob(record, 'run-1', FAILED, NOW + 1)).toEqual({ kind: 'superseded' });
    expect(endJob(record, 'run-2', DONE, NOW + 1)).toEqual({ kind: 'superseded' });
  });
});

describe('the lease', () => {
  it('is kept by a sign of life', () => {
    const once = passLease(started(), false, NOW);
    expect(once.missed).toBe(1);
    expect(passLease(once, true, NOW).missed).toBe(0);
    expect(heardFrom(once, NOW).missed).toBe(0);
  });

  it('missed twice in a row takes the job over for good', () => {
    const dead = silent(started());
    expect(isTakenOver(dead)).toBe(true);
    expect(passLease(dead, true, NOW)).toBe(dead);
    expect(moveJob(dead, 'run-1', null, NOW)).toEqual({ kind: 'superseded' });
    expect(endJob(dead, 'run-1', DONE, NOW)).toEqual({ kind: 'superseded' });
    expect(noteOpen(dead, 'run-1', { key: 'k', upload_id: 'u' })).toBeNull();
  });

  it('ends in failed where leavings were removed, in done where the backup was kept', () => {
    const dead = silent(moved(started(), { current: 700, stored: 300 }));
    expect(reclaimedJob(dead, 'removed', NOW).message).toMatchObject({ phase: 'failed', code: 'upload-interrupted' });
    expect(reclaimedJob(dead, 'kept', NOW).message).toMatchObject({
      phase: 'done',
      backup_id: 'run-1',
      percentage: 100,
      stored: 300,
    });
  });
});

describe('a verification', () => {
  const VERIFY = { ...START, task: 'verify', run_id: 'verify-run', message: 'Waiting to verify site.tar' } as const;

  function verifying(): JobRecord {
    const begun = beginJob(null, VERIFY, NOW);
    if (begun.kind !== 'started') throw new Error('a new job did not start');
    return begun.record;
  }

  it('starts as verifying and knows its backup and its run', () => {
    expect(verifying()).toMatchObject({ task: 'verify', backup_id: 'run-1', run_id: 'verify-run' });
    expect(verifying().message).toMatchObject({ phase: 'verifying', current: 0, total: 1000 });
  });

  it('is moved and ended by its run and not by its backup', () => {
    const update: JobUpdate = { phase: 'verifying', current: 10, total: 1000, message: 'Verifying' };
    expect(moveJob(verifying(), 'run-1', update, NOW)).toEqual({ kind: 'superseded' });
    expect(endJob(verifying(), 'run-1', DONE, NOW)).toEqual({ kind: 'superseded' });
    expect(moveJob(verifying(), 'verify-run', update, NOW)).toMatchObject({ kind: 'accepted', changed: true });
    const { stored: _, ...done } = DONE as Extract<JobEnd, { phase: 'done' }>;
    const end = endJob(verifying(), 'verify-run', done, NOW);
    expect(end).toMatchObject({ kind: 'accepted', record: { message: { phase: 'done', backup_id: 'run-1' } } });
    expect(end).not.toHaveProperty('record.message.stored');
    if (end.kind !== 'accepted') throw new Error('not accepted');
    expect(endJob(end.record, 'verify-run', done, NOW + 1)).toMatchObject({ kind: 'accepted', changed: false });
  });

  it('keeps the job from others while it runs, may be told twice, and lets go at its end', () => {
    const record = verifying();
    expect(beginJob(record, START, NOW)).toMatchObject({ kind: 'running' });
    expect(beginJob(record, { ...VERIFY, run_id: 'other' }, NOW)).toMatchObject({ kind: 'running' });
    expect(beginJob(record, VERIFY, NOW)).toEqual({ kind: 'started', record, superseded: null });
    const end = endJob(record, 'verify-run', FAILED, NOW);
    if (end.kind !== 'accepted') throw new Error('not accepted');
    const upload = beginJob(end.record, { ...START, backup_id: 'run-2' }, NOW);
    expect(upload).toMatchObject({ kind: 'started', record: { backup_id: 'run-2' } });
    expect(upload).not.toHaveProperty('record.task');
    expect(upload).not.toHaveProperty('record.run_id');
  });

  it.each(['removed', 'kept'] as const)('that fell dead ends as failed, also where the backup was %s', (outcome) => {
    const dead = silent(verifying());
    const { message } = reclaimedJob(dead, outcome, NOW);
    expect(message).toMatchObject({ phase: 'failed', code: 'verify-interrupted' });
    expect(message).not.toHaveProperty('backup_id');
  });
});

describe('an import', () => {
  const IMPORT = { task: 'import', job_id: 'rows', run_id: 'import-run', message: 'Waiting', total: 10 } as const;

  function importing(start: JobStart = IMPORT): JobRecord {
    const begun = beginJob(null, start, NOW);
    if (begun.kind !== 'started') throw new Error('not started');
    return begun.record;
  }

  it('has a phase of its own, and a backup only where it restores one', () => {
    expect(importing().message).toMatchObject({ phase: 'importing', current: 0, total: 10 });
    expect(importing()).not.toHaveProperty('backup_id');
    expect(importing({ ...IMPORT, task: 'restore', backup_id: 'B1' })).toMatchObject({
      task: 'restore',
      backup_id: 'B1',
    });
  });

  it.each([
    ['without a backup', {}],
    ['of a backup', { backup_id: 'B1' }],
  ])('%s says so at its end', (_, backup) => {
    const end = { phase: 'done', current: 10, total: 10, message: 'Imported', ...backup } as const;
    const moved = endJob(importing({ ...IMPORT, ...backup }), 'import-run', end, NOW);
    if (moved.kind !== 'accepted') throw new Error('not accepted');
    const { phase, backup_id } = moved.record.message;
    expect({ phase, ...(backup_id !== undefined && { backup_id }) }).toEqual({ phase: 'done', ...backup });
    expect('backup_id' in moved.record.message).toBe('backup_id' in backup);
  });

  it.each(['removed', 'kept'] as const)('that fell dead ends as failed, whatever was %s', (outcome) => {
    const dead = silent(importing());
    const { message } = reclaimedJob(dead, outcome, NOW);
    expect(message).toMatchObject({ phase: 'failed', code: 'import-interrupted' });
  });
});

describe('a resumable upload', () => {
  const DAY_MS = 24 * 60 * 60 * 1000;
  const RESUMABLE = { ...START, token_id: 'T1', expires_at: NOW + 6 * DAY_MS };
  const NEXT = { ...START, backup_id: 'run-2' };

  function begun(): JobRecord {
    const first = beginJob(null, RESUMABLE, NOW);
    if (first.kind !== 'started') throw new Error('not started');
    return first.record;
  }

  it.each([
    ['its own token', 'T1', 5_000],
    ['another token', 'T2', 15 * 60_000],
    ['a link', null, 15 * 60_000],
  ])('that is idle keeps its job from an upload of %s so long, and then loses it', (_, token_id, heldMs) => {
    const next = { ...NEXT, token_id };
    const record = begun();
    expect(beginJob(record, next, NOW + heldMs - 2_500)).toMatchObject({
      kind: 'running',
      holder: { run_id: 'run-1', token_id: 'T1', retry_after_seconds: 3 },
    });
    expect(beginJob(record, next, NOW + heldMs)).toMatchObject({
      kind: 'started',
      record: { backup_id: 'run-2', token_id },
      superseded: { backup_id: 'run-1', message: { phase: 'failed', code: 'job-superseded' } },
    });
  });

  it('keeps its job while a request is open, once all its bytes are here, and from other tasks', () => {
    const later = NOW + DAY_MS;
    const open = heardFrom(begun(), later);
    const storing = moved(begun(), { phase: 'storing', current: 0 });
    const verify = { ...START, task: 'verify', backup_id: 'B1', run_id: 'verify-run' } as const;
    for (const [record, start] of [
      [open, NEXT],
      [storing, NEXT],
      [begun(), verify],
    ] as const) {
      const answer = beginJob(record, { ...start, token_id: 'T1' }, later);
      expect(answer).toMatchObject({ kind: 'running', holder: { retry_after_seconds: 5 } });
    }
  });

  it('whose request died with its runtime counts as idle from the last sign of life on', () => {
    const open = heardFrom(begun(), NOW);
    expect(runView(open, NOW + 29_000).idle_since).toBeNull();
    expect(runView(open, NOW + 31_000).idle_since).toBe(new Date(NOW).toISOString());
    expect(beginJob(open, { ...NEXT, token_id: 'T1' }, NOW + 31_000).kind).toBe('started');
  });

  it('is not taken for dead by silence until a week after it expired', () => {
    const until = RESUMABLE.expires_at + 7 * DAY_MS;
    expect(passLease(begun(), false, until - 1)).toEqual(begun());
    expect(isTakenOver(passLease(begun(), false, until))).toBe(true);
  });
});

describe('a cancelled run', () => {
  it('keeps its job until it has ended, as cancelled', () => {
    const record = cancelJob(started(), 'run-1');
    expect(record).toMatchObject({ cancelling: true, message: { phase: 'receiving' } });
    expect(record && beginJob(record, { ...START, backup_id: 'run-2' }, NOW).kind).toBe('running');
    const end = endJob(record, 'run-1', { phase: 'cancelled', message: 'Cancelled' }, NOW);
    expect(end).toMatchObject({ record: { message: { phase: 'cancelled', message: 'Cancelled' } } });
    expect(end).not.toHaveProperty('record.message.code');
  });

  it('may still end as done, where it was too late to cancel', () => {
    expect(endJob(cancelJob(started(), 'run-1'), 'run-1', DONE, NOW)).toMatchObject({ kind: 'accepted' });
  });

  it('that died is ended as cancelled once its leavings are removed, as done where its backup was kept', () => {
    const dead = silent(cancelJob(started(), 'run-1') ?? started());
    expect(reclaimedJob(dead, 'removed', NOW).message.phase).toBe('cancelled');
    expect(reclaimedJob(dead, 'kept', NOW).message.phase).toBe('done');
  });

  it('is none where no such run has the job', () => {
    expect(cancelJob(null, 'run-1')).toBeNull();
    expect(cancelJob(started(), 'run-0')).toBeNull();
    expect(cancelJob(ended(started(), DONE), 'run-1')).toBeNull();
  });
});

describe('conflation', () => {
  it('lets three messages a second out, and the last one as the fourth', () => {
    const sent: number[] = [];
    for (let now = 0; now < 10_000; now += 10) {
      if (waitToSend(withinSecond(sent, now), 'receiving', now) === 0) sent.push(now);
      const inSecond = withinSecond(sent, now);
      expect(inSecond.length).toBeLessThanOrEqual(3);
      expect([waitToSend(inSecond, 'done', now), waitToSend(inSecond, 'failed', now)]).toEqual([0, 0]);
    }
    expect(sent.length).toBe(30);
  });

  it('tells when there is room again', () => {
    expect(waitToSend([100, 900, 1000], 'receiving', 1050)).toBe(50);
    expect(waitToSend([900, 1000], 'receiving', 1050)).toBe(0);
    expect(waitToSend([], 'receiving', 1050)).toBe(0);
  });
});
