import type { App } from '../app-env.ts';

/** What the published document says of tus. */
export function describeTus(_app: App): void {}
