import { describe, expect, it } from 'vitest';
import type { SessionOrder } from '../../../../src/ingest/resumable/upload-record.ts';
import type { SessionAccess } from '../../../../src/ingest/resumable/upload-session.ts';
import {
  type SessionObject,
  type UploadSessions,
  uploadSessions,
} from '../../../../src/ingest/resumable/upload-sessions.ts';

/** A namespace whose objects never answer. */
function silentObjects(): DurableObjectNamespace<SessionObject> {
  const never = () => new Promise(() => undefined);
  const object = new Proxy({}, { get: () => never });
  const objects = { idFromName: (name: string) => name, get: () => object };
  return objects as unknown as DurableObjectNamespace<SessionObject>;
}

const access: SessionAccess = { kind: 'granted' };
const order = { backup_id: 'one' } as SessionOrder;

/** `append` is not among them: the rate of its body is watched instead. */
const CALLS: Record<Exclude<keyof UploadSessions, 'append'>, (uploads: UploadSessions) => Promise<unknown>> = {
  create: (uploads) => uploads.create(order, null),
  describe: (uploads) => uploads.describe('one', access),
  stop: (uploads) => uploads.stop('one', access),
  terminate: (uploads) => uploads.terminate('one', access),
  isOpen: (uploads) => uploads.isOpen('one'),
  cancel: (uploads) => uploads.cancel('one'),
  supersede: (uploads) => uploads.supersede('one'),
};

describe('a call of an upload object that never answers', () => {
  it.each(Object.entries(CALLS))('%s throws busy with a time to try again', async (_, call) => {
    await expect(call(uploadSessions(silentObjects(), 20))).rejects.toMatchObject({
      code: 'busy',
      facts: { retry_after_seconds: 5 },
    });
  });
});
