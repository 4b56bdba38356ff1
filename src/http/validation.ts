import { z } from '@hono/zod-openapi';
import { VaultError } from '../shared/errors.ts';
import { shownName } from '../shared/shown-name.ts';
import type { AppContext } from './app-env.ts';
import { nearest } from './nearest.ts';

/**
 * Options that are not known are rejected, never ignored: a misspelt one would otherwise change what is stored without a
 * word. Every query string and JSON body of a route has a schema made by {@link query} or {@link body}, so the names a
 * route knows are those of its schema.
 */
export function query<S extends z.core.$ZodShape>(shape: S) {
  const names = Object.keys(shape).filter((name) => !Object.hasOwn(LINK_PARAMETERS, name));
  return strict(shape, names, QUERY_OPTIONS);
}

/** The same for routes that also take signed URLs. */
export function signableQuery<S extends z.core.$ZodShape>(shape: S) {
  return query({ ...shape, ...LINK_PARAMETERS });
}

export function body<S extends z.core.$ZodShape>(shape: S) {
  return strict(shape, Object.keys(shape), BODY_FIELDS);
}

const linkParameter = z
  .string()
  .optional()
  .openapi({ description: 'Part of a signed URL, which is used exactly as the vault returned it' });

/** The parameters that only a signed URL has: those of every link, and those of a link for an upload. */
export const LINK_PARAMETERS = {
  expires: linkParameter,
  key_id: linkParameter,
  signature: linkParameter,
  link_id: linkParameter,
  max_bytes: linkParameter,
};

/** The names that any route knows: where one has no effect, the answer differs from that to an unknown name. */
const QUERY_OPTIONS = new Set<string>();
const BODY_FIELDS = new Set<string>();

/** @param known the names that a person may choose from */
function strict<S extends z.core.$ZodShape>(shape: S, known: readonly string[], everywhere: Set<string>) {
  for (const name of Object.keys(shape)) everywhere.add(name);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined;
      const unknown = issue.keys.filter((name) => !everywhere.has(name));
      return unknown.length > 0 ? unknownOption(unknown[0] ?? '', known) : notApplicable(issue.keys[0] ?? '', known);
    },
  });
}

/** Options that may come several times. */
const REPEATABLE = new Set(['recipient']);

class Repeated extends VaultError {
  constructor(name: string) {
    super('invalid-option', `${name}: it is given twice, with different values.`);
  }
}

/** The options of the query string. One that comes several times counts once if its values are the same. */
function queryOf(c: AppContext): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(c.req.queries()).map(([name, values]) => {
      if (REPEATABLE.has(name)) return [name, values];
      if (new Set(values).size > 1) throw new Repeated(name);
      return [name, values[0] ?? ''];
    }),
  );
}

/** Goes before the validators of the framework, which would take repeated values for a list. */
export async function withoutRepeats(c: AppContext, next: () => Promise<void>): Promise<void> {
  const params = Object.entries(queryOf(c)).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  const url = new URL(c.req.url);
  if (params.length < url.searchParams.size) {
    url.search = new URLSearchParams(params).toString();
    c.req.raw = new Request(url, c.req.raw);
  }
  await next();
}

/** Joins options that come from several places. Throws where two places give one option different values. */
export function joinOptions(...places: Readonly<Record<string, string | undefined>>[]): Record<string, string> {
  const joined: Record<string, string> = {};
  for (const [name, value] of places.flatMap((place) => Object.entries(place))) {
    if (value === undefined) continue;
    const before = joined[name];
    if (before === undefined) joined[name] = value;
    else if (REPEATABLE.has(name)) joined[name] = `${before},${value}`;
    else if (before !== value) throw new Repeated(name);
  }
  return joined;
}

export class UnknownOption extends VaultError {
  constructor(name: string, known: readonly string[]) {
    super('unknown-option', unknownOption(name, known));
  }
}

export class OptionNotApplicable extends VaultError {
  /** @param reason why it has no effect, as the end of a sentence that begins with the option. */
  constructor(name: string, reason: string) {
    super('option-not-applicable', `The option ${shownName(name)} has no effect ${reason}.`);
  }
}

function unknownOption(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  return `Unknown option ${shownName(name)}. ${meant === null ? listed(known) : `Did you mean "${meant}"?`}`;
}

function notApplicable(name: string, known: readonly string[]): string {
  return `The option ${shownName(name)} has no effect here. ${listed(known)}`;
}

function listed(known: readonly string[]): string {
  if (known.length === 0) return 'This request takes no such options.';
  return `This request takes ${known.map((name) => `"${name}"`).join(', ')}.`;
}

/** Says which value is wrong and what it should be. An option that is not known goes first. */
export function refusal(error: z.ZodError, code: 'invalid-option' | 'invalid-request'): VaultError {
  const stray = error.issues.find((issue) => issue.code === 'unrecognized_keys');
  if (stray) {
    const everywhere = code === 'invalid-option' ? QUERY_OPTIONS : BODY_FIELDS;
    const isKnown = stray.keys.every((name) => everywhere.has(name));
    return new VaultError(isKnown ? 'option-not-applicable' : 'unknown-option', stray.message);
  }
  const said = error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
  return new VaultError(code, `${said.join('; ')}.`);
}

/** Reads the query of a route that the framework does not validate. */
export function checkQuery<S extends z.ZodType>(c: AppContext, schema: S): z.output<S> {
  return checkOptions(queryOf(c), schema);
}

/** The query as text, to be joined with options from other places: what comes several times, with commas. */
export function queryText(c: AppContext): Record<string, string> {
  return Object.fromEntries(Object.entries(queryOf(c)).map(([name, value]) => [name, [value].flat().join(',')]));
}

/** Reads options by a schema of {@link query}, from wherever they come. */
export function checkOptions<S extends z.ZodType>(given: Readonly<Record<string, unknown>>, schema: S): z.output<S> {
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw refusal(parsed.error, 'invalid-option');
  return parsed.data;
}
