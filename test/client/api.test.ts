import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DaemonUnreachable, UnexpectedAnswer } from "../../client/api/errors.ts";
import { sha256 } from "../../daemon/protocol/chain.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { startDaemon, type TestDaemon } from "../http/daemon.ts";
import { archive, messages, RUN, UNKNOWN_RUN } from "../http/doubles.ts";
import { bytesOf, clientOf } from "./support.ts";

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.journal.append(RUN, messages(2_500));
});
afterAll(() => daemon.stop());

const approval = `${RUN}.a1`;

describe("every method asks what the harness or a view answers", () => {
  it("runs and commands", async () => {
    const client = clientOf(daemon.port);
    expect((await client.health()).version).toBe("0.0.0-test");
    expect(await client.submit({ task: "x", limits: { wall: "30m" } })).toEqual({ run: RUN, seq: 1 });
    expect((await client.runs({ status: ["running", "waiting"], limit: 3 })).items).toHaveLength(1);
    expect((await client.run(RUN)).seq).toBe(2_500);
    expect(await client.message(RUN, "hello")).toEqual({ run: RUN, seq: 2 });
    expect(await client.interrupt(RUN, "wait")).toEqual({ run: RUN, seq: 3 });
    expect(await client.resume(RUN)).toEqual({ run: RUN, seq: 4 });
    expect(await client.cancel(RUN)).toEqual({ run: RUN, seq: 5 });
    expect(await client.remove(RUN)).toBeUndefined();
    expect((await client.checkpoints(RUN)).items).toEqual([]);
  });

  it("approvals, questions, policies", async () => {
    const client = clientOf(daemon.port);
    expect((await client.approvals()).items[0]?.id).toBe(approval);
    expect((await client.decideApproval(approval, { decision: "allow", for: "run" })).id).toBe(approval);
    expect((await client.revokeApproval(approval)).id).toBe(approval);
    expect((await client.questions()).items).toEqual([]);
    expect((await client.policies()).items[0]?.name).toBe("coding");
    expect((await client.checkPolicy("version: 1\n")).ok).toBe(true);
    expect((await client.explainPolicy({ text: "version: 1\n", exec: "ls" })).verdict).toBe("deny");
    expect((await client.openapi()).openapi).toBe("3.1.0");
  });

  it("events page by page, in order and whole", async () => {
    const seqs: number[] = [];
    for await (const event of clientOf(daemon.port).events(RUN, 10)) seqs.push(event.seq);
    expect(seqs).toEqual(Array.from({ length: 2_490 }, (_, index) => 11 + index));
  });

  it("files in and out", async () => {
    const client = clientOf(daemon.port);
    expect(await client.diff(RUN)).toEqual({
      patch: "diff --git a/x b/x\n",
      ignored: 3,
      omitted: { count: 1, first: [{ path: "é", reason: "held" }] },
    });
    const content = await bytesOf(archive());
    const { tar, ...facts } = await client.workspace(RUN, "dist");
    expect(facts).toEqual({ files: "all", leftOut: 0 });
    expect(await bytesOf(tar)).toEqual(content);
    const workspace = await client.uploadWorkspace(archive());
    expect(workspace).toBe(sha256(content));
    daemon.owned.add(workspace);
    expect(await bytesOf(client.blob(RUN, workspace))).toEqual(content);
    expect(await client.blobText(RUN, workspace)).toBe(content.toString());
  });
});

describe("errors", () => {
  it("carry the problem's code, detail and places", async () => {
    const client = clientOf(daemon.port);
    const error = await client.submit({ task: "" }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(CaissonError);
    expect(error).toMatchObject({ code: "invalid_request", errors: [{ path: "task" }] });
    await expect(client.run(UNKNOWN_RUN)).rejects.toMatchObject({ code: "unknown_run" });
    await expect(client.workspace(UNKNOWN_RUN)).rejects.toMatchObject({ code: "unknown_run" });
    await expect(clientOf(daemon.port, { token: "x" }).runs()).rejects.toMatchObject({
      code: "unauthorised",
    });
  });

  it("an id can't leave its place in the path", async () => {
    const client = clientOf(daemon.port);
    for (const id of ["..", ".", "../policies", "a/b", "?", "#", ""])
      await expect(client.run(id)).rejects.toMatchObject({ name: "CaissonError" });
    expect(daemon.harness.calls.some(({ method }) => method === "policies")).toBe(true);
  });

  it("an upload refused half way says why", async () => {
    async function* huge() {
      for (let index = 0; index < 64; index++) yield Buffer.alloc(65_536);
    }
    await expect(clientOf(daemon.port).uploadWorkspace(huge())).rejects.toMatchObject({
      code: "body_too_large",
    });
  });

  it("an upload whose source fails is the source's error, and nothing is kept", async () => {
    const kept = daemon.blobs.contents.size;
    async function* failing() {
      yield Buffer.alloc(512);
      throw new Error("can't read secret.txt");
    }
    await expect(clientOf(daemon.port).uploadWorkspace(failing())).rejects.toThrow("can't read secret.txt");
    expect(daemon.blobs.contents.size).toBe(kept);
  });

  it("nobody there: DaemonUnreachable, which says where and why", async () => {
    const error = await clientOf(1)
      .runs()
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DaemonUnreachable);
    expect((error as Error).message).toContain("127.0.0.1:1");
  });

  it("a daemon that hangs, and a program that is no daemon", async () => {
    const silent = createServer();
    const other = createServer((_request, response) => response.writeHead(500).end("<h1>\u001b[31mno</h1>"));
    for (const server of [silent, other])
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const portOf = (server: typeof silent) => (server.address() as AddressInfo).port;
    await expect(clientOf(portOf(silent), { deadlineMs: 50 }).runs()).rejects.toThrow(
      "did not answer in time",
    );
    const error = await clientOf(portOf(other))
      .runs()
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(UnexpectedAnswer);
    expect((error as Error).message).not.toContain("\u001b");
    for (const server of [silent, other]) server.closeAllConnections();
    for (const server of [silent, other]) await new Promise((resolve) => server.close(resolve));
  });

  it("the caller's abort stays the caller's", async () => {
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    await expect(clientOf(daemon.port, { signal: abort.signal }).runs()).rejects.toThrow("enough");
  });
});
