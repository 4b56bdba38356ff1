import { z } from '@hono/zod-openapi';
import { PHASES, TASKS } from '../progress/messages.ts';

export const ulid = z.string().openapi({ example: '01JC8Z5V3M9QK2T7W4X6Y8B0CD', description: 'A ULID' });

export const bytes = z.number().int().nonnegative();

export const time = z.string().openapi({ format: 'date-time', example: '2026-11-23T07:30:00.000Z' });

export const sha256 = z.string().openapi({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, lower-case hex' });

export const jobId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 _ -')
  .openapi({ example: 'nightly', description: 'The name of the job' });

export const task = z.enum(TASKS).openapi({ description: 'restore: an import of the rows of a backup' });

export const phase = z.enum(PHASES);
