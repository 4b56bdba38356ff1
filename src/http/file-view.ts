import type { z } from '@hono/zod-openapi';
import type { Member } from '../archive/member.ts';
import { encodeMemberPath, pathText } from './member-path.ts';
import type { FileSchema } from './response-schemas.ts';

/** A member as clients see it. */
export function fileView(backupId: string, member: Member): z.infer<typeof FileSchema> {
  const { path, type, size, uid, gid, linkTarget, device } = member;
  return {
    path: pathText(path),
    type,
    size,
    mode: member.mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    mtime: modifiedAt(member).toISOString(),
    link_target: linkTarget && pathText(linkTarget),
    ...(device && { device }),
    offset: member.dataOffset,
    url: `/backup/${backupId}/files/${encodeMemberPath(path)}`,
  };
}

/** Farthest times of a Date, in milliseconds (ECMA-262, section 21.4.1.1). */
const LATEST_MS = 8.64e15;

/** To the millisecond, and within what a Date can hold: an archive may say anything. */
export function modifiedAt({ mtime }: Member): Date {
  const ms = mtime.seconds * 1000 + Math.floor(mtime.nanos / 1e6);
  return new Date(Math.min(Math.max(ms, -LATEST_MS), LATEST_MS));
}
