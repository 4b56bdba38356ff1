import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { copyFile, mkdir, truncate, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Upload } from 'tus-js-client';
import { beforeAll, describe, expect, it } from 'vitest';
import { VaultUnreachable } from '../../src/cli/coldstream/vault-client.ts';
import { api, fileSize, MIB, put, type Receipt, runs, same } from './clients.ts';
import {
  type Called,
  COMMAND,
  checkStored,
  coldstream,
  files,
  kept,
  killed,
  oldestNode,
  overLine,
  pushed,
  sentOver,
  startCommand,
  state,
  succeeds,
  vault,
  withVault,
} from './coldstream.ts';

withVault();

describe('coldstream push and pull', () => {
  it('bring a file in and back, byte for byte, with results on stdout and remarks on stderr', async () => {
    const file = await files.mixed('site.tar', 18 * MIB + 5);
    const { stdout, stderr } = await succeeds(['push', file, '--level', '5', '--job', 'a-file']);
    expect(stdout).toMatch(/^\w{26} {2}18\.0 MiB, .* stored {2}site\.tar\n$/);
    const id = stdout.slice(0, 26);
    expect(stderr, 'off a terminal a line a file is all').toBe('');
    expect(kept()).toEqual([]);

    const folder = files.path('here');
    await mkdir(folder);
    const pulled = await succeeds(['pull', id], { cwd: folder });
    expect(pulled).toMatchObject({ stdout: '', stderr: expect.stringContaining('site.tar is complete; its SHA-256') });
    await same(file, join(folder, 'site.tar'));
    expect(readdirSync(folder)).toEqual(['site.tar']);

    const again = await coldstream(['pull', id], { cwd: folder });
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('--force replaces it') });
    await succeeds(['pull', id, '--force', '-q'], { cwd: folder });
    const { stdout: piped } = await coldstream(['pull', id, '-o', '-']);
    await writeFile(files.path('piped'), piped);
    await same(file, files.path('piped'));
  });

  it('bring the stored zstd file and a gzip of it too', async () => {
    const file = await files.mixed('forms.sql', 6 * MIB);
    const { backup_id } = await pushed([file]);
    await succeeds(['pull', backup_id, '--format', 'zst', '-o', files.path('')]);
    await runs('zstd', ['-dqf', files.path('forms.sql.zst'), '-o', files.path('from-zst')]);
    await same(file, files.path('from-zst'));
    await succeeds(['pull', backup_id, '--format', 'gz', '-o', files.path('')]);
    await runs('bash', ['-c', 'gunzip < "$IN" | cmp - "$FILE"'], {
      env: { IN: files.path('forms.sql.gz'), FILE: file },
    });
  });

  it('take an empty file, and refuse an empty pipe: its command has failed', async () => {
    await writeFile(files.path('empty.sql'), '');
    const receipt = await pushed([files.path('empty.sql')]);
    expect(receipt.file_size).toBe(0);
    await checkStored(receipt, files.path('empty.sql'));
    const pipe = await coldstream(['push', '-', '--name', 'nothing.sql']);
    expect(pipe).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('The input is empty, so nothing was stored'),
    });
  });

  it('take what comes through a pipe, of unknown length', async () => {
    const file = await files.random('piped.sql', 20 * MIB + 1);
    const receipt = await pushed(['-', '--name', 'données.sql', '--chunk', '8MiB'], { stdin: file });
    expect(receipt.filename).toBe('données.sql');
    await checkStored(receipt, file);
    // Exactly so many pieces, so that the length is told by the last of them.
    const whole = await files.random('whole.sql', 8 * MIB);
    await checkStored(await pushed(['-', '--name', 'whole.sql', '--chunk', '4MiB'], { stdin: whole }), whole);
  });

  it('push several files at once; one that is refused does not stop the others', async () => {
    const names = ['one.tar', 'two.tar', 'th\u0007ree.tar', 'four.tar'];
    const paths = await Promise.all(names.map((name) => files.random(name, 3 * MIB)));
    const { code, stdout, stderr } = await coldstream(['push', '--json', ...paths, '--parallel', '2']);
    expect(code).toBe(3);
    expect(stderr).toMatch(/ree\.tar: .*\(invalid-name\)/);
    expect(stderr).toContain('1 of 4 are not in the vault.');
    const receipts = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Receipt);
    expect(receipts.map(({ filename }) => filename).sort()).toEqual(['four.tar', 'one.tar', 'two.tar']);
  });

  it('pull goes on with what an earlier one left, and removes what is not the vault’s', async () => {
    const file = await files.random('part.tar', 12 * MIB);
    const { backup_id } = await pushed([file]);
    const folder = files.path('parts');
    await mkdir(folder);
    const part = join(folder, `${backup_id}.part`);
    await copyFile(file, part);
    await truncate(part, 5 * MIB);
    const { stderr } = await succeeds(['pull', backup_id], { cwd: folder });
    expect(stderr).toContain('part.tar: resumes at 5.00 MiB');
    await same(file, join(folder, 'part.tar'));

    await writeFile(part, 'something else altogether');
    const wrong = await coldstream(['pull', backup_id, '--force'], { cwd: folder });
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('do not have the SHA-256 of the receipt') });
    expect(readdirSync(folder), 'the file that was there is whole').toEqual(['part.tar']);
    await same(file, join(folder, 'part.tar'));
  });
});

