import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { bytesByRun, totalBytes } from "../harness/checkpoints/layers.ts";
import { sizeText } from "../protocol/quantities.ts";
import { checkpointLayers } from "../sandbox/checkpoint-layers.ts";
import type { Engine } from "../sandbox/engine.ts";
import { openCatalogue } from "../views/catalogue.ts";
import { type Finding, ok, reasonOf, warning } from "./finding.ts";

/** Share of the budget from which a person is warned. */
const WARNED_AT = 0.8;
const REMEDY =
  "`caisson gc --dry-run` shows what can go, `caisson gc` frees it; `caisson rm RUN` frees a run's, and daemon.checkpointDisk in config.yaml allows more.";

/** What this home's checkpoints take on the engine's disk, and which part of it is of runs that have ended. */
export async function checkpointsFinding(engine: Engine, config: Config): Promise<Finding[]> {
  const check = "checkpoints";
  const owner = await readFile(join(config.home, "owner"), "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
  if (owner === undefined) return [];
  try {
    const layers = await checkpointLayers(engine, owner);
    const { data: ended } = await openCatalogue(join(config.home, "catalog.json"));
    let endedBytes = 0;
    for (const [run, bytes] of bytesByRun(layers)) if (ended.has(run)) endedBytes += bytes;
    const images = layers.reduce((sum, { references }) => sum + references.length, 0);
    return [
      finding(check, { bytes: totalBytes(layers), endedBytes, images, budget: config.checkpointDiskBytes }),
    ];
  } catch (error) {
    return [warning(check, `can't be measured: ${reasonOf(error)}`, REMEDY)];
  }
}

interface Measured {
  readonly bytes: number;
  readonly endedBytes: number;
  readonly images: number;
  readonly budget: number;
}

function finding(check: string, { bytes, endedBytes, images, budget }: Measured): Finding {
  const share = images === 0 ? "" : `, ${sizeText(endedBytes)} of it of runs that have ended`;
  const detail = `${images} take ${sizeText(bytes)} of ${sizeText(budget)}${share}`;
  if (bytes >= budget) return warning(check, `${detail}: no more are taken until there is room`, REMEDY);
  return bytes >= WARNED_AT * budget ? warning(check, detail, REMEDY) : ok(check, detail);
}
