import type { Operation } from './document.ts';

/** A member of the document that may be a reference is read as what it would be. */
interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly example?: unknown;
  readonly schema?: { readonly example?: unknown; readonly const?: unknown; readonly enum?: readonly unknown[] };
}

/** A command that calls the operation: `$V` is the address of the vault, `$TOKEN` a token. */
export function curlOf(method: string, path: string, operation: Operation): string {
  const parameters = (operation.parameters ?? []).filter((parameter) => 'name' in parameter) as Parameter[];
  const needed = (where: string) => parameters.filter((one) => one.in === where && one.required);
  const query = needed('query').map((one) => `${one.name}=${exampleOf(one)}`);
  const address = parameters
    .filter((one) => one.in === 'path')
    .reduce((text, one) => text.replace(`{${one.name}}`, exampleOf(one)), path);
  const url = `${address}${query.length > 0 ? `?${query.join('&')}` : ''}`;
  const token = operation.security?.some((one) => 'bearer' in one) ? ['-H "Authorization: Bearer $TOKEN"'] : [];
  if ('101' in (operation.responses ?? {})) return ['websocat', ...token, `"$\{V/http/ws}${url}"`].join(' ');
  const headers = needed('header').map((one) => `-H '${one.name}: ${exampleOf(one)}'`);
  const words = [...methodOf(method, operation), ...token, ...headers, ...bodyOf(method, operation)];
  return broken(['curl', ...words, ...outputOf(method, operation), `"$V${url}"`]);
}

const LINE_CHARACTERS = 90;

/** A command that is too long for a line has one for each of its words. */
function broken(words: readonly string[]): string {
  const line = words.join(' ');
  const [command, first, ...others] = words;
  return line.length <= LINE_CHARACTERS ? line : [`${command} ${first}`, ...others].join(' \\\n  ');
}

function exampleOf({ name, example, schema }: Parameter): string {
  return String(example ?? schema?.example ?? schema?.const ?? schema?.enum?.[0] ?? name.toUpperCase());
}

function contentOf(operation: Operation): [type: string, example: unknown] | null {
  const body = operation.requestBody;
  if (!body || !('content' in body)) return null;
  const [first] = Object.entries(body.content);
  return first ? [first[0], first[1].example] : null;
}

/** curl chooses GET, and POST or PUT where it is given a body. */
function methodOf(method: string, operation: Operation): string[] {
  if (method === 'get' || method === 'put') return [];
  if (method === 'head') return ['-I'];
  return method === 'post' && contentOf(operation) ? [] : [`-X ${method.toUpperCase()}`];
}

function bodyOf(method: string, operation: Operation): string[] {
  const [type, example] = contentOf(operation) ?? [];
  if (type === undefined) return [];
  if (method === 'put') return ['-T site.tar'];
  if (type === 'multipart/form-data') return ['-F file=@site.tar'];
  const data = example === undefined ? '--data-binary @FILE' : `-d '${JSON.stringify(example)}'`;
  return [`-H 'Content-Type: ${type}'`, data];
}

/** Bytes are saved to a file, under the name in Content-Disposition, also behind a redirect. */
function outputOf(method: string, operation: Operation): string[] {
  if (method === 'get' && '307' in (operation.responses ?? {})) return ['-L', '-OJ'];
  const answer: unknown = operation.responses?.['200'];
  const isBytes = typeof answer === 'object' && answer !== null && 'content' in answer;
  const types = isBytes ? Object.keys(answer.content as object) : [];
  return method === 'get' && types[0] === 'application/octet-stream' ? ['-OJ'] : [];
}
