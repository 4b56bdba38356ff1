import { createHash } from 'node:crypto';
import { api, type Receipt } from '../clients.ts';
import type { AgeKey } from './age-key.ts';
import type { Content } from './content.ts';
import { Ledger } from './ledger.ts';
import type { MortalVault } from './mortal-vault.ts';
import { isShortLived, type UploadPlan } from './plan.ts';
import { type Conduct, exchange, type Outcome, type RawRequest } from './raw-http.ts';
import type { Tally, UploadLog } from './upload-log.ts';

/** How long a HEAD may take, on a machine that does much else: it must not wait for a piece. */
const SLOWEST_HEAD_MS = 15_000;
/** Who is refused while it sends is heard out for so long, and no longer. */
const DRAIN_MS = 10_000;
/** Clocks of the upload and of who watches it. */
const EXPIRY_SLACK_MS = 1_500;

/** What came of a request. */
export interface Reply {
  /** `lost`, `cut`, or the status, with the code of the problem behind it. */
  readonly label: string;
  readonly status: number;
  /** Upload-Offset, if the answer had it. */
  readonly offset: number | null;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** The runtime was killed meanwhile. */
  readonly disturbed: boolean;
  readonly ms: number;
}

export interface PatchOptions {
  readonly by: string;
  readonly conduct: Conduct;
  /** Said in the log, such as `cut by rst`. */
  readonly note?: string;
  readonly checksum?: { readonly algorithm: string; readonly of: Uint8Array } | undefined;
  readonly chunkBytes?: (() => number) | undefined;
  /** Upload-Length goes with it. */
  readonly length?: boolean;
  /** As POST with X-HTTP-Method-Override. */
  readonly overridden?: boolean;
  /** Headers beside or instead; an empty one is left out. */
  readonly headers?: Readonly<Record<string, string>>;
  /** False: nothing of it may ever count. */
  readonly counts?: boolean;
}

/** GET /tus/{id} */
export interface UploadState {
  readonly backup_id: string;
  readonly offset: number;
  readonly length: number | null;
  readonly phase: string;
  readonly receipt: Receipt | null;
}

export interface UploadRooms {
  readonly vault: MortalVault;
  readonly tally: Tally;
  readonly key: AgeKey;
}

const PIECE = { 'Content-Type': 'application/offset+octet-stream' };
const VERSION = { 'Tus-Resumable': '1.0.0' };

/**
 * One upload, as all of its clients see it together: every request of theirs goes through here, and every answer is held
 * against what was sent and what was told before.
 */
export class TusUpload {
  readonly plan: UploadPlan;
  readonly content: Content;
  /** For whom the vault encrypts it. */
  readonly recipient: string | null;
  readonly log: UploadLog;
  readonly tally: Tally;
  readonly ledger = new Ledger();
  readonly #vault: MortalVault;
  #target = '';
  #secret: string | null = null;
  #backupId = '';
  #expiresAt = Number.POSITIVE_INFINITY;
  #removed = false;
  /** Whether the vault was told the length, and said so. */
  lengthKnown: boolean;
  /** Whether a request may still be on its way whose end nobody knows. */
  unsettled = false;

  constructor(plan: UploadPlan, content: Content, { vault, tally, key }: UploadRooms, log: UploadLog) {
    this.plan = plan;
    this.content = content;
    this.recipient = plan.encrypted ? key.recipient : null;
    this.#vault = vault;
    this.log = log;
    this.tally = tally;
    this.lengthKnown = !plan.deferred;
  }

  get bytes(): Buffer {
    return this.content.bytes;
  }

  get total(): number {
    return this.bytes.length;
  }

  get backupId(): string {
    return this.#backupId;
  }

  get expiresAt(): number {
    return this.#expiresAt;
  }

  /** Whether nobody but the one who asks has, or may have, a request on its way. */
  get isCalm(): boolean {
    return this.plan.clients === 1 && !this.unsettled;
  }

