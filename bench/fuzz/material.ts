/** What the requests of the fuzz are made of: credentials, ids that exist, signed URLs, bodies. */
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { pack } from 'tar-stream';
import type { LocalVault } from '../../src/cli/local-vault.ts';

export interface Material {
  readonly tokens: Readonly<Record<'admin' | 'read' | 'write', string>>;
  /** Values that exist in the vault, by the name of their parameter, field or (lower-case) header. */
  readonly values: Record<string, string[]>;
  /** Paths of signed URLs, with their query. */
  readonly links: string[];
  readonly bodies: readonly Uint8Array[];
}

const JSON_ROWS = '[{"id":1,"name":"pump","price":12.5},{"id":"x"}]';

/** Fills an empty vault. */
export async function makeMaterial(vault: LocalVault): Promise<Material> {
  const call = async <T>(
    method: string,
    path: string,
    body: string | Uint8Array<ArrayBuffer> | null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T & { readonly location: string }> => {
    const authorization = `Bearer ${vault.token}`;
    const answer = await fetch(vault.url + path, { method, headers: { authorization, ...headers }, body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return { ...(JSON.parse(text || '{}') as T), location: answer.headers.get('location') ?? '' };
  };
  const json = { 'content-type': 'application/json' };
  const token = async (scope: 'read' | 'write') =>
    (await call<{ token: string }>('POST', '/tokens', JSON.stringify({ name: scope, scopes: [scope] }), json)).token;
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  const tar = await smallTar();
  const bodies = [
    ...[
      new Uint8Array(),
      Buffer.from('x'),
      randomBytes(3000),
      Buffer.from(JSON_ROWS),
      Buffer.from('{"id":1}\n{"id":2}\n'),
    ],
    ...[tar, gzipSync(tar), zstdCompressSync(tar), tar.subarray(0, 700), gzipSync(tar).subarray(0, 99)],
    ...[
      zstdCompressSync(tar).subarray(0, 60),
      Buffer.from('age-encryption.org/v1\n-> X25519 x\n'),
      Buffer.alloc(65_536),
    ],
  ];
  const ids: string[] = [];
  for (const [name, body, query] of [
    ['site.tar', tar, ''],
    ['plain.tar', tar, '?compression=none'],
    ['site.tar.gz', gzipSync(tar), ''],
    ['rows.json', Buffer.from(JSON_ROWS), ''],
    ['page.html', Buffer.from('<script>1</script>'), ''],
    ['secret.tar', tar, `?recipient=${recipient}`],
  ] as const) {
    ids.push((await call<{ backup_id: string }>('PUT', `/backup/upload/${name}${query}`, body)).backup_id);
  }
  const links: string[] = [];
  for (const [path, order] of [
    [`/backup/${ids[0]}/links`, {}],
    [`/backup/${ids[0]}/links`, { path: 'README.md' }],
    [`/backup/${ids[1]}/links`, { format: 'gz' }],
    ['/backup/upload-links', { filename: 'up.tar' }],
    ['/jobs/nightly/links', {}],
  ] as const) {
    const made = await call<Record<string, string>>('POST', path, JSON.stringify(order), json).catch(() => ({}));
    for (const url of Object.values(made)) {
      if (typeof url === 'string' && url.includes('signature=')) links.push(url.replace(/^\w+:\/\/[^/]+/, ''));
    }
  }
  const uploads: string[] = [];
  for (const length of ['5', '70000']) {
    const headers = { 'tus-resumable': '1.0.0', 'upload-length': length, 'upload-metadata': 'filename dHVzLnRhcg==' };
    const { location } = await call<object>('POST', '/tus', null, headers);
    uploads.push(location.split('/').at(-1) ?? '');
  }
  const files = await call<{ files: { path: string }[] }>('GET', `/backup/${ids[0]}/files`, null);
  return {
    tokens: { admin: vault.token, read: await token('read'), write: await token('write') },
    values: {
      backup_id: ids,
      upload_id: uploads,
      job_id: [...ids, ...uploads, 'nightly'],
      path: [...files.files.map(({ path }) => path), ''],
      recipient: [recipient],
      'x-age-identity': [identity],
      database: ['sample'],
      table: ['items', 'backups', 'jobs'],
      name: ['up.tar', 'web1/é.json', 'links', 'a/../b'],
      filename: ['up.tar', 'é.json'],
      prefix: ['up', 'web1/'],
      before: ['2099-01-01'],
      after: ['2026-01-01T00:00:00Z'],
      sha256: ['a'.repeat(64)],
      scopes: ['read', 'write', 'admin'],
    },
    links,
    bodies,
  };
}

async function smallTar(): Promise<Uint8Array<ArrayBuffer>> {
  const tar = pack();
  tar.entry({ name: 'README.md' }, 'read me');
  tar.entry({ name: 'src/', type: 'directory' });
  tar.entry({ name: 'src/a%2Fb é.txt' }, 'x'.repeat(20_000));
  tar.entry({ name: 'src/link', type: 'symlink', linkname: '../README.md' });
  tar.entry({ name: 'src/hard', type: 'link', linkname: 'README.md' });
  tar.finalize();
  return Uint8Array.from(await buffer(tar));
}
