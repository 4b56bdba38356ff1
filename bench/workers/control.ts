/** The control: R2 and nothing else. What it takes is what the runtime and the simulated storage take. */

interface Env {
  readonly BUCKET: R2Bucket;
}

/** As large as the vault's, so that the simulator reads both the same way. */
const PART_BYTES = 8 * 1024 * 1024;

export default {
  async fetch(request, { BUCKET }) {
    const url = new URL(request.url);
    const key = url.pathname.slice(1);
    switch (request.method) {
      case 'PUT':
        if (url.searchParams.has('parts')) await putParts(BUCKET, key, bodyOf(request));
        else await BUCKET.put(key, bodyOf(request));
        return new Response(null, { status: 201 });
      case 'DELETE':
        await BUCKET.delete(key);
        return new Response(null, { status: 204 });
      default: {
        if (key === '') return new Response('ready');
        const object = await BUCKET.get(key);
        return object ? new Response(object.body) : new Response(null, { status: 404 });
      }
    }
  },
} satisfies ExportedHandler<Env>;

function bodyOf(request: Request): ReadableStream<Uint8Array> {
  if (!request.body) throw new Error('no body');
  return request.body;
}

async function putParts(bucket: R2Bucket, key: string, body: ReadableStream<Uint8Array>): Promise<void> {
  const upload = await bucket.createMultipartUpload(key);
  const reader = body.getReader({ mode: 'byob' });
  const parts: R2UploadedPart[] = [];
  let buffer = new ArrayBuffer(PART_BYTES);
  while (true) {
    const { done, value } = await reader.readAtLeast(PART_BYTES, new Uint8Array(buffer));
    if (value && value.length > 0) parts.push(await upload.uploadPart(parts.length + 1, value));
    if (done || !value) break;
    buffer = value.buffer as ArrayBuffer;
  }
  await upload.complete(parts);
}
