import { beforeAll, describe, expect, it } from 'vitest';
import { JSON_BODY_BYTES } from '../../src/shared/limits.ts';
import { ask, expectProblem, put, sample } from '../support/vault.ts';

interface Operation {
  readonly requestBody?: { readonly content?: Readonly<Record<string, { schema?: { type?: string } }>> };
}

/** Every route of the published document that takes a JSON object, as paths that can be asked. */
let paths: string[];

beforeAll(async () => {
  const { backup_id } = await put('json.bin', sample(10));
  const document: { paths: Record<string, Record<string, Operation>> } = await (await ask('/openapi.json')).json();
  paths = Object.entries(document.paths).flatMap(([path, { post }]) => {
    const media = post?.requestBody?.content?.['application/json'];
    // An import takes rows, which it reads as a stream.
    const isJsonRoute = media && media.schema?.type !== 'array';
    const filled = path.replace('{backup_id}', backup_id).replace('{name}', 'json.bin').replace('{job_id}', 'some-job');
    return isJsonRoute ? [filled] : [];
  });
});

const VALID = JSON.stringify({ filename: 'a.bin', name: 'x', scopes: ['read'] });
const TOO_LARGE = `{"x":"${'a'.repeat(JSON_BODY_BYTES)}"}`;

function post(path: string, body: BodyInit | null, contentType: string | null): Promise<Response> {
  const request = new Request(`https://vault.test${path}`, { method: 'POST', body });
  const headers = new Headers(request.headers);
  if (contentType === null) headers.delete('content-type');
  else headers.set('content-type', contentType);
  return ask(path, { method: 'POST', body, headers });
}

/** A body without a Content-Length: it counts how much of it was taken. */
function endless(): { readonly body: ReadableStream<Uint8Array>; taken: () => number } {
  let taken = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (taken >= 4 * JSON_BODY_BYTES) return controller.close();
      taken += 1000;
      controller.enqueue(new Uint8Array(1000).fill(0x20));
    },
  });
  return { body, taken: () => taken };
}

describe('the body of every JSON route', () => {
  it('is looked at for all of them', () => {
    expect(paths).toEqual(expect.arrayContaining(['/tokens', '/backup/upload-links', '/jobs/some-job/links']));
  });

  it.each(['application/x-www-form-urlencoded', 'text/plain', 'text/plain;charset=UTF-8', 'application/jsonx', 'x'])(
    'is rejected with 415 as "%s"',
    async (contentType) => {
      for (const path of paths)
        await expectProblem(await post(path, VALID, contentType), 415, 'unsupported-media-type');
    },
  );

  it('is rejected with 415 without a type', async () => {
    for (const path of paths) {
      await expectProblem(await post(path, new TextEncoder().encode(VALID), null), 415, 'unsupported-media-type');
    }
  });

  it.each([
    'application/json',
    'Application/JSON; charset=utf-8',
    'application/vnd.api+json',
    'application/problem+json',
  ])('is taken as "%s"', async (contentType) => {
    // An option that another route knows is unknown to this one; what is asked here is only whether the body was read.
    for (const path of paths) expect((await post(path, VALID, contentType)).status, path).not.toBe(415);
    expect((await post('/tokens', '{"name":"x","scopes":["read"]}', contentType)).status).toBe(201);
  });

  it.each(['application/json', 'text/plain', null])(
    'counts as {} where it is empty, with the type %s',
    async (type) => {
      for (const path of paths) {
        for (const body of [null, '']) {
          const answer = await post(path, body, type);
          if (/upload-links|tokens/.test(path)) await expectProblem(answer, 400, 'invalid-request');
          else expect(answer.status, `${path} ${await answer.text()}`).toBe(200);
        }
      }
    },
  );

  it(`is rejected with 413 above ${JSON_BODY_BYTES} bytes, by its length and as it comes`, async () => {
    for (const path of paths) {
      await expectProblem(await post(path, TOO_LARGE, 'application/json'), 413, 'body-too-large');
      await expectProblem(await post(path, endless().body, 'application/json'), 413, 'body-too-large');
    }
  });

  it.each(['{', '[1,', '{"a":1}}', '\u0000', 'null', '7', '"x"', '[]'])(
    'is rejected with 400 where it is %j',
    async (body) => {
      for (const path of paths) await expectProblem(await post(path, body, 'application/json'), 400, 'invalid-request');
    },
  );

  it('is rejected with 400 where it is not UTF-8', async () => {
    for (const path of paths) {
      await expectProblem(
        await post(path, new Uint8Array([0x22, 0xff, 0x22]), 'application/json'),
        400,
        'invalid-request',
      );
    }
  });

  it('is not read without a credential', async () => {
    for (const path of paths) {
      const { body, taken } = endless();
      const answer = await ask(path, {
        method: 'POST',
        body,
        token: null,
        headers: { 'content-type': 'application/json' },
      });
      await expectProblem(answer, 401, 'unauthorized');
      expect(taken()).toBeLessThan(100_000);
    }
  });
});
