import { SHOWN_NAME_CHARS } from './limits.ts';

/** A name that somebody sent, as a message shows it: in quotes, and no longer than a person reads. */
export function shownName(name: string): string {
  return JSON.stringify(name.length > SHOWN_NAME_CHARS ? `${name.slice(0, SHOWN_NAME_CHARS)}…` : name);
}
