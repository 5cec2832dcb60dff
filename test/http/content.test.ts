import { createServer } from "node:net";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { JournalDamaged } from "../../daemon/journal/port.ts";
import { sha256 } from "../../daemon/protocol/chain.ts";
import { startDaemon, type TestDaemon, TOKEN } from "./daemon.ts";
import { MemoryJournal, messages, RUN, UNKNOWN_RUN } from "./doubles.ts";

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.journal.append(RUN, messages(25));
});
afterAll(() => daemon.stop());

/** Can't be read beyond its first batch. */
class DamagedJournal extends MemoryJournal {
  override async *read(run: string, after: number) {
    for await (const batch of super.read(run, 0)) {
      if (batch[0]?.seq !== 1) throw new JournalDamaged(run, 9, "its hash does not fit");
      yield batch.filter(({ seq }) => seq > after);
    }
  }
}

const linesOf = (run: string) => daemon.journal.events(run).map((event) => daemon.journal.lineOf(event));

describe("GET events", () => {
  it("gives every event exactly as in the journal", async () => {
    const text = await (await daemon.call("GET", `/v1/runs/${RUN}/events`)).text();
    expect(text).toBe(`{"items":[${linesOf(RUN).join(",")}]}`);
  });

  it.each([1, 7, 8, 25, 26])("pages of %d join to the whole, without gap or duplicate", async (limit) => {
    const seqs: number[] = [];
    let after: string | undefined = "0";
    while (after !== undefined) {
      const response = await daemon.call("GET", `/v1/runs/${RUN}/events?after=${after}&limit=${limit}`);
      const page = (await response.json()) as { items: { seq: number }[]; next?: string };
      expect(page.items.length).toBeLessThanOrEqual(limit);
      seqs.push(...page.items.map(({ seq }) => seq));
      after = page.next;
    }
    expect(seqs).toEqual(Array.from({ length: 25 }, (_, index) => index + 1));
  });

  it("at the head is an empty page, not an error", async () => {
    const response = await daemon.call("GET", `/v1/runs/${RUN}/events?after=25`);
    expect(await response.json()).toEqual({ items: [] });
  });

  it("ends a page early rather than build it large in memory", async () => {
    const run = UNKNOWN_RUN.replace("ffff", "eeee");
    daemon.journal.append(run, messages(12, 0, "x".repeat(1024 * 1024)));
    const text = await (await daemon.call("GET", `/v1/runs/${run}/events`)).text();
    expect(text.length).toBeLessThan(10 * 1024 * 1024);
    expect((JSON.parse(text) as { next: string }).next).toBe("8");
  });
});

describe("GET events of a damaged journal", () => {
  it("ends the page before the damage, and the next page says what it is", async () => {
    const run = UNKNOWN_RUN.replace("ffff", "dddd");
    const journal = new DamagedJournal();
    const damaged = await startDaemon({ journal });
    try {
      damaged.journal.append(run, messages(10));
      const page = await (await damaged.call("GET", `/v1/runs/${run}/events`)).json();
      expect(page).toMatchObject({ items: { length: 8 }, next: "8" });
      const next = await damaged.call("GET", `/v1/runs/${run}/events?after=8`);
      expect([next.status, await next.json()]).toMatchObject([409, { code: "journal_damaged" }]);
    } finally {
      await damaged.stop();
    }
  });
});

describe("GET blobs", () => {
  it("only the run that names a blob serves it", async () => {
    const content = "x".repeat(20_000);
    const { hash } = await daemon.blobs.put(Readable.from([Buffer.from(content)]), 1e6);
    const path = `/v1/runs/${RUN}/blobs/${hash}`;
    expect((await daemon.call("GET", path)).status).toBe(404);
    daemon.owned.add(hash);
    expect(await (await daemon.call("GET", path)).text()).toBe(content);
    expect((await daemon.call("GET", path.replace(RUN, UNKNOWN_RUN))).status).toBe(404);
  });
});

describe("PUT workspaces", () => {
  const headers = { "content-type": "application/x-tar" };

  it("stores the archive by its hash", async () => {
    const content = Buffer.alloc(10_240, 7);
    const response = await daemon.call("PUT", "/v1/workspaces", { body: content, headers });
    expect(await response.json()).toEqual({ workspace: sha256(content) });
    expect(daemon.blobs.contents.get(sha256(content))).toEqual(content);
  });

  it.each([undefined, "application/octet-stream", "application/x-www-form-urlencoded", "application/json"])(
    "takes it as %s too: its content says whether it is an archive",
    async (type) => {
      const response = await fetch(`${daemon.url}/v1/workspaces`, {
        method: "PUT",
        headers: {
          authorization: `Bearer ${TOKEN}`,
          ...(type === undefined ? {} : { "content-type": type }),
        },
        body: Buffer.alloc(1_024, 8),
      });
      expect([response.status, await response.json()]).toEqual([
        200,
        { workspace: sha256(Buffer.alloc(1_024, 8)) },
      ]);
    },
  );

  it("refuses a compressed one", async () => {
    const packed = { ...headers, "content-encoding": "gzip" };
    const response = await daemon.call("PUT", "/v1/workspaces", { body: Buffer.alloc(512), headers: packed });
    expect([response.status, await response.json()]).toMatchObject([
      415,
      { code: "unsupported_media_type", detail: expect.stringContaining("not compressed") },
    ]);
  });

  it("refuses what is announced too large, and what turns out too large, with nothing kept", async () => {
    const kept = daemon.blobs.contents.size;
    const announced = await daemon.call("PUT", "/v1/workspaces", { body: Buffer.alloc(2_000_000), headers });
    expect(announced.status).toBe(413);
    const chunks = Readable.toWeb(Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(65_536))));
    const streamed = await fetch(`${daemon.url}/v1/workspaces`, {
      method: "PUT",
      headers: { ...headers, authorization: `Bearer ${TOKEN}` },
      body: chunks as unknown as ReadableStream,
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
    expect(daemon.blobs.contents.size).toBe(kept);
  });

  it("refuses an empty body", async () => {
    const response = await daemon.call("PUT", "/v1/workspaces", { headers });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: "workspace_refused" });
  });
});

describe("a taken port", () => {
  it("is an error, not a second daemon", async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) =>
      other.listen(0, "127.0.0.1", () => resolve((other.address() as { port: number }).port)),
    );
    await expect(startDaemon({ port })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await new Promise((resolve) => other.close(resolve));
  });
});
