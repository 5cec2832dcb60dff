import { setFlagsFromString } from "node:v8";
import { readConfig } from "./config.ts";
import { doctor } from "./doctor/doctor.ts";
import { HomeTaken, HomeUnusable } from "./home.ts";
import { images } from "./images-command.ts";
import { ConfigError } from "./protocol/config.ts";
import { EngineError, EngineUnreachable } from "./sandbox/host.ts";
import { serve } from "./serve.ts";

/** Exit statuses, as README.md lists them: 1 failed, 2 bad input, 4 daemon or engine unreachable. */
const FAILED = 1;
const BAD_INPUT = 2;
const UNREACHABLE = 4;

async function main(words: readonly string[]): Promise<number> {
  const [command, ...rest] = words;
  const json = rest.includes("--json");
  switch (command) {
    case "serve":
      return serveUntilTold();
    case "doctor":
      return doctor(process.env, { json });
    case "images":
      return images(rest[0] ?? "list", { json });
    default:
      process.stderr.write("usage: main serve | doctor [--json] | images build|list [--json]\n");
      return BAD_INPUT;
  }
}

/**
 * How far the heap may grow beyond what lived at its last full collection, in percent. Left to itself V8 lets it grow to
 * four times that much: with 100,000 files to 183 MB, of which 55 lived.
 */
const HEAP_GROWTH = 50;

async function serveUntilTold(): Promise<number> {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`);
  // Before it starts: whoever finds it answering may tell it to stop at once.
  const told = new Promise<void>((resolve) => {
    process.on("SIGTERM", resolve);
    process.on("SIGINT", resolve);
  });
  const daemon = await serve(await readConfig(process.env), process.env);
  await told;
  await daemon.stop();
  return 0;
}

function fail(error: unknown): void {
  const known = error instanceof ConfigError || error instanceof HomeTaken || error instanceof HomeUnusable;
  const engine = error instanceof EngineUnreachable || error instanceof EngineError;
  process.stderr.write(`${explained(error)}\n`);
  const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  process.exit(known ? BAD_INPUT : engine || taken ? UNREACHABLE : FAILED);
}

function explained(error: unknown): string {
  if (error instanceof EngineUnreachable) {
    return `${error.message}\nStart the Docker engine, or let \`npm run setup\` install and start one on Debian or Ubuntu.`;
  }
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (code === "EADDRINUSE") {
    return `${address}:${port} is taken by another program. Stop it, or set CAISSON_ADDRESS (or \`address:\` in config.yaml) to another port, such as 127.0.0.1:7434.`;
  }
  return error instanceof Error ? error.message : String(error);
}

main(process.argv.slice(2)).then((status) => process.exit(status), fail);
