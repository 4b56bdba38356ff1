import { readFile, stat, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalVault, startLocalVault } from '../../src/cli/local-vault.ts';
import {
  asListed,
  fetchFile,
  forEach,
  type ListedFile,
  listing,
  membersOf,
  pathIn,
  python,
  readAt,
  type TarMember,
  treeAt,
} from './archives.ts';
import { api, bearer, curlTo, put, type Receipt, runs, type Scratch, scratch } from './clients.ts';

let vault: LocalVault;
let files: Scratch;
/** Lines about what this machine does not let us make. */
let leftOut: string[];

/** Runs a line of bash in the test's directory, where the tree is `tree`. */
async function bash(line: string): Promise<void> {
  await runs('bash', ['-e', '-o', 'pipefail', '-c', line], { cwd: files.path('.') });
}

beforeAll(async () => {
  files = await scratch();
  leftOut = await python('make_tree.py', files.path('tree'));
  for (const line of leftOut) console.warn(line);
  vault = await startLocalVault();
});
afterAll(async () => {
  await vault?.stop();
  await files?.remove();
});

/** Of the same tree there are many archives, so the content of each third member is compared; with SOAK=1 of all. */
const EACH = process.env.SOAK ? 1 : 3;
let comparisons = 0;

/**
 * The list of an archive's members against what tarfile reads, and their content against what GNU tar extracts. Which
 * plain files are compared differs from archive to archive; links and sparse files always are.
 */
async function compare(receipt: Receipt, archive: string, extracted: string): Promise<void> {
  const members = await membersOf(archive);
  const { files: listed, stopped, pages } = await listing(vault, receipt, 19);
  expect(stopped).toBeNull();
  compareListing(listed, members);
  expect(pages).toBeGreaterThanOrEqual(Math.ceil(members.length / 19));
  const first = comparisons++ % EACH;
  const compared = listed.filter(({ type }, at) => ['sparse', 'hardlink'].includes(type) || at % EACH === first);
  await forEach(compared, 4, (file) => compareContent(file, pathIn(file.url), extracted));
}

function compareListing(listed: readonly ListedFile[], members: readonly TarMember[]): void {
  const told = listed.map(({ url: _, ...file }) => file);
  // Of what has no data it says nothing where they begin; of sparse ones it may be the map or what follows it.
  const wanted = members.map((member, at) =>
    member.type === 'sparse' ? { ...asListed(member), offset: told[at]?.offset } : asListed(member),
  );
  expect(told).toEqual(wanted);
  for (const [at, { url }] of listed.entries()) {
    expect(withoutEndSlash(pathIn(url)), url).toEqual(members[at]?.path);
  }
}

/** "." can stand in a URL only with an encoded slash behind it. */
function withoutEndSlash(path: Buffer): Buffer {
  return /^\.\.?\/$/.test(path.toString('latin1')) ? path.subarray(0, -1) : path;
}

async function compareContent(file: ListedFile, path: Buffer, extracted: string): Promise<void> {
  const { status, headers, bytes } = await fetchFile(vault, file.url);
  expect(status, file.url).toBe(200);
  if (!['file', 'sparse', 'hardlink'].includes(file.type)) {
    expect(headers.get('content-type'), file.url).toMatch(/^application\/json/);
    const { type, path: named, link_target } = JSON.parse(bytes.toString()) as ListedFile;
    expect({ type, path: named, link_target }).toEqual({
      type: file.type,
      path: file.path,
      link_target: file.link_target,
    });
    return;
  }
  // wrangler dev passes HTML through a rewriter of its own, which does not know how long it will be.
  const length = file.path.endsWith('.html') ? null : String(bytes.length);
  expect(headers.get('content-length'), file.url).toBe(length);
  // Not toEqual: of two files of megabytes that would be told byte by byte.
  expect(bytes.equals(await readAt(extracted, path)), file.url).toBe(true);
}

const ALL = 'tree';
const USTAR = '--exclude=beyond-ustar tree';

