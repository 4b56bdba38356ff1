import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Env, Services } from '../services.ts';
import type { Share } from '../shared/isolate-memory.ts';

export type Scope = 'read' | 'write' | 'admin';

/** The token that a request came with. */
export interface Credential {
  /** `admin` for the secret `ADMIN_TOKEN`. */
  readonly token_id: string;
  readonly scopes: readonly string[];
}

export interface AppEnv {
  Bindings: Env;
  Variables: {
    services: Services;
    requestId: string;
    /** Absent until a token was checked, and where a signed URL or an upload's own secret replaces one. */
    credential?: Credential;
    /** Whose request this is, a token or a link. Absent until its credential was verified. */
    holder?: string;
    /** The place of this request among the transfers of its holder, while it has one. */
    transfer?: Share | undefined;
    /** What went wrong, for the log. */
    failure: unknown;
  };
}

export type App = OpenAPIHono<AppEnv>;
export type AppContext = Context<AppEnv>;