  /** Why the upload may be gone by now. */
  get reasonsToBeGone(): readonly string[] {
    const reasons: string[] = [];
    if (this.#removed) reasons.push('upload-gone');
    if (isShortLived(this.plan) && Date.now() > this.#expiresAt - EXPIRY_SLACK_MS) reasons.push('upload-expired');
    if (this.plan.fate === 'mismatch' && this.ledger.mayStandAt(this.total)) reasons.push('upload-failed');
    return reasons;
  }

  /** Whether the answer says that the upload is gone, and may. */
  isGone({ label, status }: Reply): boolean {
    const reasons = this.reasonsToBeGone;
    if (label === '422 checksum-mismatch') return reasons.includes('upload-failed');
    return status === 410 && reasons.some((reason) => label === '410' || label === `410 ${reason}`);
  }

  /** Complains of an answer that is none of these. Gives whether it is one. */
  expect(reply: Reply, ...labels: readonly string[]): boolean {
    if (labels.includes(reply.label) || this.isGone(reply)) return true;
    if (reply.label === 'lost' && (reply.disturbed || isDrainedTooLong(reply, labels))) return true;
    const told = reply.body.toString().slice(0, 500);
    this.log.accuse(`answer ${reply.label} where there should be ${labels.join(' or ')}: ${told}`);
    return false;
  }

  /** POST /tus, or what a link says. Gives the answer; after a 201 the upload can be talked to. */
  async create(by: string, conduct: Conduct): Promise<Reply> {
    const { plan } = this;
    const first = this.bytes.subarray(0, Math.floor(plan.first * this.total));
    const { target, credential } = await this.#creation();
    const headers = {
      ...VERSION,
      ...credential,
      ...(plan.deferred ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(this.total) }),
      'Upload-Metadata': this.#metadata(),
      ...(first.length > 0 && PIECE),
    };
    const piece = this.ledger.sends({ from: 0, to: first.length, whole: false });
    const body = first.length > 0 ? { body: first } : {};
    const reply = await this.#ask({ method: 'POST', target, headers, ...body }, by, `first ${first.length}`, conduct);
    if (reply.status === 201) this.#created(reply, first.length);
    // Whatever came of it, it came to another upload.
    else this.ledger.withdraw(piece);
    return reply;
  }

  async head(by: string): Promise<Reply> {
    const headers = { ...VERSION, ...this.#credential };
    const reply = await this.#ask({ method: 'HEAD', target: this.#target, headers }, by);
    if (!reply.disturbed && reply.label !== 'lost') {
      this.tally.most('slowest HEAD in ms', reply.ms);
      if (reply.ms > SLOWEST_HEAD_MS) this.log.accuse(`HEAD took ${reply.ms} ms`);
    }
    if (reply.status === 200) this.#checkHead(reply);
    return reply;
  }

  async patch(from: number, body: Uint8Array, options: PatchOptions): Promise<Reply> {
    const { by, checksum, counts = true } = options;
    const headers = {
      ...VERSION,
      ...this.#credential,
      ...PIECE,
      'Upload-Offset': String(from),
      ...(options.length && { 'Upload-Length': String(this.total) }),
      ...(checksum && { 'Upload-Checksum': checksumHeader(checksum) }),
      ...(options.overridden && { 'X-HTTP-Method-Override': 'PATCH' }),
      ...options.headers,
    };
    const to = Math.min(from + body.length, this.total);
    const piece = counts ? this.ledger.sends({ from, to, whole: checksum !== undefined }) : null;
    const method = options.overridden ? 'POST' : 'PATCH';
    const note = [`@${from}+${body.length}`, checksum?.algorithm, options.length && 'with length', options.note];
    const reply = await this.#ask(
      { method, target: this.#target, headers: withoutEmpty(headers), body, chunkBytes: options.chunkBytes },
      by,
      note.filter(Boolean).join(' '),
      options.conduct,
      (outcome) => {
        if (piece && outcome.kind !== 'answer') this.ledger.wasCut(piece, outcome.sent);
      },
    );
    if (reply.label === '409 offset-mismatch' && piece) this.ledger.withdraw(piece);
    if (reply.status === 204) this.#checkPatched(reply, from, body.length, options.length === true);
    return reply;
  }

  remove(by: string, conduct?: Conduct): Promise<Reply> {
    this.#removed = true;
    const headers = { ...VERSION, ...this.#credential };
    return this.#ask({ method: 'DELETE', target: this.#target, headers }, by, '', conduct);
  }

  /** The state as JSON; null while it cannot be had. */
  async state(by: string): Promise<{ reply: Reply; state: UploadState | null }> {
    const reply = await this.#ask({ method: 'GET', target: this.#target, headers: this.#credential }, by);
    const state = reply.status === 200 ? (JSON.parse(reply.body.toString()) as UploadState) : null;
    if (state) this.#checkOffset(state.offset, 0, 'GET');
    return { reply, state };
  }

  /** As where a link created it. */
  get hasKeyInAddress(): boolean {
    return this.#target.includes('upload_key=');
  }

  get #credential(): Record<string, string> {
    if (this.hasKeyInAddress) return {};
    const token = this.plan.goesOnWith === 'secret' && this.#secret ? this.#secret : this.#vault.token;
    return { Authorization: `Bearer ${token}` };
  }

  async #creation(): Promise<{ target: string; credential: Record<string, string> }> {
    if (this.plan.createdBy === 'token') {
      return { target: '/tus', credential: { Authorization: `Bearer ${this.#vault.token}` } };
    }
    const { filename, jobId, level } = this.plan;
    const empty = this.content.bytes.length === 0;
    // A link fixes the options of its upload, so they belong to its order.
    const options = { ...this.#options(), ...(level && { level }), ...(empty && { allow_empty: true }) };
    const order = { filename, job_id: jobId, ...options };
    const made = await this.#vault.untilDone((vault) =>
      api<{ tus_url: string }>(vault, 'POST', '/backup/upload-links', order),
    );
    const { pathname, search } = new URL(made.body.tus_url, 'http://vault.invalid');
    return { target: pathname + search, credential: {} };
  }

  /** Options whose values are texts, in a link's order as in Upload-Metadata. */
  #options(): Record<string, string> {
    const { compression, sha256 } = this.plan;
    const said = sha256 === 'wrong' ? createHash('sha256').update('other').digest('hex') : this.content.sha256;
    return {
      ...(compression && { compression }),
      ...(sha256 && { sha256: said }),
      ...(this.recipient && { recipient: this.recipient }),
    };
  }

