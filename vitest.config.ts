import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';

const migrations = {
  MIGRATIONS: await readD1Migrations('./src/catalogue/migrations'),
  SAMPLE_MIGRATIONS: await readD1Migrations('./src/databases/sample'),
};

/** Credentials of the tests; random enough for nobody, fixed so that a failure can be repeated. */
const secrets = {
  ADMIN_TOKEN: 'test-admin-token-of-32-characters',
  LINK_SIGNING_KEYS: 'k2:bmV3ZXN0LWtleS1uZXdlc3Qta2V5LW5ld2VzdC1rZXk,k1:b2xkZXIta2V5LW9sZGVyLWtleS1vbGRlci1rZXktMTE',
};

/** Random tests run these seeds instead of their own (bench/import-seeds.ts). */
const { IMPORT_SEEDS, IMPORT_FIRST_SEED } = process.env;
const seeds = { ...(IMPORT_SEEDS && { IMPORT_SEEDS }), ...(IMPORT_FIRST_SEED && { IMPORT_FIRST_SEED }) };

function inRuntime(name: string, include: string[], bindings: Record<string, unknown>, exclude: string[] = []) {
  return {
    // Vite warns of source maps that packages do not ship.
    logLevel: 'error' as const,
    plugins: [
      cloudflareTest({
        wrangler: { configPath: './wrangler.toml' },
        // Verbose, the runtime prints a line for each client that goes away.
        verbose: false,
        miniflare: { bindings: { ...secrets, ...bindings, ...migrations } },
      }),
    ],
    test: {
      name,
      include,
      exclude,
      testTimeout: 60_000,
      setupFiles: ['./test/support/migrate.ts'],
      // itty-durable ships ES modules in a package that says CommonJS.
      server: { deps: { inline: ['itty-durable'] } },
    },
  };
}

/** Routes that come to no codec but through what has tests of its own: with one engine they are tested as with the other. */
const WITHOUT_ENGINE = [
  'test/routes/{openapi,pages,names,latest,expiry}.test.ts',
  'test/routes/resumable-draft{,-append}.test.ts',
  'test/routes/tus.test.ts',
  'test/routes/tus-{access,creation,creation-extensions,extensions,interrupted,links,progress}.test.ts',
];

/** Commands that the end-to-end tests run, and the Debian packages that hold them. */
const CLIENTS = {
  curl: 'curl',
  wget: 'wget',
  zstd: 'zstd',
  python3: 'python3',
  chromium: 'chromium',
  aria2c: 'aria2',
  bsdtar: 'libarchive-tools',
  age: 'age',
};

/**
 * The end-to-end tests are the real clients' own. CI installs them (.ci/run), and there a missing one is a failure;
 * on a machine without them all other tests still run, and what was left out is said.
 */
function clientsAreThere(): boolean {
  const missing = Object.entries(CLIENTS).filter(
    ([tool]) => !(process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, tool))),
  );
  if (missing.length === 0 || process.env.CI) return true;
  const tools = missing.map(([tool]) => tool).join(', ');
  const packages = missing.map(([, name]) => name).join(' ');
  console.warn(`Left out: the end-to-end tests, which need ${tools} (apt-get install ${packages}).`);
  return false;
}

function inNode(name: string, include: string[], more: Record<string, unknown> = {}) {
  return { test: { name, include, environment: 'node', testTimeout: 120_000, hookTimeout: 120_000, ...more } };
}

/** Their moments and leases are kept, and an isolate rests, only while no other test takes the processor. */
const ALONE = ['test/e2e/{killed-runtime,memory,tus-chaos}.test.ts'];

const endToEnd = clientsAreThere()
  ? [
      inNode('e2e', ['test/e2e/**/*.test.ts'], { exclude: ALONE }),
      inNode('e2e-alone', ALONE, { fileParallelism: false, sequence: { groupOrder: 1 } }),
    ]
  : [];

export default defineConfig({
  test: {
    maxWorkers: 2,
    // The vault logs each request: the report of a failing test shows its log, and a passing one shows none.
    silent: 'passed-only',
    projects: [
      inRuntime('unit', ['test/unit/**/*.test.ts'], seeds),
      inRuntime('routes-native', ['test/routes/**/*.test.ts'], { ZSTD_ENGINE: 'native' }),
      inRuntime('routes-wasm', ['test/routes/**/*.test.ts'], { ZSTD_ENGINE: 'wasm' }, WITHOUT_ENGINE),
      inNode('layers', ['test/{layers,linear-time}.test.ts']),
      ...endToEnd,
    ],
  },
});
