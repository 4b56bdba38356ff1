/**
 * Honest transfers beside twelve clients that misbehave, each in another way: for ten minutes, in one isolate. Every
 * honest transfer has to end within twice its time alone, and none may fail.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Member, openRequest, slowDownload, slowUpload } from '../support/crowd.ts';
import type { Bench, Part } from '../support/part.ts';
import type { Row } from '../support/report.ts';
import { median, quantile } from '../support/rounds.ts';
import { get, putFile } from '../support/transfer.ts';
import { sendInPieces, UploadClient } from '../support/tus.ts';
import { type BenchVault, type Receipt, removeBackup, startVault, VAULT } from '../support/vault.ts';

const MIB = 1024 * 1024;
const MINUTES = 10;
/** Slower than `MIN_RATE`. */
const TRICKLE = 100;
const ALONE_ROUNDS = 7;
const MOST = 2;

/** A transfer that a good client makes: it throws unless all of it arrived. */
type Honest = (vault: BenchVault) => Promise<number>;

/** A client that misbehaves until `signal` aborts; it begins again whenever the vault has ended what it did. */
type Nuisance = (vault: BenchVault, download: string, signal: AbortSignal) => Promise<void>;

export const misbehaving: Part = async (bench) => {
  const vault = await startVault(VAULT, bench.fresh('misbehaving-vault'));
  const leaving = new AbortController();
  try {
    const { transfers, download } = await honestTransfers(bench, vault);
    const alone = new Map<string, number>();
    for (const [name, transfer] of transfers) {
      const seconds: number[] = [];
      for (let round = 0; round < ALONE_ROUNDS; round++) seconds.push(await transfer(vault));
      alone.set(name, median(seconds));
    }
    const nuisances = NUISANCES.map(([, nuisance]) => nuisance(vault, download, leaving.signal));
    await wait(bench.quick ? 5_000 : 30_000);
    const beside = await repeat(transfers, vault, (bench.quick ? 1 : MINUTES) * 60_000);
    leaving.abort();
    await Promise.all(nuisances);
    return {
      rows: [...transfers.keys()].map((name) => row(name, alone.get(name) ?? Number.NaN, beside.get(name) ?? [])),
    };
  } finally {
    leaving.abort();
    await vault.stop();
  }
};

function row(name: string, alone: number, beside: readonly number[]): Row {
  const worst = Math.max(...beside) / alone;
  return {
    what: `${name}, beside ${NUISANCES.length} clients that misbehave / alone: the slowest of ${beside.length}`,
    bar: `at most ${MOST}`,
    measured: `${worst.toFixed(2)}; median ${(median(beside) / alone).toFixed(2)}, 95 % within ${(quantile(beside, 0.95) / alone).toFixed(2)} (alone ${alone.toFixed(2)} s)`,
    passes: beside.length > 0 && worst <= MOST,
    facts: beside,
  };
}

async function honestTransfers(bench: Bench, vault: BenchVault) {
  const bytes = readFileSync(bench.file).subarray(0, 50_000_000);
  const file = join(bench.directory, '50MB.tar');
  writeFileSync(file, bytes);
  const stored = await putFile(`${vault.url}/backup/upload/stored.tar`, file, vault.token);
  const download = `/backup/${(JSON.parse(stored.body) as Receipt).backup_id}/download`;
  const transfers = new Map<string, Honest>([
    [
      'an upload of 50 MB',
      async () => {
        const { seconds, body } = await putFile(`${vault.url}/backup/upload/honest.tar`, file, vault.token);
        await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
        return seconds;
      },
    ],
    ['a download of 50 MB', async () => (await get(`${vault.url}${download}`, vault.token)).seconds],
    [
      'a tus upload of 50 MB in chunks of 16 MiB',
      async () => {
        const client = new UploadClient(vault);
        const began = performance.now();
        const address = await client.create(bytes.length, { filename: 'honest.tar' });
        await sendInPieces(client, address, bytes, 16 * MIB);
        const seconds = (performance.now() - began) / 1000;
        const { backup_id } = await client.untilDone(address, 100);
        await client.remove(`/backup/${backup_id}`);
        client.close();
        return seconds;
      },
    ],
  ]);
  return { transfers, download };
}

