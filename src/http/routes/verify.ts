import { createRoute } from '@hono/zod-openapi';
import { verifyBackup } from '../../jobs/verify.ts';
import type { App } from '../app-env.ts';
import { VERIFICATION } from '../examples.ts';
import { forToken, json, problems } from '../openapi.ts';
import { BackupParam, VerifyQuery } from '../request-schemas.ts';
import { VerificationSchema } from '../response-schemas.ts';
import { beginTransfer } from '../transfers.ts';
import { knownBackup } from './backups.ts';

const verify = createRoute({
  method: 'post',
  path: '/backup/{backup_id}/verify',
  operationId: 'verifyBackup',
  summary: 'Verify a backup',
  description: [
    'Reads the stored object once: its size, the SHA-256 of its bytes, the seek table, each frame with its checksum, and',
    'the SHA-256 of the content. The result is recorded with the backup, as `verified_at` or `damage`. The answer comes',
    'at the end: 200 if the backup is whole, 422 with the same fields if it is damaged. 410 means that the stored object',
    'is missing, which is recorded as damage. 502 means that the storage could not be read, which says nothing about the backup.',
    '',
    'Keep the connection open. The platform runs a request while its client waits for the answer, but only for 30 seconds',
    'after the client has left. A verification that is cut off fails within two minutes with the code',
    '`verify-interrupted`, and records nothing. One request may use five minutes of CPU, which is enough for about 50 GiB',
    'of content.',
    '',
    'The job reports progress in bytes of the stored object. Damage ends it as `failed` with the code',
    '`stored-data-corrupt`, or `stored-data-lost` where the object is missing.',
  ].join('\n'),
  tags: ['Downloads'],
  ...forToken('admin'),
  request: { params: BackupParam, query: VerifyQuery },
  responses: {
    200: json(VerificationSchema, 'The result', VERIFICATION),
    ...problems(
      'too-many-transfers',
      'not-found',
      'job-running',
      'job-cancelled',
      'stored-data-lost',
      'stored-data-corrupt',
      'storage-failed',
      'job-unavailable',
      'verify-interrupted',
      'busy',
    ),
  },
});

export function verifyRoutes(app: App): void {
  app.openapi(verify, async (c) => {
    const backup = await knownBackup(c, c.req.valid('param').backup_id);
    const job_id = c.req.valid('query').job_id ?? `verify-${backup.backup_id}`;
    const token_id = c.get('credential')?.token_id ?? null;
    beginTransfer(c);
    const running = verifyBackup(c.get('services'), backup, { job_id, token_id });
    // The client may go away; what has begun is then still brought to its end, if that is near.
    c.executionCtx.waitUntil(running.catch(() => undefined));
    return c.json(await running, 200);
  });
}
