import { randomBytes, randomUUID } from "node:crypto";
import { chmod, link, lstat, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { holdHome, LOCK_PATH_BYTES } from "./home-lock.ts";
import { makeFolder } from "./journal/folders.ts";
import { refusalOf } from "./journal/port.ts";

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

/** The home can't be used as it is; the message says what to do. */
export class HomeUnusable extends Error {
  override readonly name = "HomeUnusable";
}

/** Most bytes of a socket's path, by the kernel's `sockaddr_un` (the smaller of Linux and macOS, less the end). */
const SOCKET_PATH_BYTES = 103;
const MAY_WRITE_TOO = 0o022;
const ANOTHER = "Or set CAISSON_HOME to another folder.";

/**
 * Opens a home for one daemon: makes it if need be, reads or makes its token and owner id, and holds it against
 * a second daemon.
 * @throws HomeTaken when another daemon has it
 * @throws HomeUnusable when it is read-only, full, too long a path, somebody else's, or no folder
 */
export async function openHome(path: string, givenToken: string | undefined): Promise<Home> {
  const room = SOCKET_PATH_BYTES - LOCK_PATH_BYTES - Buffer.byteLength(join(path, "/"));
  if (room < 0) {
    throw new HomeUnusable(
      `The home's path is ${-room} bytes too long: a socket must be kept in it. Set CAISSON_HOME to a shorter one. It is now: ${path}`,
    );
  }
  try {
    await makeFolder(path);
    await requireOurs(path);
    const release = await holdHome(path);
    if (!release)
      throw new HomeTaken(
        `Another daemon uses ${path}. Stop it with \`caisson down\`, or set CAISSON_HOME to another folder.`,
      );
    try {
      const makeToken = () => randomBytes(32).toString("base64url");
      const token = givenToken ?? (await readOrMake(join(path, "token"), makeToken));
      const owner = await readOrMake(join(path, "owner"), randomUUID);
      return { path, token, owner, release };
    } catch (error) {
      await release();
      throw error;
    }
  } catch (error) {
    throw explained(error, path);
  }
}

function explained(error: unknown, path: string): unknown {
  if (error instanceof HomeTaken || error instanceof HomeUnusable || !(error instanceof Error)) return error;
  const because = { cause: error };
  const { code } = error as NodeJS.ErrnoException;
  switch (refusalOf(error)) {
    case "read-only":
      return new HomeUnusable(
        `The home ${path} is on a read-only disk. Make it writable. ${ANOTHER}`,
        because,
      );
    case "full":
      return new HomeUnusable(
        `The disk with the home ${path} is full, so the daemon can't start. Free some space. ${ANOTHER}`,
        because,
      );
    default:
      if (code === "EEXIST" || code === "ENOTDIR")
        return new HomeUnusable(`The home ${path}, or what it lies in, is no folder. ${ANOTHER}`, because);
      if (code === "EACCES" || code === "EPERM")
        return new HomeUnusable(
          `The home ${path} can't be used by this user (${error.message}). Give it to this user. ${ANOTHER}`,
          because,
        );
      return error;
  }
}

/** Whoever may write to the home may put a journal or a token of their own there. */
async function requireOurs(path: string): Promise<void> {
  const { uid, mode } = await stat(path);
  const own = process.getuid?.();
  if (own !== undefined && uid !== own) {
    throw new HomeUnusable(
      `The home ${path} belongs to user ${uid}, and the daemon runs as ${own}. Run it as that user. ${ANOTHER}`,
    );
  }
  if ((mode & 0o1000) !== 0)
    throw new HomeUnusable(
      `The home ${path} is a folder that users share. Set CAISSON_HOME to one of your own.`,
    );
  if ((mode & MAY_WRITE_TOO) !== 0) await chmod(path, 0o700);
}

/** The file's content; made with mode 0600 when it is not there yet, in one step, so that two makers agree. */
async function readOrMake(path: string, make: () => string): Promise<string> {
  const known = await readOurs(path);
  if (known !== undefined) return known;
  const fresh = `${path}.${process.pid}`;
  try {
    await writeFile(fresh, `${make()}\n`, { mode: 0o600 });
    await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(fresh, { force: true });
  }
  const made = await readOurs(path);
  if (made === undefined)
    throw new HomeUnusable(`${path} was removed while the daemon started. Start it again.`);
  return made;
}

/** A file that only we may have written and only we may read; undefined when there is none. */
async function readOurs(path: string): Promise<string | undefined> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!found) return undefined;
  const own = process.getuid?.();
  if (!found.isFile() || (own !== undefined && found.uid !== own)) {
    throw new HomeUnusable(
      `${path} is not a file of the user the daemon runs as. Remove it and start again: another one is made.`,
    );
  }
  if ((found.mode & 0o077) !== 0) await chmod(path, 0o600);
  const content = (await readFile(path, "utf8")).trim();
  if (content === "")
    throw new HomeUnusable(`${path} is empty. Delete it and start again: another one is made.`);
  return content;
}
