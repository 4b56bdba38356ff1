/**
 * How requests reach the vault: directly, or through the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name. The three
 * clients of this command (fetch, tus-js-client, ws) take one each of Node's kinds of connections.
 */
import http from 'node:http';
import https from 'node:https';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
// Decides as curl and wget do; undici's own EnvHttpProxyAgent knows nothing of the other two clients.
import { getProxyForUrl } from 'proxy-from-env';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { UsageError } from './failures.ts';

export interface Connections {
  /** Origin of the proxy, without its credentials; null: none. */
  readonly proxy: string | null;
  readonly fetching: Dispatcher;
  /** For node:http, kept alive between requests. */
  readonly agent: http.Agent;
  /** For WebSockets, which need a tunnel through a proxy also where they are not encrypted. */
  readonly socketAgent: http.Agent | undefined;
}

/** A verification may compute for minutes before its answer begins, so undici waits as long as its caller does. */
const PATIENT = { headersTimeout: 0, bodyTimeout: 0 };

export function connectionsTo(origin: string): Connections {
  const secure = origin.startsWith('https:');
  const proxy = proxyFor(origin);
  if (!proxy) {
    const agent = new (secure ? https : http).Agent({ keepAlive: true });
    return { proxy: null, fetching: new Agent(PATIENT), agent, socketAgent: undefined };
  }
  const tunnel = new HttpsProxyAgent(proxy, { keepAlive: true });
  return {
    proxy: proxy.origin,
    // To a vault without TLS requests go as a proxy expects them, not through a tunnel: many refuse one to port 80.
    fetching: new ProxyAgent({ ...PATIENT, uri: proxy.href, proxyTunnel: false }),
    agent: secure ? tunnel : new HttpProxyAgent(proxy, { keepAlive: true }),
    socketAgent: tunnel,
  };
}

function proxyFor(origin: string): URL | null {
  const text = getProxyForUrl(origin);
  if (text === '') return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new UsageError(`HTTP_PROXY or HTTPS_PROXY is no address of an HTTP proxy, such as http://proxy.example:3128.`);
}
