import { z } from "zod";

/** Answer of `POST /v1/runs/check`: the submission would be taken, and what its workspace may be at most. */
export const SubmissionCheck = z.object({
  policy: z.string().describe("The policy's name."),
  image: z.string().describe("The image it would run in."),
  workspace: z
    .object({
      git: z
        .enum(["fresh", "full", "none"])
        .optional()
        .describe("What the policy does with repositories: unless it is `full`, no `.git` need be sent."),
      entries: z.int().min(0),
      archiveBytes: z.int().min(0).describe("Of the tar archive."),
      contentBytes: z
        .int()
        .min(0)
        .describe(
          "Of the files: the disk that the policy gives the sandbox holds them, and a fresh repository of them.",
        ),
    })
    .describe("The most that a workspace may have."),
});
export type SubmissionCheck = z.infer<typeof SubmissionCheck>;
