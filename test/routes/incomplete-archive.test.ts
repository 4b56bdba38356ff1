import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../../src/shared/bytes.ts';
import { backupOf, filesPage, fileUrl, owned } from '../support/archives.ts';
import { ask, expectProblem, put } from '../support/vault.ts';
import { END, rawHeader, rawMember } from '../unit/archive/tar-samples.ts';

/** An archive that can be read up to its second member. */
const BROKEN = concat([
  rawMember({ name: 'd/a' }, 'first'),
  new Uint8Array(512).fill(1),
  rawMember({ name: 'd/b' }, 'second'),
  END,
]);
const WHERE = "up to byte 1024: the header's checksum is wrong";

async function linked(backupId: string, body: object): Promise<Response> {
  return ask(`/backup/${backupId}/links`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

describe('an archive that could not be read to its end', () => {
  it.each(['', 'd/'])('breaks the connection in the place of the end of "%s?format=tar"', async (directory) => {
    const { backup_id } = await put('broken.tar', owned(BROKEN));
    const response = await ask(`/backup/${backup_id}/files/${directory}?format=tar`);
    expect(response.status).toBe(200);
    await expect(response.arrayBuffer()).rejects.toThrow();
  });

  it('answers what it lists', async () => {
    const { backup_id } = await put('broken.tar', owned(BROKEN));
    expect((await filesPage(backup_id)).stopped).toEqual({ offset: 1024, reason: "the header's checksum is wrong" });
    expect(await (await ask(fileUrl(backup_id, 'd/a'))).text()).toBe('first');
  });

  it.each([
    ['GET of a member', (id: string) => ask(fileUrl(id, 'd/b'))],
    ['GET of a page', (id: string) => ask(`/backup/${id}/files/e/`)],
    ['GET of a directory', (id: string) => ask(`/backup/${id}/files/e/?format=tar`)],
    ['a link to a member', (id: string) => linked(id, { path: 'd/b' })],
    ['a link to a directory', (id: string) => linked(id, { path: 'e', format: 'tar' })],
  ])('answers %s that it does not list with 409, byte and reason', async (_, request) => {
    const { backup_id } = await put('broken.tar', owned(BROKEN));
    const response = await request(backup_id);
    expect((await response.clone().json<{ detail: string }>()).detail).toContain(WHERE);
    await expectProblem(response, 409, 'archive-incomplete');
    const whole = await backupOf([{ path: 'd/a', content: 'first' }]);
    await expectProblem(await request(whole), 404, 'not-found');
  });

  it.each(['d/b', 'e/?format=tar'])('answers HEAD of %s with 409', async (path) => {
    const { backup_id } = await put('broken.tar', owned(BROKEN));
    expect((await ask(`/backup/${backup_id}/files/${path}`, { method: 'HEAD' })).status).toBe(409);
  });
});

describe('a hard link', () => {
  it.each([
    ['a', './a'],
    ['./a', 'a'],
    ['/d/a', 'd/a'],
    ['d/a', '/d/a'],
    ['d/a', 'd//a'],
    ['d//a', 'd/a'],
    ['d/a', '../d/./a'],
  ])('answers the bytes of %s whose target is spelt %s', async (name, link) => {
    const archive = concat([rawMember({ name }, 'v1'), rawHeader({ name: 'b', typeflag: '1', link }), END]);
    const { backup_id } = await put('links.tar', owned(archive));
    const response = await ask(fileUrl(backup_id, 'b'));
    expect(response.headers.get('coldstream-member-type')).toBe('hardlink');
    expect(await response.text()).toBe('v1');
  });

  it.each([
    ['nothing', 'nowhere'],
    ['a symbolic link', 's'],
    ['a directory', 'd'],
    ['itself', 'b'],
  ])('to %s is 409, never 200 with metadata in the place of bytes', async (_, link) => {
    const archive = concat([
      rawHeader({ name: 's', typeflag: '2', link: 'x' }),
      rawHeader({ name: 'd/', typeflag: '5' }),
      rawHeader({ name: 'b', typeflag: '1', link }),
      END,
    ]);
    const { backup_id } = await put('links.tar', owned(archive));
    const response = await ask(fileUrl(backup_id, 'b'));
    expect((await response.clone().json<{ detail: string }>()).detail).toContain(`"${link}"`);
    await expectProblem(response, 409, 'hard-link-unresolved');
    expect((await ask(fileUrl(backup_id, 'b'), { method: 'HEAD' })).status).toBe(409);
    await expectProblem(await linked(backup_id, { path: 'b' }), 409, 'hard-link-unresolved');
  });
});

it('lists and answers what follows metadata that is malformed or too large', async () => {
  const names = 'Yname\0'.repeat(190_000);
  const dumpdir = ` GNU.dumpdir=${names}\n`;
  const length = dumpdir.length + String(dumpdir.length + 7).length;
  const archive = concat([
    rawMember({ name: 'first' }, '1'),
    rawMember({ name: 'pax', typeflag: 'x' }, `${length}${dumpdir}`),
    rawHeader({ name: 'with/', typeflag: '5' }),
    rawMember({ name: 'pax', typeflag: 'x' }, 'zz path=x\n'),
    rawMember({ name: 'last' }, '3'),
    END,
  ]);
  const { backup_id } = await put('metadata.tar', owned(archive));
  const { files, stopped } = await filesPage(backup_id);
  expect([files.map(({ path }) => path), stopped]).toEqual([['first', 'last', 'with'], null]);
  expect(await (await ask(fileUrl(backup_id, 'last'))).text()).toBe('3');
  const tar = await ask(`/backup/${backup_id}/files/?format=tar`);
  expect((await tar.arrayBuffer()).byteLength).toBeGreaterThan(utf8('3').length);
});

it.each([
  ['a window of 128 MiB', [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88], 'a window of 128 MiB'],
  ['a frame of 100 MiB in one segment', [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00, 0x00, 0x40, 0x06], 'a window of 100 MiB'],
])('says of zstd with %s that it is too large to be decoded, not that it is no archive', async (_, header, said) => {
  const { backup_id } = await put('w.tar.zst', owned(concat([Uint8Array.from(header), new Uint8Array(600)])));
  for (const path of ['files', 'files/a', 'files/?format=tar']) {
    const response = await ask(`/backup/${backup_id}/${path}`);
    expect((await response.clone().json<{ detail: string }>()).detail).toContain(said);
    await expectProblem(response, 409, 'window-too-large');
  }
  await expectProblem(await linked(backup_id, { path: 'a' }), 409, 'window-too-large');
  const text = await put('text.tar.zst', owned(utf8('no zstd, and no tar')));
  await expectProblem(await ask(`/backup/${text.backup_id}/files`), 409, 'not-an-archive');
});
