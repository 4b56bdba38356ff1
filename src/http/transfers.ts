import type { AppContext } from './app-env.ts';

/**
 * Counts this request among the transfers of its token or link, until it ends. To be called after the credential was
 * checked and before the body is read. Throws TooManyTransfers.
 */
export function beginTransfer(c: AppContext): void {
  const { transfers, config } = c.get('services');
  // The secret of one upload is checked by that upload, which takes one chunk at a time.
  const holder = c.get('holder') ?? `upload ${c.req.param('upload_id')}`;
  c.set('transfer', transfers.enter(holder, config.maxTransfers));
}

/** The transfer lasts as long as `pump`, which sends its body behind the answer. */
export function transferUntil(c: AppContext, pump: Promise<void>): void {
  const share = c.get('transfer');
  c.set('transfer', undefined);
  c.executionCtx.waitUntil(pump.finally(() => share?.release()));
}

/** The request is answered, and no pump is running. */
export function endTransfer(c: AppContext): void {
  c.get('transfer')?.release();
}
