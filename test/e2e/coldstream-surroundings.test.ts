import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plainWords } from '../../src/cli/coldstream/plain-words.ts';
import { RateLimit } from '../../src/cli/coldstream/rate-limit.ts';
import { MIB, type Receipt, runs, same } from './clients.ts';
import {
  type Called,
  COMMAND,
  coldstream,
  files,
  killed,
  oldestNode,
  overLine,
  pushed,
  sentOver,
  startCommand,
  succeeds,
  vault,
  withVault,
} from './coldstream.ts';
import { throughProxy } from './meddling-proxy.ts';

withVault();

describe('coldstream pull --force', () => {
  it('replaces a file and keeps its mode; a FIFO, a symbolic link and a directory stay what they are', async () => {
    const file = await files.random('new.bin', 1000);
    const { backup_id } = await pushed([file]);
    const folder = files.path('force');
    await mkdir(join(folder, 'dir/new.bin'), { recursive: true });
    await writeFile(join(folder, 'file'), 'old');
    await chmod(join(folder, 'file'), 0o640);
    await succeeds(['pull', backup_id, '-o', 'file', '--force', '-q'], { cwd: folder });
    await same(file, join(folder, 'file'));
    expect(statSync(join(folder, 'file')).mode & 0o7777).toBe(0o640);
    await runs('mkfifo', [join(folder, 'fifo')]);
    await symlink('file', join(folder, 'link'));
    await symlink('nowhere', join(folder, 'dangling'));
    for (const target of ['fifo', 'link', 'dangling', 'dir', '/dev/null']) {
      const { code, stderr } = await coldstream(['pull', backup_id, '-o', target, '--force'], { cwd: folder });
      expect(code, `${target}: ${stderr}`).toBe(1);
      expect(stderr).toMatch(/is a (FIFO|symbolic link|directory|device), which is never replaced/);
    }
    expect(await readlink(join(folder, 'link'))).toBe('file');
    expect(readdirSync(folder).sort()).toEqual(['dangling', 'dir', 'fifo', 'file', 'link']);
  });
});

describe('coldstream where this machine refuses something', () => {
  it('says it in a line with errno and path, and no stack', async () => {
    const { backup_id } = await pushed([await files.random('local.bin', 1000)]);
    await writeFile(files.path('a-file'), '');
    const token = files.path('no-token');
    const troubles: readonly (readonly [readonly string[], Called, RegExp])[] = [
      [['pull', backup_id, '-o', 'no/such/f'], {}, /no\/such\/.*: no such file or directory \(ENOENT\)/],
      [['pull', backup_id, '-o', 'a-file/f'], {}, /a part of the path is not a directory \(ENOTDIR\)/],
      [['pull', backup_id, '-o', '/proc/f'], {}, /\/proc\/.*\(E(NOENT|ACCES|PERM)\)/],
      [['pull', backup_id, '--identity', 'no-key'], {}, /not encrypted/],
      [['push', 'no-file'], {}, /no-file: no such file or directory \(ENOENT\)/],
      [['push', `${'n'.repeat(300)}`], {}, /the name is too long \(ENAMETOOLONG\)/],
      [['push', '--files-from', 'no-list', '--name', 'x'], {}, /no-list: no such file or directory \(ENOENT\)/],
      [['push', 'a-file', '--exclude-from', 'no-list'], {}, /no-list: no such file or directory \(ENOENT\)/],
      [['restore', backup_id, '--to', 'a-file/x'], {}, /\((ENOTDIR|not-an-archive)\)/],
      [
        ['ls', '--token-file', token],
        { env: { COLDSTREAM_TOKEN: '' } },
        /no-token: no such file or directory \(ENOENT\)/,
      ],
      [['ls', '--config', 'no-config'], {}, /no-config: no such file or directory \(ENOENT\)/],
    ];
    for (const [args, options, words] of troubles) {
      const { code, stdout, stderr } = await coldstream(args, { cwd: files.path(''), ...options });
      expect(code, stderr).not.toBe(0);
      expect(stderr, args.join(' ')).toMatch(words);
      expect(stderr.trim().split('\n'), stderr).toHaveLength(1);
      expect(stdout.toString()).toBe('');
    }
  });

  it.each([
    ['its state folder cannot be written', { XDG_STATE_HOME: '/proc/none' }],
    ['its state folder is a file', { XDG_STATE_HOME: '/dev/null' }],
    ['there is no home', { HOME: '/proc/none', XDG_STATE_HOME: '', XDG_CONFIG_HOME: '' }],
  ])('pushes all the same where %s', async (_, env) => {
    const file = await files.random('stateless.bin', 100_000);
    const { code, stdout, stderr } = await coldstream(['push', file, '--json', '--job', 'stateless'], { env });
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({ filename: 'stateless.bin' });
    expect(stderr).toMatch(/^stateless\.bin: if interrupted, this upload cannot be resumed\. .*\n$/);
  });
});

