/**
 * The config file: values for options that neither the line nor the environment gives.
 *
 * @example
 * url = "https://vault.example.org"
 * token-file = "~/.config/coldstream/token"
 *
 * [profiles.nas]
 * url = "https://nas.example.org"
 * limit-rate = "10MiB"
 */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command, Option } from 'commander';
import { parse, TomlError } from 'smol-toml';
import { printable } from './amounts.ts';
import { UsageError } from './failures.ts';
import { causeOf } from './vault-client.ts';

type Values = Readonly<Record<string, unknown>>;

/** Results of which a command has one: a config file for all commands cannot set them. */
const NOT_SETTINGS = ['config', 'profile', 'help', 'version'];

/**
 * Gives the options of `command` the values of the config file and its profile, where nothing else has set them. A key
 * that is an option of another command is left to that one.
 */
export function applySettings(command: Command): void {
  const { config, profile } = command.opts<{ config?: string; profile?: string }>();
  const path = config ?? defaultPath();
  const file = path === null ? null : readSettings(path, config !== undefined);
  if (!file) {
    if (profile !== undefined) throw new UsageError(`There is no config file with a profile "${profile}".`);
    return;
  }
  for (const [key, value] of Object.entries(valuesOf(file, profile, path ?? ''))) {
    const option = command.options.find(({ long }) => long === `--${key}`);
    if (option) setOption(command, option, value, path ?? '');
    else if (!isOption(command, key)) throw new UsageError(`${path}: there is no option "${printable(key)}".`);
  }
}

function defaultPath(): string | null {
  try {
    return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'coldstream/config.toml');
  } catch {
    // No home directory.
    return null;
  }
}

function readSettings(path: string, isRequired: boolean): Values | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (!isRequired && ['ENOENT', 'ENOTDIR', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return null;
    throw new UsageError(`The config file cannot be read: ${causeOf(error)}.`);
  }
  try {
    const values = parse(text);
    if ('token' in values) checkPrivate(path);
    return values;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new UsageError(`${path}, line ${error.line}: ${printable(error.message.split('\n')[0] ?? '')}.`);
  }
}

function checkPrivate(path: string): void {
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new UsageError(`${path} holds a token and others can read it: chmod 600 ${path}`);
  }
}

/** The keys at the top, and over them those of the profile. */
function valuesOf({ profiles = {}, ...values }: Values, profile: string | undefined, path: string): Values {
  if (profile === undefined) return values;
  const chosen = (profiles as Readonly<Record<string, Values>>)[profile];
  if (typeof chosen === 'object') return { ...values, ...chosen };
  const known = Object.keys(profiles as object).map(printable);
  throw new UsageError(
    `${path} has no profile "${printable(profile)}". ${known.length > 0 ? `It has ${known.join(', ')}.` : 'It has none.'}`,
  );
}

function isOption(command: Command, key: string): boolean {
  const commands = command.parent?.commands ?? [];
  return !NOT_SETTINGS.includes(key) && commands.some(({ options }) => options.some(({ long }) => long === `--${key}`));
}

function setOption(command: Command, option: Option, value: unknown, path: string): void {
  const name = option.attributeName();
  const source = command.getOptionValueSource(name);
  // A variable that is set to nothing counts as not set.
  if (source === 'cli' || (source === 'env' && command.getOptionValue(name) !== '')) return;
  command.setOptionValueWithSource(name, parsed(option, value, path), 'config');
}

function parsed(option: Option, value: unknown, path: string): unknown {
  const wrong = (why: string) => new UsageError(`${path}: ${option.long?.slice(2)}: ${why}`);
  if (option.isBoolean()) {
    if (typeof value === 'boolean') return value;
    throw wrong('it is true or false.');
  }
  if (typeof value !== 'string' && typeof value !== 'number') throw wrong('it is a string or a number.');
  if (!option.parseArg) return expanded(String(value));
  try {
    return option.parseArg(expanded(String(value)), undefined);
  } catch (error) {
    throw wrong((error as Error).message);
  }
}

/** A shell would have expanded it. */
function expanded(text: string): string {
  return text.startsWith('~/') ? join(homedir(), text.slice(2)) : text;
}
