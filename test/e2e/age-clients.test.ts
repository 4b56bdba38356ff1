import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  bearer,
  curl,
  curlTo,
  cutAfter,
  fileSize,
  MIB,
  put,
  type Receipt,
  runs,
  type Scratch,
  same,
  scratch,
} from './clients.ts';

/** Debian's age, which shares no code with ours, on the other side. */

let vault: LocalVault;
let files: Scratch;
let tar: string;
let key: string;
let recipient: string;
let identity: string;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 21 * MIB + 77);
  key = files.path('key');
  await runs('age-keygen', ['-o', key]);
  const text = await readFile(key, 'utf8');
  recipient = /age1[0-9a-z]+/.exec(text)?.[0] ?? '';
  identity = /AGE-SECRET-KEY-1[0-9A-Z]+/.exec(text)?.[0] ?? '';
  vault = await startLocalVault();
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

function address(receipt: Receipt, query = ''): string {
  return `${vault.url}${receipt.download_url}${query}`;
}

const IDENTITY = ['-H', 'Accept-Encoding: identity'];

describe('age -d', () => {
  it('opens what the vault encrypted: age -d -i key | zstd -d is the file', async () => {
    const receipt = await put(vault, tar, 'site.tar', `?recipient=${recipient}`);
    const stored = files.path('site.tar.zst.age');
    const { status, headers } = await curlTo(stored, [...bearer(vault), address(receipt)]);
    expect(status).toBe(200);
    expect(headers.get('content-disposition')).toContain('site.tar.zst.age');
    expect(fileSize(stored)).toBe(receipt.stored_size);
    expect(receipt.stored_size).toBeLessThan(receipt.file_size * 0.6);
    const command = 'age -d -i "$KEY" "$STORED" | zstd -d | cmp - "$FILE"';
    await runs('bash', ['-o', 'pipefail', '-c', command], { env: { KEY: key, STORED: stored, FILE: tar } });
    const listing = 'age -d -i "$KEY" "$STORED" > "$OUT" && zstd -t "$OUT" && zstd -l "$OUT"';
    await runs('bash', ['-c', listing], { env: { KEY: key, STORED: stored, OUT: files.path('site.tar.zst') } });
  });

  it('opens what is stored as it came', async () => {
    const receipt = await put(vault, tar, 'plain.tar', `?compression=none&recipient=${recipient}`);
    const command = 'curl -sSf -H "Authorization: Bearer $TOKEN" "$URL" | age -d -i "$KEY" | cmp - "$FILE"';
    const env = { TOKEN: vault.token, URL: address(receipt), KEY: key, FILE: tar };
    await runs('bash', ['-o', 'pipefail', '-c', command], { env });
  });

  it('opens what was encrypted for several, with either key', async () => {
    const other = files.path('other');
    await runs('age-keygen', ['-o', other]);
    const second = /age1[0-9a-z]+/.exec(await readFile(other, 'utf8'))?.[0];
    const receipt = await put(vault, tar, 'two.tar', `?recipient=${recipient}&recipient=${second}`);
    for (const KEY of [key, other]) {
      const command = 'curl -sSf -H "Authorization: Bearer $TOKEN" "$URL" | age -d -i "$KEY" | zstd -d | cmp - "$FILE"';
      const env = { TOKEN: vault.token, URL: address(receipt), KEY, FILE: tar };
      await runs('bash', ['-o', 'pipefail', '-c', command], { env });
    }
  });

  it('goes on where a download of the encrypted file was cut', async () => {
    const receipt = await put(vault, tar, 'cut.tar', `?recipient=${recipient}`);
    const stored = files.path('cut.age');
    await cutAfter(vault, 1_000_000, address(receipt), stored);
    const rest = await curl([...bearer(vault), '-C', '-', '-o', stored, address(receipt)]);
    expect(rest.status).toBe(206);
    const command = 'age -d -i "$KEY" "$STORED" | zstd -d | cmp - "$FILE"';
    await runs('bash', ['-o', 'pipefail', '-c', command], { env: { KEY: key, STORED: stored, FILE: tar } });
  });
});

describe('age -r', () => {
  it('makes a file that the vault keeps, and opens for who sends the identity', async () => {
    const sent = files.path('mine.tar.age');
    await runs('age', ['-r', recipient, '-o', sent, tar]);
    const receipt = await put(vault, sent, 'mine.tar.age');
    expect(receipt).toMatchObject({ compression: { codec: 'none' }, encryption: { format: 'age', by: 'sender' } });
    const kept = files.path('kept.age');
    await curlTo(kept, [...bearer(vault), address(receipt)]);
    await same(sent, kept);
    const clear = files.path('clear.tar');
    await curlTo(clear, [...bearer(vault), ...IDENTITY, '-H', `X-Age-Identity: ${identity}`, address(receipt)]);
    await same(tar, clear);
  });
});

describe('X-Age-Identity', () => {
  it('gets curl the file itself, and the zstd file in it', async () => {
    const receipt = await put(vault, tar, 'open.tar', `?recipient=${recipient}`);
    const sent = [...bearer(vault), ...IDENTITY, '-H', `X-Age-Identity: ${identity}`];
    const back = files.path('open.tar');
    const { headers } = await curlTo(back, [...sent, address(receipt)]);
    expect(headers.get('content-length')).toBe(String(receipt.file_size));
    await same(tar, back);
    const zst = files.path('open.tar.zst');
    await curlTo(zst, [...sent, address(receipt, '?format=zst')]);
    await runs('bash', ['-o', 'pipefail', '-c', 'zstd -dc "$ZST" | cmp - "$FILE"'], { env: { ZST: zst, FILE: tar } });
    expect(vault.logs(), 'no identity in what the vault prints').not.toContain(identity);
  });

  it('of somebody else is refused before the first byte', async () => {
    const receipt = await put(vault, tar, 'closed.tar', `?recipient=${recipient}`);
    const stranger = (await runs('age-keygen', [])).stdout.toString();
    const wrong = /AGE-SECRET-KEY-1[0-9A-Z]+/.exec(stranger)?.[0];
    const answer = await curl([...bearer(vault), '-H', `X-Age-Identity: ${wrong}`, address(receipt)]);
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'wrong-identity' });
  });
});