describe('coldstream push', () => {
  it('prints each result as it happens, goes on past what fails, ends with 3 and lists what failed last', async () => {
    const small = await files.random('first.bin', 1000);
    const large = await files.random('second.bin', 16 * MIB);
    await overLine({ bytesPerSecond: 8 * MIB }, async (line) => {
      const sources = [files.path('missing.bin'), small, large];
      const { child, ended } = startCommand(['push', '--json', '--parallel', '1', ...sources], { line });
      let printed = '';
      child.stdout.on('data', (bytes) => {
        printed += bytes;
      });
      await sentOver(line, 4 * MIB);
      expect((JSON.parse(printed) as Receipt).filename, 'while the second is sent').toBe('first.bin');
      const { code, stderr } = await ended;
      expect(code).toBe(3);
      expect(stderr).toMatch(/missing\.bin: .*\(ENOENT\)\.\n1 of 3 are not in the vault\.\n$/);
    });
    const none = await coldstream(['push', files.path('x'), files.path('y')]);
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('2 of 2 are not in the vault.') });
  });

  it('is silent with --quiet, and prints a line a file off a terminal', async () => {
    const both = await Promise.all(['q1.bin', 'q2.bin'].map((name) => files.random(name, 2 * MIB)));
    expect(await coldstream(['push', '-q', ...both])).toMatchObject({ code: 0, stdout: Buffer.alloc(0), stderr: '' });
    const { stdout, stderr } = await succeeds(['push', ...both]);
    expect(stdout.trim().split('\n')).toHaveLength(2);
    expect(stderr).toBe('');
  });

  it('of another name, killed, does not lock its job for the next one', async () => {
    const file = await files.random('night.sql', 12 * MIB);
    await overLine({ bytesPerSecond: 8 * MIB }, async (line) => {
      const first = startCommand(['push', '-', '--name', 'night-24.sql', '--job', 'nightly'], { line, stdin: file });
      await sentOver(line, 2 * MIB);
      await killed(first.child, first.ended);
      const next = await pushed(['-', '--name', 'night-25.sql', '--job', 'nightly'], { line, stdin: file });
      expect(next.filename).toBe('night-25.sql');
    });
  });

  it('keeps to --limit-rate, and so does pull', async () => {
    const file = await files.random('limited.bin', 3 * MIB);
    const took = async (args: readonly string[]) => {
      const began = performance.now();
      const { stdout } = await succeeds(args);
      return { seconds: (performance.now() - began) / 1000, stdout };
    };
    const push = await took(['push', file, '--json', '--limit-rate', '1MiB']);
    expect(push.seconds).toBeGreaterThan(2.5);
    const { backup_id } = JSON.parse(push.stdout) as Receipt;
    const pull = await took(['pull', backup_id, '-o', files.path('limited.back'), '--limit-rate', '1M']);
    expect(pull.seconds).toBeGreaterThan(2);
    await same(file, files.path('limited.back'));
    const slow = await coldstream(['push', file, '--limit-rate', '1000']);
    expect(slow).toMatchObject({ code: 2, stderr: expect.stringContaining('at least 4KiB') });
  });

  it('shares a rate between transfers, and lets the first bytes through at once', async () => {
    const limit = new RateLimit(100_000, new AbortController().signal);
    const began = performance.now();
    await limit.pass(limit.stepBytes);
    expect(performance.now() - began).toBeLessThan(50);
    await Promise.all([limit.pass(20_000), limit.pass(20_000)]);
    expect(performance.now() - began).toBeGreaterThan(350);
  });
});

