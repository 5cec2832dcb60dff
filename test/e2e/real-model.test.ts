import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  type MessagesServer,
  type ReceivedRequest,
  type ServedBlock,
  startMessagesServer,
} from "../servers/messages-server.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { dataOf } from "./runs.ts";

const API_KEY = "sk-ant-test-4f9c1e7ab2d84c60";

let daemon: DaemonUnderTest;
let server: MessagesServer;
/** Requests that earlier tests made. */
let before = 0;

beforeAll(async () => {
  server = await startMessagesServer();
  daemon = await DaemonUnderTest.start({
    env: { ANTHROPIC_BASE_URL: server.url, ANTHROPIC_API_KEY: API_KEY, CAISSON_MODEL_IDLE_MS: "1000" },
  });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await server?.close();
});
afterEach(() => {
  before = server.requests.length;
});

const said = (text: string): ServedBlock => ({ type: "text", text });
const used = (id: string, command: string): ServedBlock => ({
  type: "tool_use",
  id,
  name: "bash",
  input: { command },
});
const task = { task: "Look around.", model: "claude-sonnet-5-5" };

/** The requests of this test. */
function requests(): readonly ReceivedRequest[] {
  return server.requests.slice(before);
}

/** The text of what a request says last. */
function lastWords(request: ReceivedRequest | undefined): string {
  return JSON.stringify(request?.body.messages.at(-1)?.content ?? "");
}

test("a run completes through the real SDK; thinking goes back as it came, results follow their calls", async () => {
  server.enqueue(
    {
      content: [
        { type: "thinking", thinking: "Let me see.", signature: "signature-1" },
        said("I look."),
        used("toolu_1", "echo one"),
        used("toolu_2", "echo two; exit 3"),
      ],
    },
    { content: [said("Nothing "), said("to do.")] },
  );
  const { run, events } = await daemon.ended(task);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Nothing \nto do." } });
  const [first, second] = requests();
  expect(first?.path).toMatch(/^\/v1\/messages/);
  expect(second?.body.messages.map(({ role }) => role)).toEqual(["user", "assistant", "user"]);
  expect(second?.body.messages[1]?.content[0]).toMatchObject({ type: "thinking", signature: "signature-1" });
  expect(second?.body.messages[2]?.content).toMatchObject([
    { type: "tool_result", tool_use_id: "toolu_1" },
    { type: "tool_result", tool_use_id: "toolu_2", is_error: true },
  ]);
  expect(lastWords(second)).toMatch(/one.*two.*exit status 3/);
  expect((await (await daemon.client()).run(run)).usage.costUsd).toBeGreaterThan(0);
});

test("an overloaded service is asked again, as often as it takes, and the journal tells of it", async () => {
  server.enqueue({ status: 529 }, { status: 529 }, { content: [said("Done.")] });
  const { events } = await daemon.ended(task);
  expect(dataOf(events, "model.failed")).toMatchObject([
    { kind: "overloaded", status: 529, attempt: 1, retryInMs: expect.any(Number) },
    { kind: "overloaded", status: 529, attempt: 2 },
  ]);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("a stream that breaks off in the middle leaves nothing behind: the turn is asked for again", async () => {
  const content = [said("I will now say a good deal about it."), used("toolu_1", "echo half")];
  server.enqueue(
    { content, cut: { after: 6, how: "drop" } },
    { content, cut: { after: 6, how: "end" } },
    { content: [said("Done.")] },
  );
  const { events } = await daemon.ended(task);
  expect(dataOf(events, "model.failed")).toMatchObject([{ kind: "dropped" }, { kind: "dropped" }]);
  expect(dataOf(events, "model.responded").length).toBe(1);
  expect(dataOf(events, "action.proposed")).toEqual([]);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("a stream that falls silent is given up and asked for again", async () => {
  server.enqueue({ content: [said("I")], cut: { after: 3, how: "stall" } }, { content: [said("Done.")] });
  const { events } = await daemon.ended(task);
  expect(dataOf(events, "model.failed")).toMatchObject([{ kind: "stalled" }]);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("a response cut at max_tokens is gone on from; a call cut with it is not run", async () => {
  server.enqueue(
    { content: [said("It begins")], stopReason: "max_tokens" },
    {
      content: [
        said("and"),
        { type: "tool_use", id: "toolu_cut", name: "bash", rawInput: '{"command": "rm -' },
      ],
      stopReason: "max_tokens",
    },
    { content: [said("ends.")] },
  );
  const { events } = await daemon.ended(task);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(lastWords(requests()[1])).toMatch(/cut at its length limit/);
  expect(dataOf(events, "action.started")).toEqual([]);
});

test("a refusal ends the run with code model and says that the model refused", async () => {
  server.enqueue({ content: [said("I won't")], stopReason: "refusal" });
  const { events } = await daemon.ended(task);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "model" } });
  expect(JSON.stringify(events.at(-1))).toMatch(/refused/);
});

test("a request that the service calls invalid ends the run with what it said, without asking again", async () => {
  const error = { type: "invalid_request_error", message: "messages: too odd" };
  server.enqueue({ status: 400, body: { type: "error", error } });
  const { events } = await daemon.ended(task);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "model" } });
  expect(JSON.stringify(events.at(-1))).toMatch(/too odd/);
  expect(requests().length).toBe(1);
});

