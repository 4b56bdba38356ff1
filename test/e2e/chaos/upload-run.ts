import { setTimeout as wait } from 'node:timers/promises';
import type { Receipt } from '../clients.ts';
import type { Chance } from './chance.ts';
import { type CheckRooms, checkBackup } from './check-backup.ts';
import { Client } from './client.ts';
import { makeContent } from './content.ts';
import { type Fate, isShortLived, type UploadPlan } from './plan.ts';
import type { Conduct, Cut } from './raw-http.ts';
import { type Reply, TusUpload, type UploadRooms } from './tus-upload.ts';
import { UploadLog } from './upload-log.ts';

/** From the last byte to the receipt, on a machine that does much else. */
const DONE_MS = 90_000;
const ASK_EVERY_MS = 150;
/** Where a creation was lost, its job is busy until the lost upload expires. */
const ORPHAN_MS = 150_000;
const CREATE_AGAIN_MS = 500;
/** Something hangs. */
const LONGEST_RUN_MS = 300_000;
/** A DELETE whose answer a kill took is sent again. */
const REMOVE_TRIES = 20;

export type Rooms = CheckRooms & UploadRooms;

/** How an upload ended: as a backup, or `refused` by a clean answer. */
export type Ended =
  | { readonly kind: 'backup'; readonly receipt: Receipt }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'unknown' };

export interface RunReport {
  readonly plan: UploadPlan;
  /** Of the content, hex. */
  readonly sha256: string;
  readonly ended: Ended;
  readonly log: UploadLog;
}

type Settled =
  | { readonly kind: 'done'; readonly receipt: Receipt }
  | { readonly kind: 'gone'; readonly reply: Reply }
  | { readonly kind: 'stuck' };

/** Codes with which each fate may end instead of a backup; and whether it may become one. */
const ENDS: Readonly<Record<Fate, { readonly backup: boolean; readonly codes: readonly string[] }>> = {
  finish: { backup: true, codes: [] },
  forget: { backup: true, codes: [] },
  terminate: { backup: false, codes: ['upload-gone'] },
  mismatch: { backup: false, codes: ['upload-failed'] },
  abandon: { backup: false, codes: ['upload-expired'] },
  linger: { backup: true, codes: ['upload-expired'] },
  orphan: { backup: true, codes: ['upload-expired'] },
};

const TOO_LATE: Ended = { kind: 'unknown' };

/** One upload from its creation to its end, with all that may happen on the way. */
export async function runUpload(plan: UploadPlan, chance: Chance, rooms: Rooms): Promise<RunReport> {
  const log = new UploadLog();
  log.say(JSON.stringify(plan));
  const content = makeContent(plan.kind, plan.bytes, chance.of('content'));
  const upload = new TusUpload(plan, content, rooms, log);
  let ended: Ended = { kind: 'unknown' };
  const late = new AbortController();
  try {
    const ending = new UploadRun(upload, chance, rooms).toItsEnd();
    ended = await Promise.race([ending, wait(LONGEST_RUN_MS, TOO_LATE, { signal: late.signal })]);
    if (ended === TOO_LATE) log.accuse(`came to no end in ${LONGEST_RUN_MS} ms`);
  } catch (error) {
    log.accuse(`the run broke off: ${error instanceof Error ? error.stack : error}`);
  } finally {
    late.abort();
  }
  return { plan, sha256: content.sha256, ended, log };
}

class UploadRun {
  readonly #upload: TusUpload;
  readonly #chance: Chance;
  readonly #rooms: Rooms;

  constructor(upload: TusUpload, chance: Chance, rooms: Rooms) {
    this.#upload = upload;
    this.#chance = chance;
    this.#rooms = rooms;
  }

  async toItsEnd(): Promise<Ended> {
    const atOnce = await this.#create();
    if (atOnce) return atOnce;
    const clients = this.#clients();
    try {
      await Promise.all(clients.map((client) => client.travel()));
      return await this.#end();
    } finally {
      // What is held open is let go last: it must not bring back what is over.
      await Promise.all(clients.map((client) => client.leave()));
    }
  }

