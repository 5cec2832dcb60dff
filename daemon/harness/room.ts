import { type GatedSandbox, NoRoom } from "../sandbox/gate.ts";
import { type Collected, ToolRefusal } from "./tools/tool.ts";

/** The kernel would not make another process: as the runner says it of its own fork, and of the command's. */
const NO_ROOM = /^EAGAIN /;

type Started = Pick<Collected, "startError" | "killedForRoom">;

/**
 * Does what starts a process; where the sandbox has no room for one, once more after everything that earlier
 * actions left running was killed. Without that a sandbox full of processes could not even be asked to kill them.
 * @param id of the process, where it is the same each time
 * @throws ToolRefusal when there is no room even so
 */
export async function withRoom<T extends Started>(
  sandbox: GatedSandbox,
  id: string | undefined,
  start: () => Promise<T>,
): Promise<T> {
  const first = await attempt(start);
  if (first !== "no room") return first;
  const killedForRoom = await sandbox.killLeft();
  // An id that was tried is known to the runner, and would only be told of again.
  if (id !== undefined) sandbox.forget(id);
  const second = await attempt(start);
  if (second === "no room")
    throw new ToolRefusal(
      "Nothing was run: the sandbox has no room for another process, though everything that earlier actions left running was killed.",
    );
  return { ...second, killedForRoom };
}

async function attempt<T extends Started>(start: () => Promise<T>): Promise<T | "no room"> {
  try {
    const started = await start();
    return NO_ROOM.test(started.startError ?? "") ? "no room" : started;
  } catch (error) {
    if (error instanceof NoRoom) return "no room";
    throw error;
  }
}
