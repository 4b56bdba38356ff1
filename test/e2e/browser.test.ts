import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { api, MIB, put, type Receipt, type Scratch, scratch } from './clients.ts';

/** Debian's; a browser of playwright's own would have to be downloaded. */
const CHROMIUM = '/usr/bin/chromium';

let vault: LocalVault;
let files: Scratch;
let tar: string;
let receipt: Receipt;
let browser: Browser;

beforeAll(async () => {
  if (!existsSync(CHROMIUM))
    throw new Error(`${CHROMIUM} is not there: these tests need it (apt-get install chromium)`);
  files = await scratch();
  tar = await files.mixed('site.tar', 9 * MIB);
  vault = await startLocalVault();
  receipt = await put(vault, tar, 'Übersicht "final".tar');
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
});
afterAll(async () => {
  await browser?.close();
  await vault?.stop();
  await files?.remove();
});

/** A page, and everything it complains about: errors, refused loads, violations of its policy. */
async function pageWithComplaints(): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.addInitScript(
    'addEventListener("securitypolicyviolation", (event) => console.error("policy: " + event.violatedDirective));',
  );
  return { page, complaints };
}

describe('a browser', () => {
  it.each(['/', '/docs'])('opens %s without an error and without breaking its policy', async (path) => {
    const { page, complaints } = await pageWithComplaints();
    const response = await page.goto(vault.url + path);
    expect(response?.status()).toBe(200);
    expect(response?.headers()['content-security-policy']).toContain("default-src 'none'");
    expect(await page.locator('h1').first().textContent()).toContain('Coldstream');
    // The one style is let in by its digest: it has taken effect.
    expect(await page.evaluate<string>('getComputedStyle(document.body).maxWidth')).not.toBe('none');
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('goes from the front page to the documentation, which names every route', async () => {
    const { page, complaints } = await pageWithComplaints();
    await page.goto(`${vault.url}/`);
    await page.click('a[href="/docs"]');
    await page.waitForURL('**/docs');
    const text = await page.locator('body').textContent();
    for (const route of ['/backup/upload', '/backup/{backup_id}/download', '/export/stream', '/ws/backup/{job_id}']) {
      expect(text).toContain(route);
    }
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('saves what a signed link opens, under its own name', async () => {
    const { body } = await api<{ url: string }>(vault, 'POST', `/backup/${receipt.backup_id}/links`, {});
    const { page } = await pageWithComplaints();
    await page.goto(`${vault.url}/healthz`);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.evaluate(`location.href = ${JSON.stringify(body.url)}`),
    ]);
    // Quotes are no characters that a browser lets into a name on the disk.
    expect(download.suggestedFilename()).toMatch(/^Übersicht .final.\.tar$/);
    const saved = await download.path();
    expect((await readFile(saved)).equals(await readFile(tar))).toBe(true);
    await page.close();
  });

  it('takes the stored frames as they are and decodes them itself', async () => {
    const { body } = await api<{ url: string }>(vault, 'POST', `/backup/${receipt.backup_id}/links`, {});
    const { page, complaints } = await pageWithComplaints();
    await page.goto(`${vault.url}/healthz`);
    const got = await page.evaluate<{ encoding: string | null; checksum: string }>(`(async () => {
      const response = await fetch(${JSON.stringify(body.url)});
      const digest = await crypto.subtle.digest('SHA-256', await response.arrayBuffer());
      return { encoding: response.headers.get('content-encoding'), checksum: new Uint8Array(digest).toHex() };
    })()`);
    expect(got).toEqual({ encoding: 'zstd', checksum: receipt.checksum });
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('watches a job from a page of the vault by a signed URL', async () => {
    const { body } = await api<{ url: string }>(vault, 'POST', '/jobs/browser/links', {});
    const { page } = await pageWithComplaints();
    // An answer without a policy of its own: the front page may not connect anywhere, and need not.
    await page.goto(`${vault.url}/healthz`);
    await page.evaluate(`
      globalThis.seen = [];
      globalThis.ended = new Promise((resolve, reject) => {
        const socket = new WebSocket(${JSON.stringify(body.url)});
        socket.onerror = () => reject(new Error('the WebSocket failed'));
        socket.onmessage = ({ data }) => {
          seen.push(JSON.parse(data));
          if (['done', 'failed'].includes(seen.at(-1).phase)) resolve(seen);
        };
      });
      undefined; // else this call would wait for the promise
    `);
    await page.waitForFunction('seen.length > 0');
    const { backup_id } = await put(vault, tar, 'watched.tar', '?job_id=browser');
    const seen = await page.evaluate<{ phase: string; backup_id?: string }[]>('ended');
    expect(seen[0]).toMatchObject({ phase: 'waiting' });
    expect(seen.at(-1)).toMatchObject({ phase: 'done', backup_id, percentage: 100 });
    await page.close();
  });

  it('may not watch from a page of another origin', async () => {
    const { body } = await api<{ url: string }>(vault, 'POST', '/jobs/foreign/links', {});
    const { page } = await pageWithComplaints();
    await page.goto('data:text/html,<title>elsewhere</title>');
    const outcome = await page.evaluate<string>(`new Promise((resolve) => {
      const socket = new WebSocket(${JSON.stringify(body.url)});
      socket.onopen = () => resolve('opened');
      socket.onerror = () => resolve('refused');
    })`);
    expect(outcome).toBe('refused');
    await page.close();
  });
});