  #clients(): Client[] {
    const { plan } = this.#upload;
    const pauseMs = plan.fate === 'linger' ? this.#slowness() : undefined;
    const journey = { until: this.#until(), pauseMs, kills: { left: plan.kills } };
    if (plan.clients > 1) this.#rooms.tally.count('uploads with two clients');
    return Array.from({ length: plan.clients }, (_, i) => {
      const name = `c${i + 1}`;
      return new Client(this.#upload, this.#rooms.vault, this.#chance.of(name), name, journey);
    });
  }

  /** Only some of the content, where the upload is to be left. */
  #until(): number {
    const { plan, total } = this.#upload;
    return ENDS[plan.fate].backup || plan.fate === 'mismatch' ? total : Math.floor(this.#chance.share() ** 0.5 * total);
  }

  /** Pauses that add up to about the time that the upload has. */
  #slowness(): () => number {
    const pauses = this.#chance.of('pauses');
    const allMs = (this.#upload.expiresAt - Date.now()) * (0.5 + pauses.share());
    const steps = this.#upload.plan.troubles + this.#upload.plan.pieces;
    return () => (pauses.share() * 2 * allMs) / steps;
  }

  /** The end, where it comes with the creation: all of the content did, and is not what its sender said; or a fault. */
  async #create(): Promise<Ended | null> {
    const { plan, log, tally } = this.#upload;
    if (!isShortLived(plan)) {
      // What was created and not told of stays until it expires: here that is days. So no kill cuts a creation.
      const reply = await this.#rooms.vault.shielded(() => this.#upload.create('c0', this.#whole()));
      const right = this.#upload.expect(reply, '201');
      if (right && reply.status === 422) return { kind: 'refused', code: 'checksum-mismatch' };
      return right && reply.status === 201 ? null : { kind: 'unknown' };
    }
    const deadline = Date.now() + ORPHAN_MS;
    for (let lost = plan.fate === 'orphan'; Date.now() < deadline; lost = false) {
      const reply = await this.#upload.create('c0', lost ? this.#abrupt() : this.#whole());
      if (reply.status === 201) return null;
      if (reply.label === 'cut') tally.count('creations lost');
      else if (!this.#upload.expect(reply, '409 job-running')) return { kind: 'unknown' };
      await wait(CREATE_AGAIN_MS);
    }
    log.accuse('the job of a creation that was lost stays busy');
    return { kind: 'unknown' };
  }

  #whole(): Conduct {
    const sizes = this.#chance.of('writes');
    return { writeBytes: () => sizes.between(1, 300_000) };
  }

  /** Leaves anywhere in the request, or behind it. */
  #abrupt(): Conduct {
    const at = this.#chance.pick([this.#chance.share(), 1, 1]);
    const how = this.#chance.pick<Cut>(['fin', 'rst']);
    const pauseMs = this.#chance.pick([0, 20, 300]);
    const act = async () => {
      await wait(pauseMs);
      return how;
    };
    return { ...this.#whole(), deed: { at, act } };
  }

  async #end(): Promise<Ended> {
    const { plan, expiresAt, log } = this.#upload;
    if (plan.fate === 'terminate') await this.#terminate();
    if (plan.fate === 'abandon') await wait(Math.max(0, expiresAt - Date.now()));
    const settled = await this.#settled();
    if (settled.kind === 'stuck') return { kind: 'unknown' };
    if (settled.kind === 'gone') return this.#isGone(settled.reply, ENDS[plan.fate].codes);
    if (!ENDS[plan.fate].backup) log.accuse(`became a backup, though it was to ${plan.fate}`);
    await checkBackup(this.#upload, settled.receipt, this.#chance.of('check'), this.#rooms);
    if (plan.fate === 'forget') await this.#forget(settled.receipt);
    return { kind: 'backup', receipt: settled.receipt };
  }

