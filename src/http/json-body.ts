import { createMiddleware } from 'hono/factory';
import { concat } from '../shared/bytes.ts';
import { VaultError } from '../shared/errors.ts';
import { JSON_BODY_BYTES, REFUSED_READ_BYTES } from '../shared/limits.ts';
import { sentChunks } from '../shared/sender.ts';
import type { AppContext, AppEnv } from './app-env.ts';
import { contentLength } from './request-body.ts';

class BodyTooLarge extends VaultError {
  constructor() {
    super('body-too-large', `The JSON body has more than ${JSON_BODY_BYTES} bytes, the most that this route takes.`);
  }
}

class NotJson extends VaultError {
  constructor(contentType: string | undefined) {
    const sent = contentType === undefined ? 'no Content-Type' : `"Content-Type: ${contentType.slice(0, 100)}"`;
    super('unsupported-media-type', `The body was sent with ${sent}. Send JSON with "Content-Type: application/json".`);
  }
}

class NotUtf8 extends VaultError {
  constructor() {
    super('invalid-request', 'The body is not valid UTF-8. Send JSON in UTF-8.');
  }
}

/**
 * Reads the body of a JSON route: the one place that does, for all of them. It comes after the check of the credential,
 * so that no body of a stranger is read, and before the validators, which then find a request whose body is in memory
 * and at most {@link JSON_BODY_BYTES} long. An empty body counts as `{}`, whatever its type.
 */
export const readJson = createMiddleware<AppEnv>(async (c, next) => {
  const { url, method, body } = c.req.raw;
  const text = body === null ? '' : await textOf(c, body);
  const headers = new Headers(c.req.raw.headers);
  headers.set('content-type', 'application/json');
  headers.delete('content-length');
  c.req.raw = new Request(url, { method, headers, body: text === '' ? '{}' : text });
  await next();
});

async function textOf(c: AppContext, body: ReadableStream<Uint8Array>): Promise<string> {
  if (contentLength(c) > JSON_BODY_BYTES) throw new BodyTooLarge();
  const contentType = c.req.header('content-type');
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of sentChunks(body, REFUSED_READ_BYTES, c.get('services').senderLimits)) {
    if (!isJson(contentType)) throw new NotJson(contentType);
    bytes += chunk.length;
    if (bytes > JSON_BODY_BYTES) throw new BodyTooLarge();
    chunks.push(chunk.slice());
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(concat(chunks));
  } catch {
    throw new NotUtf8();
  }
}

/** `application/json` or `application/….+json` (RFC 6839), with any parameters. */
function isJson(contentType = ''): boolean {
  const mediaType = (contentType.split(';')[0] ?? '').trim().toLowerCase();
  return mediaType === 'application/json' || (mediaType.startsWith('application/') && mediaType.endsWith('+json'));
}