/** One honest transfer after the other, of each kind in turn, until the time is over. */
async function repeat(transfers: ReadonlyMap<string, Honest>, vault: BenchVault, forMs: number) {
  const taken = new Map<string, number[]>([...transfers.keys()].map((name) => [name, []]));
  for (const deadline = Date.now() + forMs; Date.now() < deadline; ) {
    for (const [name, transfer] of transfers) taken.get(name)?.push(await transfer(vault));
  }
  return taken;
}

/** Their periods differ, so that they do not all begin anew in the same second. */
const NUISANCES: readonly (readonly [string, Nuisance])[] = [
  ['an upload that sends one megabyte and stops', again((vault) => put(vault, randomBytes(MIB)), 70_000)],
  ['an upload of level 22 that sends nothing', again((vault) => put(vault, Buffer.from('x'), '?level=22'), 75_000)],
  [
    'an upload that trickles',
    again((vault) => slowUpload(vault, '/backup/upload/trickle.tar', randomBytes(MIB), TRICKLE), 110_000),
  ],
  ['a sender that is gone without a word to its job', again((vault) => put(vault, randomBytes(3 * MIB)), 2_000)],
  ['an idle PATCH at level 22', idlePatch],
  ['a reader that takes nothing', again((vault, download) => reader(vault, download), 85_000)],
  ['a second one', again((vault, download) => reader(vault, `${download}?format=gz`), 100_000)],
  ['a reader that trickles', again((vault, download) => slowDownload(vault, download, TRICKLE), 120_000)],
  ['HEAD of an export', again((vault) => openRequest(vault, 'HEAD', '/export/stream', [], Buffer.alloc(0)), 3_000)],
  [
    'forms that stand still',
    again((vault) => {
      const boundary = 'b'.repeat(30);
      const headers = [`Content-Type: multipart/form-data; boundary=${boundary}`, 'Content-Length: 90000000'];
      const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.tar"\r\n\r\n`;
      return openRequest(vault, 'POST', '/backup/upload', headers, Buffer.from(head));
    }, 80_000),
  ],
  [
    'a JSON body of 150 MB',
    again(
      (vault) =>
        openRequest(
          vault,
          'POST',
          '/tokens',
          ['Content-Type: application/json', 'Content-Length: 150000000'],
          Buffer.alloc(900_000, ' '),
        ),
      20_000,
    ),
  ],
  [
    'a body without a token',
    again(
      (vault) =>
        openRequest(
          { ...vault, token: '' },
          'PUT',
          '/backup/upload/x.tar',
          ['Content-Length: 200000000'],
          Buffer.alloc(900_000),
        ),
      15_000,
    ),
  ],
];

/** Opens a connection, leaves it alone for `forMs`, closes it and begins again. */
function again(open: (vault: BenchVault, download: string) => Member, forMs: number): Nuisance {
  return async (vault, download, signal) => {
    while (!signal.aborted) {
      const member = open(vault, download);
      await wait(forMs, undefined, { signal }).catch(() => undefined);
      member.close();
    }
  };
}

function put(vault: BenchVault, beginning: Uint8Array, query = ''): Member {
  return openRequest(vault, 'PUT', `/backup/upload/idle.tar${query}`, ['Content-Length: 900000000'], beginning);
}

/** Asks for a download and takes nothing of it. */
function reader(vault: BenchVault, path: string): Member {
  const member = slowDownload(vault, path, TRICKLE);
  member.stop();
  return member;
}

async function idlePatch(vault: BenchVault, download: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const address = await new UploadClient(vault).create(900_000_000, { filename: 'idle.tar', level: '22' });
    const headers = [
      'Tus-Resumable: 1.0.0',
      'Upload-Offset: 0',
      'Content-Type: application/offset+octet-stream',
      'Content-Length: 900000000',
    ];
    await again(() => openRequest(vault, 'PATCH', address, headers, Buffer.from('x')), 90_000)(vault, download, signal);
  }
}