describe('coldstream behind a proxy', () => {
  const HOST = 'vault.invalid';

  it('reaches a vault that only the proxy knows: push, pull, ls and watch; not where NO_PROXY names it', async () => {
    const file = await files.random('proxied.bin', 100_000);
    await throughProxy(vault.url, {}, async (proxy) => {
      const url = `http://${HOST}`;
      for (const variable of ['HTTP_PROXY', 'http_proxy']) {
        const env = { [variable]: proxy.url, COLDSTREAM_URL: url };
        const { backup_id, job_id } = await pushed([file], { env });
        await succeeds(['pull', backup_id, '-o', files.path(`${variable}.back`)], { env });
        await same(file, files.path(`${variable}.back`));
        expect((await succeeds(['ls', 'proxied'], { env })).stdout).toContain(backup_id);
        expect((await succeeds(['watch', job_id], { env })).stdout.trim()).toBe(backup_id);
        const direct = await coldstream(['ls', '--retry-for', '0s'].slice(0, 1), { env: { ...env, NO_PROXY: HOST } });
        expect(direct).toMatchObject({ code: 1, stderr: expect.stringContaining(`${url} cannot be reached`) });
      }
      expect(proxy.asked.some((asked) => asked.startsWith(`POST http://${HOST}/tus`))).toBe(true);
      const watching = startCommand(['watch', 'to-come', '--timeout', '20s'], {
        env: { HTTP_PROXY: proxy.url, COLDSTREAM_URL: url },
      });
      await pushed([file, '--job', 'to-come']);
      expect((await watching.ended).code).toBe(0);
      expect(proxy.asked, 'a WebSocket needs a tunnel').toContain(`CONNECT ${HOST}:80`);
    });
  });

  it('names the proxy where that cannot be reached, or is none', async () => {
    const dead = await coldstream(['ls'], {
      env: { HTTP_PROXY: 'http://user:secret@127.0.0.1:9', COLDSTREAM_URL: 'http://vault.invalid' },
    });
    expect(dead.stderr).toContain('through the proxy http://127.0.0.1:9: the connection was refused');
    expect(dead.stderr).not.toContain('secret');
    const none = await coldstream(['ls'], {
      env: { HTTP_PROXY: 'socks5://127.0.0.1:9', COLDSTREAM_URL: 'http://vault.invalid' },
    });
    expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('no address of an HTTP proxy') });
  });
});

describe('the config file', () => {
  async function configured(text: string, mode = 0o600): Promise<string> {
    const path = files.path('config.toml');
    await writeFile(path, text);
    await chmod(path, mode);
    return path;
  }
  const bare = { COLDSTREAM_URL: '', COLDSTREAM_TOKEN: '' };

  it('gives values that neither the line nor the environment gives, and those of a profile over them', async () => {
    await writeFile(files.path('token'), vault.token);
    const config = await configured(`
      url = "http://127.0.0.1:9"
      token-file = "${files.path('token')}"
      parallel = 2
      [profiles.local]
      url = "${vault.url}"
      limit-rate = "64MiB"`);
    await succeeds(['ls', '--config', config, '--profile', 'local'], { env: bare });
    await succeeds(['ls'], { env: { ...bare, COLDSTREAM_CONFIG: config, COLDSTREAM_PROFILE: 'local' } });
    await succeeds(['ls', '--config', config, '--url', vault.url], { env: bare });
    const wrong = await coldstream(['ls', '--config', config], { env: bare });
    expect(wrong.stderr).toContain('http://127.0.0.1:9 cannot be reached');
    const home = files.path('home');
    await mkdir(join(home, '.config/coldstream'), { recursive: true });
    await writeFile(join(home, '.config/coldstream/config.toml'), `url = "${vault.url}"\ntoken-file = "~/token"\n`);
    await writeFile(join(home, 'token'), vault.token);
    await succeeds(['ls'], { env: { ...bare, HOME: home, XDG_CONFIG_HOME: '' } });
  });

  it.each([
    ['with a key that is no option', 'ulr = "x"', /there is no option "ulr"/],
    ['that is no TOML', 'url = x', /config\.toml, line 1: /],
    ['with a value of the wrong kind', 'url = true', /url: it is a string or a number/],
    ['with a value that its option rejects', 'limit-rate = "fast"', /limit-rate: A size is/],
    ['without the profile', 'url = "x"', /has no profile "nas"/],
  ])('%s is a wrong call that names it', async (_, text, words) => {
    const config = await configured(text);
    const args = text.startsWith('url = "x"') ? ['--profile', 'nas'] : [];
    const push = await coldstream(['push', 'x', '--config', config, ...args], { env: bare });
    expect(push.stderr).toMatch(words);
    expect(push.code).toBe(2);
  });

  it('that holds a token must be private', async () => {
    const config = await configured(`url = "${vault.url}"\ntoken = "${vault.token}"\n`, 0o644);
    const open = await coldstream(['ls', '--config', config], { env: bare });
    expect(open).toMatchObject({ code: 2, stderr: expect.stringContaining('chmod 600') });
    expect(open.stderr).not.toContain(vault.token);
    await chmod(config, 0o600);
    await succeeds(['ls', '--config', config], { env: bare });
  });
});

