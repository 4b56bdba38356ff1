/**
 * Takes the WebAssembly of zstd-codec out of its package. There it is a data URI that is compiled at run time, which
 * Workers do not allow: they want a .wasm file that is imported. Run with Node before every build; writes only what
 * changed, so that a watcher does not see its own work.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BINDING = new URL('../../node_modules/zstd-codec/lib/zstd-codec-binding-wasm.js', import.meta.url);
const GENERATED = new URL('../codec/zstd/generated/', import.meta.url);
/** The glue's one long data URI; its other mention of the prefix is followed by no base64. */
const DATA_URI = /data:application\/octet-stream;base64,([A-Za-z0-9+/=]+)/;

const binding = readFileSync(BINDING, 'utf8');
const base64 = DATA_URI.exec(binding)?.[1];
if (!base64) throw new Error(`${fileURLToPath(BINDING)} holds no WebAssembly: is this zstd-codec 0.1.5?`);

mkdirSync(GENERATED, { recursive: true });
writeIfChanged('zstd-codec.wasm', Buffer.from(base64, 'base64'));
writeIfChanged('zstd-codec-glue.js', Buffer.from(asModule(binding.replace(base64, ''))));

/**
 * The glue as a module: it ends with exports for CommonJS, AMD and globals. It also takes `process` for Node and then
 * calls `process.binding`; and it calls `Function` without `new`, which one of the runtimes forbids. Names of the
 * module's own keep all that from it, with nothing global touched. Of its mistakes the one that bundlers warn of is
 * mended.
 */
function asModule(glue: string): string {
  const body = glue
    .slice(0, glue.indexOf("if (typeof exports === 'object'"))
    .replace(/!err instanceof (\w+)/g, '!(err instanceof $1)');
  return `// Made by src/cli/build.ts from zstd-codec 0.1.5 (MIT).
const process = undefined;
const require = undefined;
const importScripts = () => undefined;
const self = { location: { href: '' } };
const Function = new Proxy(globalThis.Function, { apply: (target, _, args) => Reflect.construct(target, args) });
${body}
export default Module;
`;
}

function writeIfChanged(name: string, content: Buffer): void {
  const file = new URL(name, GENERATED);
  if (!readIfThere(file)?.equals(content)) writeFileSync(file, content);
}

function readIfThere(file: URL): Buffer | null {
  try {
    return readFileSync(file);
  } catch {
    return null;
  }
}
