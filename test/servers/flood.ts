import { connect, type Socket } from "node:net";

/** Sockets that are opened before the first of them must be. */
const AT_ONCE = 500;

/** Many plain connections at once; counts how many the daemon still holds. */
export class Flood {
  readonly #sockets = new Set<Socket>();
  #ended = 0;

  /** Connections that the other side has not ended. */
  get held(): number {
    return this.#sockets.size - this.#ended;
  }

  /**
   * Opens connections and sends the same on each.
   * @param first written on each as soon as it stands
   */
  async open(address: string, count: number, first = ""): Promise<void> {
    for (let opened = 0; opened < count; opened += AT_ONCE) {
      const some = Math.min(AT_ONCE, count - opened);
      await Promise.all(Array.from({ length: some }, () => this.#one(address, first)));
    }
  }

  /** Sends the same on every connection that is still there. */
  write(text: string): void {
    for (const socket of this.#sockets) if (socket.writable) socket.write(text);
  }

  /** Ends all connections at once, with a reset where the system has one. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
    this.#ended = 0;
  }

  #one(address: string, first: string): Promise<void> {
    const [host = "", port] = address.split(":");
    return new Promise((resolve) => {
      const socket = connect({ host, port: Number(port) });
      let over = false;
      const end = () => {
        if (!over && this.#sockets.has(socket)) this.#ended += 1;
        over = true;
        resolve();
      };
      this.#sockets.add(socket);
      socket.once("connect", () => {
        if (first !== "") socket.write(first);
        resolve();
      });
      socket.on("error", end).on("end", end).on("close", end).resume();
    });
  }
}
