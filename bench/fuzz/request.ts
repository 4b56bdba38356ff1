/** Requests made of an OpenAPI document, good and bad, by a seed. */
import type { Chance } from '../../test/e2e/chaos/chance.ts';
import type { Material } from './material.ts';

/** What the fuzz reads of the document of `GET /openapi.json`. */
export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> };
}

interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema?: Schema; readonly example?: unknown }>>;
  };
}

interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'path' | 'header' | 'cookie';
  readonly required?: boolean;
  readonly schema?: Schema;
  readonly example?: unknown;
}

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly example?: unknown;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

export interface FuzzRequest {
  readonly method: string;
  /** As it goes out, with the query; nothing normalizes it. */
  readonly path: string;
  /** A name may come several times. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array | null;
  /** Without a Content-Length. */
  readonly chunked: boolean;
  /** The path of the document that it is of. */
  readonly route: string;
}

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'];
const HUGE = 5_000;

export function fuzzRequest(document: Document, material: Material, chance: Chance): FuzzRequest {
  const [route, item] = chance.pick(Object.entries(document.paths));
  const documented = METHODS.filter((method) => item[method]);
  const method = chance.happens(0.9) ? chance.pick(documented) : chance.pick([...METHODS, 'propfind']);
  const operation = item[method] ?? item[documented[0] ?? ''] ?? {};
  if (chance.happens(0.06)) return signedRequest(method, material, chance);
  const parameters = operation.parameters ?? [];
  const path = pathOf(route, parameters, material, chance) + queryOf(parameters, material, chance);
  const body = bodyOf(document, operation, method, material, chance);
  const headers: (readonly [string, string])[] = [
    ...credential(material, chance),
    ...body.headers,
    ...documentedHeaders(parameters, material, chance),
    ...oddHeaders(material, chance),
  ];
  if (route.startsWith('/ws/') && chance.happens(0.7)) headers.push(...UPGRADE);
  return { method: method.toUpperCase(), path, headers, body: body.bytes, chunked: chance.happens(0.3), route };
}

const UPGRADE: readonly [string, string][] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
];

/** A signed URL as it was made, or altered somewhere. */
function signedRequest(method: string, material: Material, chance: Chance): FuzzRequest {
  const url = chance.pick(material.links);
  const at = chance.below(url.length);
  const path = chance.weighted({ same: 3, changed: 3, cut: 1, longer: 1 });
  const altered = {
    same: url,
    changed: `${url.slice(0, at)}${chance.pick(['A', '0', '%', '&', '=', '/', '?'])}${url.slice(at + 1)}`,
    cut: url.slice(0, Math.max(1, at)),
    longer: `${url}&${chance.pick(['expires=1', 'path=x', 'signature=', 'x'.repeat(HUGE)])}`,
  }[path];
  const body = chance.happens(0.4) ? chance.pick(material.bodies) : null;
  const safe = altered.startsWith('/') ? altered : `/${altered}`;
  return {
    method: method.toUpperCase(),
    path: safe,
    headers: oddHeaders(material, chance),
    body,
    chunked: false,
    route: 'signed',
  };
}

function pathOf(route: string, parameters: readonly Parameter[], material: Material, chance: Chance): string {
  const path = route.replace(/\{([^}]+)\}/g, (_, name: string) => {
    const known = material.values[name] ?? [];
    if (known.length > 0 && chance.happens(0.75)) return chance.pick(known);
    const parameter = parameters.find((each) => each.in === 'path' && each.name === name);
    return inUrl(someValue(parameter?.schema, name, material, chance), chance);
  });
  return chance.happens(0.04) ? `${path}${chance.pick(['/', '//', '/..', '/%00', '%2F', ';x=1', '.'])}` : path;
}

function queryOf(parameters: readonly Parameter[], material: Material, chance: Chance): string {
  const pairs: string[] = [];
  for (const { name, schema, in: where, required } of parameters) {
    if (where !== 'query' || !chance.happens(required ? 0.85 : 0.3)) continue;
    const times = chance.happens(0.05) ? 2 : 1;
    for (let i = 0; i < times; i++) pairs.push(`${name}=${inUrl(someValue(schema, name, material, chance), chance)}`);
  }
  if (chance.happens(0.06)) {
    pairs.push(
      chance.pick([
        'limt=3',
        'cursor',
        '=',
        '&&',
        'a[]=1',
        '%',
        '__proto__=1',
        'constructor=x',
        `q=${'x'.repeat(HUGE)}`,
      ]),
    );
  }
  return pairs.length > 0 ? `?${pairs.join('&')}` : '';
}

