/** A folder on its way to the daemon: looked through, refused if it is too large, packed and sent. */
import type { SubmissionCheck } from "../../daemon/protocol/submission-check.ts";
import type { CaissonClient } from "../api/client.ts";
import { type PackProgress, packWorkspace } from "../workspace/pack.ts";
import { BOUNDS, refuseTooLarge, type Survey, surveyWorkspace } from "../workspace/survey.ts";
import type { WalkOptions } from "../workspace/walk.ts";
import type { Command } from "./command.ts";
import type { Progress } from "./progress.ts";
import { type Line, line, span } from "./render/line.ts";
import { bytes, counted } from "./render/quantities.ts";

/** The id that goes into the submission, and what was sent. */
export interface Uploaded {
  readonly workspace: string;
  readonly files: number;
}

/**
 * @param allowed what the daemon said a workspace may have; undefined: it didn't
 * @throws PackError for a folder that is too large or can't be read, and what the upload throws
 */
export async function uploadFolder(
  command: Command,
  client: CaissonClient,
  folder: string,
  allowed: SubmissionCheck["workspace"] | undefined,
  progress: Progress,
): Promise<Uploaded> {
  const { git = "full" } = allowed ?? {};
  const repositories = git === "full" ? "sent" : "kept";
  try {
    const survey = await surveyWorkspace(folder, {
      repositories,
      onProgress: (seen) =>
        progress.show(`Looking through ${folder}: ${counted(seen.files, "file")}, ${bytes(seen.bytes)}`),
    });
    refuseTooLarge(folder, survey, { ...BOUNDS, ...allowed });
    const { workspace, packed } = await send(client, folder, { survey, repositories }, progress);
    progress.clear();
    command.terminal.remark(packedLines(packed, survey));
    return { workspace, files: packed.files };
  } finally {
    progress.clear();
  }
}

async function send(
  client: CaissonClient,
  folder: string,
  { survey, repositories }: { survey: Survey } & Required<WalkOptions>,
  progress: Progress,
): Promise<{ workspace: string; packed: PackProgress }> {
  let packed: PackProgress = { files: 0, bytes: 0, skipped: 0, leftOut: 0 };
  let failure: unknown;
  const onProgress = (now: PackProgress) => {
    packed = now;
    progress.show(sendingRow(now, survey));
  };
  // What goes wrong in reading the folder would else look like a fault of the connection.
  const archive = async function* () {
    try {
      yield* packWorkspace(folder, { onProgress, repositories });
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const workspace = await client.uploadWorkspace(archive()).catch((error: unknown) => {
    throw failure ?? error;
  });
  return { workspace, packed };
}

function sendingRow({ files, bytes: sent }: PackProgress, survey: Survey): string {
  // Small files cost by their number, large ones by their size.
  const done = (files + sent / 2 ** 16) / Math.max(1, survey.files + survey.bytes / 2 ** 16);
  const percent = Math.min(100, Math.floor(done * 100));
  const counts = `${files} of ${counted(survey.files, "file")}, ${bytes(sent)} of ${bytes(survey.bytes)}`;
  return `Packing and uploading: ${percent} % · ${counts}`;
}

function packedLines({ files, bytes: size, skipped, leftOut }: PackProgress, survey: Survey): Line[] {
  const lines = [line(0, span(`Packed ${counted(files, "file")}, ${bytes(size)}`, "dim"))];
  if (leftOut > 0) {
    const more = leftOut > survey.leftOutFirst.length ? ", …" : "";
    const named = `${survey.leftOutFirst.join(", ")}${more}`;
    lines.push(line(0, span(`Left out by .caissonignore: ${counted(leftOut, "path")} (${named})`, "dim")));
  }
  if (skipped > 0)
    lines.push(
      line(
        0,
        span(`Skipped: ${counted(skipped, "socket, pipe or device", "sockets, pipes and devices")}`, "dim"),
      ),
    );
  return lines;
}
