/** Progress to many sockets, and to one that does not listen. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { heapRow, sampleHeap } from '../support/heap-sampler.ts';
import type { Bench, Part } from '../support/part.ts';
import type { Row } from '../support/report.ts';
import { alternate, quantile } from '../support/rounds.ts';
import { putFile } from '../support/transfer.ts';
import {
  type BenchVault,
  INSTRUMENTED_VAULT,
  type Receipt,
  removeBackup,
  startVault,
  uploadUrl,
  watchUrl,
} from '../support/vault.ts';

const SOCKETS = 1_000;
const UPDATES = 100;
/** Just slower than the four a second of a job, so that each update is a message. */
const UPDATE_EVERY_MS = 260;
const STALLED_UPDATES = 20_000;
const LAST_MESSAGE_MS = 15_000;

export const fanOut: Part = async (bench) => {
  const vault = await startVault(INSTRUMENTED_VAULT, bench.fresh('fan-out-vault'));
  try {
    const sockets = bench.quick ? 100 : SOCKETS;
    const updates = bench.quick ? 20 : UPDATES;
    const watchers = await openWatchers(await watchUrl(vault, 'crowd'), sockets);
    await publish(vault, 'crowd', updates, UPDATE_EVERY_MS);
    await lastMessages(watchers);
    return { rows: [crowdRow(watchers, updates)] };
  } finally {
    await vault.stop();
  }
};

function crowdRow(watchers: readonly Watcher[], updates: number): Row {
  const lags = watchers.flatMap((watcher) => watcher.lags);
  const lastLags = watchers.flatMap((watcher) => (watcher.done ? (watcher.lags.at(-1) ?? []) : []));
  const messages = watchers.map((watcher) => watcher.lags.length);
  const p99 = quantile(lags, 0.99);
  const lastP99 = quantile(lastLags, 0.99);
  const fewest = Math.min(...messages);
  return {
    what: `fan-out: ${watchers.length.toLocaleString('en')} sockets on one job × ${updates} updates`,
    bar: 'every socket gets the last one, p99 under 1 s',
    measured: `${lastLags.length} got the last one; p99 ${p99.toFixed(0)} ms, of the last one ${lastP99.toFixed(0)} ms; at least ${fewest} messages each`,
    passes: lastLags.length === watchers.length && p99 < 1_000 && lastP99 < 1_000,
    facts: { p50: quantile(lags, 0.5), p99, lastP99, messages },
  };
}

export const slowSubscriber: Part = async (bench) => {
  const vault = await startVault(INSTRUMENTED_VAULT, bench.fresh('slow-vault'));
  try {
    return { rows: [await othersRow(bench, vault), await uploadRow(bench, vault)] };
  } finally {
    await vault.stop();
  }
};

/** 20,000 updates to a job that one stalled and twenty listening sockets watch. */
async function othersRow(bench: Bench, vault: BenchVault): Promise<Row> {
  const updates = bench.quick ? STALLED_UPDATES / 10 : STALLED_UPDATES;
  const url = await watchUrl(vault, 'stalled');
  const stalled = await openStalled(url);
  const watchers = await openWatchers(url, 20);
  const sampler = await sampleHeap(vault);
  await publish(vault, 'stalled', updates, 1);
  await lastMessages(watchers);
  const heap = heapRow('', 100, await sampler.stop());
  stalled.destroy();
  const got = watchers.filter((watcher) => watcher.done).length;
  const p99 = quantile(
    watchers.flatMap((watcher) => watcher.lags),
    0.99,
  );
  return {
    what: `a subscriber that stops reading, ${updates.toLocaleString('en')} updates: the other sockets`,
    bar: 'notice nothing',
    measured: `${got} of ${watchers.length} got the last one, p99 ${p99.toFixed(0)} ms; isolate ${heap.measured}`,
    passes: got === watchers.length && p99 < 1_000 && heap.passes === true,
    facts: { p99, heap: heap.facts },
  };
}

/** Uploads with such a subscriber on their job and without one, in alternation. */
async function uploadRow(bench: Bench, vault: BenchVault): Promise<Row> {
  let run = 0;
  const timed = async (stall: boolean) => {
    const job_id = `slow-${run++}`;
    const stalled = stall ? await openStalled(await watchUrl(vault, job_id)) : null;
    const { seconds, body } = await putFile(uploadUrl(vault, { job_id, compression: 'zstd' }), bench.file, vault.token);
    stalled?.destroy();
    await removeBackup(vault, (JSON.parse(body) as Receipt).backup_id);
    return seconds;
  };
  const ratio = await alternate(
    bench.rounds,
    () => timed(true),
    () => timed(false),
  );
  return {
    what: 'upload that such a subscriber watches / upload that nobody watches',
    bar: 'notices nothing',
    measured: ratio.ratio.toFixed(2),
    passes: ratio.ratio >= 0.95,
    facts: ratio,
  };
}

interface Watcher {
  readonly socket: WebSocket;
  /** Milliseconds from the publishing of each message to its receipt. */
  readonly lags: number[];
  done: boolean;
}

async function openWatchers(url: string, count: number): Promise<Watcher[]> {
  const watchers: Watcher[] = [];
  // Fifty handshakes at a time: the client's own queue is not what is measured.
  while (watchers.length < count) {
    const batch = Array.from({ length: Math.min(50, count - watchers.length) }, () => openWatcher(url));
    watchers.push(...(await Promise.all(batch)));
  }
  return watchers;
}

async function openWatcher(url: string): Promise<Watcher> {
  const watcher: Watcher = { socket: new WebSocket(url), lags: [], done: false };
  watcher.socket.addEventListener('message', ({ data }) => {
    const { phase, message } = JSON.parse(String(data)) as { phase: string; message: string };
    const published = /^at (\d+)$/.exec(message)?.[1];
    if (published !== undefined) watcher.lags.push(Date.now() - Number(published));
    if (phase === 'done') watcher.done = true;
  });
  await new Promise<void>((resolve, reject) => {
    watcher.socket.addEventListener('open', () => resolve());
    watcher.socket.addEventListener('error', () => reject(new Error('a WebSocket was refused')));
  });
  return watcher;
}

/** Waits until each has the last message, or the time for it is over. */
async function lastMessages(watchers: readonly Watcher[]): Promise<void> {
  const deadline = Date.now() + LAST_MESSAGE_MS;
  while (Date.now() < deadline && !watchers.every((watcher) => watcher.done)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const { socket } of watchers) socket.close();
}

/** A WebSocket over a bare TCP socket that reads the handshake and then no more. */
async function openStalled(url: string): Promise<Socket> {
  const { hostname, port, pathname, search, host } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(
    [
      `GET ${pathname}${search} HTTP/1.1`,
      `Host: ${host}`,
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
      'Sec-WebSocket-Version: 13',
      '\r\n',
    ].join('\r\n'),
  );
  const [answer] = await once(socket, 'data');
  if (!String(answer).startsWith('HTTP/1.1 101')) throw new Error(`no WebSocket: ${String(answer).slice(0, 200)}`);
  socket.pause();
  return socket;
}

async function publish(vault: BenchVault, job: string, updates: number, everyMs: number): Promise<void> {
  const query = new URLSearchParams({ job, updates: String(updates), every_ms: String(everyMs) });
  const answer = await fetch(`${vault.url}/bench/publish?${query}`);
  if (!answer.ok) throw new Error(`publishing answered ${answer.status}: ${await answer.text()}`);
  await answer.body?.cancel();
}