/** A good value, or one of the bad ones. */
function someValue(schema: Schema | undefined, name: string, material: Material, chance: Chance): string {
  const known = material.values[name] ?? [];
  const good = [...known, ...(schema?.enum ?? []), schema?.example, schema?.default].filter(
    (value) => value !== undefined,
  );
  const kind = chance.weighted({ good: good.length > 0 ? 6 : 0, number: 2, text: 2, odd: 2, huge: 0.4, empty: 0.5 });
  switch (kind) {
    case 'good':
      return String(chance.pick(good));
    case 'number':
      return chance.pick([
        '0',
        '1',
        '-1',
        '1000',
        '1001',
        '3.5',
        '1e9',
        '9007199254740993',
        'NaN',
        'Infinity',
        '0x10',
        '007',
      ]);
    case 'text':
      return chance.pick([
        'true',
        'false',
        'null',
        'undefined',
        'a',
        'nightly',
        '../../etc/passwd',
        'x.tar',
        '90s',
        '16M',
      ]);
    case 'odd':
      return chance.pick(ODD);
    case 'huge':
      return chance.pick(['a', '9', '/', 'é', ' ']).repeat(HUGE);
    case 'empty':
      return '';
  }
}

const ODD = [
  ...['\0', '\r\nX-Injected: 1', '\u202e', '🧊', 'e\u0301', '\ud800', "' OR 1=1 --", '"', '\\', '%', '%zz', '<script>'],
  ...['$7', '__proto__', 'constructor', 'toString', '[object Object]', ',', ';', '*', '{', '[', '\t', '.', '..'],
];

