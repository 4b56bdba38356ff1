import { describe, expect, it } from 'vitest';
import {
  admitPiece,
  checkFits,
  failed,
  finished,
  forgotten,
  isUnfinished,
  living,
  NOTHING_WRITTEN,
  newUpload,
  type PieceOrder,
  type StoredObject,
  type UploadRecord,
  upkeepOf,
  withStored,
  withWritten,
} from '../../../../src/ingest/resumable/upload-record.ts';
import { SESSION_KEPT_MS } from '../../../../src/shared/limits.ts';
import { orderOf, recordOf, writtenTo } from './orders.ts';

const STORED: StoredObject = {
  bytes: 90,
  compression: { codec: 'none' },
  open: { key: 'k', upload_id: 'u' },
  stored_at: '2026-11-24T00:00:00.000Z',
};
const WHY = { code: 'checksum-mismatch', detail: 'Other bytes came.' } as const;

function piece(more: Partial<PieceOrder> = {}): PieceOrder {
  return { offset: 0, bytes: null, length: null, ...more };
}

/** What a call throws, by its code; null where it throws nothing. */
function refusal(call: () => unknown): string | null {
  try {
    call();
    return null;
  } catch (error) {
    return String(Reflect.get(Object(error), 'code'));
  }
}

describe('a new upload', () => {
  it.each([
    [null, 'receiving'],
    [1, 'receiving'],
    [100, 'receiving'],
    [0, 'storing'],
  ])('of length %s is %s', (length, phase) => {
    const order = orderOf({ max_bytes: 100 });
    const begun = newUpload(order, length);
    expect(begun).toEqual({
      ...order,
      phase,
      length,
      written: NOTHING_WRITTEN,
      stored: null,
      failure: null,
      ended_at: null,
      settled: false,
    });
  });

  it('is refused where it is announced larger than the cap', () => {
    expect(() => newUpload(orderOf({ max_bytes: 100 }), 101)).toThrow(
      expect.objectContaining({ code: 'file-too-large' }),
    );
  });
});

describe('a piece', () => {
  const standing = { max_bytes: 100, written: writtenTo(40) };
  const known = { ...standing, length: 80 };

  it.each<[string, Partial<UploadRecord>, Partial<PieceOrder>, string | null]>([
    ['at the durable offset, of unknown size', standing, { offset: 40 }, null],
    ['at the durable offset, up to the cap', standing, { offset: 40, bytes: 60 }, null],
    ['a byte over the cap', standing, { offset: 40, bytes: 61 }, 'file-too-large'],
    ['before the durable offset', standing, { offset: 39 }, 'offset-mismatch'],
    ['behind the durable offset', standing, { offset: 41 }, 'offset-mismatch'],
    ['from the start again', standing, { offset: 0, bytes: 40 }, 'offset-mismatch'],
    ['of nothing', standing, { offset: 40, bytes: 0 }, null],
    ['up to the length', known, { offset: 40, bytes: 40 }, null],
    ['a byte over the length', known, { offset: 40, bytes: 41 }, 'file-too-large'],
    ['that repeats the length', known, { offset: 40, bytes: 1, length: 80 }, null],
    ['that says a larger length', known, { offset: 40, length: 81 }, 'invalid-upload-header'],
    ['that says a smaller length', known, { offset: 40, length: 79 }, 'invalid-upload-header'],
    ['that says the length, deferred', standing, { offset: 40, bytes: 10, length: 50 }, null],
    ['that says a length up to the cap', standing, { offset: 40, length: 100 }, null],
    ['that says a length over the cap', standing, { offset: 40, length: 101 }, 'file-too-large'],
    ['that says a length of what is here', standing, { offset: 40, bytes: 0, length: 40 }, null],
    ['that says less than what is here', standing, { offset: 40, bytes: 0, length: 39 }, 'file-too-large'],
    ['that is longer than the length it says', standing, { offset: 40, bytes: 11, length: 50 }, 'file-too-large'],
    ['at another offset, with another length', known, { offset: 0, length: 1 }, 'offset-mismatch'],
  ])('%s', (_, record, given, code) => {
    expect(refusal(() => admitPiece(recordOf(record), piece(given)))).toBe(code);
  });

  it('brings the length where it was deferred, and nothing else', () => {
    const record = recordOf(standing);
    expect(admitPiece(record, piece({ offset: 40, length: 50 }))).toEqual({ ...record, length: 50 });
    expect(admitPiece(record, piece({ offset: 40 }))).toBe(record);
    const said = recordOf(known);
    expect(admitPiece(said, piece({ offset: 40, length: 80 }))).toBe(said);
  });

  it('that is refused for its offset says where the upload stands', () => {
    expect(() => admitPiece(recordOf(standing), piece({ offset: 7 }))).toThrow(
      expect.objectContaining({ offset: 40, facts: { expected_offset: 40, provided_offset: 7 } }),
    );
  });

  it.each(['storing', 'verifying', 'done'] as const)('of nothing, at the end, is welcome while it is %s', (phase) => {
    const whole = recordOf({ ...known, phase, written: writtenTo(80) });
    expect(admitPiece(whole, piece({ offset: 80, bytes: 0 }))).toBe(whole);
    expect(refusal(() => admitPiece(whole, piece({ offset: 80, bytes: 1 })))).toBe('file-too-large');
    expect(refusal(() => admitPiece(whole, piece({ offset: 0, bytes: 0 })))).toBe('offset-mismatch');
  });

  it.each([
    ['a failed', WHY, 'upload-failed'],
    ['a terminated', { code: 'upload-gone', detail: 'It was terminated.' } as const, 'upload-gone'],
    ['an expired', { code: 'upload-expired', detail: 'It was late.' } as const, 'upload-expired'],
  ])('of %s upload is refused before all else', (_, failure, code) => {
    const over = failed(recordOf(standing), failure, 5);
    expect(refusal(() => admitPiece(over, piece({ offset: 3, length: 1 })))).toBe(code);
    expect(refusal(() => living(over))).toBe(code);
  });
});

