import { describe, expect, it } from 'vitest';
import { backupOf, fileUrl } from '../support/archives.ts';
import { ask, type Receipt } from '../support/vault.ts';

const BYTES = 'application/octet-stream';

/** The headers of an answer that a browser must not take for a page of ours. */
async function inert(address: string, init: RequestInit = {}): Promise<string | null> {
  const response = await ask(address, init);
  await response.body?.cancel();
  expect([200, 206]).toContain(response.status);
  expect(Object.fromEntries(response.headers), address).toMatchObject({
    'content-security-policy': "sandbox; default-src 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'content-disposition': expect.stringMatching(/^attachment/),
    'x-content-type-options': 'nosniff',
  });
  return response.headers.get('content-type');
}

/** Uploaded under that name as that type. */
async function stored(name: string, type: string, query = ''): Promise<Receipt> {
  const headers = { 'content-type': type };
  const body = '<script>alert(1)</script>'.repeat(50);
  return (await ask(`/backup/upload/${name}${query}`, { method: 'PUT', headers, body })).json();
}

describe('a download', () => {
  it.each([
    ['x.log', 'text/html', BYTES],
    ['x.log', 'image/svg+xml', BYTES],
    ['x.log', 'text/javascript', BYTES],
    ['x.log', 'application/xhtml+xml', BYTES],
    ['x.log', 'TEXT/HTML; charset=utf-7', BYTES],
    ['x.log', 'text/html\t;x="y"', BYTES],
    ['x.log', 'text/html, text/plain', BYTES],
    ['x.log', 'multipart/x-mixed-replace; boundary=x', BYTES],
    ['x.log', 'application/pdf', BYTES],
    ['x.log', 'application/atom+xml', BYTES],
    ['x.log', 'text/plain', 'text/plain'],
    ['x.log', 'text/plain; charset="UTF-8"', 'text/plain; charset=utf-8'],
    ['x.log', 'text/plain; charset=utf-7', 'text/plain'],
    ['x.log', 'text/plain; charset=iso-2022-jp', 'text/plain'],
    ['x.log', 'text/plain; charset=utf-8; format=flowed', 'text/plain; charset=utf-8'],
    ['x.json', 'application/json', 'application/json'],
  ])('of %s that came as %s is inert, and goes out as %s', async (name, type, served) => {
    const { download_url } = await stored(name, type);
    expect(await inert(download_url)).toBe(served);
    expect(await inert(download_url, { method: 'HEAD' })).toBe(served);
  });

  it('is inert in each of its forms', async () => {
    const { download_url } = await stored('x.log', 'text/html', '?compression=zstd');
    expect(await inert(`${download_url}?format=zst`)).toBe('application/zstd');
    expect(await inert(`${download_url}?format=gz`)).toBe('application/gzip');
    expect(await inert(download_url, { headers: { range: 'bytes=0-9' } })).toBe(BYTES);
    expect(await inert(`${download_url}?filename=x.html`)).toBe(BYTES);
  });
});

describe('a member', () => {
  it.each([
    ['a.html', 'text/html'],
    ['b.svg', 'image/svg+xml'],
    ['c.js', 'text/javascript'],
    ['d.xhtml', 'application/xhtml+xml'],
    ['e.pdf', 'application/pdf'],
    ['f.xml', 'application/xml'],
    ['h".html;x', BYTES],
    ['j.mhtml', BYTES],
    ['.html', 'text/html'],
    ['k.html.', BYTES],
    ['i.txt', 'text/plain'],
  ])('%s is inert, with the type of its name and no charset that nobody knows', async (path, type) => {
    const id = await backupOf([{ path, content: '<script>alert(1)</script>' }]);
    expect(await inert(fileUrl(id, path))).toBe(type);
    expect(await inert(fileUrl(id, path), { headers: { range: 'bytes=0-9' } })).toBe(type);
  });

  it('of a directory, as a tar, is inert', async () => {
    const id = await backupOf([{ path: 'dir/a.html', content: '<p>' }]);
    expect(await inert(fileUrl(id, 'dir/?format=tar'))).toBe('application/x-tar');
  });
});
