/**
 * `npm run fuzz`: requests made of the vault's own OpenAPI document, good and bad, against a vault of its own. None may be
 * answered with a 5xx that is not deliberate, none may hang, and the vault must work at the end.
 *
 *   npm run fuzz                        20,000 requests of a new seed: a few minutes
 *   npm run fuzz -- --seed 7            the same requests again; ids and secrets in them are those of the new vault
 *   npm run fuzz -- --seed 7 --only 31  these of them alone (may be given again)
 *   npm run fuzz -- --requests 500      fewer
 *
 * Prints each finding with a curl line that repeats it on a vault at $V; bodies are written beside the bench's results.
 * Exits 1 where there are any.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startLocalVault } from '../src/cli/local-vault.ts';
import { Chance } from '../test/e2e/chaos/chance.ts';
import { newAgent, type Outcome, send } from './fuzz/client.ts';
import { type Material, makeMaterial } from './fuzz/material.ts';
import { type Document, type FuzzRequest, fuzzRequest } from './fuzz/request.ts';

/** 5xx answers that the vault means, by their codes. */
const DELIBERATE: Readonly<Record<string, string>> = {
  busy: 'more at once than the isolate has memory for, after 10 s of waiting',
  'job-unavailable': 'the job object did not answer three times: this machine is busier than the bound allows',
};
/** Deadlines of the vault are 60 s (UPLOAD_IDLE); whatever answers later has none. */
const BOUND_MS = 90_000;
const RESULTS = join(dirname(fileURLToPath(import.meta.url)), 'results');

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string' },
    requests: { type: 'string', default: '20000' },
    only: { type: 'string', multiple: true },
    'at-once': { type: 'string', default: '12' },
    port: { type: 'string', default: '0' },
  },
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const seed = options.seed ?? String(Math.floor(Math.random() * 1_000_000));
const numbers = options.only?.map(Number) ?? Array.from({ length: Number(options.requests) }, (_, n) => n);
console.log(`Seed ${seed}`);
const began = Date.now();
const vault = await startLocalVault({ port: Number(options.port) });
const tally = new Map<string, number>();
let findings = 0;
let slowest = { seconds: 0, what: '' };
try {
  const document = (await (await fetch(`${vault.url}/openapi.json`)).json()) as Document;
  const material = await makeMaterial(vault);
  const chance = new Chance(seed);
  const agent = newAgent();
  const queue = numbers.values();
  const worker = async () => {
    for (const number of queue) {
      const asked = fuzzRequest(document, material, chance.of(number));
      const outcome = await send(vault.url, asked, agent, BOUND_MS);
      judge(number, asked, outcome, material);
    }
  };
  await Promise.all(Array.from({ length: Number(options['at-once']) }, worker));
  agent.destroy();
  await checkAlive();
} finally {
  await vault.stop();
}
print();
process.exitCode = findings === 0 ? 0 : 1;

function judge(number: number, asked: FuzzRequest, outcome: Outcome, material: Material): void {
  count(outcome.kind === 'answered' ? String(outcome.status) : outcome.kind);
  const wrong = wrongIn(outcome);
  if (wrong) report(number, asked, wrong, material);
  if (outcome.kind !== 'answered' || outcome.seconds <= slowest.seconds) return;
  slowest = { seconds: outcome.seconds, what: `request ${number}, ${asked.method} ${asked.route}` };
}

function wrongIn(outcome: Outcome): string | null {
  if (outcome.kind === 'hung') return `no answer within ${BOUND_MS / 1000} s`;
  if (outcome.kind !== 'answered' || outcome.status < 500) return null;
  const code = /"code":"([a-z-]+)"/.exec(outcome.text)?.[1] ?? '';
  if (!Object.hasOwn(DELIBERATE, code)) return `${outcome.status} ${outcome.text.slice(0, 300)}`;
  count(`${outcome.status} ${code}, deliberate: ${DELIBERATE[code]}`);
  return null;
}

function report(number: number, asked: FuzzRequest, wrong: string, material: Material): void {
  findings += 1;
  console.log(`\nFINDING ${findings}, request ${number}: ${wrong}\n${curlOf(number, asked, material)}`);
}

/** Secrets as variables, since those of this vault are gone with it. */
function curlOf(number: number, { method, path, headers, body, chunked }: FuzzRequest, { tokens }: Material): string {
  const secrets = Object.entries(tokens).map(([scope, token]) => [token, `$${scope.toUpperCase()}`] as const);
  const shown = (text: string) => secrets.reduce((left, [token, name]) => left.replaceAll(token, name), text);
  const quoted = (text: string) => `"${shown(text.replace(/["\\$`]/g, '\\$&'))}"`;
  const parts = ['curl -sS --path-as-is -m 90 -i', method === 'HEAD' ? '-I' : `-X ${method}`];
  for (const [name, value] of headers) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (chunked) parts.push("-H 'Transfer-Encoding: chunked'");
  if (body) {
    mkdirSync(RESULTS, { recursive: true });
    const file = join(RESULTS, `fuzz-${seed}-${number}.body`);
    writeFileSync(file, body);
    parts.push(`--data-binary @${file}`);
  }
  return `${parts.join(' ')} "$V"${quoted(path)}`;
}

/** The vault answers, and keeps what it is given. */
async function checkAlive(): Promise<void> {
  const headers = { authorization: `Bearer ${vault.token}` };
  const bound = () => AbortSignal.timeout(BOUND_MS);
  try {
    const put = { method: 'PUT', body: 'still here', headers, signal: bound() };
    const { backup_id } = (await (await fetch(`${vault.url}/backup/upload/alive.txt`, put)).json()) as {
      backup_id: string;
    };
    const back = await fetch(`${vault.url}/backup/${backup_id}/download`, { headers, signal: bound() });
    if ((await back.text()) !== 'still here') throw new Error(`the download answered ${back.status}`);
  } catch (error) {
    findings += 1;
    console.log(
      `\nFINDING ${findings}: the vault does not work any more: ${String(error)}\n${vault.logs().slice(-4000)}`,
    );
  }
}

function count(what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1);
}

function print(): void {
  console.log(`\n| seed ${seed} | ${((Date.now() - began) / 1000).toFixed(0)} s |\n| --- | ---: |`);
  for (const [what, times] of [...tally].sort()) console.log(`| ${what} | ${times} |`);
  console.log(`| slowest: ${slowest.what} | ${slowest.seconds.toFixed(1)} s |\n| findings | ${findings} |`);
}
