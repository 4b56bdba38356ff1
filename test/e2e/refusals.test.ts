import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import { type Answer, bearer, bucketBytes, curl, jobOf, listed, MIB, type Scratch, scratch } from './clients.ts';

/** A refusal that is sent while the client still sends is lost unless the rest is read: ten of ten must arrive. */
const TRIES = 10;
const CAP = 8 * MIB;

let vault: LocalVault;
let files: Scratch;
let big: string;

beforeAll(async () => {
  files = await scratch();
  big = await files.random('big.tar', 30 * MIB);
  vault = await startLocalVault({ vars: { MAX_FILE_SIZE: '8MiB' } });
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

// Without Expect, so that curl does not wait for leave to send.
const AT_ONCE = ['-H', 'Expect:'];
const CHUNKED = [...AT_ONCE, '-H', 'Transfer-Encoding: chunked'];

async function alwaysRefused(status: number, code: string, send: (attempt: number) => Promise<Answer>): Promise<void> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const answer = await send(attempt);
    expect(answer, `try ${attempt}: ${answer.stderr}`).toMatchObject({
      code: 0,
      status,
      contentType: 'application/problem+json',
    });
    expect(JSON.parse(answer.body)).toMatchObject({ code, status });
  }
}

describe('a refusal reaches a curl that is still sending, ten times of ten', () => {
  it('413 by Content-Length', async () => {
    const url = `${vault.url}/backup/upload/big.tar?job_id=known`;
    await alwaysRefused(413, 'file-too-large', () => curl([...bearer(vault), ...AT_ONCE, '-T', big, url]));
    expect(await jobOf(vault, 'known')).toMatchObject({ phase: 'failed', code: 'file-too-large' });
  });

  it('413 in the middle of a chunked body', async () => {
    const url = `${vault.url}/backup/upload/big.tar?job_id=chunked`;
    await alwaysRefused(413, 'file-too-large', () =>
      curl([...bearer(vault), ...CHUNKED, '-T', '-', url], { stdin: big }),
    );
    expect(await jobOf(vault, 'chunked')).toMatchObject({ phase: 'failed', code: 'file-too-large' });
  });

  it('413 in the middle of a form', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(413, 'file-too-large', () => curl([...bearer(vault), ...AT_ONCE, '-F', `file=@${big}`, url]));
  });

  it('400 for a form whose file has a name that cannot be kept, or whose option is none', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(400, 'invalid-filename', () =>
      curl([...bearer(vault), ...AT_ONCE, '-F', `file=@${big};filename=..`, url]),
    );
    await alwaysRefused(400, 'invalid-option', () =>
      curl([...bearer(vault), ...AT_ONCE, '-F', 'level=99', '-F', `file=@${big}`, url]),
    );
  });

  it('400 for a file under another name than "file", and 401 for a form', async () => {
    const url = `${vault.url}/backup/upload`;
    await alwaysRefused(400, 'no-file', () => curl([...bearer(vault), ...AT_ONCE, '-F', `other=@${big}`, url]));
    await alwaysRefused(401, 'unauthorized', () => curl([...AT_ONCE, '-F', `file=@${big}`, url]));
  });

  it('401 without a token, and with a wrong one', async () => {
    const url = `${vault.url}/backup/upload/big.tar`;
    await alwaysRefused(401, 'unauthorized', (attempt) =>
      curl([...(attempt % 2 ? ['-H', 'Authorization: Bearer wrong'] : []), ...AT_ONCE, '-T', big, url]),
    );
  });

  it('400 for a part of a file', async () => {
    const url = `${vault.url}/backup/upload/big.tar`;
    await alwaysRefused(400, 'partial-upload', () =>
      curl([...bearer(vault), ...AT_ONCE, '-C', '60000', '-T', big, url]),
    );
  });

  it('and nothing is left of any of them', async () => {
    expect(await listed(vault)).toEqual([]);
    expect(await bucketBytes(vault.stateDir)).toBe(0);
  });
});

describe('the cap', () => {
  it('counts the bytes of the file, not the envelope of a form', async () => {
    const exact = await files.random('exact.tar', CAP);
    const form = await curl([...bearer(vault), '-F', `file=@${exact}`, `${vault.url}/backup/upload`]);
    expect(form.status, form.body).toBe(201);
    const raw = await curl([...bearer(vault), '-T', exact, `${vault.url}/backup/upload/`]);
    expect(raw.status, raw.body).toBe(201);
    const over = await files.random('over.tar', CAP + 1);
    const refused = await curl([...bearer(vault), '-F', `file=@${over}`, `${vault.url}/backup/upload`]);
    expect(refused.status).toBe(413);
  });

  it('does not keep a client that asked first (Expect: 100-continue) from its answer', async () => {
    const answer = await curl([
      ...bearer(vault),
      '-H',
      'Expect: 100-continue',
      '-T',
      big,
      `${vault.url}/backup/upload/`,
    ]);
    expect(answer).toMatchObject({ code: 0, status: 413 });
  });
});
