import type { Chance } from './chance.ts';

/** A piece that is not asked for as the protocol wants it. */
export interface RudeRequest {
  readonly note: string;
  /** Beside or instead of what belongs there; an empty one is left out. */
  readonly headers: Readonly<Record<string, string>>;
  /** The only answer. */
  readonly label: string;
}

const RUDE: readonly RudeRequest[] = [
  { note: 'no version', headers: { 'Tus-Resumable': '' }, label: '412 tus-version-unsupported' },
  { note: 'other version', headers: { 'Tus-Resumable': '0.2.2' }, label: '412 tus-version-unsupported' },
  { note: 'other type', headers: { 'Content-Type': 'text/plain' }, label: '415 unsupported-media-type' },
  { note: 'no offset', headers: { 'Upload-Offset': '' }, label: '400 invalid-upload-header' },
  { note: 'no number', headers: { 'Upload-Offset': '-1' }, label: '400 invalid-upload-header' },
  { note: 'other algorithm', headers: { 'Upload-Checksum': 'crc32 AAAAAA==' }, label: '400 checksum-unsupported' },
  { note: 'no checksum', headers: { 'Upload-Checksum': 'sha256 %%%' }, label: '400 invalid-upload-header' },
  { note: 'other token', headers: { Authorization: 'Bearer nobody' }, label: '401 unauthorized' },
];

/** @param keyInAddress the upload's secret is in its address, so that no header is asked for a credential */
export function rudeRequest(chance: Chance, keyInAddress: boolean): RudeRequest {
  return chance.pick(keyInAddress ? RUDE.filter(({ headers }) => !('Authorization' in headers)) : RUDE);
}