/** Title, what makes `a.tar` of the tree, and what GNU tar needs to extract it. */
const archives: [title: string, make: string, extractOptions?: string][] = [
  ['GNU tar, gnu', `tar --sort=name --format=gnu -cf a.tar ${ALL}`],
  ['GNU tar, gnu, sparse', `tar --sort=name --format=gnu -S -cf a.tar ${ALL}`],
  ['GNU tar, oldgnu, sparse', `tar --sort=name --format=oldgnu -S -cf a.tar ${ALL}`],
  ['GNU tar, pax', `tar --format=pax -cf a.tar ${ALL}`],
  ['GNU tar, pax, sparse 0.0', `tar --format=pax -S --sparse-version=0.0 -cf a.tar ${ALL}`],
  ['GNU tar, pax, sparse 0.1', `tar --format=pax -S --sparse-version=0.1 -cf a.tar ${ALL}`],
  ['GNU tar, pax, sparse 1.0', `tar --format=pax -S --sparse-version=1.0 -cf a.tar ${ALL}`],
  ['GNU tar, ustar', `tar --format=ustar -cf a.tar ${USTAR}`],
  ['GNU tar, v7', `tar --format=v7 --exclude='nnnn*' --exclude=special -cf a.tar ${USTAR}`],
  ['GNU tar, paths that begin with ./', 'tar --format=pax -C tree -cf a.tar .'],
  ['bsdtar as it is', `bsdtar -cf a.tar ${ALL}`],
  ['bsdtar, pax', `bsdtar --format=pax -cf a.tar ${ALL}`],
  ['bsdtar, ustar', `bsdtar --format=ustar -cf a.tar ${USTAR}`],
  ['bsdtar, gnutar', `bsdtar --format=gnutar -cf a.tar ${ALL}`],
  [
    'members added by tar -r, one of them again',
    `tar -cf a.tar ${USTAR}; mkdir -p later/tree/plain; echo later > later/tree/plain/bytes-513; ` +
      'tar -rf a.tar -C later tree/plain/bytes-513 tree/plain',
  ],
  [
    'archives concatenated',
    'tar -cf 1.tar tree/plain tree/names; tar --format=pax -cf 2.tar tree/links tree/plain; cat 1.tar 2.tar > a.tar',
    '--ignore-zeros',
  ],
  [
    'no end marker',
    'tar -b 1 -cf 1.tar tree/plain tree/names; head -c $(($(stat -c %s 1.tar) - 1024)) 1.tar > a.tar; ' +
      '! tail -c 512 a.tar | cmp -s - <(head -c 512 /dev/zero)',
  ],
  ['GNU tar, incremental', `tar --format=pax -g snapshot -cf a.tar ${ALL}; rm snapshot`],
  ['bsdcpio, ustar', 'find tree -path tree/beyond-ustar -prune -o -print0 | bsdcpio --quiet -0 -o -H ustar > a.tar'],
  ['volume label and a global header', `tar --format=pax -V label --pax-option=comment=x -cf a.tar ${ALL}`],
];

/** GNU tar's answer to `a.tar`: the directory that holds it. */
async function extractedByTar(options = ''): Promise<string> {
  await bash(`rm -rf extracted; mkdir extracted; tar -C extracted ${options} -xpf a.tar`);
  return files.path('extracted');
}

describe('the members of an archive are those that GNU tar extracts, byte by byte:', () => {
  it.each(archives)('%s', async (_, make, options) => {
    await bash(`rm -f a.tar; ${make}`);
    const extracted = await extractedByTar(options);
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    await compare(receipt, files.path('a.tar'), extracted);
  });

  it('and the tree has every kind that this machine lets us make', async () => {
    await bash('rm -f a.tar; tar -S -cf a.tar tree');
    const kinds = new Set((await membersOf(files.path('a.tar'))).map(({ type }) => type));
    const devices = ['block', 'character'].filter((kind) => !leftOut.some((line) => line.includes(kind)));
    const wanted = [...devices, 'directory', 'fifo', 'file', 'hardlink', 'sparse', 'symlink'];
    expect([...kinds].sort()).toEqual(wanted);
  });
});

