import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";

type Docker = (words: string[]) => Promise<{ readonly stdout: string }>;

/** Names of the checkpoint images of one owner; ids of those that lost their name. */
export async function imagesOf(owner: string, docker: Docker): Promise<string[]> {
  const filter = `label=${OWNER_LABEL}=${owner}`;
  const format = "{{.Repository}}:{{.Tag}} {{.ID}}";
  const { stdout } = await docker(["images", "--format", format, "--filter", filter]);
  const rows = stdout.split("\n").filter((row) => row !== "");
  return rows.map((row) => {
    const [name = "", id = ""] = row.split(" ");
    return name.startsWith("<none>") ? id : name;
  });
}

/** Checkpoints outlive their runs and daemons, as they should: a suite removes those it made. */
export async function removeImagesOf(owner: string, docker: Docker): Promise<void> {
  const images = await imagesOf(owner, docker);
  if (images.length > 0) await docker(["rmi", "--force", ...images]);
}
