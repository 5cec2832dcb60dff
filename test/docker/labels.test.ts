import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hydrate } from "../../daemon/journal/hydrate.ts";
import { openModel } from "../../daemon/model/open-model.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** Stands in the guarded file and nowhere else. */
const CONTENT = "Lovelace-4711";
const PIECES = [CONTENT, Buffer.from(CONTENT).toString("base64").slice(0, 16)];

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;
/** All that models were sent. */
let sent: string[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("labels", { poolSize: 1 });
  under = await harnessUnderTest(host, {
    openModel: async (choice) => {
      const model = await openModel(choice, { prices: new Map() });
      return {
        name: model.name,
        priced: model.priced,
        respond: (request, options) => {
          sent.push(JSON.stringify(request));
          return model.respond(request, options);
        },
      };
    },
  });
}, 120_000);

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
}, 120_000);

interface Rules {
  readonly flow?: readonly string[];
  readonly labels?: readonly string[];
  readonly git?: "fresh" | "full" | "none";
  readonly image?: string;
}

function policy({
  flow = [],
  labels = ['{ path: "/workspace/customers/**", confidentiality: confidential }'],
  git = "fresh",
  image = "base",
}: Rules): string {
  const list = (items: readonly string[]) => items.map((item) => `    - ${item}`).join("\n");
  return `version: 1
name: labels
default: deny
exec:
  shell: contained
  rules: [{ id: any, argv: ["..."], decision: allow }]
files:
  ingest: { git: ${git} }
  read: { allow: ["/**"] }
  write: { allow: ["/**"] }
data:
  labels:
${list(labels)}
${flow.length > 0 ? `  flow:\n${list(flow)}` : ""}
sandbox: { image: ${image} }
`;
}

const DENY_MODEL =
  "{ id: not-to-model, when: { confidentiality: confidential }, to: [model, host], decision: deny }";

const FILES = [
  { path: "customers", type: "directory" as const, mode: 0o755 },
  { path: "customers/list.csv", content: `name,number\n${CONTENT}\n` },
  { path: "notes.txt", content: "ordinary\n" },
];

async function workspace(entries: Parameters<typeof archiveOf>[0] = FILES): Promise<string> {
  return (await under.blobs.put(inPieces(archiveOf(entries), 2 ** 16), 2 ** 24)).hash;
}

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const use = (tool: string, input: unknown) => ({ use: [{ tool, input }] });

async function ran(rules: Rules, turns: readonly unknown[], entries?: Parameters<typeof archiveOf>[0]) {
  sent = [];
  const { run } = await under.harness.submit({
    task: "Look at the customers.",
    model: scripted([...turns, { say: "Done." }]),
    policy: policy(rules),
    workspace: await workspace(entries),
  });
  const events = await under.ended(run);
  return { run, events, outputs: dataOf(events, "action.finished") };
}

/** What of the file's content stands in what models were sent, or in the journal and the texts that it names. */
async function leaked(events: readonly JournalEvent[]): Promise<string[]> {
  const journal = await Promise.all(events.map(({ data }) => hydrate(data, under.blobs)));
  const told = [...sent, JSON.stringify(journal)].join("\n");
  return PIECES.filter((piece) => told.includes(piece));
}

describe("a file labelled confidential whose flow to model and hosts is denied", () => {
  test("threats 10 and 11: nothing that runs in the sandbox can read it, and `read` gives a marker", async () => {
    const tricks = [
      "(sleep 0.1; cat customers/list.csv) > /tmp/later 2>&1 &",
      "cat customers/list.csv",
      "grep -r . customers; grep -rh Love . ",
      "base64 customers/list.csv; od -c customers/list.csv; head -c 100 < customers/list.csv",
      "ln -s customers/list.csv link; cat link; ln customers/list.csv hard; cat hard; ln -P customers/list.csv /tmp/hard; cat /tmp/hard",
      "cp customers/list.csv copy; cp -a customers copies; cat copy copies/list.csv",
      "tar -cf - customers | base64; tar -cf t.tar customers; grep -c Love t.tar; git archive HEAD | base64 | head -c 4000",
      "git show HEAD --stat; git log -p | cat; git add -A; git add -f customers; git diff HEAD | cat; git stash -u; git hash-object -w customers/list.csv; git grep -i love; git cat-file --batch-all-objects --batch",
      "cat /proc/self/root/workspace/customers/list.csv /proc/1/root/workspace/customers/list.csv /proc/1/cwd/customers/list.csv; ls -l /proc/1/fd; cat /proc/*/environ | tr '\\0' '\\n' | grep Love",
      "chmod 777 customers customers/list.csv; chown 10001 customers/list.csv; setfacl -m u:10001:r customers/list.csv; cat customers/list.csv; su -s /bin/sh -c 'cat customers/list.csv' root; unshare -Ur cat customers/list.csv; sudo cat customers/list.csv",
      'command -v python3 && python3 -c \'print(open("customers/list.csv").read())\'; command -v node && node -e \'console.log(require("fs").readFileSync("customers/list.csv","utf8"))\'; perl -pe 1 customers/list.csv; awk 1 customers/list.csv',
      "mv customers moved || mkdir moved; mv customers/list.csv moved/; cat moved/list.csv; mv moved/list.csv plain.csv; cat plain.csv; mkdir -p customers; mv notes.txt customers/list.csv; cat customers/list.csv",
    ];
    const { events, outputs } = await ran({ flow: [DENY_MODEL] }, [
      use("read", { path: "customers/list.csv" }),
      use("read", { path: "notes.txt" }),
      use("grep", { pattern: "Love" }),
      use("edit", { path: "customers/list.csv", old: "Love", new: "Hate" }),
      use("write", { path: "customers/list.csv", content: "mine" }),
      ...tricks.map(bash),
      use("read", { path: "plain.csv" }),
      bash("cat /tmp/later; stat -c '%u %a' plain.csv"),
    ]);
    expect(await leaked(events)).toEqual([]);
    const [read, notes, grep, edit, write] = outputs;
    expect(read).toMatchObject({ ok: false, withheld: { rule: "not-to-model" } });
    expect(String(read?.output)).toMatch(/Withheld: this is trusted, confidential data, and not-to-model/);
    expect(notes).toMatchObject({ ok: true });
    expect(String(grep?.output)).toMatch(/Permission denied/);
    for (const refused of [edit, write])
      expect(String(refused?.output)).toMatch(/customers\/list.csv is confidential \(data.labels\[0\]\)/);
    expect(String(outputs[6]?.output)).toMatch(/Permission denied/);
    expect(String(outputs.at(-2)?.output)).toMatch(/was moved here/);
    expect(String(outputs.at(-1)?.output)).toMatch(/Permission denied[\s\S]*10002 600/);
    expect(dataOf(events, "label.raised")).toEqual([]);
    const [ingested] = dataOf(events, "workspace.ingested");
    expect(ingested?.labelled).toEqual([
      { rule: "data.labels[0]", label: { confidentiality: "confidential" }, files: 1, guarded: true },
    ]);
    const [stopped] = dataOf(events, "sandbox.stopped");
    expect(stopped?.omitted?.map(({ path }) => path).sort()).toEqual(["customers/list.csv", "plain.csv"]);
  }, 60_000);
});
