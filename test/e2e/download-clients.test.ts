import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  bearer,
  curlTo,
  cutAfter,
  fileSize,
  headersOf,
  MIB,
  put,
  type Receipt,
  runs,
  type Scratch,
  same,
  scratch,
  sha256Of,
} from './clients.ts';

let vault: LocalVault;
let files: Scratch;
let tar: string;
/** Stored as zstd. */
let packed: Receipt;
/** Stored as it came. */
let plain: Receipt;

beforeAll(async () => {
  files = await scratch();
  tar = await files.mixed('site.tar', 33 * MIB + 321);
  vault = await startLocalVault();
  packed = await put(vault, tar, 'site.tar', '?compression=zstd');
  plain = await put(vault, tar, 'plain.tar', '?compression=none');
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

function address(receipt: Receipt, query = ''): string {
  return `${vault.url}${receipt.download_url}${query}`;
}

const IDENTITY = ['-H', 'Accept-Encoding: identity'];

describe('the zstd command line', () => {
  it('accepts what is stored: -t, -l, and -d gives the file that was uploaded', async () => {
    const stored = files.path('site.tar.zst');
    const { status, headers } = await curlTo(stored, [...bearer(vault), ...IDENTITY, address(packed, '?format=zst')]);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/zstd');
    expect(headers.get('content-length')).toBe(String(packed.stored_size));
    expect(fileSize(stored)).toBe(packed.stored_size);
    expect(packed.stored_size).toBeLessThan(packed.file_size * 0.6);
    await runs('zstd', ['-t', stored]);
    const listing = (await runs('zstd', ['-lv', stored])).stdout.toString();
    // Nine frames of 4 MiB and what is left, then the seek table.
    expect(listing).toMatch(/Zstandard Frames: 9\b/);
    expect(listing).toMatch(/Skippable Frames: 1\b/);
    expect(listing).toContain(`(${fileSize(tar)} B)`);
    if (packed.compression.codec === 'zstd' && packed.compression.engine === 'native')
      expect(listing).toContain('XXH64');
    const back = files.path('zstd.back');
    await runs('zstd', ['-d', '-f', stored, '-o', back]);
    await same(tar, back);
  });

  it('decodes it from a pipe', async () => {
    const command = 'curl -sS -H "Authorization: Bearer $TOKEN" "$URL" | zstd -d | cmp - "$FILE"';
    const env = { TOKEN: vault.token, URL: address(packed, '?format=zst'), FILE: tar };
    await runs('bash', ['-o', 'pipefail', '-c', command], { env });
  });
});

describe('curl', () => {
  it('gets the bytes that were uploaded, with their exact length and checksum', async () => {
    for (const receipt of [packed, plain]) {
      const back = files.path('identity.back');
      const { status, headers } = await curlTo(back, [...bearer(vault), ...IDENTITY, address(receipt)]);
      expect(status).toBe(200);
      expect(headers.get('content-length')).toBe(String(fileSize(tar)));
      expect(headers.has('transfer-encoding')).toBe(false);
      expect(headers.has('content-encoding')).toBe(false);
      expect(headers.get('repr-digest')).toBe(`sha-256=:${Buffer.from(receipt.checksum, 'hex').toString('base64')}:`);
      expect(headers.get('etag')).toMatch(/^"[^"]+"$/);
      if (receipt === plain) expect(headers.get('accept-ranges')).toBe('bytes');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      await same(tar, back);
    }
  });

  it('gets the stored frames as they are when it takes zstd', async () => {
    const encoded = files.path('encoded.zst');
    const args = [...bearer(vault), '-H', 'Accept-Encoding: gzip, zstd', address(packed)];
    const { headers } = await curlTo(encoded, args);
    expect(headers.get('content-encoding')).toBe('zstd');
    expect(headers.get('vary')?.toLowerCase()).toContain('accept-encoding');
    expect(headers.get('content-length')).toBe(String(packed.stored_size));
    const back = files.path('encoded.back');
    await runs('zstd', ['-d', '-f', encoded, '-o', back]);
    await same(tar, back);
  });

  it('decodes them itself with --compressed', async () => {
    // What it takes is what it was built with; Debian's has zstd.
    expect((await runs('curl', ['--version'])).stdout.toString()).toContain('zstd');
    const back = files.path('compressed.back');
    const { headers } = await curlTo(back, [...bearer(vault), '--compressed', address(packed)]);
    expect(headers.get('content-encoding')).toBe('zstd');
    await same(tar, back);
  });

  it.each(['gzip', 'gzip, deflate, br', 'zstd;q=0, gzip', '*'])(
    'gets identity when it takes only %j',
    async (takes) => {
      const back = files.path('gzip-only.back');
      const { headers } = await curlTo(back, [...bearer(vault), '-H', `Accept-Encoding: ${takes}`, address(packed)]);
      expect(headers.has('content-encoding')).toBe(false);
      expect(headers.get('content-length')).toBe(String(fileSize(tar)));
      await same(tar, back);
    },
  );

  it.each(['', '?format=zst', '?format=gz'])('asks HEAD%s and gets the headers that GET has', async (query) => {
    const head = headersOf(
      (await runs('curl', ['-sS', '-I', ...bearer(vault), ...IDENTITY, address(packed, query)])).stdout.toString(),
    );
    const get = await curlTo('/dev/null', [...bearer(vault), ...IDENTITY, address(packed, query)]);
    expect(head.status).toBe(200);
    for (const name of [
      'content-length',
      'content-type',
      'content-disposition',
      'etag',
      'last-modified',
      'repr-digest',
    ]) {
      expect(head.headers.get(name), name).toBe(get.headers.get(name));
    }
  });

  it('is told 304 when it has the file, and each representation has a tag of its own', async () => {
    const tags = new Set<string>();
    const ways: [string, string][] = [
      ['', 'identity'],
      ['', 'zstd'],
      ['?format=zst', 'identity'],
      ['?format=gz', 'identity'],
    ];
    for (const [query, takes] of ways) {
      const args = [...bearer(vault), '-H', `Accept-Encoding: ${takes}`, address(packed, query)];
      const { headers } = await curlTo('/dev/null', ['-I', ...args]);
      const tag = headers.get('etag') ?? '';
      tags.add(tag);
      const again = await curlTo('/dev/null', ['-H', `If-None-Match: ${tag}`, ...args]);
      expect(again.status).toBe(304);
    }
    expect(tags.size).toBe(ways.length);
  });

  it('gets ranges of what is stored, and 416 after its end', async () => {
    const whole = await readFile(tar);
    const part = files.path('part');
    const range = await curlTo(part, [...bearer(vault), ...IDENTITY, '-r', '8388600-8388700', address(plain)]);
    expect(range.status).toBe(206);
    expect(range.headers.get('content-range')).toBe(`bytes 8388600-8388700/${whole.length}`);
    expect((await readFile(part)).equals(whole.subarray(8_388_600, 8_388_701))).toBe(true);
    const suffix = await curlTo(part, [...bearer(vault), ...IDENTITY, '-r', '-5', address(plain)]);
    expect(suffix.headers.get('content-length')).toBe('5');
    expect((await readFile(part)).equals(whole.subarray(-5))).toBe(true);
    const beyond = await curlTo(part, [...bearer(vault), ...IDENTITY, '-r', `${whole.length}-`, address(plain)]);
    expect(beyond.status).toBe(416);
    expect(beyond.headers.get('content-range')).toBe(`bytes */${whole.length}`);
  });

  it('is told 406 for zst of what is stored as it came', async () => {
    const answer = files.path('406');
    expect((await curlTo(answer, [...bearer(vault), address(plain, '?format=zst')])).status).toBe(406);
    expect(JSON.parse((await readFile(answer)).toString())).toMatchObject({ code: 'format-unavailable' });
  });
});

describe('readers that leave in the middle', () => {
  it.each(['', '?format=zst', '?format=gz'])('hold nothing that others wait for (download%s)', async (query) => {
    await Promise.all(
      Array.from({ length: 12 }, () => cutAfter(vault, 1_500_000, address(packed, query), '/dev/null')),
    );
    const back = files.path('after-leaving.back');
    const began = Date.now();
    await curlTo(back, [...bearer(vault), ...IDENTITY, '-m', '30', address(packed)]);
    expect(Date.now() - began).toBeLessThan(15_000);
    await same(tar, back);
  });
});

describe('an export', () => {
  it('is one JSON array to Python, and one object a line', async () => {
    const env = { TOKEN: vault.token, URL: `${vault.url}/export/stream` };
    const fetchIt = (query: string) => `curl -sSf -H "Authorization: Bearer $TOKEN" "$URL${query}"`;
    const names = 'import json, sys; print(*sorted(row["filename"] for row in json.load(sys.stdin)))';
    const json = await runs('bash', ['-o', 'pipefail', '-c', `${fetchIt('')} | python3 -c '${names}'`], { env });
    expect(json.stdout.toString()).toBe('plain.tar site.tar\n');
    const lines = (await runs('bash', ['-c', fetchIt('?format=ndjson&table=jobs')], { env })).stdout.toString();
    const phases = lines
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { phase: string }).phase);
    expect(phases).toEqual(['done', 'done']);
    const { headers } = await curlTo('/dev/null', [...bearer(vault), env.URL]);
    expect(headers.get('content-disposition')).toContain('filename=export.json');
  });
});

