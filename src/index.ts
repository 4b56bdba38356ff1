import { createApp } from './http/app.ts';
import { uploadSession } from './ingest/resumable/upload-session.ts';
import { progressRoom } from './progress/progress-room.ts';
import { type Env, services } from './services.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  scheduled: (_event, env) => services(env).tidy(),
} satisfies ExportedHandler<Env>;

/** A Durable Object a job. Its alarm removes what a dead upload left, and writes rows that are missing. */
export class ProgressRoom extends progressRoom((env) => services(env as Env).jobDeps) {}

/** A Durable Object an upload in pieces. Its alarm brings the upload to its end, whichever it is. */
export class UploadSession extends uploadSession((env) => services(env as Env)) {}
