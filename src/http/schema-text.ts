/** Reads JSON Schemas of the published document as words for people. */

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly format?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly default?: unknown;
  readonly description?: string;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

export interface SchemaField {
  readonly name: string;
  readonly required: boolean;
  readonly schema: Schema;
  readonly description: string;
}

/** Either words, or the name of a schema to link to. */
export interface Words {
  readonly text: string;
  readonly ref?: string;
}

/** The fields of an object, those of objects within it too: `memory.upload_bytes`, `refused[].index`. */
export function fieldsOf(schema: Schema, within = ''): SchemaField[] {
  const own = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${within}${name}`;
    const required = schema.required?.includes(name) ?? false;
    const { description = '' } = field;
    return [
      { name: path, required, schema: field, description },
      ...fieldsOf(field, `${path}.`),
      ...fieldsOf(field.items ?? {}, `${path}[].`),
    ];
  });
  const parts = [schema.allOf, schema.anyOf, schema.oneOf].flatMap((part) => part ?? []);
  return [...own, ...parts.flatMap((part) => fieldsOf(part, within))];
}

/** What a value may be: its type, bounds and default. */
export function kindOf(schema: Schema): Words[] {
  if (schema.$ref) return [{ text: '', ref: schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1) }];
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choices) return choices.flatMap((choice, place) => [...(place > 0 ? [words(' or ')] : []), ...kindOf(choice)]);
  if (schema.items) return [words('array of '), ...kindOf(schema.items), words(boundsOf(schema))];
  return [words(`${typeOf(schema)}${boundsOf(schema)}`)];
}

function words(text: string): Words {
  return { text };
}

function typeOf({ type, format, const: constant, enum: allowed }: Schema): string {
  if (constant !== undefined) return JSON.stringify(constant);
  if (allowed) return allowed.map((one) => JSON.stringify(one)).join(' | ');
  const types = [type ?? 'any'].flat().join(' or ');
  return format ? `${types} (${format})` : types;
}

function boundsOf(schema: Schema): string {
  const { minimum, maximum, minLength, maxLength, minItems, pattern } = schema;
  const bounds = [
    span(minimum, maximum, ''),
    span(minLength, maxLength, ' characters'),
    span(minItems, undefined, ' items'),
    pattern === undefined ? '' : `matches ${pattern}`,
    schema.default === undefined ? '' : `default ${JSON.stringify(schema.default)}`,
  ];
  return bounds
    .filter((bound) => bound !== '')
    .map((bound) => `, ${bound}`)
    .join('');
}

function span(least: number | undefined, most: number | undefined, unit: string): string {
  if (least !== undefined && most !== undefined) return `${least} to ${most}${unit}`;
  if (least !== undefined) return least === 0 && unit === '' ? '' : `at least ${least}${unit}`;
  return most === undefined ? '' : `at most ${most}${unit}`;
}
