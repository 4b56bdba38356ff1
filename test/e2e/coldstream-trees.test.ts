import { existsSync, readFileSync } from 'node:fs';
import { appendFile, chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decimalSeconds, memberPath } from '../../src/cli/coldstream/tree-tar.ts';
import { api, listed, MIB, put, type Receipt, runs, same } from './clients.ts';
import {
  checkStored,
  coldstream,
  files,
  kept,
  overLine,
  pushed,
  sentOver,
  startCommand,
  succeeds,
  vault,
  withVault,
} from './coldstream.ts';

withVault();

/** A directory with every kind of entry that a person without root can make. */
async function tree(name: string): Promise<string> {
  const root = files.path(name);
  const script = `
mkdir -p "$ROOT/sub/empty" "$ROOT/logs" "$ROOT/cache"
printf hello > "$ROOT/sub/file.txt"; printf noise > "$ROOT/logs/a.log"; printf c > "$ROOT/cache/c"
printf x > "$ROOT/a b ü"; ln "$ROOT/sub/file.txt" "$ROOT/sub/hard"; ln -s file.txt "$ROOT/sub/soft"; ln -s /etc/passwd "$ROOT/away"
long=$(printf 'l%.0s' $(seq 120)); mkdir "$ROOT/$long"; printf deep > "$ROOT/$long/$long"
head -c 3145745 /dev/urandom > "$ROOT/big.bin"; find "$ROOT" -exec touch -h -d '2022-03-04 05:06:07.25' {} +
chmod 0640 "$ROOT/sub/file.txt"; touch -d '2020-01-02 03:04:05.123456789' "$ROOT/sub/file.txt"; touch -d '1969-12-31 23:59:58.5' "$ROOT/a b ü"
chmod 0555 "$ROOT/sub"; touch -d '2001-01-01' "$ROOT/sub"`;
  await runs('bash', ['-ec', script], { env: { ROOT: root, TZ: 'UTC' } });
  return root;
}

describe('coldstream push of directories', () => {
  it('streams a tar that GNU tar extracts to the same tree: modes, links, times', async () => {
    await tree('whole');
    const receipt = await pushed(['whole', '--job', 'tree'], { cwd: files.path('') });
    expect(receipt.filename).toBe('whole.tar');
    expect(kept()).toEqual([]);
    await succeeds(['pull', receipt.backup_id, '-o', files.path('whole.back.tar')]);
    await mkdir(files.path('gnu'));
    await runs('tar', ['-xpf', files.path('whole.back.tar'), '-C', files.path('gnu')]);
    await sameTree('whole', 'gnu/whole');
    const { stdout } = await runs('tar', ['-tvf', files.path('whole.back.tar')]);
    expect(stdout.toString()).toMatch(/^h.* whole\/sub\/hard link to whole\/sub\/file\.txt$/m);
  });

  it('leaves out what --exclude and --exclude-from say, as .gitignore does', async () => {
    await tree('some');
    await writeFile(files.path('patterns'), '# comment\n/cache/\n');
    const options = ['--exclude', '*.log', '--exclude-from', files.path('patterns'), '--exclude', '!big.bin'];
    const { backup_id } = await pushed(['some', ...options], { cwd: files.path('') });
    const paths = await pathsOf(backup_id);
    expect(paths).toContain('some/logs');
    expect(paths).toContain('some/big.bin');
    expect(paths.filter((path) => /log$|cache/.test(path))).toEqual([]);
  });

  it('stores several directories, or a list of files, as one tar under a name', async () => {
    const cwd = files.path('');
    await tree('one');
    await mkdir(files.path('two'));
    await writeFile(files.path('two/x'), 'x');
    const both = await pushed(['one', 'two', '--name', 'both.tar'], { cwd });
    expect(both.filename).toBe('both.tar');
    expect(await pathsOf(both.backup_id)).toEqual(expect.arrayContaining(['one/sub/file.txt', 'two/x']));
    await writeFile(files.path('list'), 'two/x\0one/sub\0');
    const listedOnes = await pushed(['--files-from', '-', '--name', 'list.tar'], { cwd, stdin: files.path('list') });
    expect((await pathsOf(listedOnes.backup_id)).sort()).toEqual(
      ['one/sub', 'one/sub/empty', 'one/sub/file.txt', 'one/sub/hard', 'one/sub/soft', 'two/x'].sort(),
    );
    const each = await succeeds(['push', '--json', 'one', 'two'], { cwd });
    expect(each.stdout.trim().split('\n')).toHaveLength(2);
  });

  it('stores the rest and ends with 3 where an entry cannot be stored or changes, and says which', async () => {
    const root = files.path('partial');
    await mkdir(root);
    await writeFile(join(root, 'good'), 'good');
    await writeFile(Buffer.concat([Buffer.from(`${root}/bad-`), Buffer.from([0xff])]), 'not UTF-8');
    const big = await files.random('partial/zz-grows.bin', 24 * MIB);
    await overLine({ bytesPerSecond: 16 * MIB }, async (line) => {
      const { ended } = startCommand(['push', root, '--json', '--chunk', '1MiB'], { line });
      await sentOver(line, 3 * MIB);
      await appendFile(big, 'one line more');
      const { code, stdout, stderr } = await ended;
      expect(code, stderr).toBe(3);
      expect(stderr).toMatch(/partial\/bad-.*: its name is not UTF-8/);
      expect(stderr).toMatch(/partial\/zz-grows\.bin: it changed while it was read/);
      const { backup_id } = JSON.parse(stdout.toString()) as Receipt;
      expect((await succeeds(['cat', backup_id, `${root}/good`])).stdout).toBe('good');
    });
  });

  it('names members without what leads out of a directory', () => {
    expect(['/etc/', 'a/./b/', '../../x/y', '.', '..', './a'].map(memberPath)).toEqual([
      'etc',
      'a/b',
      'x/y',
      '',
      '',
      'a',
    ]);
    expect([1_500_000_000n, 0n, -1_500_000_000n, 5n].map(decimalSeconds)).toEqual([
      '1.500000000',
      '0.000000000',
      '-1.500000000',
      '0.000000005',
    ]);
  });
});