describe('coldstream watch, jobs, tokens and upload-link', () => {
  it('watch gives up after --timeout with 124', async () => {
    const { code, stderr } = await coldstream(['watch', 'never-comes', '--timeout', '1s']);
    expect({ code, stderr }).toEqual({ code: 124, stderr: 'coldstream: The job has not ended within 1s.\n' });
  });

  it('jobs lists runs and cancels one', async () => {
    const file = await files.random('cancelled.bin', 12 * MIB);
    await overLine({ bytesPerSecond: 4 * MIB }, async (line) => {
      const push = startCommand(['push', file, '--job', 'to-cancel', '--chunk', '1MiB'], { line });
      await sentOver(line, 2 * MIB);
      expect((await succeeds(['jobs', '--phase', 'receiving'])).stdout).toMatch(
        /upload +receiving +to-cancel {2}cancelled\.bin/,
      );
      await succeeds(['jobs', '--cancel', 'to-cancel']);
      expect(await push.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('(upload-cancelled)') });
      expect((await succeeds(['ls', 'cancelled.bin'])).stdout, 'nor is it started again').toBe('');
    });
    expect((await succeeds(['jobs', '--json', '--limit', '1'])).stdout).toContain('"to-cancel"');
    const ended = await coldstream(['jobs', '--cancel', 'no-such-job']);
    expect(ended).toMatchObject({ code: 1, stderr: expect.not.stringMatching(/GET|POST|\/jobs/) });
  });

  it('tokens creates, lists and revokes', async () => {
    const made = await succeeds([
      'tokens',
      '--create',
      'laptop',
      '--scope',
      'read',
      '--scope',
      'write',
      '--expires',
      '1d',
    ]);
    const token = made.stdout.trim();
    await succeeds(['ls'], { token });
    const { stdout } = await succeeds(['tokens']);
    const [, id = ''] = /^(\w{26}) .* read,write +laptop$/m.exec(stdout) ?? [];
    await succeeds(['tokens', '--revoke', id]);
    expect((await coldstream(['ls'], { token })).code).toBe(1);
    expect((await coldstream(['tokens', '--create', 'x'])).code).toBe(2);
  });

  it('upload-link takes a file of somebody without a token', async () => {
    const file = await files.random('given.bin', 5000);
    const { stdout } = await succeeds(['upload-link', 'given.bin', '--max-size', '10KiB', '--expires', '10m']);
    await runs('curl', ['-sSf', '-T', file, stdout.trim()]);
    expect((await succeeds(['ls', 'given.bin'])).stdout).toContain('given.bin');
  });
});

describe('what the command says', () => {
  it.each([
    ['not-found', 'There is no such backup. List those there are: GET /backup.'],
    ['not-found', 'The archive has no such member. List those it has: GET /backup/{id}/files.'],
    ['not-found', 'No run of the job "x" is known. List those there are: GET /jobs.'],
    ['not-found', 'There is no such token. List those there are: GET /tokens.'],
    [
      'stored-data-corrupt',
      'The stored data of this backup is damaged here. POST /backup/{id}/verify tells what of it is.',
    ],
    [
      'backup-encrypted',
      'This backup is encrypted: send an identity in X-Age-Identity, or download it without a format and use age.',
    ],
    ['empty-upload', 'The file is empty. If that is meant, send it with the option allow_empty=true.'],
    ['job-running', 'Wait for its end, cancel it (POST /jobs/nightly/cancel), or use another job_id.'],
    ['unauthorized', 'Send a token: "Authorization: Bearer TOKEN".'],
  ])('has no words of the HTTP interface (%s: %s)', (code, detail) => {
    expect(plainWords(code, detail)).not.toMatch(
      /\b(GET|POST|PUT|DELETE)\b|\/backup|\/jobs|\/tokens|job_id|allow_empty|X-Age|Bearer/,
    );
  });
});

describe('the package of the command', () => {
  it('installs alone from one file, with a man page and completions', async () => {
    const packed = files.path('packed');
    await mkdir(packed);
    const source = join(COMMAND, '..');
    const { stdout } = await runs('npm', ['pack', '--silent', '--pack-destination', packed, source]);
    const prefix = files.path('prefix');
    await runs('npm', [
      'install',
      '--silent',
      '--offline',
      '--global',
      '--prefix',
      prefix,
      join(packed, stdout.toString().trim()),
    ]);
    const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Record<string, unknown>;
    expect(manifest).not.toHaveProperty('dependencies');
    const installed = spawnSync(oldestNode.program, [join(prefix, 'bin/coldstream'), '--version'], {
      encoding: 'utf8',
    });
    expect(installed.stdout.trim()).toBe(manifest.version);
    expect(readFileSync(join(prefix, 'lib/node_modules/coldstream/man/coldstream.1'), 'utf8')).toContain('.SS push');
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { stdout: script } = await succeeds(['completion', shell]);
      expect(readFileSync(join(source, `completions/coldstream.${shell}`), 'utf8')).toBe(script);
      expect(script).toContain('restore');
      expect(script).toContain(shell === 'fish' ? '-l one-file-system' : '--one-file-system');
    }
    const asked = 'source "$1"; COMP_WORDS=(coldstream pus); COMP_CWORD=1; _coldstream; echo "$COMPREPLY"';
    const { stdout: words } = await runs('bash', ['-c', asked, 'bash', join(source, 'completions/coldstream.bash')]);
    expect(words.toString().trim()).toBe('push');
  });
});
