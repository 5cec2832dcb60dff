/** Ways by which labelled data could still reach the model: what the harness itself runs, shows and remembers (THREATS 10, 28). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hydrate } from "../../daemon/journal/hydrate.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { overheard } from "../harness/overheard.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const CONTENT = "Lovelace-4711";

let hosts: DockerHosts;
let under: HarnessUnderTest;
let sent: string[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("label-attacks", { poolSize: 1 }), {
    openModel: overheard((request) => sent.push(JSON.stringify(request))),
  });
}, 120_000);

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
}, 120_000);

const CUSTOMERS = "/workspace/customers/**";

interface Kept {
  readonly paths?: readonly string[];
  readonly git?: "fresh" | "full";
  readonly accept?: string[];
}

async function ran({ paths = [CUSTOMERS], git = "fresh", accept }: Kept, turns: readonly unknown[]) {
  sent = [];
  const entries = [
    { path: "customers", type: "directory" as const, mode: 0o755 },
    { path: "customers/list.csv", content: `name,number\n${CONTENT}\n` },
    ...(git === "full"
      ? [
          { path: ".git", type: "directory" as const, mode: 0o755 },
          { path: ".git/HEAD", content: "ref: refs/heads/main\n" },
        ]
      : []),
  ];
  const { hash } = await under.blobs.put(inPieces(archiveOf(entries), 2 ** 16), 2 ** 24);
  const { run } = await under.harness.submit({
    task: "Look.",
    model: scripted([...turns, { say: "Done." }, use("give_up", { reason: "It can't be done." })]),
    workspace: hash,
    ...(accept ? { accept } : {}),
    policy: `version: 1
name: labels
default: deny
tools: [{ id: words, tool: [give_up, output], decision: allow }]
exec:
  shell: contained
  rules: [{ id: any, argv: ["..."], decision: allow }]
files: { ingest: { git: ${git} }, read: { allow: ["/**"] }, write: { allow: ["/**"] } }
data:
  labels: [${paths.map((path) => `{ path: "${path}", confidentiality: confidential }`)}]
  flow: [{ id: not-to-model, when: { confidentiality: confidential }, to: [model, host], decision: deny }]
sandbox: { image: base }
`,
  });
  const events = await under.ended(run);
  return { events, outputs: dataOf(events, "action.finished").map(({ output }) => String(output)) };
}

/** Where a text stands that no model may be sent: in what one was, or in the results that a later one would be. */
async function told(events: readonly JournalEvent[], text = CONTENT): Promise<string[]> {
  const results = events.filter(({ type }) => type === "action.finished" || type === "acceptance.checked");
  const journal = await Promise.all(results.map(({ data }) => hydrate(data, under.blobs)));
  return [...sent, ...journal.map((data) => JSON.stringify(data))]
    .filter((one) => one.includes(text))
    .map((one) => one.slice(0, 80));
}

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const use = (tool: string, input: unknown) => ({ use: [{ tool, input }] });

describe("git: full, where no file can be kept from commands", () => {
  test("acceptance commands tell the model nothing of it", async () => {
    const { events } = await ran({ git: "full", accept: ["cat customers/list.csv; false"] }, [bash("true")]);
    const [first] = dataOf(events, "acceptance.checked");
    expect(JSON.stringify(first)).toMatch(/Withheld: /);
    expect(await told(events)).toEqual([]);
  }, 60_000);

  test("nor does output that is asked for later, in part, of a background command, or by a directory's name", async () => {
    const { events, outputs } = await ran({ git: "full" }, [
      bash("cat customers/list.csv; seq 1 20000; cat customers/list.csv"),
      use("output", { action: "a1" }),
      use("bash", { command: `${UNTIL_TOLD}; cat customers/list.csv`, background: true }),
      use("output", { action: "a3" }),
      bash("touch /tmp/go; wait; exec cat customers/list.csv >&2"),
      use("output", { action: "a3" }),
      bash('mkdir /tmp/"$(tail -1 customers/list.csv)"; cd /tmp/Love*'),
      bash("pwd"),
    ]);
    expect(outputs.length).toBeGreaterThan(6);
    expect(await told(events)).toEqual([]);
  }, 60_000);
});

describe("a label on files that came with the image", () => {
  const LICENCES = "/usr/share/common-licenses/**";
  const PART = "artistic control over";

  test("holds for commands too: the first one raises it, and what it prints is withheld", async () => {
    const { events } = await ran({ paths: [LICENCES] }, [bash("cat /usr/share/common-licenses/Artistic")]);
    expect(await told(events, PART)).toEqual([]);
    expect(dataOf(events, "label.raised")).toMatchObject([
      { source: expect.stringContaining("beside the workspace"), action: "a1" },
    ]);
  }, 60_000);

  test("and for the file tools, also where files of the workspace are kept", async () => {
    const { events } = await ran({ paths: [LICENCES, CUSTOMERS] }, [
      use("read", { path: "/usr/share/common-licenses/Artistic" }),
      use("grep", { pattern: "control", path: "/usr/share/common-licenses" }),
    ]);
    expect(await told(events, PART)).toEqual([]);
    expect(dataOf(events, "label.raised")).not.toEqual([]);
  }, 60_000);
});
