import { createRoute } from '@hono/zod-openapi';
import { verifyBackup } from '../../jobs/verify.ts';
import type { App } from '../app-env.ts';
import { VERIFICATION } from '../examples.ts';
import { forToken, json, problems } from '../openapi.ts';
import { BackupParam, VerificationSchema, VerifyQuery } from '../schemas.ts';
import { knownBackup } from './backups.ts';

const verify = createRoute({
  method: 'post',
  path: '/backup/{backup_id}/verify',
  operationId: 'verifyBackup',
  summary: 'Verify a backup',
  description: [
    'Reads the stored object once, in order: its size, the SHA-256 of its bytes, the seek table, each frame with its',
    'checksum, the SHA-256 of the content. What was found is recorded with the backup: `verified_at`, or `damage` in',
    'its place. The answer comes at the end, with 200 whatever was found: `ok` tells. 502 means that the storage could',
    'not be read, which says nothing of the backup.',
    '',
    'Not 202 at once, because the platform lets a request go on for as long as its client waits for the answer, but',
    'for 30 seconds only after the answer or after the client has gone. So keep the connection open: a client that',
    'leaves does not stop a verification that ends within that time; a longer one is cut off, its job ends within two',
    'minutes as `failed` with the code `verify-interrupted`, and nothing is recorded. One request may compute for five',
    'minutes, which is enough for some 50 GiB of content.',
    '',
    'Progress, in bytes of the stored object, is to be watched at /ws/backup/{job_id}; damage is `failed` there, with',
    'the code `stored-data-corrupt`.',
  ].join('\n'),
  tags: ['Downloads'],
  ...forToken('admin'),
  request: { params: BackupParam, query: VerifyQuery },
  responses: {
    200: json(VerificationSchema, 'The result', VERIFICATION),
    ...problems(
      'not-found',
      'job-running',
      'job-cancelled',
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
    const running = verifyBackup(c.get('services'), backup, { job_id, token_id });
    // The client may go away; what has begun is then still brought to its end, if that is near.
    c.executionCtx.waitUntil(running.catch(() => undefined));
    return c.json(await running, 200);
  });
}