describe('coldstream push --compress', () => {
  const node = process.execPath;

  it('sends zstd frames, which the vault keeps as they are: name, size and checksum are those of the file', async () => {
    const folder = files.path('tree');
    await mkdir(folder);
    await files.mixed('tree/a.bin', 9 * MIB);
    await writeFile(join(folder, 'b.txt'), 'within a tar, within zstd\n');
    await runs('tar', ['-C', files.path(''), '-cf', files.path('tree.tar'), 'tree']);
    const receipt = await pushed(['--compress', '--level', '4', files.path('tree.tar')], { node });
    expect(receipt).toMatchObject({
      filename: 'tree.tar',
      compression: { codec: 'zstd', level: null, engine: 'client', frames: 3 },
    });
    expect(receipt.stored_size).toBeLessThan(6 * MIB);
    await checkStored(receipt, files.path('tree.tar'));
    await succeeds(['pull', receipt.backup_id, '--format', 'zst', '-o', files.path('')]);
    const { stdout } = await runs('zstd', ['-lv', files.path('tree.tar.zst')]);
    expect(stdout.toString()).toMatch(/Zstandard Frames: 3\n# Skippable Frames: 1\n/);
    expect(stdout.toString()).toContain('Check: XXH64');
    const member = await succeeds(['cat', receipt.backup_id, 'tree/b.txt']);
    expect(member.stdout).toBe('within a tar, within zstd\n');
  });

  it('goes on after kill -9, though nobody knows its length', async () => {
    const file = await files.mixed('compressed.tar', 32 * MIB);
    await overLine({ bytesPerSecond: 12 * MIB }, async (line) => {
      const args = ['--compress', '--chunk', '4MiB', file];
      const { child, ended } = startCommand(['push', ...args], { line, node });
      await sentOver(line, 9 * MIB);
      await killed(child, ended);
      const before = line.sent();
      const { stdout, stderr } = await succeeds(['push', '--json', ...args], { line, node });
      expect(stderr).toMatch(/resumes at \d+(\.\d+)? MiB sent/);
      const receipt = JSON.parse(stdout) as Receipt;
      expect(line.sent() - before).toBeLessThan(receipt.stored_size - 4 * MIB);
      expect(receipt.filename).toBe('compressed.tar');
      await checkStored(receipt, file);
    });
  });

  it.runIf(oldestNode.major < 22)('says what to do where Node is too old for it', async () => {
    const old = await coldstream(['push', '--compress', files.path('tree.tar')]);
    expect(old).toMatchObject({ code: 2, stderr: expect.stringContaining('--compress needs Node 22.15 or newer') });
  });
});

describe('coldstream ls, files, cat, link and watch', () => {
  let archive: Receipt;

  beforeAll(async () => {
    const folder = files.path('www');
    await mkdir(join(folder, 'deep/er'), { recursive: true });
    await files.random('www/big.bin', 3 * MIB);
    await writeFile(join(folder, 'deep/er/ünïcode file.txt'), 'grüße\n');
    // A terminal would be told to clear its screen.
    await writeFile(join(folder, 'evil\x1b[2J.txt'), '');
    const env = {
      COLDSTREAM_URL: vault.url,
      COLDSTREAM_TOKEN: vault.token,
      XDG_STATE_HOME: state,
      NODE: oldestNode.program,
      COMMAND,
    };
    const { stdout } = await runs(
      'bash',
      ['-c', 'tar -c www | "$NODE" "$COMMAND" push - --name www.tar --job www --json'],
      {
        cwd: files.path(''),
        env,
      },
    );
    const { backup_id } = JSON.parse(stdout.toString()) as Receipt;
    archive = (await api<Receipt>(vault, 'GET', `/backup/${backup_id}`)).body;
  });

  it('list backups and the files of an archive, for people and for programs', async () => {
    const { stdout } = await succeeds(['ls', 'www']);
    expect(stdout).toMatch(
      new RegExp(`^${archive.backup_id} {2}20\\d\\d-\\d\\d-\\d\\d \\d\\d:\\d\\d .* MiB {2}- +www\\.tar\n$`),
    );
    const json = await succeeds(['ls', '--json', '--limit', '2']);
    const lines = json.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Receipt);
    expect(lines).toHaveLength(2);
    expect(lines[0]?.backup_id).toBe(archive.backup_id);
    expect((await succeeds(['ls', 'no-such-name'])).stdout).toBe('');

    const listed = (await succeeds(['files', archive.backup_id, 'www/'])).stdout;
    expect(listed).toMatch(/^-0\d\d\d +3145728 {2}20.* {2}www\/big\.bin$/m);
    expect(listed).toMatch(/^d0\d\d\d .* {2}www\/deep\/er$/m);
    expect(listed).toContain('www/evil\\x1b[2J.txt');
    expect(listed).not.toContain('\x1b');
  });

  it('give one file, whatever its name', async () => {
    await runs('cmp', [await catTo(archive.backup_id, 'www/big.bin'), files.path('www/big.bin')]);
    expect((await succeeds(['cat', archive.backup_id, 'www/deep/er/ünïcode file.txt'])).stdout).toBe('grüße\n');
    const folder = await coldstream(['cat', archive.backup_id, 'www/deep/']);
    expect(folder).toMatchObject({ code: 1, stderr: expect.stringContaining('www/deep/ is a directory') });
    const missing = await coldstream(['cat', archive.backup_id, '../etc/passwd']);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('(not-found)') });
  });

  it('end quietly with a reader that has enough', async () => {
    const env = { COLDSTREAM_URL: vault.url, COLDSTREAM_TOKEN: vault.token, NODE: oldestNode.program, COMMAND };
    const script = 'set -o pipefail; "$NODE" "$COMMAND" pull "$ID" -o - | head -c 10 | wc -c; echo $?';
    const { stdout, stderr } = await runs('bash', ['-c', script], { env: { ...env, ID: archive.backup_id } });
    expect(stdout.toString().trim().split(/\s+/)).toEqual(['10', '141']);
    expect(stderr).not.toContain('EPIPE');
  });

  it('make links that need no token', async () => {
    const { stdout, stderr } = await succeeds(['link', archive.backup_id, '--path', 'www/big.bin', '--expires', '10m']);
    expect(stderr).toMatch(/^Valid until 20/);
    await runs('curl', ['-sSf', '-o', files.path('linked'), stdout.trim()]);
    await same(files.path('linked'), files.path('www/big.bin'));
    const json = JSON.parse((await succeeds(['link', '--json', '--format', 'zst', archive.backup_id])).stdout);
    expect(json).toMatchObject({
      url: expect.stringContaining('format=zst'),
      expires_at: expect.stringMatching(/^20/),
    });
  });

  it('watch a job that is over, one that runs, and one that fails', async () => {
    expect((await succeeds(['watch', 'www'])).stdout.trim()).toBe(archive.backup_id);
    const file = await files.random('watched.tar', 12 * MIB);
    await overLine({ bytesPerSecond: 8 * MIB }, async (line) => {
      const watching = startCommand(['watch', 'to-come', '--json']);
      await once(watching.child.stdout, 'data');
      const receipt = await pushed([file, '--job', 'to-come'], { line });
      const { code, stdout } = await watching.ended;
      expect(code).toBe(0);
      const updates = stdout
        .toString()
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text));
      expect(updates.filter(({ phase }) => phase === 'receiving').length).toBeGreaterThan(2);
      expect(updates.at(-1)).toMatchObject({ phase: 'done', backup_id: receipt.backup_id });
    });
    await expect(put(vault, file, 'failing.tar', `?job_id=failing&sha256=${'0'.repeat(64)}`)).rejects.toThrow('422');
    const failed = await coldstream(['watch', 'failing']);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining('(checksum-mismatch)') });
  });
});

