import type { z } from '@hono/zod-openapi';
import type { App } from './app-env.ts';
import { ProblemSchema } from './schemas.ts';

/** A JSON answer of a route. */
export function json<S extends z.ZodType>(schema: S, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

const REFUSED: Readonly<Record<number, string>> = {
  400: 'Bad input',
  401: 'No valid credential',
  403: 'Scope, signature or origin refused',
  404: 'Not found',
  406: 'Not available in this format',
  409: 'Job running, link used, or a backup that is not of the kind, or encrypted',
  410: 'The upload was terminated, expired, or failed',
  412: 'Precondition failed, or another version of tus',
  413: 'Too large',
  415: 'The body comes in an encoding that is not taken',
  416: 'Range outside of the file',
  422: 'Checksum mismatch, a sparse file whose map cannot be used, or too many rows refused',
  500: 'What is stored is damaged, or made by a newer version',
  426: 'Not a WebSocket',
  460: 'The piece does not have its checksum',
  499: 'The sender went away: for the log',
  502: 'Storage failed',
  503: 'Try again later',
};

/** The statuses with which a route may refuse. */
export function problems(...statuses: number[]) {
  const content = { 'application/problem+json': { schema: ProblemSchema } };
  return Object.fromEntries(statuses.map((status) => [status, { description: REFUSED[status] ?? 'Refused', content }]));
}

/** A body of bytes. */
export function binary(description: string) {
  const schema = { type: 'string', format: 'binary' } as const;
  return { description, content: { 'application/octet-stream': { schema } } };
}

export const VERSION = '0.1.0';

const INFO = {
  openapi: '3.1.0',
  info: {
    title: 'Coldstream',
    version: VERSION,
    description: 'A backup vault on the edge: streams go into and out of R2 through zstd.',
  },
  security: [{ bearer: [] }],
};

/** The published document, made from the routes' own schemas. */
export function openApiDocument(app: App) {
  return app.getOpenAPI31Document(INFO);
}
