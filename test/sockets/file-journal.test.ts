import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createAccess } from "../../daemon/http/access.ts";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import type { Journal, RunJournal } from "../../daemon/journal/port.ts";
import { createStream, type Stream } from "../../daemon/sockets/stream.ts";
import { TOKEN } from "../http/daemon.ts";
import { messages, RUN } from "../http/doubles.ts";
import { Client } from "./client.ts";

let home: string;
let journal: Journal;
let run: RunJournal;
let server: Server;
let stream: Stream;
let port: number;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-stream-"));
  journal = await openFileJournal({ home, clock: Date });
  run = await journal.create(RUN);
  server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
  const access = createAccess({ token: TOKEN, host: "127.0.0.1" });
  stream = createStream({ server, access, journal, harness: { onLive: () => () => undefined } });
});
afterEach(async () => {
  await stream.close();
  await new Promise((resolve) => server.close(resolve));
  await journal.close();
  await rm(home, { recursive: true });
});

const file = () => join(home, "runs", RUN, "journal.ndjson");
const framesOf = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => `{"type":"event","run":"${RUN}","event":${line}}`);

it("W1: the frames of a journal on disk are its lines, replayed and followed while appends go on", async () => {
  const append = async (count: number) => {
    for (let done = 0; done < count; done += 5) await run.append(run.seq, messages(5, run.seq), "written");
  };
  await append(500);
  const appending = append(500);
  const watchers = await Promise.all([Client.open(port), Client.open(port), Client.open(port)]);
  for (const [index, watcher] of watchers.entries()) watcher.subscribe(RUN, index * 100);
  await appending;
  await append(50);
  await Promise.all(
    watchers.map((watcher, index) => watcher.until(() => watcher.events().length === 1_050 - index * 100)),
  );
  const frames = framesOf(await readFile(file(), "utf8"));
  expect(frames).toHaveLength(1_050);
  for (const [index, watcher] of watchers.entries())
    expect(watcher.texts.filter((text) => text.includes('"event":'))).toEqual(frames.slice(index * 100));
  await Promise.all(watchers.map((watcher) => watcher.close()));
});

it("J4: damage is told, nothing behind it is sent, and the socket stays", async () => {
  await run.append(0, messages(10), "synced");
  const text = await readFile(file(), "utf8");
  const damaged = text.replace("message 6", "message X");
  await writeFile(file(), damaged);
  const client = await Client.open(port);
  client.subscribe(RUN);
  await client.until(() => client.ofType("error").length === 1);
  expect(client.ofType("error")[0]).toMatchObject({ code: "journal_damaged", run: RUN });
  expect(client.events().every(({ seq }) => seq <= 6)).toBe(true);
  client.subscribe("*");
  expect(await readFile(file(), "utf8")).toBe(damaged);
  await client.close();
});