describe('coldstream, called wrongly,', () => {
  const usage: readonly (readonly [string, readonly string[], Called, RegExp])[] = [
    ['without a command', [], {}, /Usage: coldstream/],
    ['with a command that is none', ['psuh', 'x'], {}, /Did you mean push/],
    ['with an option that is none', ['push', 'x', '--nmae', 'y'], {}, /Did you mean --name/],
    ['with a level that is none', ['push', 'x', '--level', '99'], {}, /from 1 to 22/],
    ['with a size that is none', ['push', 'x', '--chunk', 'big'], {}, /like 512KiB, 16M/],
    ['without a vault', ['ls'], { env: { COLDSTREAM_URL: '' } }, /Set COLDSTREAM_URL/],
    ['with an address that is none', ['ls', '--url', 'https://a.example/b'], {}, /is no address of a vault/],
    ['without a token', ['ls'], { env: { COLDSTREAM_TOKEN: '' } }, /Set COLDSTREAM_TOKEN/],
    ['with a pipe without a name', ['push', '-'], {}, /needs a name/],
    ['with one name for two files', ['push', 'a', 'b', '--name', 'c'], {}, /--name is for one file/],
  ];
  it.each(usage)('%s, says so and ends with 2', async (_how, args, options, words) => {
    const { code, stdout, stderr } = await coldstream(args, options);
    expect(stderr).toMatch(words);
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: '' });
  });

  it('or with a wrong token, a vault that is not there, or no file: says so and ends with 1', async () => {
    const token = 'cst_a-token-that-is-wrong';
    const wrong = await coldstream(['ls'], { token });
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringMatching(/\(unauthorized\)\n.*COLDSTREAM_TOKEN/) });
    expect(wrong.stderr + wrong.stdout).not.toContain(token);
    await writeFile(files.path('token'), `${vault.token}\n`);
    await succeeds(['ls', '--token-file', files.path('token')], { token });

    const nobody = await coldstream(['ls', '--url', 'http://127.0.0.1:9']);
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining('http://127.0.0.1:9 cannot be reached') });
    const nothing = await coldstream(['push', files.path('not-there.tar')]);
    expect(nothing).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not-there.tar: no such file or directory (ENOENT)'),
    });
  });

  it('or asked for help, tells on standard output', async () => {
    expect((await succeeds(['--help'])).stdout).toContain('push [options] [source...]');
    expect((await succeeds(['push', '--help'])).stdout).toContain('COLDSTREAM_TOKEN');
    expect((await succeeds(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('coldstream, at a vault that is busy,', () => {
  /**
   * Answers each kind of request once as a busy vault does, and passes the next one on. HEAD is passed on at once:
   * tus-js-client answers any refusal of it with a new upload.
   */
  async function busyOnce(status: number, code: string, use: (url: string, refused: () => string[]) => Promise<void>) {
    const refused = new Set<string>();
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      const kind = `${request.method} ${request.url?.split('?')[0]}`;
      if (!refused.has(kind) && request.url !== '/capabilities' && request.method !== 'HEAD') {
        refused.add(kind);
        request.resume();
        const headers = { 'content-type': 'application/problem+json', 'retry-after': '1', 'x-request-id': 'x' };
        response.writeHead(status, headers).end(JSON.stringify({ status, code, detail: 'Try again.' }));
        return;
      }
      const { hostname, port } = new URL(vault.url);
      const { method, url: path, headers } = request;
      const passed = httpRequest({ hostname, port, method, path, headers }, (from) => {
        response.writeHead(from.statusCode ?? 502, from.headers);
        from.pipe(response);
      });
      passed.on('error', () => response.destroy());
      request.pipe(passed);
    };
    const server = createServer(answer);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, () => [...refused]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it.each([
    [503, 'busy'],
    [429, 'too-many-transfers'],
    [409, 'job-running'],
  ])('waits as long as Retry-After says (%i %s): push, pull, ls, files, cat and link', async (status, code) => {
    const tar = files.path(`busy-${status}.tar`);
    await mkdir(files.path(`busy-${status}/dir`), { recursive: true });
    await writeFile(files.path(`busy-${status}/dir/a.txt`), 'in the archive');
    await runs('tar', ['-cf', tar, '-C', files.path(`busy-${status}`), 'dir']);
    await busyOnce(status, code, async (url, refused) => {
      const at = ['--url', url];
      const { backup_id } = JSON.parse((await succeeds(['push', '--json', tar, ...at])).stdout) as Receipt;
      const out = files.path(`busy-${status}.out`);
      await succeeds(['pull', backup_id, '-o', out, ...at]);
      await same(out, tar);
      expect((await succeeds(['ls', ...at])).stdout).toContain(backup_id);
      expect((await succeeds(['files', backup_id, ...at])).stdout).toContain('dir/a.txt');
      expect((await succeeds(['cat', backup_id, 'dir/a.txt', ...at])).stdout).toBe('in the archive');
      expect((await succeeds(['link', backup_id, ...at])).stdout).toContain('signature=');
      const kinds = refused().join('\n');
      for (const kind of [
        /^POST \/tus$/m,
        /^PATCH \/tus\//m,
        /^GET \/backup$/m,
        /^POST .*\/links$/m,
        /^GET .*\/download$/m,
      ]) {
        expect(kinds).toMatch(kind);
      }
    });
  });

  it('is asked again by tus-js-client too, which retries 503 by itself', async () => {
    await busyOnce(503, 'busy', async (url, refused) => {
      const content = Buffer.from('by tus-js-client');
      const [error] = await new Promise<unknown[]>((resolve) => {
        const upload = new Upload(content, {
          endpoint: `${url}/tus`,
          headers: { Authorization: `Bearer ${vault.token}` },
          metadata: { filename: 'client.bin' },
          retryDelays: [10, 10, 10],
          onSuccess: () => resolve([]),
          onError: (failure) => resolve([failure]),
        });
        upload.start();
      });
      expect(error).toBeUndefined();
      expect(refused().map((kind) => kind.split(' ')[0])).toEqual(['POST', 'PATCH']);
    });
  });
});

describe('coldstream, at an address that is no vault,', () => {
  interface Answer {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  }

  /** A server that answers everything alike. */
  async function servedAs({ status, headers, body }: Answer, use: (port: number) => Promise<void>): Promise<void> {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(status, headers).end(body);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      await use((server.address() as AddressInfo).port);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  const html = { 'content-type': 'text/html; charset=utf-8' };
  const answers: readonly (readonly [string, Answer, RegExp])[] = [
    ['a page', { status: 200, headers: html, body: '<!doctype html>' }, /is not a Coldstream vault: .* a web page\./],
    [
      'a page with a request id',
      { status: 200, headers: { ...html, 'x-request-id': 'abc' }, body: '<!doctype html>' },
      /is not a Coldstream vault: .* a web page\./,
    ],
    [
      'JSON of others',
      { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' },
      /not a Coldstream/,
    ],
    [
      '404',
      { status: 404, headers: html, body: '<h1>Not Found</h1>' },
      /is not a Coldstream vault: .* 404 and a web page/,
    ],
    [
      'a redirect to TLS',
      { status: 301, headers: { location: 'https://vault.example/x' }, body: '' },
      /redirects to https:\/\/vault\.example\. Set COLDSTREAM_URL or --url to https:\/\/vault\.example\./,
    ],
    [
      'a redirect to a login',
      { status: 302, headers: { location: '/login' }, body: '' },
      /redirects, which a vault does not/,
    ],
    ['503 of a proxy', { status: 503, headers: html, body: '<h1>No</h1>' }, /No reason was given\. \(503\)/],
  ];
  /** Each command says it in one sentence, prints no result and ends with 1. */
  async function allSay(words: RegExp, answer: Answer, asked: readonly (readonly string[])[]): Promise<void> {
    await servedAs(answer, async (port) => {
      const url = `http://127.0.0.1:${port}`;
      const ends = await Promise.all(asked.map((args) => coldstream([...args, '-q', '--url', url])));
      for (const [at, { code, stdout, stderr }] of ends.entries()) {
        expect(stderr, asked[at]?.join(' ')).toMatch(words);
        expect(stderr.trim().split('\n'), stderr).toHaveLength(1);
        expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' });
      }
    });
  }

  it.each(answers)('which answers with %s: says so and ends with 1', async (_, answer, words) => {
    await allSay(words, answer, [['ls'], ['pull', 'ID', '-o', '-']]);
  });

  it('says so in every command', async () => {
    const file = await files.random('wrong.tar', 10);
    await allSay(/is not a Coldstream vault/, { status: 200, headers: html, body: '<!doctype html>' }, [
      ['files', 'ID'],
      ['cat', 'ID', 'path'],
      ['link', 'ID'],
      ['watch', 'job', '--retry-for', '0s'],
      ['push', '--retry-for', '0s', file],
    ]);
  });

  it('whose port, name or TLS is wrong: says which, and ends with 1', async () => {
    const wrong = async (url: string) => {
      const { code, stderr } = await coldstream(['watch', 'job', '--retry-for', '0s', '--url', url]);
      expect({ code, lines: stderr.trim().split('\n').length }, stderr).toEqual({ code: 1, lines: 1 });
      return stderr;
    };
    const port = await servedPort();
    expect(await wrong(`http://127.0.0.1:${port}`)).toContain('the connection was refused. Start the vault');
    expect(await wrong('https://vault.invalid')).toMatch(/there is no host of this name|cannot be resolved/);
    expect(await wrong(vault.url.replace('http:', 'https:'))).toContain('does not speak TLS there. Use http://');
  });

  /** A port on which nothing listens any more. */
  async function servedPort(): Promise<number> {
    let free = 0;
    await servedAs({ status: 200, headers: {}, body: '' }, async (port) => {
      free = port;
    });
    return free;
  }

  it('says what is wrong with a certificate, and does not try again', () => {
    const because = (code: string) => {
      const { message, isPassing } = new VaultUnreachable(
        { origin: 'https://vault.example' },
        new Error('x', { cause: failure(code) }),
        {
          isPassing: false,
        },
      );
      expect(isPassing).toBe(false);
      return message;
    };
    const failure = (code: string) => Object.assign(new Error('deep'), { code });
    expect(because('DEPTH_ZERO_SELF_SIGNED_CERT')).toContain('is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT). If it is');
    expect(because('UNABLE_TO_VERIFY_LEAF_SIGNATURE')).toContain('NODE_EXTRA_CA_CERTS');
    expect(because('CERT_HAS_EXPIRED')).toContain('has expired');
    expect(because('ERR_TLS_CERT_ALTNAME_INVALID')).toContain('is for another name');
    expect(because('EWHATEVER')).toBe('https://vault.example cannot be reached: deep.');
  });
});

describe('coldstream, on a machine that has no room,', () => {
  it('says in one sentence what the system said, and ends with 1', async () => {
    const { backup_id } = await pushed([await files.random('room.tar', 100_000)]);
    const env = {
      ...{ COLDSTREAM_URL: vault.url, COLDSTREAM_TOKEN: vault.token, NODE: oldestNode.program, COMMAND },
      XDG_STATE_HOME: state,
    };
    const nowhere = await coldstream(['pull', backup_id, '-o', files.path('no/such/dir/f')]);
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toMatch(/^coldstream: .*no\/such\/dir\/.*: no such file or directory \(ENOENT\)\.$/m);
    for (const command of [`pull ${backup_id} -o - -q`, 'ls --limit 1', 'ls --json']) {
      const { stdout, stderr } = await runs(
        'bash',
        ['-c', `{ "$NODE" "$COMMAND" ${command} >/dev/full; } 2>&1; echo $?`],
        { env },
      );
      expect(stdout.toString(), command).toMatch(
        /^coldstream: Standard output cannot be written\. .*no space left.*\n1\n$/,
      );
      expect(stderr).toBe('');
    }
  });
});

async function catTo(id: string, path: string): Promise<string> {
  const { code, stdout, stderr } = await coldstream(['cat', id, path]);
  expect(code, stderr).toBe(0);
  await writeFile(files.path('cat'), stdout);
  expect(fileSize(files.path('cat'))).toBe(stdout.length);
  return files.path('cat');
}