describe('what is still to come', () => {
  it.each([
    [80, 80, 100, null],
    [81, 80, 100, 'file-too-large'],
    [100, null, 100, null],
    [101, null, 100, 'file-too-large'],
    [0, 0, 0, null],
  ])('of %i bytes, length %s, cap %i: %s', (offset, length, cap, code) => {
    expect(refusal(() => checkFits(offset, length, cap))).toBe(code);
  });
});

describe('what became durable', () => {
  it.each([
    ['some of it', 'receiving', 80, 79, 'receiving'],
    ['all of it', 'receiving', 80, 80, 'storing'],
    ['something, the length being deferred', 'receiving', null, 80, 'receiving'],
    ['nothing of nothing', 'receiving', 0, 0, 'storing'],
    ['all of it, after the end', 'verifying', 80, 80, 'verifying'],
    ['all of it, after a failure', 'failed', 80, 80, 'failed'],
  ] as const)('%s: %s of length %s at %i goes on as %s', (_, phase, length, offset, after) => {
    const written = writtenTo(offset);
    const record = recordOf({ phase, length });
    expect(withWritten(record, written)).toEqual({ ...record, written, phase: after });
  });
});

describe('the end', () => {
  const record = recordOf({ length: 80, written: writtenTo(80), phase: 'storing' });

  it('comes by storing, verifying, done', () => {
    const stored = withStored(record, STORED);
    expect(stored).toEqual({ ...record, phase: 'verifying', stored: STORED });
    expect(finished(stored, 7)).toEqual({ ...stored, phase: 'done', ended_at: 7 });
  });

  it('by a failure says why, and when', () => {
    const over = failed(record, WHY, 9);
    expect(over).toEqual({ ...record, phase: 'failed', failure: WHY, ended_at: 9 });
    expect(() => living(over)).toThrow(
      expect.objectContaining({ code: 'upload-failed', message: WHY.detail, facts: { reason: 'checksum-mismatch' } }),
    );
  });

  it('of a finished upload that was removed is still done, and gone', () => {
    const gone = forgotten(finished(withStored(record, STORED), 7));
    expect(gone).toMatchObject({ phase: 'done', ended_at: 7, failure: { code: 'upload-gone' } });
    expect(refusal(() => living(gone))).toBe('upload-gone');
  });

  it('that was a good one answers questions', () => {
    const done = finished(withStored(record, STORED), 7);
    expect(living(done)).toBe(done);
  });
});

describe('upkeep', () => {
  it.each<[string, Partial<UploadRecord>, ReturnType<typeof upkeepOf>]>([
    ['receiving', { phase: 'receiving', expires_at: 1234 }, { kind: 'expire', at: 1234 }],
    ['storing', { phase: 'storing', expires_at: 1234 }, { kind: 'finish', at: 0 }],
    ['verifying', { phase: 'verifying', expires_at: 1234 }, { kind: 'finish', at: 0 }],
    ['done, with the end not told', { phase: 'done', ended_at: 50 }, { kind: 'settle', at: 0 }],
    ['failed, with the end not told', { phase: 'failed', failure: WHY, ended_at: 50 }, { kind: 'settle', at: 0 }],
    ['done', { phase: 'done', ended_at: 50, settled: true }, { kind: 'forget', at: 50 + SESSION_KEPT_MS }],
    ['failed', { phase: 'failed', ended_at: 50, settled: true }, { kind: 'forget', at: 50 + SESSION_KEPT_MS }],
  ])('of an upload that is %s', (_, record, upkeep) => {
    expect(upkeepOf(recordOf(record))).toEqual(upkeep);
  });

  it.each([
    ['receiving', false],
    ['storing', true],
    ['verifying', true],
    ['done', false],
    ['failed', false],
  ] as const)('%s is unfinished: %s', (phase, unfinished) => {
    expect(isUnfinished(recordOf({ phase }))).toBe(unfinished);
  });
});