async function pathsOf(backupId: string): Promise<string[]> {
  const { body } = await api<{ files: { path: string }[] }>(vault, 'GET', `/backup/${backupId}/files?limit=1000`);
  return body.files.map(({ path }) => path);
}

/** Types, modes, sizes, times to the microsecond, targets and link counts; then every byte. */
async function sameTree(one: string, other: string): Promise<void> {
  const facts = async (root: string) => {
    // GNU find; times of directories last, so that what was put into them shows.
    const format = ['%P', '%y', '%m', '%n', '%l', '%TY-%Tm-%Td %TH:%TM:%.9TS'].join('\\t');
    const { stdout } = await runs('find', ['.', '-printf', `${format}\\n`], { cwd: files.path(root) });
    return stdout
      .toString()
      .replace(/(\.\d{6})\d+/g, '$1')
      .split('\n')
      .sort();
  };
  const root = (lines: string[]) => lines.filter((line) => !line.startsWith('\td\t'));
  expect(root(await facts(other))).toEqual(root(await facts(one)));
  await runs('diff', ['-r', '--no-dereference', files.path(one), files.path(other)]);
}

describe('coldstream push of the output of a command', () => {
  it('stores it once the command has ended well', async () => {
    const file = await files.random('dump.sql', 9 * MIB);
    const receipt = await pushed(['--name', 'web1/dump.sql', '--', 'cat', file]);
    await checkStored(receipt, file);
  });

  it.each([
    [
      'fails after it wrote something',
      ['sh', '-c', 'head -c 5000000 /dev/urandom; exit 3'],
      5,
      /failed with exit code 3, so nothing was stored/,
    ],
    ['is ended by a signal', ['sh', '-c', 'echo x; kill -9 $$'], 5, /failed with SIGKILL/],
    ['does not exist', ['no-such-program-here'], 5, /cannot be run: .*\(ENOENT\)/],
    ['writes nothing', ['true'], 4, /The input is empty/],
  ] as const)('that %s: stores nothing, and the exit code says so', async (_, command, exitCode, words) => {
    for (const options of [[], ['--job', 'failing-command']]) {
      const { code, stdout, stderr } = await coldstream(['push', '--name', 'failed.sql', ...options, '--', ...command]);
      expect({ code, stdout: stdout.toString() }, stderr).toEqual({ code: exitCode, stdout: '' });
      expect(stderr).toMatch(words);
    }
    expect(await listed(vault)).not.toContain('failed.sql');
    expect((await api<{ uploads: unknown[] }>(vault, 'GET', '/tus')).body.uploads, 'no upload stays open').toEqual([]);
  });

  it('compressed here, and of a command that fails, stores nothing either', async () => {
    const node = process.execPath;
    const failing = await coldstream(['push', '--compress', '--name', 'z.sql', '--', 'sh', '-c', 'echo x; exit 1'], {
      node,
    });
    expect(failing.code).toBe(5);
    const empty = await coldstream(['push', '--compress', '--name', 'z.sql', '--', 'true'], { node });
    expect(empty, empty.stderr).toMatchObject({ code: 4 });
    expect(await listed(vault)).not.toContain('z.sql');
  });

  it('and a file whose name begins with a dash are told apart', async () => {
    await writeFile(files.path('-dash.txt'), 'dash');
    const receipt = await pushed(['--', '-dash.txt'], { cwd: files.path('') });
    expect(receipt.filename).toBe('-dash.txt');
  });
});

