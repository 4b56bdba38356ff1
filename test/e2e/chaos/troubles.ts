import { setTimeout as wait } from 'node:timers/promises';
import { MIB } from '../clients.ts';
import type { Cut } from './raw-http.ts';
import { rudeRequest } from './rude-requests.ts';
import { FRAME_BYTES, type Sender } from './sender.ts';

/**
 * A step on the way from the offset at which the sender believes to be. Gives the next one; null where it does not know,
 * and has to ask.
 */
export type Step = (s: Sender, offset: number) => Promise<number | null>;

/** What may happen to a piece, and how often beside the others. */
export const TROUBLES = {
  piece: { weight: 26, step: sendPiece },
  checked: { weight: 12, step: (s, offset) => sendPiece(s, offset, true) },
  cut: { weight: 14, step: (s, offset) => cut(s, offset, false) },
  cutChecked: { weight: 7, step: (s, offset) => cut(s, offset, true) },
  answerLost: { weight: 7, step: loseAnswer },
  heldOpen: { weight: 4, step: holdOpen },
  wrongChecksum: { weight: 7, step: wrongChecksum },
  wrongOffset: { weight: 7, step: wrongOffset },
  repeat: { weight: 5, step: repeat },
  twins: { weight: 7, step: twins },
  tooLong: { weight: 4, step: tooLong },
  empty: { weight: 3, step: empty },
  rude: { weight: 5, step: beRude },
  watched: { weight: 6, step: watched },
} as const satisfies Record<string, { readonly weight: number; readonly step: Step }>;

/** A piece, and all is well. */
export async function sendPiece(s: Sender, offset: number, checksum = false): Promise<number | null> {
  const piece = s.content(offset);
  if (checksum) s.count('pieces with a checksum');
  return s.landed(offset, piece.length, await s.send(offset, piece, { ...s.checked(piece, checksum) }));
}

/** kill -9 of the runtime within a piece, behind its last byte, or behind the last of all. */
export async function kill(s: Sender, offset: number): Promise<number | null> {
  const where = s.chance.pick(['within', 'behind', 'last', 'last']);
  const piece = where === 'last' ? s.upload.bytes.subarray(offset, s.until) : s.content(offset);
  const pauseMs = where === 'within' ? 0 : s.chance.pick([0, 10, 50, 100, 200, 400, 800]);
  const act = async () => {
    await wait(pauseMs);
    await s.vault.kill();
    return 'go-on' as const;
  };
  s.count(where === 'within' ? 'killed within a piece' : 'killed behind the last byte');
  const conduct = s.conduct(piece.length, { at: where === 'within' ? s.chance.share() : 1, act });
  const options = { conduct, note: `killed ${where}`, length: true };
  const { reply } = await s.vault.plan(() => s.send(offset, piece, options));
  s.upload.expect(reply, '204', '409 offset-mismatch', '409 upload-superseded');
  return null;
}

/** All content is there, but not its length. */
export async function tellLength(s: Sender, offset: number): Promise<number | null> {
  const { reply, calm } = await s.send(offset, Buffer.alloc(0), { length: true, note: 'the length' });
  s.upload.expect(reply, '204', ...s.competed(calm));
  return null;
}

/** Breaks the connection one way or the other, after one of these pauses. */
function breaking({ chance }: Sender, pausesMs: readonly number[]) {
  const how = chance.pick<Cut>(['fin', 'rst']);
  const pauseMs = chance.pick(pausesMs);
  const act = async () => {
    await wait(pauseMs);
    return how;
  };
  return { how, act };
}