describe('the directory view', () => {
  /** All that is beneath a prefix, by walking down from directory to directory. */
  async function walked(receipt: Receipt, prefix: Buffer): Promise<Buffer[]> {
    const encoded = Array.from(prefix, (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    const { files: listed } = await listing(vault, receipt, 5, `delimiter=/&prefix=${encoded}&`);
    const found: Buffer[] = [];
    for (const file of listed) {
      const path = pathIn(file.url);
      expect(path.indexOf('/', prefix.length), file.url).toBe(-1);
      found.push(path);
      if (file.type === 'directory') found.push(...(await walked(receipt, Buffer.concat([path, Buffer.from('/')]))));
    }
    return found;
  }

  it('walked from directory to directory, has each member once', async () => {
    await bash('rm -f a.tar; tar --format=pax -cf a.tar tree');
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    const members = await membersOf(files.path('a.tar'));
    const found = await walked(receipt, Buffer.alloc(0));
    expect(found.sort(Buffer.compare)).toEqual(members.map(({ path }) => path));
  });
});

/** Title, name, query, and what makes of `a.tar` that file. */
const packed: [title: string, name: string, query: string, pack: string][] = [
  ['stored as it came', 'a.tar', '?compression=none', 'cat a.tar'],
  ['level 19', 'a.tar', '?level=19', 'cat a.tar'],
  ['.tar.gz', 'a.tar.gz', '', 'gzip -1 -c a.tar'],
  ['.tgz of many members', 'a.tgz', '', 'split -b 700000 --filter "gzip -1" a.tar'],
  ['.tar.gz packed again', 'a.tar.gz', '?compression=zstd', 'gzip -1 -c a.tar'],
  ['.tar.zst of one frame', 'a.tar.zst', '', 'zstd -3 -q -c a.tar'],
  ['.tar.zst from a pipe, without sizes or checksums', 'a.tar.zst', '', 'cat a.tar | zstd -1 -q --no-check -c'],
  ['.tar.zst of many frames', 'a.tar.zst', '', 'split -b 700000 --filter "zstd -3 -q -c" a.tar'],
  ['.tar.zst packed again', 'a.tar.zst', '?compression=zstd', 'zstd -3 -q -c a.tar'],
];

describe('an archive that is packed has the same members:', () => {
  beforeAll(async () => {
    // One of the large ones at the end is enough: what has no frames is decoded from the start each time.
    await bash(
      'rm -f a.tar; tar --format=pax -S -cf a.tar tree/plain tree/names tree/links tree/sparse tree/large.bin',
    );
    await extractedByTar();
  });

  it.each(packed)('%s', async (_, name, query, pack) => {
    await bash(`${pack} > packed`);
    const receipt = await put(vault, files.path('packed'), name, query);
    await compare(receipt, files.path('a.tar'), files.path('extracted'));
  });

  it('.tar.zst that the vault itself made, and was given again', async () => {
    const first = await put(vault, files.path('a.tar'), 'a.tar');
    await curlTo(files.path('packed'), [...bearer(vault), `${vault.url}${first.download_url}?format=zst`]);
    const receipt = await put(vault, files.path('packed'), 'a.tar.zst');
    expect(receipt.compression.codec).toBe('none');
    await compare(receipt, files.path('a.tar'), files.path('extracted'));
  });
});

describe('a broken archive is stored, and its members before the break are served:', () => {
  beforeAll(() => bash('rm -f a.tar; tar --sort=name --format=pax -cf a.tar tree/large.bin tree/names tree/plain'));

  /** Uploads `broken`, of which everything before byte `offset` must list. */
  async function compareBroken(offset: number, reason: RegExp): Promise<void> {
    const extracted = await extractedByTar();
    const receipt = await put(vault, files.path('broken'), 'broken.tar');
    expect(receipt.file_size).toBe((await stat(files.path('broken'))).size);
    const { files: listed, stopped } = await listing(vault, receipt, 100);
    expect(stopped).toEqual({ offset, reason: expect.stringMatching(reason) });
    const whole = (await membersOf(files.path('a.tar'))).filter(({ header }) => header < offset);
    compareListing(listed, whole);
    await forEach(listed, 4, (file) => compareContent(file, pathIn(file.url), extracted));
    const back = files.path('broken.back');
    await curlTo(back, [...bearer(vault), `${vault.url}${receipt.download_url}`]);
    await runs('cmp', [files.path('broken'), back]);
  }

  async function lastPlain(): Promise<TarMember> {
    const member = (await membersOf(files.path('a.tar'))).find(({ path }) => path.toString().endsWith('bytes-10240'));
    if (!member) throw new Error('the archive has no member of 10,240 bytes');
    return member;
  }

  it('cut within the data of a member', async () => {
    const { header, data } = await lastPlain();
    await bash(`head -c ${data + 10_239} a.tar > broken`);
    await compareBroken(header, /ends within the member's data/);
  });

  it('cut within a header', async () => {
    const { header } = await lastPlain();
    await bash(`head -c ${header + 300} a.tar > broken`);
    await compareBroken(header, /ends within a header/);
  });

  it('with a flipped bit in a header', async () => {
    const { header } = await lastPlain();
    const bytes = await readFile(files.path('a.tar'));
    bytes.writeUInt8(bytes.readUInt8(header + 100) ^ 1, header + 100);
    await writeFile(files.path('broken'), bytes);
    await compareBroken(header, /checksum is wrong/);
  });

  it('and one whose gzip is cut', async () => {
    await bash('gzip -1 -c a.tar > packed; head -c $(($(stat -c %s packed) - 2000)) packed > broken');
    const receipt = await put(vault, files.path('broken'), 'broken.tar.gz');
    const { files: listed, stopped } = await listing(vault, receipt, 100);
    expect(stopped).not.toBeNull();
    const whole = (await membersOf(files.path('a.tar'))).filter(({ header }) => header < (stopped?.offset ?? 0));
    compareListing(listed, whole);
    expect(listed.length).toBeGreaterThan(1);
    const extracted = await extractedByTar();
    await forEach(listed, 4, (file) => compareContent(file, pathIn(file.url), extracted));
  });
});

describe('a directory comes out as a fresh tar:', () => {
  /** Downloads it, extracts it with that program, and gives where. */
  async function extractedDirectory(receipt: Receipt, path: string, program: string): Promise<string> {
    const url = `${vault.url}/backup/${receipt.backup_id}/files/${path}?format=tar`;
    const { status, headers } = await curlTo(files.path('fresh.tar'), [...bearer(vault), url]);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/x-tar');
    await bash(`rm -rf fresh; mkdir fresh; ${program} -C fresh -xpf fresh.tar`);
    return files.path('fresh');
  }

  /** What is in two directories, down to nanoseconds and to which names are one file; but for some files. */
  async function compareTrees(one: string, other: string, but: readonly string[] = []): Promise<void> {
    const left = but.map((path) => `{"path": "${Buffer.from(path).toString('base64')}"`);
    const [first, second] = await Promise.all(
      [one, other].map(async (root) => (await treeAt(root)).filter((line) => !left.some((it) => line.startsWith(it)))),
    );
    expect(first?.length).toBeGreaterThan(0);
    expect(second).toEqual(first);
  }

  const whole: [title: string, name: string, make: string, extractOptions?: string][] = [
    ['as it is', 'a.tar', 'tar --format=pax -cf a.tar tree; ln a.tar packed'],
    ['sparse', 'a.tar', 'tar --format=pax -S -cf a.tar tree; ln a.tar packed'],
    ['below "."', 'a.tar', 'tar --format=pax -cf a.tar ./tree; ln a.tar packed'],
    // bsdtar goes back to directories that it has left, whose times GNU tar has set by then.
    ['of bsdtar', 'a.tar', 'bsdtar --format=pax -cf a.tar tree; ln a.tar packed', '--delay-directory-restore'],
    ['.tar.gz', 'a.tar.gz', 'tar --format=pax -cf a.tar tree; gzip -1 -c a.tar > packed'],
  ];

  it.each(whole)('the whole archive, %s', async (_, name, make, options = '') => {
    await bash(`rm -f a.tar packed; ${make}`);
    const receipt = await put(vault, files.path('packed'), name);
    const extracted = `${await extractedByTar(options)}/tree`;
    const byTar = await extractedDirectory(receipt, '', `tar ${options}`);
    await compareTrees(extracted, `${byTar}/tree`);
    // diff takes special files for different ones, whatever they are.
    const special = ['fifo', 'block', 'character'].flatMap((kind) => ['-x', kind]);
    await runs('diff', ['-r', '--no-dereference', ...special, extracted, `${byTar}/tree`]);
    const byBsdtar = await extractedDirectory(receipt, '', 'bsdtar');
    // libarchive 3.6 reads -1.5 s as -0.5 s, and composes what stands decomposed in a pax path.
    const misread = ['beyond-ustar/before-1970', 'names/nfd e\u0301', 'names/nfd \u00e9'];
    await compareTrees(extracted, `${byBsdtar}/tree`, misread);
  });

  it('a directory with hard links within it', async () => {
    await bash('rm -f a.tar; tar --format=pax -cf a.tar tree');
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    const fresh = await extractedDirectory(receipt, 'tree/beyond-ustar/', 'tar');
    await compareTrees(files.path('tree/beyond-ustar'), `${fresh}/tree/beyond-ustar`);
    expect((await runs('ls', [`${fresh}/tree`])).stdout.toString()).toBe('beyond-ustar\n');
  });

  it('a directory with hard links to what is outside: those are files', async () => {
    await bash('rm -f a.tar; tar --sort=name --format=pax -cf a.tar tree');
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    const fresh = await extractedDirectory(receipt, 'tree/plain/', 'tar');
    await runs('diff', ['-r', '--no-dereference', files.path('tree/plain'), `${fresh}/tree/plain`]);
  });

  it('by a signed link, through a pipe, without a token', async () => {
    await bash('rm -f a.tar; tar --format=pax -cf a.tar tree');
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    const order = { path: 'tree/names', format: 'tar' };
    const link = await api<{ url: string }>(vault, 'POST', `/backup/${receipt.backup_id}/links`, order);
    expect(link.status).toBe(200);
    await bash(`rm -rf fresh; mkdir fresh; wget -q -O - '${link.body.url}' | tar -C fresh -xpf -`);
    await compareTrees(files.path('tree/names'), files.path('fresh/tree/names'));
    expect((await fetch(link.body.url.replace('tree/names/', 'tree/plain/'))).status).toBe(403);
  });

  it('with the later one of two of a name', async () => {
    await bash(
      'rm -f a.tar; tar -cf a.tar tree/plain; mkdir -p later/tree/plain; echo later > later/tree/plain/bytes-513; ' +
        'tar -rf a.tar -C later tree/plain/bytes-513',
    );
    const receipt = await put(vault, files.path('a.tar'), 'a.tar');
    const fresh = await extractedDirectory(receipt, 'tree/plain/', 'tar');
    expect((await readFile(`${fresh}/tree/plain/bytes-513`)).toString()).toBe('later\n');
    expect((await runs('tar', ['-tf', files.path('fresh.tar')])).stdout.toString().match(/bytes-513\n/g)).toHaveLength(
      1,
    );
  });
});

describe('an archive of 6,000 members, with directories behind what is in them', () => {
  const program = `
import os
for directory in range(60):
    os.makedirs(f"many/{directory:03}")
    for file in range(100):
        with open(f"many/{directory:03}/{file:03}", "w") as out:
            out.write(f"{directory} {file}\\n" * file)
# By name it comes long before its target, in the archive long behind it.
os.link("many/059/099", "many/000/link")
`;
  let receipt: Receipt;
  beforeAll(async () => {
    await runs('python3', ['-c', program], { cwd: files.path('.') });
    await bash('rm -f a.tar; find many | sort -r | tar --format=pax --no-recursion -cf a.tar -T -');
    receipt = await put(vault, files.path('a.tar'), 'a.tar');
  });

  it('lists in pages, and from any prefix', async () => {
    const members = await membersOf(files.path('a.tar'));
    const { files: listed, pages } = await listing(vault, receipt, 1000);
    compareListing(listed, members);
    expect(pages).toBeLessThan(20);
    const beneath = await listing(vault, receipt, 30, 'prefix=many/037/&');
    compareListing(
      beneath.files,
      members.filter(({ path }) => path.toString().startsWith('many/037/')),
    );
    for (const path of ['many/000/link', 'many/033/050', 'many/059/001']) {
      const { bytes } = await fetchFile(vault, `/backup/${receipt.backup_id}/files/${path}`);
      expect(bytes.equals(await readFile(files.path(path))), path).toBe(true);
    }
  });

  it('comes out as it was', async () => {
    const url = `${vault.url}/backup/${receipt.backup_id}/files/?format=tar`;
    await curlTo(files.path('fresh.tar'), [...bearer(vault), url]);
    await bash('rm -rf fresh; mkdir fresh; tar -C fresh --delay-directory-restore -xpf fresh.tar');
    expect(await treeAt(files.path('fresh/many'))).toEqual(await treeAt(files.path('many')));
  });
});

describe('an archive made by an enemy', () => {
  let receipt: Receipt;
  let members: TarMember[];
  beforeAll(async () => {
    await python('make_hostile.py', files.path('hostile.tar'));
    members = await membersOf(files.path('hostile.tar'));
    receipt = await put(vault, files.path('hostile.tar'), 'hostile.tar');
  });

  it('lists as it is', async () => {
    const { files: listed, stopped } = await listing(vault, receipt, 3);
    expect(stopped).toBeNull();
    compareListing(listed, members);
  });

  it('and each member is found by its url, as itself', async () => {
    const { files: listed } = await listing(vault, receipt, 100);
    for (const [at, { url }] of listed.entries()) {
      const { status, bytes } = await fetchFile(vault, url);
      expect(status, url).toBe(200);
      expect(bytes, url).toEqual(Buffer.concat([Buffer.from('I am '), members[at]?.path ?? Buffer.from('nothing')]));
      // curl has rules of its own for what is in a path.
      const back = await runs('curl', ['-sSf', ...bearer(vault), `${vault.url}${url}`]);
      expect(back.stdout.equals(bytes), url).toBe(true);
    }
  });

  it.each([
    '..%2F..%2Fetc%2Fshadow',
    '%2e%2e%2f%2e%2e%2fetc%2fshadow',
    '..%252F..%252Fetc%252Fshadow',
    '%2Fetc%2Fshadow',
    'etc/passwd.old',
    'a%00c',
    'a%00b%00',
    'x%2F%2F%2Fy',
    'a%5Cb',
    '%C0%AE%C0%AE%2Fpasswd',
    'no%ZZsuch',
    `${'d/'.repeat(2047)}d`,
    'd'.repeat(4096),
  ])('has nothing at %s', async (path) => {
    const { status, bytes } = await fetchFile(vault, `/backup/${receipt.backup_id}/files/${path}`);
    expect(status).toBe(404);
    expect(JSON.parse(bytes.toString())).toMatchObject({ code: 'not-found' });
  });

  it.each(['../../etc/passwd', '..', '../../../../../../etc/passwd', 'a/../../../../../healthz'])(
    'is not what a client gets that sends %s as it is',
    async (path) => {
      const url = `${vault.url}/backup/${receipt.backup_id}/files/${path}`;
      const { stdout } = await runs('curl', ['-sS', '--path-as-is', ...bearer(vault), url]);
      expect(stdout.toString()).not.toContain('root:');
      expect(stdout.toString()).not.toContain('I am');
    },
  );
});
