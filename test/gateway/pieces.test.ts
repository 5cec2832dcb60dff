/** Whatever is cut anywhere is the same: properties over random cuts. */
import { randomBytes } from "node:crypto";
import { Duplex } from "node:stream";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { createGateway } from "../../daemon/gateway/gateway.ts";
import { pair } from "../../daemon/harness/egress/pair.ts";
import { said, tunnelOver, unchunked, upstreamTrust } from "./hosts.ts";
import { keeperUnderTest } from "./keeper.ts";
import { endAll, set } from "./setting.ts";

const BODY = randomBytes(40_000).toString("hex");
test.prop([fc.array(fc.integer({ min: 1, max: BODY.length - 1 }), { maxLength: 12 }), fc.boolean()], {
  numRuns: process.env.CAISSON_TEST_FULL ? 500 : 15,
})("bodies arrive whole both ways, in whatever pieces they come", async (cuts, whole) => {
  const points = [0, ...[...cuts].sort((a, b) => a - b), BODY.length];
  const pieces = points
    .slice(1)
    .map((end, i) => BODY.slice(points[i], end))
    .filter((piece) => piece !== "");
  const { host, send } = await set({
    body: whole ? "whole" : "streamed",
    answer: (_request, response) => {
      for (const piece of pieces) response.write(piece);
      response.end();
    },
  });
  const chunks = pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("");
  const answer = await send("Transfer-Encoding: chunked\r\n", `${chunks}0\r\n\r\n`, "POST");
  expect(host.received[0]?.body).toBe(BODY);
  const [, sent = ""] = answer.split(/\r\n\r\n(.*)/s);
  expect(unchunked(sent)).toBe(BODY);
  await endAll();
});

test.prop([fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 }), fc.boolean()], {
  numRuns: process.env.CAISSON_TEST_FULL ? 500 : 15,
})(
  "a request is the same request, in whatever pieces it comes over whatever carries it",
  async (lengths, secured) => {
    const trust = await upstreamTrust();
    const host = await trust.hostOf("api.test", (_request, response) => response.end("answer"));
    const keeper = await keeperUnderTest({ body: "whole" });
    const gateway = createGateway({ ca: trust.ca, lookup: async () => ["127.0.0.1"] });
    const [mine, theirs] = pair();
    try {
      gateway.serve(theirs, keeper);
      const at = `api.test:${host.port}`;
      const { certificate } = keeper.authority;
      const pieces = inPieces(mine, lengths);
      const over = secured
        ? await tunnelOver(pieces, at, { ca: certificate, servername: "api.test" })
        : pieces;
      const target = secured ? "/a?b=c" : `https://${at}/a?b=c`;
      const head = `POST ${target} HTTP/1.1\r\nHost: ${at}\r\nX-A: b\r\nConnection: close\r\n`;
      const body = `3e8\r\n${"y".repeat(1_000)}\r\n0\r\n\r\n`;
      const answer = said(over, `${head}Transfer-Encoding: chunked\r\n\r\n${body}`);
      expect(await answer).toMatch(/^HTTP\/1.1 200/);
      expect(keeper.judged).toHaveLength(1);
      expect(host.received).toMatchObject([
        { url: "/a?b=c", body: "y".repeat(1_000), headers: { "x-a": "b" } },
      ]);
    } finally {
      gateway.close();
      await host.close();
    }
  },
);

/** What is written arrives in pieces of these lengths, over and over: TLS's own first bytes too. */
function inPieces(stream: Duplex, lengths: readonly number[]): Duplex {
  let turn = 0;
  const pieces = new Duplex({
    read: () => {},
    write: async (chunk: Buffer, _encoding, done) => {
      for (let at = 0; at < chunk.length; ) {
        const length = lengths[turn++ % lengths.length] ?? 1;
        stream.write(chunk.subarray(at, at + length));
        at += length;
        await new Promise(setImmediate);
      }
      done();
    },
    destroy: (_error, done) => {
      stream.destroy();
      done(null);
    },
  });
  stream.on("data", (piece) => pieces.push(piece));
  stream.once("end", () => pieces.push(null));
  return pieces;
}
