import type { UploadRooms } from '../upload.ts';

/** What an upload in pieces works with: the same rooms as an upload in one. */
export type SessionRooms = Omit<UploadRooms, 'defaultRecipients'>;
