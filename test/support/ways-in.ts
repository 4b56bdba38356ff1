/** Every way in, as one function: a table test over them shows that an option or a name counts in all. */
import { expect } from 'vitest';
import { encodeName } from '../../src/http/name-path.ts';
import { create as createDraft } from './resumable-draft.ts';
import { metadata, patch, receiptOf, tus, uploadIn } from './tus.ts';
import { ask, type Receipt } from './vault.ts';

type Options = Readonly<Record<string, string>>;

export interface WayIn {
  readonly way: string;
  /** Sends a file of that name; resolves with the receipt, or with the answer that rejects it. */
  readonly send: (name: string, body: Uint8Array<ArrayBuffer>, options?: Options) => Promise<Receipt | Response>;
}

async function receiptIn(response: Response): Promise<Receipt | Response> {
  return response.status === 201 ? response.json<Receipt>() : response;
}

function queryOf(options: Options): string {
  return new URLSearchParams(options).toString();
}

async function sendForm(body: Uint8Array<ArrayBuffer>, fields: Options, query = ''): Promise<Receipt | Response> {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append('file', new File([body], 'local.bin'));
  return receiptIn(await ask(`/backup/upload?${query}`, { method: 'POST', body: form }));
}

async function sendTus(at: string, body: Uint8Array<ArrayBuffer>, values: Options, token?: null) {
  const headers = {
    'upload-length': String(body.length),
    ...(Object.keys(values).length > 0 && { 'upload-metadata': metadata(values) }),
  };
  const created = await tus('POST', at, { headers, token });
  if (created.status !== 201) return created;
  const upload = await uploadIn(created);
  if (body.length > 0) {
    const answer = await patch(upload, 0, body, { token });
    if (answer.status !== 204) return answer;
  }
  return receiptOf(upload);
}

/** The fields of an upload link, for options as text. */
const LINK_FIELDS: Readonly<Record<string, (value: string) => object>> = {
  expires_in: (value) => ({ backup_expires_in: value }),
  expires_at: (value) => ({ backup_expires_at: value }),
  allow_empty: (value) => ({ allow_empty: value === 'true' }),
};

async function makeLink(name: string, options: Options): Promise<Response> {
  const fields = Object.entries(options).map(([option, value]) => LINK_FIELDS[option]?.(value) ?? { [option]: value });
  const body = JSON.stringify(Object.assign({ name }, ...fields));
  return ask('/backup/upload-links', { method: 'POST', body, headers: { 'content-type': 'application/json' } });
}

type Links = { readonly url: string; readonly tus_url: string };

async function byLink(made: Response, send: (links: Links) => Promise<Receipt | Response>) {
  return made.status === 200 ? send(await made.json<Links>()) : made;
}

export const WAYS_IN: readonly WayIn[] = [
  {
    way: 'PUT',
    send: async (name, body, options = {}) =>
      receiptIn(await ask(`/backup/upload/${encodeName(name)}?${queryOf(options)}`, { method: 'PUT', body })),
  },
  { way: 'a form, by fields', send: (name, body, options = {}) => sendForm(body, { name, ...options }) },
  {
    way: 'a form, by its query',
    send: (name, body, options = {}) => sendForm(body, {}, queryOf({ name, ...options })),
  },
  { way: 'tus, by name', send: (name, body, options = {}) => sendTus('/tus', body, { name, ...options }) },
  {
    way: 'tus, by filename',
    send: (name, body, options = {}) => sendTus('/tus', body, { filename: name, ...options }),
  },
  {
    way: 'tus, by its query',
    send: (name, body, options = {}) => sendTus(`/tus?${queryOf({ name, ...options })}`, body, {}),
  },
  {
    way: 'the draft',
    send: async (name, body, options = {}) =>
      receiptIn(await createDraft(body, { complete: true }, `/uploads/${encodeName(name)}?${queryOf(options)}`)),
  },
  {
    way: 'an upload link, by PUT',
    send: async (name, body, options = {}) =>
      byLink(await makeLink(name, options), async ({ url }) =>
        receiptIn(await ask(url, { method: 'PUT', body, token: null })),
      ),
  },
  {
    way: 'an upload link, by tus',
    send: async (name, body, options = {}) =>
      byLink(await makeLink(name, options), ({ tus_url }) => sendTus(tus_url, body, {}, null)),
  },
];

/** The receipt of an upload that must succeed. */
export async function stored(sent: Promise<Receipt | Response>): Promise<Receipt> {
  const answer = await sent;
  if (answer instanceof Response) throw new Error(`${answer.status}: ${await answer.text()}`);
  expect(answer.backup_id).toMatch(/^[0-9A-Z]{26}$/);
  return answer;
}

/** The answer to an upload that must be rejected. */
export async function rejected(sent: Promise<Receipt | Response>): Promise<Response> {
  const answer = await sent;
  if (!(answer instanceof Response)) throw new Error(`it was stored: ${JSON.stringify(answer)}`);
  return answer;
}
