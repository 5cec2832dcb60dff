/** What a container needs before it starts: the kit, folders that its user may write, names for loopback. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { dirname } from "node:path";
import { extract, type Pack, pack } from "tar-stream";
import { HOME, SANDBOX_UID, WORKSPACE } from "./container-options.ts";

/** A few static programs; anything of this size is not the kit. */
const LARGEST_KIT_BYTES = 64 * 1024 * 1024;
const KIT_FOLDER = ".caisson/";
/**
 * The engine mounts no such files where networking is off, and must not copy the host's. It empties an image's own
 * for every container, so they can't be a part of one.
 */
const NETWORK_FILES: Readonly<Record<string, string>> = {
  "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 sandbox\n",
  "etc/resolv.conf":
    "# There is no name server: what leaves a sandbox goes through its proxy.\nnameserver 127.0.0.1\n",
};

export interface KitArchive {
  /** The first 16 hex digits of the archive's sha256: two kits of one id are the same kit. */
  readonly id: string;
  /** All of it, for an image that knows nothing of us. */
  readonly tar: Buffer;
  /** Without the folders, which are an agent's already. */
  readonly programs: Buffer;
  /** Names for loopback, which every container needs anew. */
  readonly names: Buffer;
}

/**
 * Reads the kit's tar file and adds the folders. Owners, modes and times are set here and not taken from the
 * file: programs belong to root, so that the sandbox's user can't change them.
 * @throws {Error} when the file is no kit
 */
export async function readKitArchive(path: string): Promise<KitArchive> {
  const programs = await readPrograms(path);
  if (!programs.has(`${KIT_FOLDER}runner`))
    throw new Error(`${path} holds no runner; delete it to have it made again`);
  const addKit = (archive: Pack): void => addPrograms(archive, programs);
  const tar = await packed(addKit, addNames, addFolders);
  return {
    id: createHash("sha256").update(tar).digest("hex").slice(0, 16),
    tar,
    programs: await packed(addKit, addNames),
    names: await packed(addNames),
  };
}

function packed(...fill: readonly ((archive: Pack) => void)[]): Promise<Buffer> {
  const archive = pack();
  for (const add of fill) add(archive);
  archive.finalize();
  return collect(archive);
}

const FIXED = { uid: 0, gid: 0, mode: 0o755, mtime: new Date(0) };

function addFolder(archive: Pack, name: string, owner: { uid: number; gid: number; mode: number }): void {
  archive.entry({ name, type: "directory", mtime: new Date(0), ...owner });
}

function addPrograms(archive: Pack, programs: ReadonlyMap<string, Buffer>): void {
  addFolder(archive, KIT_FOLDER, FIXED);
  for (const [name, bytes] of [...programs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    archive.entry({ name, ...FIXED }, bytes);
  }
}

function addNames(archive: Pack): void {
  for (const [name, text] of Object.entries(NETWORK_FILES))
    archive.entry({ name, ...FIXED, mode: 0o644 }, text);
}

function addFolders(archive: Pack): void {
  addFolder(archive, `${dirname(HOME).slice(1)}/`, FIXED);
  addFolder(archive, "tmp/", { ...FIXED, mode: 0o1777 });
  for (const own of [HOME, WORKSPACE]) {
    addFolder(archive, `${own.slice(1)}/`, { uid: SANDBOX_UID, gid: SANDBOX_UID, mode: 0o755 });
  }
}

async function readPrograms(path: string): Promise<Map<string, Buffer>> {
  const programs = new Map<string, Buffer>();
  for await (const entry of createReadStream(path).pipe(extract())) {
    const { name, type } = entry.header;
    if (type === "file" && /^\.caisson\/[a-z]+$/.test(name)) programs.set(name, await collect(entry));
    else entry.resume();
  }
  return programs;
}

async function collect(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of stream) {
    if (!(piece instanceof Uint8Array)) throw new TypeError("a tar stream gave something other than bytes");
    bytes += piece.length;
    if (bytes > LARGEST_KIT_BYTES) throw new Error(`the kit is larger than ${LARGEST_KIT_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
