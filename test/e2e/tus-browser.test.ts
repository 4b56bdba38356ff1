import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { api, jobOf, MIB, type Receipt } from './clients.ts';

/** Debian's; a browser of playwright's own would have to be downloaded. */
const CHROMIUM = '/usr/bin/chromium';

/** What a page needs of Uppy: the whole of it, and its tus plugin. */
const PAGE_SCRIPT = `
  import Uppy from '@uppy/core';
  import Tus from '@uppy/tus';
  Object.assign(globalThis, { Uppy, Tus });
`;

let vault: LocalVault;
let server: Server;
let browser: Browser;
let page: Page;
let complaints: string[];

beforeAll(async () => {
  if (!existsSync(CHROMIUM))
    throw new Error(`${CHROMIUM} is not there: these tests need it (apt-get install chromium)`);
  const script = await bundled(PAGE_SCRIPT);
  server = createServer(({ url }, response) => {
    const [type, body] = url === '/script.js' ? ['text/javascript', script] : ['text/html', PAGE];
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const elsewhere = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  vault = await startLocalVault({ vars: { ALLOWED_ORIGINS: elsewhere } });
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  page = await browser.newPage();
  complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  await page.goto(elsewhere);
});
afterAll(async () => {
  await browser?.close();
  await vault?.stop();
  server?.close();
});

const PAGE = '<!doctype html><title>elsewhere</title><link rel="icon" href="data:,"><script src="/script.js"></script>';

/** By the bundler that wrangler brings along. */
async function bundled(contents: string): Promise<string> {
  const require = createRequire(import.meta.resolve('wrangler'));
  const { build }: Bundler = require('esbuild');
  const stdin = { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) };
  const made = await build({ stdin, bundle: true, write: false, format: 'iife', platform: 'browser' });
  return made.outputFiles[0]?.text ?? '';
}

interface Bundler {
  build(options: object): Promise<{ readonly outputFiles: readonly { readonly text: string }[] }>;
}

interface UploadLink {
  readonly tus_url: string;
  readonly job_id: string;
}

/** A file that the page makes, of which half compresses, sent by Uppy; `during` runs in the page once it is set up. */
function sendByUppy(
  bytes: number,
  options: object,
  during = '',
): Promise<{ failed: string[]; sha256: string; url: string }> {
  return page.evaluate(`(async () => {
    const bytes = new Uint8Array(${bytes});
    for (let at = 0; at < bytes.length; at += 131072) crypto.getRandomValues(bytes.subarray(at, at + 65536).subarray(0, 65536));
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const uppy = new Uppy().use(Tus, ${JSON.stringify({ chunkSize: 5 * MIB, retryDelays: [], ...options })});
    uppy.addFile({ name: 'aus dem Browser – 網.tar', type: 'application/x-tar', data: new Blob([bytes]) });
    ${during}
    const { successful, failed } = await uppy.upload();
    return {
      failed: failed.map(({ error }) => String(error)),
      sha256: digest.toHex(),
      url: successful[0]?.uploadURL ?? '',
    };
  })()`);
}

describe("Uppy's tus plugin, in a page of another origin", () => {
  it('uploads by a signed link alone', async () => {
    const order = { filename: 'für Uppy.tar', job_id: 'uppy' };
    const { body: link } = await api<UploadLink>(vault, 'POST', '/backup/upload-links', order);
    const { failed, sha256, url } = await sendByUppy(12 * MIB, { endpoint: link.tus_url });
    expect([failed, complaints]).toEqual([[], []]);
    expect(new URL(url).searchParams.get('upload_key')).toMatch(/^csu_/);
    const job = await jobOf(vault, 'uppy');
    expect(job).toMatchObject({ phase: 'done', total: 12 * MIB, percentage: 100 });
    const { body: receipt } = await api<Receipt>(vault, 'GET', `/backup/${job.backup_id}`);
    expect(receipt).toMatchObject({ filename: 'für Uppy.tar', file_size: 12 * MIB, checksum: sha256 });
    const again = await sendByUppy(1 * MIB, { endpoint: link.tus_url, storeFingerprintForResuming: false });
    expect(again.failed.join()).toContain('link-used');
    complaints.length = 0;
  });

  it('uploads with a token, is paused, and goes on', async () => {
    const pauseOnce = `
      let paused = 0;
      uppy.on('upload-progress', (file, { bytesUploaded }) => {
        if (bytesUploaded < ${6 * MIB} || paused++ > 0) return;
        uppy.pauseAll();
        setTimeout(() => uppy.resumeAll(), 300);
      });
    `;
    const options = { endpoint: `${vault.url}/tus`, headers: { authorization: `Bearer ${vault.token}` } };
    const { failed, sha256, url } = await sendByUppy(14 * MIB, options, pauseOnce);
    expect([failed, complaints]).toEqual([[], []]);
    const { body } = await api<{ receipt: Receipt }>(vault, 'GET', new URL(url).pathname);
    expect(body.receipt).toMatchObject({ filename: 'aus dem Browser – 網.tar', checksum: sha256 });
  });
});
