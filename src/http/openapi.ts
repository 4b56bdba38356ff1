import type { z } from '@hono/zod-openapi';
import type { App } from './app-env.ts';
import { ProblemSchema } from './schemas.ts';

/** A JSON answer of a route. */
export function json<S extends z.ZodType>(schema: S, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

/** The statuses with which a route may refuse. */
export function problems(...statuses: number[]) {
  const problem = { description: 'Refused', content: { 'application/problem+json': { schema: ProblemSchema } } };
  return Object.fromEntries(statuses.map((status) => [status, problem]));
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
