import type { ErrorCode } from '../shared/errors.ts';
import type { App } from './app-env.ts';

/** The OpenAPI document as it is read: by the page that shows it, and for the samples of commands. */
export type Document = ReturnType<App['getOpenAPI31Document']>;
export type PathItem = NonNullable<Document['paths']>[string];
export type Operation = NonNullable<PathItem['get']>;

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'] as const;

/** The operations of one path. */
export function operationsOf(item: PathItem): { readonly method: string; readonly operation: Operation }[] {
  return METHODS.flatMap((method) => {
    const operation = item[method];
    return operation ? [{ method, operation }] : [];
  });
}

/** The error codes that an answer may have. */
export function codesIn(response: unknown): ErrorCode[] {
  const hasCodes = typeof response === 'object' && response !== null && 'x-codes' in response;
  return hasCodes ? (response['x-codes'] as ErrorCode[]) : [];
}