/** The connection breaks. Without a checksum what had arrived may count. */
async function cut(s: Sender, offset: number, checksum: boolean): Promise<number | null> {
  const { upload } = s;
  const piece = s.content(offset);
  const { how, act } = breaking(s, [0, 0, 20, 200]);
  const conduct = s.conduct(piece.length, { at: s.chance.share(), act });
  const calm = upload.isCalm;
  upload.unsettled = true;
  const options = { conduct, ...s.checked(piece, checksum), note: `cut by ${how}` };
  const { reply } = await s.send(offset, piece, options);
  if (reply.label === 'cut') s.count(how === 'fin' ? 'connections closed midway' : 'connections reset midway');
  else upload.expect(reply, 'lost', ...s.competed(calm));
  // Of a checked piece nothing counts; what else might be on its way was not there.
  if (checksum && calm && reply.label === 'cut') await headIs(s, offset);
  return null;
}

/** All is sent, and nobody is there to hear that it arrived. */
async function loseAnswer(s: Sender, offset: number): Promise<number | null> {
  const piece = s.content(offset);
  const { how, act } = breaking(s, [0, 5, 50, 400]);
  s.upload.unsettled = true;
  const conduct = s.conduct(piece.length, { at: 1, act });
  const checked = s.checked(piece, s.chance.happens(0.3));
  const { reply } = await s.send(offset, piece, { conduct, ...checked, note: `answer lost by ${how}` });
  if (reply.label === 'cut') s.count('answers lost');
  return null;
}

/** The client falls silent within a piece and its connection stays; another goes on. */
async function holdOpen(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const piece = s.content(offset);
  const wakes = s.chance.happens(0.5);
  const reached = Promise.withResolvers<void>();
  const act = async () => {
    reached.resolve();
    await s.over;
    return wakes ? 'go-on' : 'rst';
  };
  upload.unsettled = true;
  s.count('connections held open');
  const conduct = s.conduct(piece.length, { at: s.chance.share(), act });
  const sending = s.send(offset, piece, { conduct, note: 'held open' }).then(({ reply }) => {
    reached.resolve();
    if (reply.status === 204) upload.log.accuse('a piece that was held open was taken in the end');
    if (reply.status > 0) upload.expect(reply, '409 upload-superseded', '409 offset-mismatch');
  });
  s.open.push(sending);
  await reached.promise;
  await wait(s.chance.pick([0, 30, 300]));
  return null;
}

async function wrongChecksum(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const piece = s.content(offset);
  const spoiled = Buffer.from(piece);
  const place = s.chance.below(spoiled.length);
  spoiled[place] = (spoiled[place] ?? 0) ^ 1;
  const algorithm = s.chance.pick(['sha1', 'sha256']);
  // Either the bytes are others, or the checksum is.
  const [body, of] = s.chance.happens(0.5) ? [spoiled, piece] : [piece, spoiled];
  s.count('wrong checksums');
  const options = { checksum: { algorithm, of }, counts: false, note: 'wrong' };
  const { reply, calm } = await s.send(offset, body, options);
  upload.expect(reply, '460 chunk-checksum-mismatch', ...s.competed(calm));
  return calm && reply.status === 460 ? s.forget(offset) : null;
}

async function wrongOffset(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const { total } = upload;
  const others = [offset + 1, offset - 1, 0, offset + FRAME_BYTES, s.chance.between(0, total)];
  const possible = others.filter((at) => at !== offset && at >= 0 && at < total);
  if (possible.length === 0) return beyond(s, offset);
  const at = s.chance.pick(possible);
  // Content that belongs there: where others are on their way, it may be the right place after all.
  const piece = upload.bytes.subarray(at, Math.min(total, at + s.chance.between(1, MIB)));
  s.count('wrong offsets');
  const { reply, calm } = await s.send(at, piece, { note: 'wrong offset' });
  upload.expect(reply, '409 offset-mismatch', ...(calm ? [] : ['204', '409 upload-superseded']));
  return calm ? s.forget(offset) : null;
}

/** At an offset that no content reaches. */
async function beyond(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const at = upload.total + s.chance.between(1, 1000);
  s.count('wrong offsets');
  const body = Buffer.alloc(s.chance.between(1, 100));
  const { reply, calm } = await s.send(at, body, { counts: false, note: 'beyond the end' });
  upload.expect(reply, '409 offset-mismatch');
  return calm ? s.forget(offset) : null;
}