describe('gunzip', () => {
  it('reads ?format=gz as the file that was uploaded', async () => {
    for (const receipt of [packed, plain]) {
      const command = 'curl -sS -H "Authorization: Bearer $TOKEN" "$URL" | gunzip | cmp - "$FILE"';
      const env = { TOKEN: vault.token, URL: address(receipt, '?format=gz'), FILE: tar };
      await runs('bash', ['-o', 'pipefail', '-c', command], { env });
    }
  });
});

describe('wget -c', () => {
  it.each(['zst', 'none'])('goes on where a download was cut (%s)', async (way) => {
    const receipt = way === 'zst' ? packed : plain;
    const url = address(receipt, way === 'zst' ? '?format=zst' : '');
    const whole = files.path(`whole.${way}`);
    await curlTo(whole, [...bearer(vault), ...IDENTITY, url]);
    const cut = files.path(`cut.${way}`);
    await cutAfter(vault, 2_500_000, url, cut);
    expect(fileSize(cut)).toBe(2_500_000);
    expect(fileSize(cut)).toBeLessThan(fileSize(whole));
    const rest = await runs('wget', ['-c', '-O', cut, '--header', `Authorization: Bearer ${vault.token}`, url]);
    expect(rest.stderr).toContain('206 Partial Content');
    await same(whole, cut);
    if (way === 'none') expect(await sha256Of(cut)).toBe(receipt.checksum);
  });
});
