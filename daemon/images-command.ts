import { Engine } from "./sandbox/engine.ts";
import { EngineError, EngineUnreachable } from "./sandbox/host.ts";
import { type ImageStatus, Images } from "./sandbox/images.ts";

const OK = 0;
const FAILED = 1;
const BAD_INPUT = 2;
const UNREACHABLE = 4;
const MB = 1e6;

export interface OutputOptions {
  /** Machine output on standard output, people's text on standard error. */
  readonly json: boolean;
}

/**
 * `caisson images list|build`: the images sandboxes are made from. Building says on standard error what it does.
 * Resolves to the exit status.
 */
export async function images(action: string, { json }: OutputOptions): Promise<number> {
  if (action !== "list" && action !== "build") {
    process.stderr.write(`There is no "images ${action}". Write \`images list\` or \`images build\`.\n`);
    return BAD_INPUT;
  }
  try {
    const known = new Images(await Engine.connect());
    if (action === "build") await build(known);
    const items = await known.listImages();
    process.stdout.write(json ? `${JSON.stringify({ items })}\n` : items.map(imageLine).join(""));
    return OK;
  } catch (error) {
    if (error instanceof EngineUnreachable) {
      process.stderr.write(
        `No Docker engine answers: ${error.message}\nStart it, or set DOCKER_HOST to where it listens, then try again.\n`,
      );
      return UNREACHABLE;
    }
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(
      `${reason}\n${error instanceof EngineError ? "Images built so far are kept; the next build goes on from them.\n" : ""}`,
    );
    return FAILED;
  }
}

async function build(known: Images): Promise<void> {
  const say = (line: string): void => {
    process.stderr.write(`${line.trimEnd()}\n`);
  };
  await known.ensureKit(say);
  for (const name of known.sandboxImageNames()) await known.ensureImage(name, say);
}

function imageLine({ name, tag, bytes }: ImageStatus): string {
  const size = bytes === undefined ? "not built" : `${Math.round(bytes / MB)} MB`;
  return `${name.padEnd(12)} ${tag.padEnd(36)} ${size}\n`;
}
