import type { PeerLimits } from '../../shared/watchdog.ts';
import type { UploadRooms } from '../upload.ts';

/** What an upload in pieces works with: the same rooms as an upload in one. */
export type SessionRooms = Omit<UploadRooms, 'defaultRecipients'> & {
  /** What a sender must send to be waited for. */
  readonly senderLimits: PeerLimits;
};
