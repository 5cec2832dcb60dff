/** Tunnels that nobody looks into: THREATS 24, where a rule wants one. */
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { listening } from "./hosts.ts";
import { denial, type Keeping } from "./keeper.ts";
import { allowing, before, endAll, ends, set, setRaw } from "./setting.ts";

afterEach(endAll);

describe("opaque tunnels", () => {
  const opaque: Keeping = { tunnel: () => ({ mode: "opaque" }) };
  const openedBefore = (port: number, keeping: Keeping) => before(port, { ...opaque, ...keeping }, {});
  const echo = (socket: Socket) => void socket.end("echoed");

  it("carry anything once judged, metered", async () => {
    const { through, at, keeper } = await setRaw((socket) => socket.end("SSH-2.0-answer"), opaque);
    const answer = await through.raw(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\nSSH-2.0-hello`);
    expect(answer).toMatch(/^HTTP\/1.1 200.*SSH-2.0-answer$/s);
    expect(keeper.judged).toEqual([{ method: "CONNECT", url: `https://${at}/` }]);
    expect(await keeper.outcome(1)).toMatchObject({ status: 200, bytesOut: 13, bytesIn: 14 });
  });

  it("end at a rule's bound before its bytes leave", async () => {
    let arrived = "";
    const host = await listening(
      createServer((socket) =>
        socket
          .on("error", () => {})
          .on("data", (piece) => {
            arrived += piece;
          }),
      ),
    );
    ends.push(host.close);
    const { through, at, keeper } = await openedBefore(host.port, { judge: allowing(10) });
    await through.raw(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n${"x".repeat(50)}`);
    expect((await keeper.outcome(1)).error).toContain("10 bytes");
    expect(arrived).toBe("");
  });

  it("leave no connection to the host behind when what arrives can't be journalled", async () => {
    let left = () => {};
    const closed = new Promise<void>((resolve) => {
      left = resolve;
    });
    const host = await listening(createServer((socket) => socket.on("error", () => {}).once("close", left)));
    ends.push(host.close);
    const arriving = () => Promise.reject(new Error("no disk"));
    const { through, at } = await openedBefore(host.port, { arriving });
    expect(await through.raw(`CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`)).toBe("");
    await closed;
  });

  it("are refused as any request is, and lead to no private address", async () => {
    const denied = await setRaw(echo, {
      ...opaque,
      judge: (_r, request) => ({ allowed: false, request, status: 403, verdict: denial("closed") }),
    });
    expect(await denied.through.raw(`CONNECT ${denied.at} HTTP/1.1\r\nHost: ${denied.at}\r\n\r\n`)).toContain(
      "rule:    closed",
    );
    const private_ = await setRaw(echo, {
      ...opaque,
      judge: (_r, request) => ({ allowed: true, request, terms: { addresses: [] }, headers: {} }),
    });
    expect(
      await private_.through.raw(`CONNECT ${private_.at} HTTP/1.1\r\nHost: ${private_.at}\r\n\r\n`),
    ).toContain("gateway.address");
  });

  it("that the policy refuses are judged, and say why", async () => {
    const { through, keeper } = await set({
      tunnel: () => ({ mode: "refused", verdict: denial("default") }),
      judge: (_r, request) => ({
        allowed: false,
        request,
        status: 403,
        verdict: denial("default", "no rule lets it out"),
      }),
    });
    expect(await through.raw("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")).toContain(
      "no rule lets it out",
    );
    expect(keeper.judged).toEqual([{ method: "CONNECT", url: "https://evil.test:443/", bodyBytes: 0 }]);
  });
});
