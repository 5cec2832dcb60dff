import { z } from "zod";
import { LimitsInput } from "./limits.ts";
import { ByteSize } from "./quantities.ts";

/** Loopback only (H1). */
const ADDRESS = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/;
const HIGHEST_PORT = 65_535;

const BUILT_IN = {
  address: "127.0.0.1:7433",
  model: "claude-sonnet-5-5",
  policy: "coding",
  colours: "auto",
  runsAtOnce: 50,
  /** For each run that may work at the same time. */
  sandboxes: 4,
  pool: 2,
  modelIdleMs: 120_000,
  checkpoints: "turn",
  checkpointsKept: 20,
  checkpointDisk: "20GiB",
  canaries: "on",
  log: "info",
} as const;

const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

const word = (example: string) => {
  const error = `write ${example}`;
  return z.string(error).min(1, error);
};
const whole = (from: number, to: number) => {
  const error = `write a whole number from ${from} to ${to}`;
  return z.int(error).min(from, error).max(to, error);
};
const oneOf = <const T extends readonly [string, ...string[]]>(words: T) =>
  z.enum(words, `write one of ${words.join(", ")}`);

const Address = z
  .string(`write a loopback address and a port, such as ${BUILT_IN.address}`)
  .refine(
    (text) => Number(ADDRESS.exec(text)?.[2] ?? Number.NaN) <= HIGHEST_PORT,
    `write a loopback address and a port, such as ${BUILT_IN.address}; Caisson listens on loopback only`,
  );
const Colours = oneOf(["auto", "never"]);
const RunsAtOnce = whole(1, 1_000);
const Sandboxes = whole(1, 10_000);
const Pool = whole(0, 50);
const ModelIdleMs = whole(1_000, 86_400_000);
const LogLevel = oneOf(LOG_LEVELS);
const Checkpoints = oneOf(["turn", "off"]);
const Canaries = oneOf(["on", "off"]);
const CheckpointsKept = whole(1, 10_000);
export type CheckpointsTaken = z.infer<typeof Checkpoints>;
export type LogLevel = z.infer<typeof LogLevel>;

/** `$XDG_CONFIG_HOME/caisson/config.yaml`: a person's defaults, and what they set for their daemon. */
export const ConfigFile = z.strictObject(
  {
    model: word(`a model's id, such as ${BUILT_IN.model}`).optional(),
    policy: word("a ready policy's name, or the path of a policy file").optional(),
    image: word("an image's name, such as node").optional(),
    limits: LimitsInput.optional().describe("What --limit says, for every run."),
    address: Address.optional().describe("Where the daemon listens and clients look for it."),
    colours: Colours.optional().describe("auto: on a terminal."),
    daemon: z
      .strictObject(
        {
          runsAtOnce: RunsAtOnce.optional().describe(
            "Runs that work at the same time; others queue. One that waits for a person makes room.",
          ),
          sandboxes: Sandboxes.optional().describe(
            "Runs that have a sandbox at the same time, those that wait for a person included; new ones queue.",
          ),
          pool: Pool.optional().describe("Warm sandboxes kept for each image."),
          acceptUnenforced: z
            .array(z.string(), "write a list, such as [swap]")
            .optional()
            .describe("Limits this engine can't enforce that you accept."),
          modelIdleMs: ModelIdleMs.optional().describe(
            "Milliseconds without an event until a model's stream is given up.",
          ),
          checkpoints: Checkpoints.optional().describe(
            "turn: at the end of every turn that changed files. off: only when asked for.",
          ),
          checkpointsKept: CheckpointsKept.optional().describe(
            "The newest so many checkpoints of a run are all kept; older ones ever more sparsely.",
          ),
          checkpointDisk: ByteSize.optional().describe(
            "What checkpoints may take on the engine's disk, such as 20GiB; with none left, none is taken.",
          ),
          canaries: Canaries.optional().describe(
            "on: runs that can reach something get credentials of nobody's, and end when those are sent away.",
          ),
          log: LogLevel.optional().describe("The least that is logged."),
        },
        "write keys and values below it",
      )
      .optional(),
  },
  "write keys and values, such as `policy: coding`",
);
/** As it is written: limits keep their units. */
export type ConfigFile = z.input<typeof ConfigFile>;

