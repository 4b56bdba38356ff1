import { printable } from './amounts.ts';

/** What ends a command, with the exit code that tells scripts why. Its message is for the person at the terminal. */
export class CommandFailed extends Error {
  override readonly name: string = 'CommandFailed';
  readonly exitCode: number = 1;
}

/** The command was called in a way that cannot work. */
export class UsageError extends CommandFailed {
  override readonly name = 'UsageError';
  override readonly exitCode = 2;
}

/** Something was done and something was not: some files of a push, some backups of a command. */
export class PartialFailure extends CommandFailed {
  override readonly name = 'PartialFailure';
  override readonly exitCode = 3;
}

/** The input ended too early: an empty pipe, or an archive that breaks off. */
export class IncompleteInput extends CommandFailed {
  override readonly name = 'IncompleteInput';
  override readonly exitCode = 4;
}

/** The program whose output was to be stored failed. */
export class SourceCommandFailed extends CommandFailed {
  override readonly name = 'SourceCommandFailed';
  override readonly exitCode = 5;
}

/** The vault has lost or damaged the bytes of a backup. No retry helps. */
export class StoredDataDamaged extends CommandFailed {
  override readonly name = 'StoredDataDamaged';
  override readonly exitCode = 6;
}

/** `--timeout` ended the wait; the exit code is that of timeout(1). */
export class TimedOut extends CommandFailed {
  override readonly name = 'TimedOut';
  override readonly exitCode = 124;
}

/** Errors of the operating system, in the words of its tools. */
const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'it exists already',
  EIO: 'input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'a part of the path is not a directory',
  ENOTEMPTY: 'the directory is not empty',
  ENXIO: 'no such device or address',
  EPERM: 'operation not permitted',
  EPIPE: 'its reader has gone',
  EROFS: 'the file system is read-only',
};

/** The sentence of an error that the operating system reported; null for any other error, which is a bug. */
export function systemFailure(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return null;
  const { code, path, syscall } = error as NodeJS.ErrnoException;
  const reason = SYSTEM_ERRORS[code ?? ''] ?? printable(error.message);
  return `${printable(path ?? syscall ?? 'The system')}: ${reason}${code ? ` (${code})` : ''}.`;
}

/** What a failure says at a terminal: a sentence, never a stack. */
export function failureText(error: unknown): string {
  if (error instanceof CommandFailed) return error.message;
  const system = systemFailure(error);
  if (system) return system;
  const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `This is a fault of the command itself: ${printable(words)}. Please report it.`;
}

/** By Ctrl-C or a signal; the exit code is a shell's: 128 and the signal's number. */
export class Interrupted extends CommandFailed {
  override readonly name = 'Interrupted';
  override readonly exitCode: number;

  constructor(exitCode: number, message = 'Interrupted.') {
    super(message);
    this.exitCode = exitCode;
  }

  /** The same with other words. */
  because(message: string): Interrupted {
    return new Interrupted(this.exitCode, message);
  }
}

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/**
 * Aborts with {@link Interrupted} at the first signal, so that a command can say how to go on. A second one ends the
 * process at once.
 */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const [signal, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Interrupted(exitCode));
    });
  }
  return controller.signal;
}

/** The same, unless the signal is aborted before: for what cannot be ended itself. */
export async function unlessAborted<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  if (signal.aborted) throw signal.reason;
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