/** The piece before, once more. */
async function repeat(s: Sender, offset: number): Promise<number | null> {
  const { upload, last } = s;
  if (!last || last.from === last.to) return sendPiece(s, offset);
  s.count('pieces sent again');
  const piece = upload.bytes.subarray(last.from, last.to);
  const checked = s.checked(piece, s.chance.happens(0.3));
  const { reply, calm } = await s.send(last.from, piece, { ...checked, note: 'again' });
  // An acknowledged piece is never taken again, whoever else is there.
  upload.expect(reply, '409 offset-mismatch');
  return calm ? s.forget(offset) : null;
}

/** Two connections go on at the same place. */
async function twins(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  s.count('races');
  const alone = upload.isCalm;
  upload.unsettled = true;
  const pieces = [s.content(offset), s.content(offset)] as const;
  const laterMs = s.chance.pick([0, 0, 10, 100]);
  const sent = await Promise.all(
    pieces.map(async (piece, i) => {
      if (i === 1) await wait(laterMs);
      return s.send(offset, piece, { by: `${s.name}${'ab'[i]}`, note: 'twin' });
    }),
  );
  for (const { reply } of sent) upload.expect(reply, '204', '409 offset-mismatch', '409 upload-superseded');
  const taken = sent.filter(({ reply }) => reply.status === 204).length;
  const disturbed = sent.some(({ reply }) => reply.disturbed || upload.isGone(reply));
  if (taken > 1) upload.log.accuse('two pieces at the same offset were taken');
  if (taken === 0 && alone && !disturbed) upload.log.accuse('of two pieces at the same offset none was taken');
  // Both were answered: nobody else is on the way.
  if (alone && !disturbed) upload.unsettled = false;
  return null;
}

/** The rest, and more than there may be. */
async function tooLong(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  if (!upload.lengthKnown || s.until < upload.total || upload.total - offset > 8 * MIB) {
    return sendPiece(s, offset);
  }
  s.count('pieces too long');
  const body = Buffer.concat([upload.bytes.subarray(offset), Buffer.alloc(s.chance.between(1, 100_000))]);
  const { reply, calm } = await s.send(offset, body, { note: 'too long' });
  upload.expect(reply, '413 file-too-large', ...s.competed(calm));
  return null;
}

/** Nothing, at the right place. */
async function empty(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const { reply, calm } = await s.send(offset, Buffer.alloc(0), { note: 'empty' });
  upload.expect(reply, '204', ...s.competed(calm));
  return reply.offset;
}

async function beRude(s: Sender, offset: number): Promise<number | null> {
  s.count('malformed requests');
  const piece = s.content(offset).subarray(0, 100_000);
  const rude = rudeRequest(s.chance, s.upload.hasKeyInAddress);
  const options = { headers: rude.headers, counts: false, note: rude.note };
  const { reply, calm } = await s.send(offset, piece, options);
  s.upload.expect(reply, rude.label);
  return calm ? s.forget(offset) : null;
}

/** Somebody asks while a piece is on its way, and is not kept waiting. */
async function watched(s: Sender, offset: number): Promise<number | null> {
  const { upload } = s;
  const piece = s.content(offset);
  s.count('HEAD beside a piece');
  const act = async () => {
    upload.expect(await upload.head(`${s.name}w`), '200');
    return 'go-on' as const;
  };
  const conduct = s.conduct(piece.length, { at: s.chance.share(), act });
  const checked = s.checked(piece, s.chance.happens(0.3));
  return s.landed(offset, piece.length, await s.send(offset, piece, { conduct, ...checked, note: 'watched' }));
}

async function headIs(s: Sender, offset: number): Promise<void> {
  const { upload } = s;
  const reply = await upload.head(s.name);
  if (upload.expect(reply, '200') && reply.offset !== null && reply.offset !== offset) {
    upload.log.accuse(`HEAD told ${reply.offset} after a piece at ${offset} that did not count`);
  }
}
