import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ENGINE = "/var/run/docker.sock";

/**
 * A Unix socket between a daemon and the shared engine, which a test can take away and bring back, or let hang,
 * without touching the engine.
 */
export class EngineProxy {
  readonly #folder: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #hung = false;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(): Promise<EngineProxy> {
    const proxy = new EngineProxy(await mkdtemp(join(tmpdir(), "caisson-proxy-")));
    await proxy.back();
    return proxy;
  }

  get #path(): string {
    return join(this.#folder, "docker.sock");
  }

  /** For the daemon's environment. */
  get env(): Record<string, string> {
    return { DOCKER_HOST: `unix://${this.#path}` };
  }

  /** As when the engine was killed: every connection breaks, nothing listens. */
  async gone(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.cut();
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  /** Breaks every connection, as a restart of the engine does. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** As when the engine was stopped with SIGSTOP: it accepts, and never answers. */
  hang(): void {
    this.#hung = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** The engine is reached again. */
  async back(): Promise<void> {
    if (this.#hung) {
      this.#hung = false;
      for (const socket of this.#sockets) socket.resume();
    }
    if (this.#server) return;
    const server = createServer((client) => this.#join(client));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#path, resolve));
  }

  async close(): Promise<void> {
    await this.gone();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #join(client: Socket): void {
    const engine = connect({ path: ENGINE, allowHalfOpen: true });
    this.#pass(client, engine);
    this.#pass(engine, client);
  }

  #pass(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on("data", (bytes) => to.write(bytes));
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    if (this.#hung) from.pause();
  }
}
