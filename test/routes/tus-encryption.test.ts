import { evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it } from 'vitest';
import { services } from '../../src/services.ts';
import { MIB, WRITER_RESTS_MS } from '../../src/shared/limits.ts';
import { type Bytes, create, creating, cut, patch, send, shown, standing } from '../support/tus.ts';
import { ask, expectProblem, sample, sha256Hex } from '../support/vault.ts';

const mine = await generateX25519Identity();
const forMe = await identityToRecipient(mine);
const theirs = await generateX25519Identity();

interface Encrypted {
  readonly backup_id: string;
  readonly stored_size: number;
  readonly encryption: { readonly by: string; readonly recipients: string[] } | null;
  readonly archive: unknown;
}

/** Sends all of it, and gives the receipt. */
async function uploaded(content: Bytes, sizes: readonly number[], more: Record<string, string>): Promise<Encrypted> {
  const upload = await create({ length: content.length, metadata: { allow_empty: 'true', ...more } });
  await send(upload, cut(content, sizes));
  const { phase, receipt } = await shown(upload);
  expect(phase).toBe('done');
  return receipt as unknown as Encrypted;
}

/** The content, by its checksum: comparing megabytes one by one takes seconds. */
async function opened({ backup_id }: Encrypted, identity: string): Promise<string> {
  const headers = { 'x-age-identity': identity, 'accept-encoding': 'identity' };
  const response = await ask(`/backup/${backup_id}/download`, { headers });
  expect(response.status).toBe(200);
  return sha256Hex(new Uint8Array(await response.arrayBuffer()));
}

/** Where frames, chunks of age and the first bytes are cut. */
const SIZES = [[1], [23, 1], [65_536], [65_535, 2], [MIB, 4 * MIB - 1, 2], [4 * MIB, 1]];

describe('an upload in pieces for a recipient', () => {
  it.each(SIZES.flatMap((sizes) => ['zstd', 'none'].map((compression) => ({ sizes, compression }))))(
    'is encrypted across pieces of $sizes bytes, $compression',
    async ({ sizes, compression }) => {
      const content = sample(6 * MIB);
      const receipt = await uploaded(content, sizes, { recipient: forMe, compression });
      expect(receipt).toMatchObject({ encryption: { format: 'age', by: 'vault', recipients: [forMe] }, archive: null });
      expect(await opened(receipt, mine)).toBe(await sha256Hex(content));
    },
  );

  it.each([0, 1, 23])('is encrypted where it has %i bytes', async (bytes) => {
    const content = sample(bytes);
    const receipt = await uploaded(content, [], { recipient: forMe });
    expect(receipt.encryption?.by).toBe('vault');
    expect(await opened(receipt, mine)).toBe(await sha256Hex(content));
  });

  it('opens for nobody else, and nothing of how is left with the session', async () => {
    const receipt = await uploaded(sample(100_000), [50_000], { recipient: forMe });
    const headers = { 'x-age-identity': theirs };
    await expectProblem(await ask(`/backup/${receipt.backup_id}/download`, { headers }), 403, 'wrong-identity');
    const session = env.UPLOADS.get(env.UPLOADS.idFromName(receipt.backup_id));
    await runInDurableObject(session, (_, state) => {
      expect(state.storage.kv.get('sealing')).toBeUndefined();
      expect(state.storage.sql.exec('SELECT count(*) AS n FROM kept').one().n).toBe(0);
    });
  });

  it('goes on after the object was thrown out of memory', async () => {
    const content = sample(5 * MIB);
    const upload = await create({ length: content.length, metadata: { recipient: forMe } });
    for (const piece of cut(content, [10, 4 * MIB])) {
      const { offset } = await standing(upload);
      expect((await patch(upload, offset, piece)).status).toBe(204);
      // Until then the session keeps its writer.
      await scheduler.wait(WRITER_RESTS_MS + 300);
      await evictDurableObject(env.UPLOADS.get(env.UPLOADS.idFromName(upload.id)));
    }
    const { receipt } = await shown(upload);
    expect(await opened(receipt as unknown as Encrypted, mine)).toBe(await sha256Hex(content));
  });

  it('is refused before a byte where the recipient is none', async () => {
    const refused = await creating({ length: 5, metadata: { recipient: 'age1nobody' } });
    await expectProblem(refused, 400, 'invalid-recipient');
  });
});

describe('a vault with default recipients', () => {
  it('encrypts uploads in pieces that name none, and keeps what came encrypted as it is', async () => {
    const real = services(env);
    const defaults = real.defaultRecipients;
    Object.defineProperty(real, 'defaultRecipients', { value: [forMe], configurable: true });
    try {
      expect((await uploaded(sample(1000), [1], {})).encryption).toMatchObject({ by: 'vault', recipients: [forMe] });
      const encrypter = new Encrypter();
      encrypter.addRecipient(forMe);
      const file = new Uint8Array(await encrypter.encrypt('private'));
      const came = await uploaded(file, [1, 1, 1], { filename: 'notes.txt.age' });
      expect(came.encryption).toEqual({ format: 'age', by: 'sender', recipients: [] });
      expect(came.stored_size).toBe(file.length);
      const dump = new TextEncoder().encode(`age-encryption.org/v1\n${'INSERT INTO shop VALUES (1);\n'.repeat(50)}`);
      const pretender = await uploaded(new Uint8Array(dump), [1, 22, 30], { filename: 'dump.sql' });
      expect(pretender.encryption).toMatchObject({ by: 'vault', recipients: [forMe] });
    } finally {
      Object.defineProperty(real, 'defaultRecipients', { value: defaults, configurable: true });
    }
  });
});