describe('coldstream push of a broken archive', () => {
  it('keeps it as it is and ends with 4; with --whole-archive nothing is stored', async () => {
    await writeFile(files.path('in-tar'), 'x'.repeat(5000));
    const file = files.path('broken.tar');
    await runs('bash', ['-c', 'tar -c -C "$D" in-tar | head -c 3000 > "$F"'], { env: { D: files.path(''), F: file } });
    const { code, stdout, stderr } = await coldstream(['push', file, '--json']);
    expect(code, stderr).toBe(4);
    expect(stderr).toMatch(/breaks off at byte \d+/);
    await checkStored(JSON.parse(stdout.toString()) as Receipt, file);
    const strict = await coldstream(['push', file, '--name', 'strict.tar', '--whole-archive']);
    expect(strict, strict.stderr).toMatchObject({ code: 4, stderr: expect.stringContaining('nothing was stored') });
    expect(await listed(vault)).not.toContain('strict.tar');
  });
});

describe('coldstream restore', () => {
  it('brings a tree back as it was, whole, a directory of it, and one file', async () => {
    await tree('source');
    const { backup_id } = await pushed(['source'], { cwd: files.path('') });
    const { stdout } = await succeeds(['restore', backup_id, '--to', files.path('all')]);
    expect(stdout).toMatch(/^\d+ entries restored to /);
    await sameTree('source', 'all/source');
    await succeeds(['restore', `${backup_id}:source/sub`, '--to', files.path('part'), '-q']);
    expect(await readdir(files.path('part/source'))).toEqual(['sub']);
    await sameTree('source/sub', 'part/source/sub');
    await succeeds(['restore', backup_id, '--path', '/source/big.bin', '--to', files.path('one-file')]);
    await same(files.path('source/big.bin'), files.path('one-file/big.bin'));
    const missing = await coldstream(['restore', `${backup_id}:source/none`, '--to', files.path('nowhere')]);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('(not-found)') });
  });

  it('keeps what is there unless --force, and then replaces files only', async () => {
    await mkdir(files.path('plain'));
    await writeFile(files.path('plain/a'), 'new');
    const { backup_id } = await pushed(['plain'], { cwd: files.path('') });
    await mkdir(files.path('there/plain'), { recursive: true });
    await writeFile(files.path('there/plain/a'), 'old');
    const refused = await coldstream(['restore', backup_id, '--to', files.path('there')]);
    expect(refused).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/plain\/a: it exists; --force replaces it/),
    });
    expect(readFileSync(files.path('there/plain/a'), 'utf8')).toBe('old');
    await succeeds(['restore', backup_id, '--to', files.path('there'), '--force']);
    expect(readFileSync(files.path('there/plain/a'), 'utf8')).toBe('new');
    await mkdir(files.path('taken/plain/a'), { recursive: true });
    expect((await coldstream(['restore', backup_id, '--to', files.path('taken'), '--force'])).code).toBe(3);
  });

  it('lets no member out of its directory: paths, symbolic links and hard links that lead elsewhere', async () => {
    const script = `
import tarfile, io, sys
tar = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)
def add(name, type=tarfile.REGTYPE, link='', content=b''):
    entry = tarfile.TarInfo(name); entry.type = type; entry.linkname = link; entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
outside = sys.argv[2]
add('ok.txt', content=b'ok')
add(outside + '/absolute', content=b'absolute')
add('../up', content=b'evil')
add('a/../../up2', content=b'evil')
add('door', tarfile.SYMTYPE, outside)
add('door/through', content=b'evil')
add('door2', tarfile.SYMTYPE, '..')
add('door2/through2', content=b'evil')
add('grab', tarfile.LNKTYPE, '../secret')
add('grab2', tarfile.LNKTYPE, 'door/secret')
tar.close()`;
    const outside = files.path('outside');
    await mkdir(outside);
    await writeFile(join(outside, 'secret'), 'secret');
    await writeFile(files.path('secret'), 'secret');
    const tar = files.path('hostile.tar');
    await runs('python3', ['-c', script, tar, outside]);
    const { backup_id } = await put(vault, tar, 'hostile.tar');
    const before = (await readdir(files.path(''))).sort();
    for (const options of [[], ['--force']]) {
      const to = files.path('jail');
      const { code, stderr } = await coldstream(['restore', backup_id, '--to', to, ...options]);
      expect(code, stderr).toBe(3);
      expect(stderr).toContain('its path leads upwards');
      expect(stderr).toContain('is a symbolic link, which is not followed');
      expect(readFileSync(join(to, 'ok.txt'), 'utf8')).toBe('ok');
      expect(readFileSync(join(to, outside, 'absolute'), 'utf8'), 'absolute paths go below the directory').toBe(
        'absolute',
      );
      expect(existsSync(join(to, 'grab'))).toBe(false);
      expect(existsSync(join(to, 'grab2'))).toBe(false);
    }
    expect(await readdir(outside)).toEqual(['secret']);
    expect((await readdir(files.path(''))).sort()).toEqual([...before, 'jail'].sort());
  });

  it('does not follow a symbolic link that was there before', async () => {
    await mkdir(files.path('inner/sub'), { recursive: true });
    await writeFile(files.path('inner/sub/x'), 'x');
    const { backup_id } = await pushed(['inner'], { cwd: files.path('') });
    await mkdir(files.path('trap/inner'), { recursive: true });
    await mkdir(files.path('elsewhere'));
    await symlink(files.path('elsewhere'), files.path('trap/inner/sub'));
    expect((await coldstream(['restore', backup_id, '--to', files.path('trap'), '--force'])).code).toBe(3);
    expect(await readdir(files.path('elsewhere'))).toEqual([]);
  });

  it('brings rows into a table, and tells which were rejected', async () => {
    const rows = [
      { id: 9001, name: 'pump', value: 12.5 },
      { id: 9001, name: 'twice', value: 1 },
    ];
    await writeFile(files.path('items.json'), JSON.stringify(rows));
    const { backup_id } = await pushed([files.path('items.json')]);
    const into = ['--database', 'sample', '--table', 'items'];
    const { code, stdout, stderr } = await coldstream(['restore', backup_id, ...into]);
    expect({ code, stdout: stdout.toString() }, stderr).toEqual({ code: 3, stdout: '1 of 2 rows written to items\n' });
    expect(stderr).toMatch(/row 1: /);
    const wrong = await coldstream(['restore', backup_id]);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('--to DIR') });
  });

  it('says where an archive breaks off', async () => {
    await mkdir(files.path('cut'));
    await writeFile(files.path('cut/a'), 'a'.repeat(2000));
    await writeFile(files.path('cut/b'), 'b'.repeat(9000));
    const tar = files.path('cut.tar');
    await runs('bash', ['-c', 'tar -c -C "$D" cut/a cut/b | head -c 5000 > "$F"'], {
      env: { D: files.path(''), F: tar },
    });
    const { backup_id } = await put(vault, tar, 'cut.tar');
    const { code, stderr } = await coldstream(['restore', backup_id, '--to', files.path('cut-back')]);
    expect(code, stderr).not.toBe(0);
    expect(readFileSync(files.path('cut-back/cut/a'), 'utf8')).toBe('a'.repeat(2000));
    await chmod(files.path('cut-back'), 0o700);
  });
});
