import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A bad connection to a vault, on an address of its own. */
export interface SlowLine {
  readonly url: string;
  /** Bytes that went to the vault so far, headers included. */
  sent(): number;
  /** Breaks all connections; new ones are made as before. */
  cut(): void;
  close(): Promise<void>;
}

export interface LineOptions {
  /** To the vault, over each connection; what comes back is as fast as ever. */
  readonly bytesPerSecond: number;
  /** After so many bytes one of them is not what was sent. */
  readonly wrongAt?: number;
}

export async function slowLine(
  target: string,
  { bytesPerSecond, wrongAt = Number.POSITIVE_INFINITY }: LineOptions,
): Promise<SlowLine> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  let sent = 0;
  const carry = async (client: Socket, vault: Socket) => {
    for await (const chunk of client as AsyncIterable<Buffer>) {
      const wrong = wrongAt - sent;
      if (wrong >= 0 && wrong < chunk.length) chunk[wrong] = (chunk[wrong] ?? 0) ^ 1;
      sent += chunk.length;
      if (!vault.write(chunk)) await once(vault, 'drain');
      await sleep((chunk.length / bytesPerSecond) * 1000);
    }
    vault.end();
  };
  const server = createServer({ highWaterMark: 16 * 1024 }, (client) => {
    const vault = connect(Number(port), hostname);
    for (const [socket, other] of [
      [client, vault],
      [vault, client],
    ] as const) {
      open.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        open.delete(socket);
        other.destroy();
      });
    }
    carry(client, vault).catch(() => vault.destroy());
    vault.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => sent,
    cut,
    close: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
