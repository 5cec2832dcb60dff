import { randomBytes, randomUUID } from "node:crypto";
import { chmod, link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";

/** What a daemon finds in, or puts into, its home. */
export interface Home {
  readonly path: string;
  readonly token: string;
  /** Stands in the labels of everything this home owns on the engine (S5). */
  readonly owner: string;
  /** Lets another daemon have the home. */
  release(): Promise<void>;
}

export class HomeTaken extends Error {
  override readonly name = "HomeTaken";
}

/**
 * Opens a home for one daemon: makes it if need be, reads or makes its token and owner id, and holds it against
 * a second daemon.
 * @throws HomeTaken when another daemon has it
 */
export async function openHome(path: string, givenToken: string | undefined): Promise<Home> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const lock = await hold(path);
  const token =
    givenToken ?? (await readOrMake(join(path, "token"), () => randomBytes(32).toString("base64url")));
  const owner = await readOrMake(join(path, "owner"), randomUUID);
  return { path, token, owner, release: () => new Promise((resolve) => lock.close(() => resolve())) };
}

/** The file's content; made with mode 0600 when it is not there yet, in one step, so that two makers agree. */
async function readOrMake(path: string, make: () => string): Promise<string> {
  const fresh = `${path}.${process.pid}`;
  await writeFile(fresh, `${make()}\n`, { mode: 0o600 });
  await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(fresh, { force: true });
  await chmod(path, 0o600);
  const content = (await readFile(path, "utf8")).trim();
  if (content === "") throw new Error(`${path} is empty; delete it and start again.`);
  return content;
}

/**
 * Holds the home with a bound socket, which no crash leaves bound: a daemon that died left
 * a socket file nobody answers on; that one is replaced.
 */
async function hold(path: string): Promise<Server> {
  const socket = join(path, "daemon.lock");
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const server = await bind(socket);
    if (server) return server;
    if (await answers(socket)) break;
    await rm(socket, { force: true });
  }
  throw new HomeTaken(
    `Another daemon uses ${path}. Stop it with \`caisson down\`, or set CAISSON_HOME to another folder.`,
  );
}

function bind(socket: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.end());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(socket, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    const done = (answered: boolean) => {
      connection.destroy();
      resolve(answered);
    };
    connection.setTimeout(2_000, () => done(true));
    connection.once("connect", () => done(true));
    connection.once("error", () => done(false));
  });
}
