/** Uploads in pieces, as shell and fetch send them. */
import { eventually, type Receipt, startCurl, type Vault } from './clients.ts';

export function authorization({ token }: Vault): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

/** The receipt of an upload, once it is done. */
export async function receiptAt(vault: Vault, url: string): Promise<Receipt> {
  const ask = async () => {
    const response = await fetch(url, { headers: authorization(vault) });
    if (response.status !== 200) throw new Error(`${url}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { phase: string; receipt: Receipt | null };
  };
  const { receipt } = await eventually(20_000, ask, ({ phase }) => phase === 'done');
  if (!receipt) throw new Error('done, and no receipt');
  return receipt;
}

/** What HEAD says. */
export async function head(vault: Vault, url: string): Promise<Headers> {
  const headers = { ...authorization(vault), 'tus-resumable': '1.0.0' };
  const response = await fetch(url, { method: 'HEAD', headers });
  if (response.status !== 200) throw new Error(`${url}: ${response.status}`);
  return response.headers;
}

interface Order {
  readonly length: number;
  readonly filename?: string;
  readonly job_id?: string;
}

/** Creates an upload of content that is stored as it comes; gives its address. */
export async function created(vault: Vault, { length, ...names }: Order): Promise<string> {
  const values = { filename: 'site.tar', compression: 'none', ...names };
  const metadata = Object.entries(values).map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`);
  const response = await fetch(`${vault.url}/tus`, {
    method: 'POST',
    headers: {
      ...authorization(vault),
      'tus-resumable': '1.0.0',
      'upload-length': String(length),
      'upload-metadata': metadata.join(','),
    },
  });
  if (response.status !== 201) throw new Error(`no upload: ${response.status} ${await response.text()}`);
  return vault.url + (response.headers.get('location') ?? '');
}

/** Starts a PATCH with these bytes of a file. `rate` as curl takes it. */
export function startPatch({ token }: Vault, url: string, offset: number, file: string, rate = '1G') {
  const headers = [
    `Authorization: Bearer ${token}`,
    'Tus-Resumable: 1.0.0',
    'Content-Type: application/offset+octet-stream',
    `Upload-Offset: ${offset}`,
  ];
  const args = headers.flatMap((header) => ['-H', header]);
  return startCurl([...args, '--limit-rate', rate, '-X', 'PATCH', '-T', file, url]);
}
