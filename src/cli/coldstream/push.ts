import { showBytes } from './amounts.ts';
import { CommandFailed, Interrupted, UsageError } from './failures.ts';
import { print, printJson } from './output.ts';
import { Patience } from './patience.ts';
import { PieceSize } from './piece-size.ts';
import { type PushItem, pushItem } from './push-item.ts';
import { pushUpload } from './push-upload.ts';
import { ResumeStore } from './resume-store.ts';
import type { Session } from './session.ts';
import { persist, type Receipt } from './vault-client.ts';
import { hasZstd } from './zstd-frames.ts';

export interface PushOptions {
  readonly name?: string;
  readonly job?: string;
  readonly level?: number;
  readonly compression?: string;
  readonly compress?: boolean;
  readonly recipient?: readonly string[];
  readonly sha256?: string;
  readonly fresh?: boolean;
  /** Bytes. */
  readonly chunk?: number;
  readonly parallel: number;
  /** Seconds. */
  readonly retryFor?: number;
}

const RETRY_FOR_SECONDS = 3600;
/** Unless told otherwise, who mistyped an address is not kept waiting. */
const FIRST_CONTACT_SECONDS = 5;
const DEFAULT_LEVEL = 3;

/** What of `GET /capabilities` decides how is sent. */
interface Capabilities {
  readonly max_request_bytes: number | null;
  readonly chunk_sizes: { readonly part_bytes: number };
}

/** Pushes files side by side, or one pipe. A file that fails does not stop the others; then it ends as failed. */
export async function push(session: Session, paths: readonly string[], options: PushOptions): Promise<void> {
  checkOptions(paths, options);
  const compressLevel = options.compress ? (options.level ?? DEFAULT_LEVEL) : null;
  const items = await Promise.all(paths.map((path) => pushItem(path, { name: options.name, compressLevel })));
  const contact = new Patience(options.retryFor ?? FIRST_CONTACT_SECONDS);
  const { max_request_bytes, chunk_sizes } = await persist(session.signal, contact, () =>
    session.client.json<Capabilities>('/capabilities'),
  );
  const store = new ResumeStore();
  await store.purge();
  const uploads = Math.min(options.parallel, items.length);
  const one = (item: PushItem): Promise<Receipt> =>
    pushUpload({
      session,
      item,
      store,
      metadata: metadataOf(options),
      retryForSeconds: options.retryFor ?? RETRY_FOR_SECONDS,
      fresh: options.fresh ?? false,
      pieces: () =>
        new PieceSize({
          fixedBytes: options.chunk,
          requestBytes: max_request_bytes,
          partBytes: chunk_sizes.part_bytes,
          uploads,
        }),
    });
  await tell(session, await sideBySide(items, uploads, one), items);
}

function checkOptions(paths: readonly string[], options: PushOptions): void {
  if (paths.length > 1) {
    if (paths.includes('-')) throw new UsageError('A pipe (-) is pushed alone.');
    const single = (['name', 'job', 'sha256'] as const).find((option) => options[option] !== undefined);
    if (single) throw new UsageError(`--${single} is for one file; here are ${paths.length}.`);
  }
  if (paths.includes('-') && process.stdin.isTTY) {
    throw new UsageError(
      'Standard input is a terminal: pipe something in, as in pg_dump shop | coldstream push - --name shop.sql',
    );
  }
  if (!options.compress) return;
  if (options.compression !== undefined)
    throw new UsageError('--compress compresses here, --compression tells the vault how: one of them.');
  if (!hasZstd()) {
    throw new UsageError(
      `--compress needs Node 22.15 or newer; this is ${process.versions.node}. Leave it out, and the vault compresses; or pipe through zstd.`,
    );
  }
}

/** Upload-Metadata beside the name. */
function metadataOf({ job, level, compression, compress, recipient, sha256 }: PushOptions): Record<string, string> {
  // Frames as the vault has them, which it stores as they come; a level or a compression would make it encode anew.
  const forVault = compress ? { content_encoding: 'zstd' } : { level, compression };
  const given = Object.entries({ job_id: job, recipient: recipient?.join(','), sha256, ...forVault });
  return Object.fromEntries(given.flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])));
}

/** All of `items`, `atOnce` at a time; how each of them ended, in their order. */
async function sideBySide<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): Promise<PromiseSettledResult<Result>[]> {
  const waiting = items.entries();
  const results: PromiseSettledResult<Result>[] = [];
  const worker = async () => {
    for (const [index, item] of waiting) {
      const [result] = await Promise.allSettled([work(item)]);
      results[index] = result;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}

async function tell(
  session: Session,
  results: readonly PromiseSettledResult<Receipt>[],
  items: readonly PushItem[],
): Promise<void> {
  session.view.close();
  for (const result of results) {
    if (result.status === 'fulfilled') await show(session, result.value);
  }
  const failures = results.flatMap((result, index) =>
    result.status === 'rejected' ? [{ name: items[index]?.name ?? '', reason: result.reason as unknown }] : [],
  );
  const [first] = failures;
  if (!first) return;
  if (items.length === 1) throw first.reason;
  const said = failures.map(
    ({ name, reason }) => `${name}: ${reason instanceof Error ? reason.message : String(reason)}`,
  );
  said.push(`${failures.length} of ${items.length} files are not in the vault.`);
  const interrupted = failures.map(({ reason }) => reason).find((reason) => reason instanceof Interrupted);
  throw interrupted?.because(said.join('\n')) ?? new CommandFailed(said.join('\n'));
}

async function show(session: Session, receipt: Receipt): Promise<void> {
  if (session.json) return printJson(receipt);
  if (session.quiet) return print(`${receipt.backup_id}\n`);
  const { filename, backup_id, file_size, stored_size, compression, checksum, download_url } = receipt;
  const { codec, level } = compression;
  const how = codec === 'none' ? 'as it came' : level === null ? codec : `${codec} ${level}`;
  await print(
    [
      filename,
      `  id        ${backup_id}`,
      `  size      ${file_size} bytes (${showBytes(file_size)})`,
      `  stored    ${showBytes(stored_size)}, ${how}${receipt.encryption ? ', encrypted' : ''}`,
      `  sha256    ${checksum}, the same here and there`,
      `  download  ${session.client.origin}${download_url}`,
      '',
    ].join('\n'),
  );
}
