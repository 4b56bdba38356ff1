/** itty-durable 2.4.1, whose own declarations are untyped: only what is used here, as its source has it. */
declare module 'itty-durable/itty-durable.js' {
  export interface IttyDurable {
    readonly state: DurableObjectState;
    fetch(request: Request): Promise<Response>;
    loadFromStorage(): Promise<void>;
    persist(): Promise<void>;
  }

  export function createDurable(): new (state: DurableObjectState, env: object) => IttyDurable;
}

declare module 'itty-durable/proxy-durable.js' {
  type Method = (argument: string) => Promise<Response>;

  export function proxyDurable(durable: DurableObjectNamespace): {
    get(id: DurableObjectId, options: { headers: Record<string, string> }): Record<string, Method>;
  };
}