  #metadata(): string {
    const { filename, jobId, level, createdBy } = this.plan;
    const pairs = {
      filename,
      ...(createdBy === 'token' && {
        job_id: jobId,
        ...this.#options(),
        ...(level && { level: String(level) }),
        ...(this.content.bytes.length === 0 && { allow_empty: 'true' }),
      }),
      made_by: 'chaos',
    };
    return Object.entries(pairs)
      .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
      .join(',');
  }

  #created({ headers, offset }: Reply, firstBytes: number): void {
    this.#target = headers.get('location') ?? '';
    this.#secret = headers.get('coldstream-upload-secret') ?? null;
    this.#backupId = headers.get('coldstream-backup-id') ?? '';
    const expires = headers.get('upload-expires');
    // Content of no bytes is whole at once, and what is whole does not expire.
    if (expires || this.total > 0) this.#expiresAt = Date.parse(expires ?? '');
    if (!this.#target.startsWith('/tus/')) this.log.accuse(`Location is "${this.#target}"`);
    if (Number.isNaN(this.#expiresAt)) this.log.accuse(`Upload-Expires is "${expires}"`);
    if (firstBytes > 0 && offset !== firstBytes) this.log.accuse(`created with ${firstBytes} bytes, told ${offset}`);
  }

  #checkHead({ headers, offset }: Reply): void {
    const length = headers.get('upload-length');
    if (offset === null) this.log.accuse('HEAD told no Upload-Offset');
    if (length !== undefined && Number(length) !== this.total) this.log.accuse(`Upload-Length is ${length}`);
    if (length === undefined && headers.get('upload-defer-length') !== '1') this.log.accuse('no length, nor why');
    if (length === undefined && !this.plan.deferred) this.log.accuse('the length was forgotten');
    if (headers.get('cache-control') !== 'no-store') this.log.accuse('HEAD may be cached');
    if (headers.get('upload-metadata') !== this.#metadata()) this.log.accuse('Upload-Metadata is another');
    if (headers.get('coldstream-backup-id') !== this.#backupId) this.log.accuse('Coldstream-Backup-Id is another');
    this.lengthKnown ||= length !== undefined;
  }

  #checkPatched({ offset }: Reply, from: number, bytes: number, told: boolean): void {
    if (offset !== from + bytes) this.log.accuse(`204 for ${bytes} bytes at ${from} told ${offset}`);
    if (told) this.lengthKnown = true;
  }

  async #ask(
    request: RawRequest,
    by: string,
    note = '',
    conduct: Conduct = AT_ONCE,
    ended: (outcome: Outcome) => void = () => undefined,
  ): Promise<Reply> {
    const { url } = await this.#vault.now();
    const { life } = this.#vault;
    const { floor } = this.ledger;
    this.tally.count('requests');
    const began = performance.now();
    const outcome = await exchange(url, request, conduct);
    const ms = Math.round(performance.now() - began);
    ended(outcome);
    const reply = replyOf(outcome, life !== this.#vault.life, ms);
    const details = [
      `${ms} ms`,
      reply.offset !== null && `offset ${reply.offset}`,
      outcome.kind === 'lost' && outcome.why,
    ];
    const sent = outcome.kind === 'answer' ? '' : ` after ${outcome.sent}`;
    const end = [`-> ${reply.label}${sent}`, ...details, reply.disturbed && '(killed)'].filter(Boolean).join(' ');
    this.log.say(`${by} ${request.method} ${note} ${end}`);
    this.#check(reply, floor, request.method);
    return reply;
  }

  #check(reply: Reply, floor: number, method: string): void {
    const { label, status, headers, offset, disturbed } = reply;
    if (status >= 400) this.tally.count(label);
    if (status >= 500 && !disturbed) this.log.accuse(`${method} was answered ${label}: ${reply.body}`);
    const tus = method !== 'GET' || headers.has('tus-resumable');
    if (status > 0 && status < 500 && tus && headers.get('tus-resumable') !== '1.0.0') {
      this.log.accuse(`${method} was answered ${label} without Tus-Resumable`);
    }
    if (offset !== null) this.#checkOffset(offset, floor, `${method} ${label}`);
  }

  #checkOffset(offset: number, floor: number, where: string): void {
    const wrong = this.ledger.told(offset, floor);
    if (wrong) this.log.accuse(`${where}: ${wrong}`);
  }
}