/** The file, and where in it a key stands. */
export interface ReadConfig {
  readonly path: string;
  readonly value: ConfigFile;
  lineOf(path: readonly string[]): number;
}

/** A configuration that can't be used; the message names the variable or the file's line, and what to write. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export type Source =
  | { readonly from: "built-in" }
  | { readonly from: "environment"; readonly name: string }
  | { readonly from: "file"; readonly line: number };

/** A value in force, and what set it. */
export interface Setting<T> {
  readonly value: T;
  readonly source: Source;
}

/** Everything that can be set, by the key a person would write. What flags say goes over it. */
export interface Settings {
  readonly home: Setting<string>;
  readonly address: Setting<string>;
  readonly model: Setting<string>;
  readonly policy: Setting<string>;
  /** Absent: the policy's. */
  readonly image: Setting<string | undefined>;
  readonly limits: Setting<ConfigFile["limits"]>;
  readonly colours: Setting<z.infer<typeof Colours>>;
  readonly "daemon.runsAtOnce": Setting<number>;
  readonly "daemon.sandboxes": Setting<number>;
  readonly "daemon.pool": Setting<number>;
  readonly "daemon.acceptUnenforced": Setting<readonly string[]>;
  readonly "daemon.modelIdleMs": Setting<number>;
  readonly "daemon.checkpoints": Setting<CheckpointsTaken>;
  readonly "daemon.checkpointsKept": Setting<number>;
  /** As it is written: with its unit. */
  readonly "daemon.checkpointDisk": Setting<number | string>;
  readonly "daemon.canaries": Setting<z.infer<typeof Canaries>>;
  readonly "daemon.log": Setting<LogLevel>;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What is in force: the environment over the file over what is built in.
 * @param userHome the user's own folder, for defaults
 * @throws ConfigError when a variable says what can't be
 */
export function settingsIn(env: Environment, file: ReadConfig | undefined, userHome: string): Settings {
  const given = file?.value ?? {};
  const from = <T>(name: string | undefined, key: readonly string[], written: T | undefined, builtIn: T) =>
    inForce(env, file, { name, key, written, builtIn }, (text): T => text as T);
  const checked = <T>(
    schema: z.ZodType<T>,
    name: string,
    key: readonly string[],
    written: T | undefined,
    builtIn: T,
  ) => inForce(env, file, { name, key, written, builtIn }, (text) => parsed(schema, name, text));
  const { daemon = {} } = given;
  const runsAtOnce = from(undefined, ["daemon", "runsAtOnce"], daemon.runsAtOnce, BUILT_IN.runsAtOnce);
  return {
    home: homeIn(env, userHome),
    address: checked(Address, "CAISSON_ADDRESS", ["address"], given.address, BUILT_IN.address),
    model: from("CAISSON_MODEL", ["model"], given.model, BUILT_IN.model),
    policy: from("CAISSON_POLICY", ["policy"], given.policy, BUILT_IN.policy),
    image: from<string | undefined>("CAISSON_IMAGE", ["image"], given.image, undefined),
    limits: from(undefined, ["limits"], given.limits, undefined),
    colours: coloursIn(env, file),
    "daemon.runsAtOnce": runsAtOnce,
    "daemon.sandboxes": from(
      undefined,
      ["daemon", "sandboxes"],
      daemon.sandboxes,
      BUILT_IN.sandboxes * runsAtOnce.value,
    ),
    "daemon.pool": checked(Pool, "CAISSON_POOL", ["daemon", "pool"], daemon.pool, BUILT_IN.pool),
    "daemon.acceptUnenforced": from<readonly string[]>(
      undefined,
      ["daemon", "acceptUnenforced"],
      daemon.acceptUnenforced,
      [],
    ),
    "daemon.modelIdleMs": checked(
      ModelIdleMs,
      "CAISSON_MODEL_IDLE_MS",
      ["daemon", "modelIdleMs"],
      daemon.modelIdleMs,
      BUILT_IN.modelIdleMs,
    ),
    "daemon.checkpoints": checked<CheckpointsTaken>(
      Checkpoints,
      "CAISSON_CHECKPOINTS",
      ["daemon", "checkpoints"],
      daemon.checkpoints,
      BUILT_IN.checkpoints,
    ),
    "daemon.checkpointsKept": checked(
      CheckpointsKept,
      "CAISSON_CHECKPOINTS_KEPT",
      ["daemon", "checkpointsKept"],
      daemon.checkpointsKept,
      BUILT_IN.checkpointsKept,
    ),
    "daemon.checkpointDisk": checked<number | string>(
      ByteSize,
      "CAISSON_CHECKPOINT_DISK",
      ["daemon", "checkpointDisk"],
      daemon.checkpointDisk,
      BUILT_IN.checkpointDisk,
    ),
    "daemon.canaries": checked<z.infer<typeof Canaries>>(
      Canaries,
      "CAISSON_CANARIES",
      ["daemon", "canaries"],
      daemon.canaries,
      BUILT_IN.canaries,
    ),
    "daemon.log": checked<LogLevel>(LogLevel, "CAISSON_LOG", ["daemon", "log"], daemon.log, BUILT_IN.log),
  };
}

interface Candidates<T> {
  readonly name: string | undefined;
  readonly key: readonly string[];
  readonly written: T | undefined;
  readonly builtIn: T;
}

/** An empty variable counts as none, as shells are used. */
function inForce<T>(
  env: Environment,
  file: ReadConfig | undefined,
  { name, key, written, builtIn }: Candidates<T>,
  read: (text: string) => T,
): Setting<T> {
  const text = name === undefined ? undefined : env[name];
  if (name !== undefined && text) return { value: read(text), source: { from: "environment", name } };
  if (file !== undefined && written !== undefined)
    return { value: written, source: { from: "file", line: file.lineOf(key) } };
  return { value: builtIn, source: { from: "built-in" } };
}

function parsed<T>(schema: z.ZodType<T>, name: string, text: string): T {
  const asNumber = schema instanceof z.ZodNumber && /^\d{1,15}$/.test(text) ? Number(text) : text;
  const result = schema.safeParse(asNumber);
  if (result.success) return result.data;
  throw new ConfigError(`${name} is "${text}"; ${result.error.issues[0]?.message ?? "that can't be"}.`);
}

/** `CAISSON_HOME`, else `$XDG_STATE_HOME/caisson`, else `~/.local/state/caisson`. */
function homeIn(env: Environment, userHome: string): Setting<string> {
  // A relative one would be another folder for every program that is told of it.
  for (const name of ["CAISSON_HOME", "XDG_STATE_HOME"]) {
    const text = env[name];
    if (text && !text.startsWith("/"))
      throw new ConfigError(`${name} is "${text}"; write an absolute path, such as "$PWD/${text}".`);
  }
  if (env.CAISSON_HOME)
    return { value: env.CAISSON_HOME, source: { from: "environment", name: "CAISSON_HOME" } };
  if (env.XDG_STATE_HOME)
    return {
      value: `${env.XDG_STATE_HOME}/caisson`,
      source: { from: "environment", name: "XDG_STATE_HOME" },
    };
  if (userHome === "")
    throw new ConfigError(
      "You have no home folder (HOME is not set), so there is no place for what the daemon keeps. Set CAISSON_HOME to a folder.",
    );
  return { value: `${userHome}/.local/state/caisson`, source: { from: "built-in" } };
}

function coloursIn(env: Environment, file: ReadConfig | undefined): Settings["colours"] {
  for (const name of ["NO_COLOR", "TERM"])
    if (name === "NO_COLOR" ? env[name] : env[name] === "dumb")
      return { value: "never", source: { from: "environment", name } };
  return inForce(
    env,
    file,
    { name: undefined, key: ["colours"], written: file?.value.colours, builtIn: BUILT_IN.colours },
    () => BUILT_IN.colours,
  );
}

/** Where a person's file is; undefined when nobody could say. */
export function configFolder(env: Environment, userHome: string): string | undefined {
  if (env.XDG_CONFIG_HOME) return `${env.XDG_CONFIG_HOME}/caisson`;
  return userHome === "" ? undefined : `${userHome}/.config/caisson`;
}
