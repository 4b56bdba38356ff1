import { createApp } from './http/app.ts';
import { progressRoom } from './progress/progress-room.ts';
import { type Env, services } from './services.ts';

const app = createApp();

export default {
  fetch: app.fetch,
  scheduled: (_event, env) => services(env).tidy(),
} satisfies ExportedHandler<Env>;

/** A Durable Object a job. Its alarm takes back what a dead upload left. */
export class ProgressRoom extends progressRoom((env) => services(env as Env).reclaim) {}
