/** Runs whose commands a policy confines to some folders, and people beside them, who are not confined. */
import { randomUUID } from "node:crypto";
import type { EventData, JournalEvent } from "../../daemon/protocol/events.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** A harness over real sandboxes, and whether their kernel can confine commands. */
export class ConfinedRuns {
  readonly hosts: DockerHosts;
  readonly under: HarnessUnderTest;
  readonly #landlock: number;

  private constructor(hosts: DockerHosts, under: HarnessUnderTest, landlock: number) {
    this.hosts = hosts;
    this.under = under;
    this.#landlock = landlock;
  }

  /** @param owner  of the containers @param changed  what the harness has instead of the real host */
  static async open(
    owner: string,
    changed: (host: SandboxHost) => SandboxHost = (host) => host,
  ): Promise<ConfinedRuns> {
    const hosts = await dockerHosts();
    const host = hosts.host(owner);
    const limits = { memoryBytes: 2 ** 28, cpus: 1, pids: 32, diskBytes: 2 ** 28 };
    const probe = await host.acquire({ run: randomUUID(), image: "python", limits });
    const { landlock } = probe.facts;
    await probe.destroy();
    return new ConfinedRuns(hosts, await harnessUnderTest(changed(host)), landlock);
  }

  async close(): Promise<void> {
    await this.under.close();
    await this.hosts.cleanUp();
  }

  /** What only the kernel can hold is not tried where it has no Landlock. */
  needLandlock(skip: (note: string) => void): void {
    if (this.#landlock === 0) skip("this kernel has no Landlock");
  }

  /** A run that waits for a person's `prepare`, does all this, and waits for their `look` at what became of it. */
  async worked(files: string, prepare: string, uses: readonly object[], look: string): Promise<Worked> {
    const turns = [[WAIT], uses, [END]].map((use) => ({ use }));
    const { run } = await this.under.harness.submit({
      task: "Try.",
      policy: policyOf(files),
      model: scripted([...turns, { say: "Done." }]),
    });
    const before = await this.#person(run, WAIT, `${prepare}\ntouch /workspace/go`);
    const seen = await this.#person(run, END, `${look}\ntouch /workspace/gone`);
    const events = await this.under.ended(run);
    const own = dataOf(events, "action.proposed").filter(({ by }) => by === undefined);
    const finished = new Map(dataOf(events, "action.finished").map((data) => [data.action, data]));
    const outcomes = own.flatMap(({ action }) => finished.get(action) ?? []);
    return { events, outcomes: outcomes.slice(1, -1), before, seen };
  }

  /** A person's command, once this action of the agent's is proposed. */
  async #person(run: string, once: object, command: string): Promise<string> {
    const asked = JSON.stringify(once);
    await this.under.until(
      run,
      ({ type, data }) =>
        type === "action.proposed" && JSON.stringify({ tool: data.tool, input: data.input }) === asked,
    );
    const { action } = await this.under.harness.shell(run, { command });
    const event = await this.under.until(
      run,
      (one) => one.type === "action.finished" && one.data.action === action,
    );
    if (event.type !== "action.finished") throw new Error("no outcome");
    return textOf(event.data);
  }
}

type Finished = EventData<"action.finished">;

/** What came of a run: its own actions' outcomes without the two that waited, and what the person saw. */
interface Worked {
  readonly events: JournalEvent[];
  readonly outcomes: Finished[];
  readonly before: string;
  readonly seen: string;
}

export const policyOf = (files: string): string => `version: 1
name: narrow
default: deny
exec: { shell: contained, rules: [{ id: shell, argv: ["..."], decision: allow }] }
files: ${files}
sandbox: { image: python }
limits: { actions: 1000 }
`;
export const NARROW =
  "{ read: { allow: [/workspace/src/**, /workspace/out/**] }, write: { allow: [/workspace/out/**] } }";
export const PREPARE = `mkdir -p src out private
echo 'a source' > src/a.txt
echo HIDDEN > private/secret.txt
echo kept > kept.txt
sleep 600 < private/secret.txt > /dev/null 2>&1 &
echo $! > out/person`;

export const bash = (command: string) => ({ tool: "bash", input: { command } });
const WAIT = bash("until [ -e /workspace/go ]; do sleep 0.02; done");
const END = bash("until [ -e /workspace/gone ]; do sleep 0.02; done");

export const textOf = ({ output }: Finished): string =>
  typeof output === "string" ? output : output.preview;

/** A command of Python with the system calls at hand. */
export const python = (lines: string) => `python3 - <<'END'
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
  if libc.syscall(*args) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
${lines}
END`;