/** Mostly encoded as it should be, sometimes as it came. */
function inUrl(value: string, chance: Chance): string {
  if (chance.happens(0.9)) return encodeURIComponent(value.toWellFormed());
  // What a request line may not hold is encoded all the same: node sends no such path.
  return value.replace(/[^\x21-\x7e]|[?#]/gu, (letter) => encodeURIComponent(letter.toWellFormed()));
}

function credential({ tokens }: Material, chance: Chance): [string, string][] {
  const kind = chance.weighted({ admin: 10, scoped: 5, none: 1, wrong: 0.3, basic: 1, odd: 0.3 });
  switch (kind) {
    case 'none':
      return [];
    case 'wrong':
      return [['Authorization', `Bearer ${chance.pick(['x', 'cst_wrong', 'csu_wrong', 'x'.repeat(HUGE)])}`]];
    case 'basic':
      return [
        ['Authorization', `Basic ${Buffer.from(`any:${chance.pick(Object.values(tokens))}`).toString('base64')}`],
      ];
    case 'odd':
      return [
        ['Authorization', chance.pick(['Bearer', 'Bearer  ', 'Basic !!!', 'Basic OnBhc3M=', 'Digest x', 'bearer\tx'])],
      ];
    case 'admin':
      return [['Authorization', `Bearer ${tokens.admin}`]];
    case 'scoped':
      return [['Authorization', `Bearer ${chance.pick(Object.values(tokens))}`]];
  }
}

function documentedHeaders(parameters: readonly Parameter[], material: Material, chance: Chance): [string, string][] {
  return parameters.flatMap(({ in: where, name, schema, required }) => {
    if (where !== 'header' || !chance.happens(required ? 0.85 : 0.3)) return [];
    return [[name, inHeader(someValue(schema, name.toLowerCase(), material, chance))]];
  });
}

/** Headers that change what a request means, and a few that nothing knows. */
const HEADERS: Readonly<Record<string, readonly string[]>> = {
  Range: [
    'bytes=0-0',
    'bytes=5-',
    'bytes=-5',
    'bytes=9-3',
    'bytes=99999999-',
    'bytes=0-1,5-6',
    'lines=1-2',
    'bytes=a-b',
  ],
  'If-Range': ['"x"', 'W/"x"', 'Wed, 21 Oct 2015 07:28:00 GMT', 'nonsense'],
  'If-None-Match': ['*', '"x"', 'W/"x", "y"', '"', ','],
  'If-Match': ['*', '"x"', ''],
  'If-Modified-Since': ['Wed, 21 Oct 2015 07:28:00 GMT', 'Wed, 21 Oct 2099 07:28:00 GMT', '0', 'x'],
  Accept: ['text/html', '*/*', 'application/json;q=0', 'x/y'],
  'Accept-Encoding': ['zstd', 'gzip', 'identity;q=0', 'br, zstd;q=0.1', '*'],
  'Content-Encoding': ['gzip', 'zstd', 'br', 'zstd, gzip', 'identity', 'x'],
  'Content-Range': ['bytes 0-4/5', 'bytes */5', 'x'],
  'Content-MD5': ['Q2hlY2sgSW50ZWdyaXR5IQ==', 'x'],
  'Content-Digest': ['sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:', 'md5=:x:', 'x', 'unixsum=1'],
  'Repr-Digest': ['sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:', ''],
  'X-Age-Identity': ['AGE-SECRET-KEY-1', 'x', 'AGE-PLUGIN-YUBIKEY-1'],
  'X-HTTP-Method-Override': ['PATCH', 'DELETE', 'HEAD', 'TRACE', ''],
  'X-Request-Id': ['mine', 'x'.repeat(HUGE)],
  Origin: ['https://evil.example', 'null', 'http://127.0.0.1', 'x'],
  'Sec-Fetch-Site': ['same-origin', 'cross-site', 'none', 'x'],
  'Sec-Fetch-Mode': ['navigate', 'cors', 'x'],
  'Access-Control-Request-Method': ['PUT', 'X'],
  'Tus-Resumable': ['1.0.0', '0.2.2', ''],
  'Upload-Length': ['0', '5', '-1', '1e3', '99999999999999999999', 'x'],
  'Upload-Defer-Length': ['1', '2', 'x'],
  'Upload-Offset': ['0', '5', '-1', 'x'],
  'Upload-Concat': ['partial', 'final;/tus/a'],
  'Upload-Checksum': ['sha1 x', 'sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=', 'md5', ' '],
  'Upload-Metadata': [
    'filename YS50YXI=',
    'filename',
    'filename !!!',
    ',,',
    'level MQ==,filename YQ==',
    `a ${'A'.repeat(HUGE)}`,
  ],
  'Upload-Complete': ['?1', '?0', '1'],
  'Upload-Draft-Interop-Version': ['8', '6', 'x'],
  Cookie: ['__Host-coldstream=x', '='],
  Expect: ['100-continue'],
  'X-Unknown': ['\u00ff', ''],
};

function oddHeaders(material: Material, chance: Chance): [string, string][] {
  const names = Object.keys(HEADERS);
  const chosen: [string, string][] = [];
  for (let left = chance.weighted({ '0': 5, '1': 3, '2': 1, '3': 1 }) as unknown as number; left > 0; left--) {
    const name = chance.pick(names);
    chosen.push([name, chance.pick([...(HEADERS[name] ?? []), ...(material.values[name.toLowerCase()] ?? [])])]);
  }
  return chosen;
}

/** Without what node refuses to send. */
function inHeader(value: string): string {
  return value.replace(/[^\t\x20-\x7e\x80-\xff]/gu, '?');
}

interface Body {
  readonly bytes: Uint8Array | null;
  readonly headers: readonly (readonly [string, string])[];
}

function bodyOf(document: Document, operation: Operation, method: string, material: Material, chance: Chance): Body {
  const content = operation.requestBody?.content ?? {};
  const types = Object.keys(content);
  const wanted = types.length > 0 || method === 'patch';
  if (!chance.happens(wanted ? 0.9 : 0.08)) return { bytes: null, headers: [] };
  const type = types.length > 0 ? chance.pick(types) : 'application/offset+octet-stream';
  const said = chance.happens(0.9)
    ? type
    : chance.pick([
        'text/plain',
        'application/json',
        'application/x-www-form-urlencoded',
        'multipart/form-data',
        '',
        '\u00ff',
        `a/${'b'.repeat(300)}`,
      ]);
  if (type.startsWith('multipart/')) return formBody(said, material, chance);
  const headers: [string, string][] = said === '' ? [] : [['Content-Type', said]];
  if (!type.includes('json')) return { bytes: chance.pick(material.bodies), headers };
  const { schema, example } = content[type] ?? {};
  return { bytes: jsonBody(resolve(document, schema), example, material, chance), headers };
}

function jsonBody(schema: Schema | undefined, example: unknown, material: Material, chance: Chance): Uint8Array {
  const kind = chance.weighted({ example: 3, made: 5, broken: 1, deep: 0.3, large: 0.3, bytes: 0.5, empty: 0.5 });
  switch (kind) {
    case 'example':
      return utf8(JSON.stringify(example ?? {}));
    case 'made': {
      const fields = Object.entries(schema?.properties ?? {}).filter(() => chance.happens(0.6));
      const made = Object.fromEntries(fields.map(([name, field]) => [name, jsonValue(field, name, material, chance)]));
      if (chance.happens(0.1)) Object.assign(made, { [chance.pick(['expires', 'recipent', '__proto', ''])]: 1 });
      return utf8(JSON.stringify(chance.happens(0.1) ? [made] : made));
    }
    case 'broken':
      return utf8(
        chance.pick(['{', '{"a":', 'null', '1', '"x"', '[]', '{"a":1}{', '\ufeff{}', '{"__proto__":{}}', 'NaN', '\0']),
      );
    case 'deep':
      return utf8('['.repeat(30_000));
    case 'large':
      return utf8(JSON.stringify({ name: 'x'.repeat(70_000) }));
    case 'bytes':
      return chance.pick(material.bodies);
    case 'empty':
      return new Uint8Array();
  }
}

function jsonValue(schema: Schema, name: string, material: Material, chance: Chance): unknown {
  const value = someValue(schema, name, material, chance);
  return chance.weighted({ typed: 6, text: 2, none: 1, list: 1 }) === 'typed'
    ? typed(schema, value)
    : chance.pick([value, null, [], {}, [value], 1.5, true, -1, Number.MAX_SAFE_INTEGER]);
}

function typed({ type, items }: Schema, value: string): unknown {
  if (type === 'array') return value.split(',').map((each) => (items ? typed(items, each) : each));
  if (type === 'boolean') return value === 'true';
  return type === 'integer' || type === 'number' ? Number(value) || 0 : value;
}

function resolve(document: Document, schema: Schema | undefined): Schema | undefined {
  if (!schema?.$ref) return schema;
  return document.components?.schemas?.[schema.$ref.split('/').at(-1) ?? ''];
}

function formBody(said: string, material: Material, chance: Chance): Body {
  const boundary = 'fuzz';
  const parts = ['file', 'file', 'job_id', 'level', 'sha256', 'name', 'upload', '']
    .filter(() => chance.happens(0.35))
    .map((name) => {
      const disposition = `Content-Disposition: form-data; name="${name}"`;
      if (name !== 'file' && name !== 'upload')
        return utf8(`${disposition}\r\n\r\n${someValue({}, name, material, chance)}`);
      const filename = chance.pick(['a.tar', 'b.json', '', '../x', 'é.tar', 'x"y', '\u0000', 'z'.repeat(400)]);
      const head = utf8(`${disposition}; filename="${filename}"\r\nContent-Type: application/x-tar\r\n\r\n`);
      return Buffer.concat([head, chance.pick(material.bodies)]);
    });
  const whole = Buffer.concat([
    ...parts.flatMap((part) => [utf8(`--${boundary}\r\n`), part, utf8('\r\n')]),
    utf8(`--${boundary}--\r\n`),
  ]);
  const bytes = chance.happens(0.15) ? whole.subarray(0, chance.below(whole.length + 1)) : whole;
  const type = said === 'multipart/form-data' && chance.happens(0.95) ? `${said}; boundary=${boundary}` : said;
  return { bytes, headers: type === '' ? [] : [['Content-Type', type]] };
}

function utf8(text: string): Buffer {
  return Buffer.from(text.toWellFormed());
}
