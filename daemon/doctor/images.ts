import type { Engine } from "../sandbox/engine.ts";
import { type ImageStatus, Images } from "../sandbox/images.ts";
import { broken, type Finding, ok, reasonOf, warning } from "./finding.ts";

const LOOKUP_MS = 10_000;

/** One finding for each image: built, of an earlier version, or not there. */
export async function imageFindings(engine: Engine): Promise<Finding[]> {
  try {
    const tags = await ourTags(engine);
    const known = await new Images(engine).listImages();
    return known.map((image) => imageFinding(image, tags));
  } catch (error) {
    return [broken("images", reasonOf(error), "See that the engine works: `docker images`.")];
  }
}

function imageFinding({ name, tag, bytes }: ImageStatus, tags: readonly string[]): Finding {
  const check = `image ${name}`;
  if (bytes !== undefined) return ok(check, `${tag}, ${Math.round(bytes / 1e6)} MB`);
  const older = tags.some((one) => one.startsWith(`caisson/${name}:`));
  return warning(
    check,
    older ? "outdated: the one there was built from earlier files" : "not built yet",
    "`caisson images build` builds it now; else the first run that needs it waits for it.",
  );
}

async function ourTags(engine: Engine): Promise<string[]> {
  const listed = await engine.call(
    "list images",
    LOOKUP_MS,
    (docker) => docker.listImages({ filters: { reference: ["caisson/*"] } }),
    "caisson/*",
  );
  return listed.flatMap(({ RepoTags }) => RepoTags ?? []);
}