  /** Asks until the upload is done, or gone. */
  async #settled(): Promise<Settled> {
    const { vault } = this.#rooms;
    let { life } = vault;
    for (let deadline = Date.now() + DONE_MS; Date.now() < deadline; ) {
      const { reply, state } = await this.#upload.state('c0');
      if (state?.phase === 'done' && state.receipt) return { kind: 'done', receipt: state.receipt };
      if (reply.status > 200) return { kind: 'gone', reply };
      if (life !== vault.life) deadline = Date.now() + DONE_MS;
      life = vault.life;
      await wait(ASK_EVERY_MS);
    }
    this.#upload.log.accuse('the upload is neither done nor gone');
    return { kind: 'stuck' };
  }

  /** For one of these reasons; and so it stays, whatever is asked. */
  async #isGone(reply: Reply, codes: readonly string[]): Promise<Ended> {
    const upload = this.#upload;
    const code = codes.find((one) => reply.label === `410 ${one}`);
    if (!code) {
      upload.log.accuse(`answer ${reply.label} where the upload should be ${codes.join(' or ') || 'done'}`);
      return { kind: 'unknown' };
    }
    const { reason } = JSON.parse(reply.body.toString()) as { reason?: string };
    if (code === 'upload-failed' && reason !== 'checksum-mismatch') upload.log.accuse(`failed for ${reason}`);
    const piece = upload.bytes.subarray(0, 1000);
    const later = [
      await upload.head('c0'),
      await upload.patch(0, piece, { by: 'c0', conduct: this.#whole(), counts: false }),
      await upload.remove('c0'),
    ];
    for (const again of later) {
      const right = ['410', `410 ${code}`].includes(again.label) || (again.label === 'lost' && again.disturbed);
      if (!right) upload.log.accuse(`answer ${again.label} where the upload was ${code} before`);
    }
    return { kind: 'refused', code };
  }

  /** By DELETE; maybe while a piece is on its way. */
  async #terminate(): Promise<void> {
    const upload = this.#upload;
    const { offset } = await upload.head('c0');
    const way = this.#chance.pick(['alone', 'killed', 'meanwhile']);
    if (offset === null || way !== 'meanwhile') return this.#remove(way === 'killed');
    const act = async () => {
      await this.#remove();
      return 'go-on' as const;
    };
    const conduct = { ...this.#whole(), deed: { at: this.#chance.share(), act } };
    const note = 'terminated meanwhile';
    const reply = await upload.patch(offset, upload.bytes.subarray(offset), { by: 'c0', conduct, note });
    upload.expect(reply, '410 upload-gone', '409 upload-superseded');
  }

  /** @param killed the runtime dies while it does so */
  async #remove(killed = false): Promise<void> {
    const pauseMs = this.#chance.pick([0, 10, 30, 100]);
    const act = async () => {
      await wait(pauseMs);
      await this.#rooms.vault.kill();
      return 'go-on' as const;
    };
    if (killed) this.#rooms.tally.count('killed within a DELETE');
    for (let tried = 0; tried < REMOVE_TRIES; tried++) {
      const dying = killed && tried === 0;
      const reply = dying
        ? await this.#rooms.vault.plan(() => this.#upload.remove('c0', { ...this.#whole(), deed: { at: 1, act } }))
        : await this.#upload.remove('c0');
      // After a kill nobody knows whether it was done.
      if (!this.#upload.expect(reply, '204') || reply.label !== 'lost') return;
    }
  }

  /** The upload is removed after its end: of its backup nothing is missing. */
  async #forget(receipt: Receipt): Promise<void> {
    await this.#remove();
    const settled = await this.#settled();
    if (settled.kind === 'gone') await this.#isGone(settled.reply, ['upload-gone']);
    else this.#upload.log.accuse('the upload was removed, and is still there');
    await checkBackup(this.#upload, receipt, this.#chance.of('again'), this.#rooms);
  }
}