test("malformed input, an unknown tool and a wrong field are told to the model; the run completes", async () => {
  server.enqueue(
    {
      content: [
        { type: "tool_use", id: "toolu_1", name: "bash", rawInput: '{"command": "ech' },
        { type: "tool_use", id: "toolu_2", name: "sing", input: { song: "la" } },
        { type: "tool_use", id: "toolu_3", name: "bash", input: { comand: "ls" } },
      ],
    },
    { content: [said("Sorry. Done.")] },
  );
  const { events } = await daemon.ended(task);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(dataOf(events, "action.judged").map(({ verdict }) => verdict)).toEqual(["deny", "deny", "deny"]);
  const results = requests()[1]?.body.messages.at(-1)?.content ?? [];
  expect(results.map((block) => [block.tool_use_id, block.is_error])).toEqual([
    ["toolu_1", true],
    ["toolu_2", true],
    ["toolu_3", true],
  ]);
  expect(JSON.stringify(results)).toMatch(/JSON.*sing.*comand/);
});

test("every request had a result for each call, in the very next message, and roles in turn", () => {
  expect(server.requests.length).toBeGreaterThan(10);
  for (const { body } of server.requests) {
    expect(body.messages[0]?.role).toBe("user");
    for (const [index, { role, content }] of body.messages.entries()) {
      expect(role).toBe(index % 2 === 0 ? "user" : "assistant");
      expect(content.length).toBeGreaterThan(0);
      const calls = content.flatMap((block) => (block.type === "tool_use" ? [block.id] : []));
      const next = body.messages[index + 1]?.content ?? [];
      const answered = next.flatMap((block) => (block.type === "tool_result" ? [block.tool_use_id] : []));
      expect(answered).toEqual(calls);
    }
  }
});

test("the API key and the daemon's token are nowhere in the home but the token's file, and in no log (J6, S3)", async () => {
  server.enqueue(
    { content: [used("toolu_1", `echo ${API_KEY.slice(0, 12)}''${API_KEY.slice(12)}; echo ${API_KEY}`)] },
    { content: [said(`The key is ${API_KEY}.`)] },
  );
  await daemon.ended({ ...task, task: `Use ${API_KEY} and ${await daemon.token()}.` });
  const files = await readdir(daemon.state, { recursive: true, withFileTypes: true });
  const looked: string[] = [];
  for (const file of files) {
    if (!file.isFile()) continue;
    const text = await readFile(join(file.parentPath, file.name), "latin1");
    expect(text.includes(API_KEY), `${file.name} holds the key`).toBe(false);
    if (file.name !== "token")
      expect(text.includes(await daemon.token()), `${file.name} holds the token`).toBe(false);
    looked.push(file.name);
  }
  expect(looked).toContain("journal.ndjson");
  expect(daemon.log).not.toContain(API_KEY);
  expect(daemon.log).not.toContain(await daemon.token());
  expect(JSON.stringify(requests().map(({ body }) => body))).not.toContain(API_KEY);
});
