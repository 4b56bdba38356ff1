import { print, printJson } from './output.ts';
import type { Session } from './session.ts';

export interface LinkOptions {
  /** Seconds. */
  readonly expires: number;
  readonly path?: string;
  readonly format?: string;
  readonly name?: string;
}

/** Prints an address that needs no token: for the backup, or for a file or a directory within it. */
export async function link(session: Session, id: string, { expires, path, format, name }: LinkOptions): Promise<void> {
  const made = await session.client.json<{ readonly url: string; readonly expires_at: string }>(
    `/backup/${encodeURIComponent(id)}/links`,
    { method: 'POST', json: { expires_in: Math.floor(expires), path, format, filename: name } },
  );
  if (session.json) return printJson(made);
  await print(`${made.url}\n`);
  session.view.note(`Good until ${made.expires_at}, for everybody who has it.`);
}
