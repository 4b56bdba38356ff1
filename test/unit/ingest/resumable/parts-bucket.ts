import { env } from 'cloudflare:workers';
import { concat } from '../../../../src/shared/bytes.ts';
import { R2_PART_NUMBERS } from '../../../../src/shared/limits.ts';

interface Part {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** A multipart upload, and what became of it. */
export interface OpenedUpload {
  readonly key: string;
  readonly id: string;
  readonly parts: Map<number, Part>;
  /** Numbers in the order in which their parts arrived. */
  readonly arrived: number[];
  state: 'open' | 'completed' | 'aborted';
}

/** What a call is about to do; parts are told by their number. */
export interface BucketCall {
  readonly name: 'put' | 'create' | 'part' | 'complete' | 'abort' | 'head';
  readonly number?: number;
}

/**
 * The writing half of a bucket, in memory, and as strict as R2: parts equal but the last, numbers up to 10,000, ETags as
 * they were given. It takes bytes when a call is carried out, so that a buffer which is used again too early shows.
 */
export class PartsBucket {
  readonly objects = new Map<string, Uint8Array>();
  readonly uploads: OpenedUpload[] = [];
  readonly calls: BucketCall[] = [];
  /** Asked before each call is carried out; may wait, and may throw. */
  before: (call: BucketCall) => unknown = () => undefined;
  readonly bucket: R2Bucket;

  constructor() {
    const methods: Record<string, unknown> = {
      put: this.#put.bind(this),
      head: this.#head.bind(this),
      createMultipartUpload: this.#create.bind(this),
      resumeMultipartUpload: this.#resume.bind(this),
    };
    this.bucket = new Proxy(env.VAULT, { get: (_, name) => methods[String(name)] });
  }

  /** Uploads that somebody has still to complete or abort. */
  get open(): OpenedUpload[] {
    return this.uploads.filter(({ state }) => state === 'open');
  }

  async #call(call: BucketCall): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }

  async #put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#call({ name: 'put' });
    this.objects.set(key, bytes.slice());
  }

  async #head(key: string): Promise<{ size: number } | null> {
    await this.#call({ name: 'head' });
    const object = this.objects.get(key);
    return object ? { size: object.length } : null;
  }

  async #create(key: string): Promise<{ uploadId: string }> {
    await this.#call({ name: 'create' });
    const id = `upload-${this.uploads.length + 1}`;
    this.uploads.push({ key, id, parts: new Map(), arrived: [], state: 'open' });
    return { uploadId: id };
  }

  #resume(key: string, id: string): unknown {
    const found = () => {
      const upload = this.uploads.find((one) => one.key === key && one.id === id && one.state === 'open');
      if (!upload) throw new Error('The specified multipart upload does not exist. (10024)');
      return upload;
    };
    return {
      uploadPart: async (number: number, bytes: Uint8Array) => {
        await this.#call({ name: 'part', number });
        if (number < 1 || number > R2_PART_NUMBERS) throw new Error('no such part number (10027)');
        const { parts, arrived } = found();
        const etag = `etag-${number}-${arrived.length}`;
        parts.set(number, { bytes: bytes.slice(), etag });
        arrived.push(number);
        return { partNumber: number, etag };
      },
      complete: async (named: readonly R2UploadedPart[]) => {
        await this.#call({ name: 'complete' });
        const upload = found();
        this.objects.set(key, concat(partsOf(upload, named)));
        upload.state = 'completed';
      },
      abort: async () => {
        await this.#call({ name: 'abort' });
        found().state = 'aborted';
      },
    };
  }
}

function partsOf({ parts }: OpenedUpload, named: readonly R2UploadedPart[]): Uint8Array[] {
  const bytes = named.map(({ partNumber, etag }, i) => {
    const part = parts.get(partNumber);
    if (part?.etag !== etag) throw new Error(`part ${partNumber} is not there (10025)`);
    if (i > 0 && partNumber <= (named[i - 1]?.partNumber ?? 0)) throw new Error('parts out of order (10030)');
    return part.bytes;
  });
  const size = bytes[0]?.length ?? 0;
  const equal = bytes.every(({ length }, i) => length === size || (i === bytes.length - 1 && length < size));
  if (!equal) throw new Error('parts of unequal size (10048)');
  return bytes;
}
