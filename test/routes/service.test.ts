import { describe, expect, it } from 'vitest';
import {
  FLIGHTS_PER_ISOLATE,
  FLIGHTS_PER_UPLOAD,
  READER_CHUNK_BYTES,
  REST_BYTES,
  TURNS_PER_ISOLATE,
} from '../../src/shared/limits.ts';
import { ask, expectProblem } from '../support/vault.ts';

const open = { token: null };

describe('what is open to everybody', () => {
  it.each(['/', '/healthz', '/openapi.json', '/docs', '/capabilities'])('answers %s', async (path) => {
    const response = await ask(path, open);
    expect(response.status).toBe(200);
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9A-Z]{26}$/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    if (response.headers.get('content-type')?.startsWith('text/html')) {
      expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    }
    await response.body?.cancel();
  });

  it('answers the opening of a WebSocket with X-Request-Id and nosniff too', async () => {
    const { status, headers, webSocket } = await ask('/ws/backup/watched', { headers: { upgrade: 'websocket' } });
    expect(status).toBe(101);
    expect(headers.get('x-request-id')).toMatch(/^[0-9A-Z]{26}$/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    webSocket?.accept();
    webSocket?.close();
  });

  it('leaves /.well-known open: what is not there is 404, and never 401', async () => {
    await expectProblem(await ask('/.well-known/security.txt', open), 404, 'not-found');
  });

  it('tells what the vault can do, and what its transfers may hold in memory', async () => {
    const told = await (await ask('/capabilities', open)).json<Record<string, unknown>>();
    expect(told).toMatchObject({ codecs: ['zstd', 'none'], encryption: { format: 'age', by_default: false } });
    expect(told.resumable).toEqual({ tus: '1.0.0', draft: false, expires_in: 6 * 24 * 60 * 60 });
    expect(told.limits).toEqual({
      json_body_bytes: 65_536,
      cpu_seconds: 300,
      upload_idle_seconds: 60,
      download_idle_seconds: 60,
      min_rate: 1024,
    });
    expect(told.memory).toMatchObject({
      unfinished_bytes: REST_BYTES,
      parts_at_once: FLIGHTS_PER_ISOLATE,
      parts_at_once_per_upload: FLIGHTS_PER_UPLOAD,
      decoding_at_once: TURNS_PER_ISOLATE,
      stopped_reader_bytes: READER_CHUNK_BYTES,
      longest_wait_seconds: 10,
    });
  });

  it('tells strangers nothing and wrong methods what is right', async () => {
    await expectProblem(await ask('/nowhere'), 404, 'not-found');
    const wrong = await ask('/backup', { method: 'DELETE' });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    await expectProblem(wrong, 405, 'method-not-allowed');
    for (const path of ['files', 'files/', 'files/a', 'files/a/b']) {
      for (const method of ['PUT', 'POST', 'DELETE']) {
        const refused = await ask(`/backup/01JC8Z5V3M9QK2T7W4X6Y8B0CD/${path}`, { method });
        expect(refused.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
        await expectProblem(refused, 405, 'method-not-allowed');
      }
    }
  });
});
