import { z } from "zod";
import { ARCHIVE_PATH_BYTES } from "../../protocol/archive.ts";
import { ListEventsQuery, Place, placeOf } from "../../protocol/commands.ts";
import { CaissonError } from "../../protocol/errors.ts";
import { JournalEvent } from "../../protocol/events.ts";
import { Sha256 } from "../../protocol/ids.ts";
import { listOf } from "../../protocol/views.ts";
import { hasBody, pacedBytesOf, requireLength, requireUncompressed } from "../body.ts";
import { eventPage } from "../event-page.ts";
import { json, type Reply, type Route, route, type Services } from "../route.ts";

/** Omitted paths that a header names; all of them stand in the journal. */
const OMITTED_SHOWN = 10;
/** Characters of each that it names, and bytes of all: clients take 16 KiB of headers together. */
const OMITTED_CHARACTERS = 300;
const OMITTED_BYTES = 8 * 1024;
const TAR = "application/x-tar";

const EventList = listOf(JournalEvent);
const DiffQuery = z.strictObject({
  at: Place.optional().describe("Up to this checkpoint; without it, up to now."),
  from: Place.optional().describe("Since this checkpoint; without it, since the workspace was ingested."),
});
const WorkspaceQuery = z.strictObject({
  at: Place.optional().describe("As it was at this checkpoint; without it, as it is now."),
  path: z
    .string()
    .max(ARCHIVE_PATH_BYTES)
    .refine(
      (path) => path.split("/").every((part) => part !== "" && part !== "." && part !== ".."),
      "write a path relative to the workspace, such as dist/out.bin",
    )
    .optional(),
});
/** What a reading of files at a checkpoint is refused for. */
const AT_CHECKPOINT = ["unknown_checkpoint", "checkpoint_gone", "too_many_requests"] as const;
const Uploaded = z.object({ workspace: Sha256 });

/** A run's journal, blobs and files, and workspaces on their way in. */
export function contentRoutes(services: Services): readonly Route[] {
  const { harness, views, journal, blobs, admission, maximumWorkspaceBytes } = services;
  return [
    route({
      method: "GET",
      path: "/v1/runs/:run/events",
      summary: "Events after a seq, exactly as in the journal. `next` is the `after` of the next page.",
      params: ["run"],
      query: ListEventsQuery,
      answer: { status: 200, description: "A page of events.", schema: EventList },
      errors: ["after_past_head", "journal_damaged"],
      handle: ({ params, query }): Reply => ({
        type: "stream",
        contentType: "application/json",
        body: eventPage(journal, params.run, query.after, query.limit),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/runs/:run/blobs/:hash",
      summary: "A blob that this run's journal names.",
      params: ["run", "hash"],
      answer: { status: 200, description: "The blob's bytes.", contentType: "application/octet-stream" },
      handle: async ({ params }): Promise<Reply> => {
        const owned = await views.ownsBlob(params.run, params.hash);
        if (!owned || !(await blobs.has(params.hash)))
          throw new CaissonError("unknown_blob", "The run has no such blob.");
        return { type: "stream", contentType: "application/octet-stream", body: blobs.read(params.hash) };
      },
    }),
    route({
      method: "GET",
      path: "/v1/runs/:run/diff",
      summary:
        "The git-style patch relative to the workspace, or to a checkpoint; `x-caisson-ignored` counts what .gitignore left out, `x-caisson-omitted` what the policy holds back or a patch can't hold.",
      params: ["run"],
      query: DiffQuery,
      answer: { status: 200, description: "The patch.", contentType: "text/x-diff" },
      errors: ["engine_unreachable", "run_ended", ...AT_CHECKPOINT],
      handle: async ({ params, query }): Promise<Reply> => {
        const { at, from } = query;
        const compared = {
          ...(at === undefined ? {} : { at: placeOf(at) }),
          ...(from === undefined ? {} : { from: placeOf(from) }),
        };
        const { patch, ignored, omitted } = await harness.diff(params.run, compared);
        const headers = {
          "x-caisson-ignored": String(ignored),
          "x-caisson-omitted": String(omitted.length),
          "x-caisson-omitted-paths": namedInHeader(omitted),
        };
        return { type: "raw", contentType: "text/x-diff; charset=utf-8", body: patch, headers };
      },
    }),
    route({
      method: "GET",
      path: "/v1/runs/:run/workspace",
      summary:
        "The workspace as a tar archive, or what stands at `path` in it; export rules enforced. Of an ended run, the files that it made or changed: `x-caisson-files` says `all` or `changed`, `x-caisson-left-out` counts those that were not kept.",
      params: ["run"],
      query: WorkspaceQuery,
      answer: { status: 200, description: "The archive.", contentType: TAR },
      errors: ["engine_unreachable", "no_sandbox", "run_ended", ...AT_CHECKPOINT],
      handle: async ({ params, query }): Promise<Reply> => {
        const at = query.at === undefined ? undefined : placeOf(query.at);
        const { tar, files, leftOut } = await harness.workspace(params.run, query.path, at);
        const headers = { "x-caisson-files": files, "x-caisson-left-out": String(leftOut) };
        return { type: "stream", contentType: TAR, body: tar, headers };
      },
    }),
    route({
      method: "PUT",
      path: "/v1/workspaces",
      summary:
        "Upload a workspace as a tar archive, of whatever content-type; the id goes into POST /v1/runs.",
      binaryBody: TAR,
      answer: { status: 200, description: "The workspace is on disk.", schema: Uploaded },
      errors: [
        "workspace_refused",
        "body_too_large",
        "unsupported_media_type",
        "request_timeout",
        "disk_full",
      ],
      handle: async ({ request }) => {
        // Whatever type it is announced as: clients that put files guess it, or send none.
        requireUncompressed(request, TAR);
        requireLength(request, maximumWorkspaceBytes);
        if (!hasBody(request))
          throw new CaissonError(
            "workspace_refused",
            "The archive is empty. Send a tar archive as the body.",
          );
        return admission.upload(async () => {
          const archive = harness.checkedWorkspace(pacedBytesOf(request));
          const { hash } = await blobs.put(archive, maximumWorkspaceBytes);
          return json(200, { workspace: hash });
        });
      },
    }),
  ];
}

function namedInHeader(omitted: readonly { readonly path: string; readonly reason: string }[]): string {
  const short = (text: string) =>
    text.length > OMITTED_CHARACTERS ? `${text.slice(0, OMITTED_CHARACTERS)}…` : text;
  const named = omitted
    .slice(0, OMITTED_SHOWN)
    .map(({ path, reason }) => ({ path: short(path), reason: short(reason) }));
  for (;;) {
    const encoded = encodeURIComponent(JSON.stringify(named));
    if (encoded.length <= OMITTED_BYTES) return encoded;
    named.pop();
  }
}
