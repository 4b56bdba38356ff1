import type { z } from '@hono/zod-openapi';
import { VaultError } from '../shared/errors.ts';
import { UploadOptions } from './schemas.ts';

/** Says which value is wrong and what it should be. */
export function refusal(error: z.ZodError, code: 'invalid-option' | 'invalid-request'): VaultError {
  const said = error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
  return new VaultError(code, `${said.join('; ')}.`);
}

/** Options of an upload, from wherever they come. Others are not ours and are passed over. */
export function checkOptions(given: Readonly<Record<string, string>>): z.infer<typeof UploadOptions> {
  const parsed = UploadOptions.safeParse(given);
  if (!parsed.success) throw refusal(parsed.error, 'invalid-option');
  return parsed.data;
}
