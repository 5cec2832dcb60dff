import { randomBytes } from "node:crypto";
import { readdir, readlink, rm, symlink } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { basename, join } from "node:path";
import { hasCode, makeFolder } from "./journal/folders.ts";
import type { Faults } from "./journal/port.ts";

const FOLDER = "lock";
/** Bytes of the longest path in a home that a socket is bound to or asked by. */
export const LOCK_PATH_BYTES = `${FOLDER}/123456`.length;
const ANSWER_MS = 2_000;
/** How often one may be overtaken by others that start, and end again, at the same moment. */
const ATTEMPTS = 20;

/** Lets another have the home. */
export type Release = () => Promise<void>;

/**
 * Holds a home with a socket that listens, which no crash leaves listening; no process number is asked, so none that
 * another program has now can mislead. In the home's folder `lock`, links with numbers lead to such sockets, and the
 * home is held by the one that the highest leads to. That no two hold it, however many start over what a dead one left:
 *
 * - a link leads to a socket that listened before it, and each number can be given once;
 * - a number is given by one who found nobody at the highest below it, and who then finds no higher one;
 * - the highest link stays for ever, also when its holder lets go. Its holder removes those below it.
 *
 * @param home an existing folder
 * @param faults for tests: passed at `home.lock.before-link`, when nobody was found at the highest link
 * @returns undefined when another has it
 */
export async function holdHome(home: string, faults?: Faults): Promise<Release | undefined> {
  const folder = join(home, FOLDER);
  await makeFolder(folder);
  const { server, name } = await listening(folder);
  const release = () => new Promise<void>((resolve) => server.close(() => resolve()));
  try {
    const held = await climb(folder, name, faults);
    if (held === undefined) {
      await release();
      return undefined;
    }
    await sweep(folder, held);
    return release;
  } catch (error) {
    await release();
    throw error;
  }
}

/** Links the socket as the highest; returns its number, or undefined when somebody is there. */
async function climb(folder: string, name: string, faults?: Faults): Promise<number | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const highest = await highestOf(folder);
    if (highest > 0 && (await answers(join(folder, String(highest))))) return undefined;
    const own = highest + 1;
    await faults?.at("home.lock.before-link");
    if (!(await link(name, join(folder, String(own))))) continue;
    if ((await highestOf(folder)) === own) return own;
    await rm(join(folder, String(own)), { force: true });
  }
  return undefined;
}

/** False when another was quicker. */
async function link(name: string, path: string): Promise<boolean> {
  try {
    await symlink(name, path);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

async function numbersIn(folder: string): Promise<number[]> {
  return (await readdir(folder)).filter((name) => /^[1-9]\d{0,14}$/.test(name)).map(Number);
}

async function highestOf(folder: string): Promise<number> {
  return Math.max(0, ...(await numbersIn(folder)));
}

/** Removes what dead ones left; one that still answers is about to find that it came too late. */
async function sweep(folder: string, held: number): Promise<void> {
  for (const number of await numbersIn(folder)) {
    const path = join(folder, String(number));
    if (number >= held || (await answers(path))) continue;
    const socket = await readlink(path).catch(() => undefined);
    if (socket !== undefined) await rm(join(folder, basename(socket)), { force: true });
    await rm(path, { force: true });
  }
}

/** A socket of its own that listens, under a name that nobody else has. */
async function listening(folder: string): Promise<{ server: Server; name: string }> {
  for (;;) {
    const name = `s${randomBytes(4).toString("hex").slice(0, 5)}`;
    const server = await bound(join(folder, name));
    if (server) return { server, name };
  }
}

function bound(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** Whether somebody listens there. One that is stopped, or has more callers than it takes, does. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(path);
    const done = (answered: boolean) => {
      connection.destroy();
      resolve(answered);
    };
    connection.setTimeout(ANSWER_MS, () => done(true));
    connection.once("connect", () => done(true));
    connection.once("error", (error) => done(hasCode(error, "EAGAIN")));
  });
}
