/**
 * `npm run demo`: the main job from start to end, as a person would do it in a terminal. Everything is real but
 * the model, which follows examples/parcel.script.yaml.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import pc from "picocolors";
import { CaissonClient } from "../client/index.ts";
import { packageRoot } from "../daemon/package-root.ts";
import { Engine } from "../daemon/sandbox/engine.ts";

/** Milliseconds the whole demo may take once everything is set up. */
const DEADLINE_MS = 180_000;
/** Found beside this file in both layouts: the sources and the build. */
const CLI = join(dirname(fileURLToPath(import.meta.url)), "..", "client", "cli", "main.js");
const TASK = "One test of this project fails. Repair the bug, and say so in the change log.";

class DemoFailed extends Error {
  override readonly name = "DemoFailed";
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-demo-"));
  const caisson = new Caisson(folder);
  try {
    await show(caisson, folder);
  } finally {
    await caisson.run(["rm", "last"], { quiet: true }).catch(() => undefined);
    await caisson.run(["down"], { quiet: true }).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  }
}

async function show(caisson: Caisson, folder: string): Promise<void> {
  const workspace = join(folder, "parcel");
  await cp(join(packageRoot, "examples", "parcel"), workspace, { recursive: true });
  say("An agent works on a small project with a failing test, in a container without network.");
  const submitted = await caisson.run(
    [
      "run",
      TASK,
      "--workspace",
      workspace,
      "--image",
      "node",
      "--model",
      `script:${join(packageRoot, "examples", "parcel.script.yaml")}`,
      "--accept",
      "node --test",
      "--accept",
      "grep -q 1.0.1 CHANGELOG.md",
      "--detach",
      "--json",
    ],
    {
      quiet: true,
      shown: `run "${TASK}" --workspace parcel --image node --model script:… --accept "node --test" --accept "grep -q 1.0.1 CHANGELOG.md"`,
    },
  );
  const { run } = JSON.parse(submitted) as { run: string };

  const answering = answerApprovals(caisson, run);
  await caisson.run(["watch", run], { shown: "watch last" });
  if ((await answering) === 0) throw new DemoFailed("no approval was asked");

  say("What the agent changed, brought back into the project:");
  await caisson.run(["diff", run], { shown: "diff last" });
  await caisson.run(["apply", run, "--workspace", workspace], { shown: "apply last --workspace parcel" });
  const changed = await readFile(join(workspace, "src", "postage.js"), "utf8");
  if (!changed.includes("grams <= one.grams"))
    throw new DemoFailed("the repair did not arrive in the project");

  say("Every step stands in a journal whose hash chain can be checked:");
  await caisson.run(["verify", run], { shown: "verify last" });
  await sandboxIsGone(run);
  say("The sandbox is gone.");
  say("The same with your own key and folder, one line:");
  process.stdout.write(
    `\n  ANTHROPIC_API_KEY=… npx caisson run "Make the failing test pass" --image node\n\n`,
  );
}

/** Answers what the agent asks, as a person at another terminal would. Resolves with the number of approvals. */
async function answerApprovals(caisson: Caisson, run: string): Promise<number> {
  let answered = 0;
  for await (const seen of (await caisson.client()).watch(run)) {
    if (seen.kind !== "event") continue;
    if (seen.event.type === "approval.requested") {
      const { approval } = seen.event.data;
      await caisson.run(["approve", approval, "--reason", "The release repository is only in the sandbox."], {
        quiet: true,
      });
      answered += 1;
    }
    if (/^run\.(completed|failed|cancelled)$/.test(seen.event.type)) return answered;
  }
  return answered;
}

async function sandboxIsGone(run: string): Promise<void> {
  const engine = await Engine.connect();
  const containers = await engine.call("list containers", 10_000, (docker) =>
    docker.listContainers({ all: true, filters: { name: [run] } }),
  );
  if (containers.length > 0)
    throw new DemoFailed(`the run's sandbox is still there: ${containers[0]?.Names.join(" ")}`);
}

function say(text: string): void {
  process.stdout.write(`\n${pc.bold(text)}\n`);
}

/** The command line, with a home of its own that goes when the demo ends. */
class Caisson {
  readonly #env: NodeJS.ProcessEnv;
  readonly #home: string;

  constructor(folder: string) {
    this.#home = join(folder, "home");
    const { CAISSON_TOKEN: _, ...env } = process.env;
    const port = 20_000 + (process.pid % 20_000);
    this.#env = { ...env, CAISSON_HOME: this.#home, CAISSON_ADDRESS: `127.0.0.1:${port}`, CAISSON_POOL: "1" };
  }

  async client(): Promise<CaissonClient> {
    const token = (await readFile(join(this.#home, "token"), "utf8")).trim();
    return new CaissonClient({ address: this.#env.CAISSON_ADDRESS ?? "", token });
  }

  /** Runs one command; resolves with its standard output. @throws DemoFailed when it exits with another status than 0 */
  async run(
    words: readonly string[],
    options: { readonly quiet?: boolean; readonly shown?: string } = {},
  ): Promise<string> {
    if (options.shown) process.stdout.write(`\n${pc.dim("$")} caisson ${options.shown}\n`);
    const child = spawn(process.execPath, [CLI, ...words], {
      env: this.#env,
      stdio: ["ignore", options.quiet ? "pipe" : "inherit", "inherit"],
      timeout: DEADLINE_MS,
    });
    const parts: Buffer[] = [];
    child.stdout?.on("data", (part: Buffer) => parts.push(part));
    const [status, signal] = (await once(child, "close")) as [number | null, string | null];
    if (status !== 0) throw new DemoFailed(`caisson ${words[0]} ended with ${status ?? signal}`);
    return Buffer.concat(parts).toString("utf8");
  }
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${pc.red("The demo failed:")} ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exitCode = 1;
});
