/** 100,000 rows into a table: what reading and telling of them costs, and what batches at once are worth here. */
import type { Bench, Part } from '../support/part.ts';
import type { Row } from '../support/report.ts';
import { alternate, median, type Ratio } from '../support/rounds.ts';
import { rowsFile } from '../support/rows.ts';
import { busiestThread, runtimeProcesses } from '../support/runtime-processes.ts';
import { get, postFile, putFile, type Transfer } from '../support/transfer.ts';
import { type BenchVault, INSTRUMENTED_VAULT, startVault } from '../support/vault.ts';

const ROWS = 100_000;
const BAR = 0.7;
const AT_ONCE_BAR = 1.3;
/** More than ever wait in an import: what there is to be had. */
const MANY = 12;
/** Of a statement that takes about half a second here. */
const LONG_STEPS = 5_000_000;

interface Scene {
  readonly bench: Bench;
  readonly vault: BenchVault;
  readonly file: string;
  readonly rows: number;
}

export const jsonImport: Part = async (bench) => {
  const rows = bench.quick ? ROWS / 10 : ROWS;
  const vault = await startVault(INSTRUMENTED_VAULT, bench.fresh('import-vault'));
  try {
    const scene = { bench, vault, file: rowsFile(bench.directory, rows), rows };
    return { rows: [await withoutParsing(scene), await atOnce(scene)] };
  } finally {
    await vault.stop();
  }
};

async function withoutParsing(scene: Scene): Promise<Row> {
  const { bench, vault, file, rows } = scene;
  await putFile(`${vault.url}/bench/rows/keep`, file);
  const ours = () => intoEmpty(scene, () => imported(scene));
  const control = () => intoEmpty(scene, () => get(`${vault.url}/bench/rows/write-kept?in_flight=3`));
  const ratio = await alternate(bench.rounds, ours, control);
  // What lies in memory would be looked through by every collection of what follows.
  await putFile(`${vault.url}/bench/rows/keep`, '/dev/null');
  return {
    what: `import of ${rows.toLocaleString('en')} rows / the same batches out of memory, without parsing`,
    bar: String(BAR),
    measured: `${ratio.ratio.toFixed(2)} (${perSecond(rows, ratio)})`,
    passes: ratio.ratio >= BAR,
    facts: ratio,
  };
}

/**
 * Batches at once hide the way to the database. Here there is next to none: the runtime computes the Worker and the
 * database on one thread, and only the time for which that thread has nothing to do can be hidden.
 */
async function atOnce(scene: Scene): Promise<Row> {
  const { bench, vault, file, rows } = scene;
  const runtime = runtimeProcesses(vault.pid);
  const busy: number[] = [];
  const written = (inFlight: number) => postFile(`${vault.url}/bench/rows/write?in_flight=${inFlight}`, file);
  const one = async () => {
    const { result, share } = await busiestThread(runtime, () => written(1));
    busy.push(share);
    return result;
  };
  const overOne = (inFlight: number) =>
    alternate(
      bench.rounds,
      () => intoEmpty(scene, () => written(inFlight)),
      () => intoEmpty(scene, one),
    );
  const three = await overOne(3);
  const many = await overOne(MANY);
  const { alone, long, short } = await longBesideShort(vault);
  const share = median(busy);
  return {
    what: 'the same rows without a job: 3 batches in flight / 1',
    bar: `${AT_ONCE_BAR} where there is time to hide`,
    measured:
      `${three.ratio.toFixed(2)} (${perSecond(rows, three)}), ${MANY} in flight ${many.ratio.toFixed(2)}; the one thread ` +
      `of Worker and database computes for ${(100 * share).toFixed(0)} % of the time with 1 in flight; ` +
      `a query of ${alone} ms beside one of ${long} ms took ${short} ms`,
    passes: three.ratio >= AT_ONCE_BAR || 1 / share < AT_ONCE_BAR,
    facts: { three, many, busy, alone, long, short },
  };
}

/** Through the vault's own route. */
function imported({ vault, file }: Scene): Promise<Transfer> {
  return postFile(`${vault.url}/import/stream?database=sample&table=items&format=ndjson`, file, vault.token);
}

/** The seconds of `work` alone, into a table that is empty before; throws where not all rows are there after it. */
async function intoEmpty({ vault, rows }: Scene, work: () => Promise<Transfer>): Promise<number> {
  const { seconds } = await work();
  const answer = await ask<{ rows: number }>(vault, 'empty');
  if (answer.rows !== rows) throw new Error(`${answer.rows} of ${rows} rows were written`);
  return seconds;
}

/** What the platform does with two queries at once. */
function longBesideShort(vault: BenchVault): Promise<{ alone: number; long: number; short: number }> {
  return ask(vault, `beside?steps=${LONG_STEPS}`);
}

async function ask<T>(vault: BenchVault, what: string): Promise<T> {
  const answer = await fetch(`${vault.url}/bench/rows/${what}`);
  if (!answer.ok) throw new Error(`/bench/rows/${what} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}

function perSecond(rows: number, { seconds }: Ratio): string {
  return `${Math.round(rows / seconds).toLocaleString('en')} rows/s`;
}
