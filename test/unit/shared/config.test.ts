import { describe, expect, it } from 'vitest';
import { parseConfig, parseEngine } from '../../../src/shared/config.ts';
import { DEFAULT_MAX_FILE_BYTES, GIB, KIB, MAX_OBJECT_BYTES, MIB } from '../../../src/shared/limits.ts';

describe('the variables of a deployment', () => {
  it('have defaults that a vault works with', () => {
    expect(parseConfig({})).toMatchObject({
      maxFileBytes: DEFAULT_MAX_FILE_BYTES,
      engine: 'auto',
      allowedOrigins: [],
      maxRequestBytes: null,
      uploadRate: null,
      defaultRecipients: [],
      uploadIdleMs: 60_000,
      downloadIdleMs: 60_000,
      minRate: KIB,
      cpuLimitMs: 300_000,
      adminToken: null,
      linkSigningKeys: '',
    });
    expect(parseConfig({ MAX_FILE_SIZE: '', ALLOWED_SUFFIXES: '' })).toEqual(parseConfig({}));
  });

  it('take a size as shared/units.ts has it, of one byte or more', () => {
    for (const [text, bytes] of [
      ['7', 7],
      ['8 MiB', 8 * MIB],
      ['1.5G', 1.5 * GIB],
    ] as const) {
      expect(parseConfig({ MAX_FILE_SIZE: text, MAX_REQUEST_BYTES: text, MAX_UPLOAD_RATE: text })).toMatchObject({
        maxFileBytes: bytes,
        maxRequestBytes: bytes,
        uploadRate: bytes,
      });
    }
    for (const name of ['MAX_FILE_SIZE', 'MAX_REQUEST_BYTES', 'MAX_UPLOAD_RATE', 'MIN_RATE']) {
      for (const text of ['0', '10 MB', 'much']) expect(() => parseConfig({ [name]: text })).toThrow(name);
    }
  });

  it('take a duration as shared/units.ts has it, above 0 and up to a maximum', () => {
    expect(parseConfig({ UPLOAD_TTL: '90' }).uploadTtlMs).toBe(90_000);
    expect(parseConfig({ UPLOAD_TTL: '1.5h' }).uploadTtlMs).toBe(5_400_000);
    for (const text of ['0', '4w', 'soon']) expect(() => parseConfig({ UPLOAD_TTL: text })).toThrow('UPLOAD_TTL');
  });

  it('take a flag as true, false, 1 or 0', () => {
    expect(['true', '1', 'false', '0'].map((text) => parseConfig({ RESUMABLE_DRAFT: text }).resumableDraft)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(() => parseConfig({ RESUMABLE_DRAFT: 'yes' })).toThrow('RESUMABLE_DRAFT');
  });

  it('take the idle times of peers as durations, and their rate as a size', () => {
    const config = parseConfig({ UPLOAD_IDLE: '2s', DOWNLOAD_IDLE: '5m', MIN_RATE: '2KiB' });
    expect(config).toMatchObject({ uploadIdleMs: 2_000, downloadIdleMs: 300_000, minRate: 2 * KIB });
    for (const name of ['UPLOAD_IDLE', 'DOWNLOAD_IDLE']) expect(() => parseConfig({ [name]: '2h' })).toThrow(name);
  });

  it('refuse more than the parts of one object hold', () => {
    expect(() => parseConfig({ MAX_FILE_SIZE: String(MAX_OBJECT_BYTES + 1) })).toThrow('MAX_FILE_SIZE');
    expect(parseConfig({ MAX_FILE_SIZE: String(MAX_OBJECT_BYTES) }).maxFileBytes).toBe(MAX_OBJECT_BYTES);
  });

  it('take lists with commas and blanks', () => {
    const config = parseConfig({ ALLOWED_SUFFIXES: '.TAR, .gz\n.sql', DEFAULT_RECIPIENTS: 'age1a age1b,age1c' });
    expect(config.allowedSuffixes).toEqual(['.tar', '.gz', '.sql']);
    expect(config.defaultRecipients).toEqual(['age1a', 'age1b', 'age1c']);
  });

  it('reject an ADMIN_TOKEN that can be guessed, without showing it, and an origin that is every page', () => {
    expect(() => parseConfig({ ADMIN_TOKEN: 'hunter2-hunter2-hunter2' })).toThrow(/^ADMIN_TOKEN: it has 23 characters/);
    expect(() => parseConfig({ ADMIN_TOKEN: 'hunter2' })).not.toThrow(/hunter2/);
    expect(parseConfig({ ADMIN_TOKEN: 'a'.repeat(24) }).adminToken).toHaveLength(24);
    for (const origins of ['*', 'https://a.example *', 'https://*.a.example']) {
      expect(() => parseConfig({ ALLOWED_ORIGINS: origins })).toThrow('ALLOWED_ORIGINS');
    }
  });

  it('name an engine, or none that there is', () => {
    for (const engine of ['auto', 'native', 'wasm']) expect(parseEngine(engine)).toBe(engine);
    expect(() => parseEngine('fast')).toThrow('ZSTD_ENGINE');
  });
});
