import { z } from "zod";
import { PROTOCOL } from "../../protocol/frames.ts";
import { json, type Route, route, type Services } from "../route.ts";

const Health = z.object({
  ok: z.literal(true),
  version: z.string().describe("The daemon's, so that a client notices one older than itself."),
  pid: z.int(),
  protocol: z.int().describe("The version of the wire, as in the stream's hello frame."),
});

/** Health and measurements. */
export function systemRoutes({ version, metrics }: Services): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/healthz",
      summary: "Whether the daemon answers. Needs no token.",
      open: true,
      answer: { status: 200, description: "It does.", schema: Health },
      handle: () => json(200, { ok: true, version, pid: process.pid, protocol: PROTOCOL }),
    }),
    route({
      method: "GET",
      path: "/metrics",
      summary: "Metrics in Prometheus' text format.",
      answer: { status: 200, description: "Metrics.", contentType: "text/plain" },
      handle: async () => ({ type: "raw", contentType: metrics.contentType, body: await metrics.text() }),
    }),
  ];
}
