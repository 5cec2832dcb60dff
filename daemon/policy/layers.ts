import type { Layer } from "../protocol/verdicts.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import type { Policy } from "./port.ts";
import type { ReadDocument } from "./read-document.ts";

/** What holds where a document leaves it out. */
export interface Unsaid extends Pick<Policy, "execLimits"> {
  readonly approvals: Pick<Policy["approvals"], "timeoutMs">;
  readonly sandbox: Pick<Policy["sandbox"], "image" | "memoryBytes" | "cpus" | "pids" | "diskBytes">;
  readonly git: Policy["ingest"]["git"];
}

const RUN: Unsaid = {
  execLimits: { timeoutMs: 600_000, bytes: 65_536, commands: 50 },
  approvals: { timeoutMs: 900_000 },
  sandbox: { image: "base", memoryBytes: 2 * 2 ** 30, cpus: 2, pids: 256, diskBytes: 4 * 2 ** 30 },
  git: "fresh",
};

const none = Number.POSITIVE_INFINITY;
const NO_OPINION: Unsaid = {
  execLimits: { timeoutMs: none, bytes: none, commands: none },
  approvals: { timeoutMs: none },
  sandbox: { image: "base", memoryBytes: none, cpus: none, pids: none, diskBytes: none },
  git: "full",
};

/** Of a run's own policy the defaults; what a layer above it leaves out is no opinion (P2). */
export function unsaidIn(layer: Layer): Unsaid {
  return layer === "run" ? RUN : NO_OPINION;
}

/** What a document of this layer may not say: a file that came with the workspace names none of the daemon's secrets. */
export function beyondLayer(read: ReadDocument, layer: Layer): PolicyProblem[] {
  if (layer !== "project" || read.document.secrets === undefined) return [];
  return [
    read.problem(
      ["secrets"],
      "a project's policy names no secrets: it comes with the workspace, and can only narrow",
      "move `secrets` to the run's policy",
      "key",
    ),
  ];
}

/** Why the layers don't allow an image; undefined: they do. Without `images` any is allowed. */
export function imageProblem(layers: readonly Policy[], image: string): string | undefined {
  for (const { name, layer, sandbox } of layers) {
    const { images } = sandbox;
    const own = layer === "run" && image === sandbox.image;
    if (own || images === undefined || images.includes(image)) continue;
    const allowed = [...new Set(layer === "run" ? [sandbox.image, ...images] : images)].join(", ");
    const whose = layer === "run" ? `policy ${name}` : `${layer}'s policy`;
    return `The ${whose} does not allow the image ${image}; it allows ${allowed}.`;
  }
  return undefined;
}