const AT_ONCE: Conduct = { writeBytes: () => Number.POSITIVE_INFINITY };

/** A refusal that the vault did not manage to have heard out is lost, on a machine that does much else. */
function isDrainedTooLong({ ms }: Reply, labels: readonly string[]): boolean {
  return ms > DRAIN_MS && labels.includes('409 upload-superseded');
}

function checksumHeader({ algorithm, of }: { algorithm: string; of: Uint8Array }): string {
  return `${algorithm} ${createHash(algorithm).update(of).digest('base64')}`;
}

function withoutEmpty(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ''));
}

function replyOf(outcome: Outcome, disturbed: boolean, ms: number): Reply {
  if (outcome.kind !== 'answer') {
    return { label: outcome.kind, status: 0, offset: null, headers: new Map(), body: Buffer.alloc(0), disturbed, ms };
  }
  const { status, headers, body } = outcome.answer;
  const offset = headers.get('upload-offset');
  return {
    label: [String(status), codeIn(headers, body)].filter(Boolean).join(' '),
    status,
    offset: offset === undefined ? null : Number(offset),
    headers,
    body,
    disturbed,
    ms,
  };
}

function codeIn(headers: ReadonlyMap<string, string>, body: Buffer): string {
  if (headers.get('content-type') !== 'application/problem+json' || body.length === 0) return '';
  return (JSON.parse(body.toString()) as { code: string }).code;
}
