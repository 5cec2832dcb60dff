import type {
  OutputChunk,
  ProcessOutcome,
  ProcessSpec,
  Sandbox,
  SandboxHost,
  SandboxProcess,
} from "../../../daemon/sandbox/host.ts";

/** What a command prints, and its exit status. */
export interface Answer {
  readonly output: string;
  readonly exitCode?: number;
}

export interface Canned {
  answer(command: string): Answer;
  /** Where symlinks lead. */
  readonly links?: ReadonlyMap<string, string>;
}

/** Hosts sandboxes in which nothing runs: every process has its canned answer at once. */
export function cannedHost(canned: Canned): SandboxHost {
  let made = 0;
  const none = async () => undefined;
  return {
    acquire: async () => {
      made += 1;
      return sandboxOf(`s${made}`, canned);
    },
    probe: () => Promise.reject(new Error("not asked")),
    reattach: none,
    leases: async () => [],
    remove: none,
    checkpoints: async () => [],
    checkpointLayers: async () => [],
    copyCheckpoint: none,
    squash: () => Promise.reject(new Error("not asked")),
    removeCheckpoint: none,
    warm: none,
    close: none,
  };
}

function sandboxOf(id: string, canned: Canned): Sandbox {
  return {
    id,
    runnerVersion: "1",
    facts: { landlock: 0, proxyPort: 0 },
    onConnection: () => undefined,
    env: {},
    start: async (spec) => processOf(spec.id, answerTo(spec, canned)),
    resume: async () => undefined,
    processes: async () => [],
    forget: () => undefined,
    putTar: async () => undefined,
    putOwned: async () => undefined,
    commit: () => Promise.reject(new Error("not asked")),
    fingerprint: async () => "",
    volatileFiles: async () => [],
    lost: new Promise(() => undefined),
    detach: () => undefined,
    destroy: async () => undefined,
  };
}

/** The shell's text comes by a descriptor, acceptance commands after `-c`; all else are the kit's programs. */
function answerTo({ argv, inputFd }: ProcessSpec, { answer, links }: Canned): Answer {
  const [, first, second, path = ""] = argv;
  if (first === "file" && second === "resolve") return { output: links?.get(path) ?? path };
  if (first === "file") return { output: second === "read" ? "text\n" : "", exitCode: 0 };
  if (inputFd) return answer(Buffer.from(inputFd.bytes).toString());
  return argv.includes("-c") ? answer(argv.at(-1) ?? "") : { output: "", exitCode: 1 };
}

function processOf(id: string, { output, exitCode = 0 }: Answer): SandboxProcess {
  const bytes = Buffer.from(output);
  const outcome: ProcessOutcome = {
    exitCode,
    timedOut: false,
    stateSaved: true,
    durationMs: 1,
    maxRssBytes: 0,
    cpuMs: 0,
    stdoutBytes: bytes.length,
    stderrBytes: 0,
    leftRunning: 0,
  };
  const nothing = () => undefined;
  return {
    id,
    output: chunks(bytes),
    outcome: Promise.resolve(outcome),
    acknowledge: nothing,
    keepTail: nothing,
    write: async () => undefined,
    closeStdin: nothing,
    signal: nothing,
  };
}

async function* chunks(bytes: Buffer): AsyncGenerator<OutputChunk> {
  if (bytes.length > 0) yield { stream: "stdout", offset: 0, bytes };
}
