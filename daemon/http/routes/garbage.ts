import { CollectGarbage, GcReport } from "../../protocol/gc.ts";
import { json, type Route, route, type Services } from "../route.ts";

/** What the daemon keeps and nobody needs. */
export function garbageRoutes({ harness }: Pick<Services, "harness">): readonly Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/gc",
      summary: "Give up old checkpoints, of all runs, and remove images that no journal names.",
      body: CollectGarbage,
      answer: { status: 200, description: "What was freed, or would be.", schema: GcReport },
      errors: ["engine_unreachable"],
      handle: async ({ body }) => json(200, await harness.collectGarbage(body.dryRun ?? false)),
    }),
  ];
}
