import { hydrate } from "../../daemon/journal/hydrate.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { overheard } from "../harness/overheard.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** Stands in the guarded file and nowhere else. */
export const CONTENT = "Lovelace-4711";
const PIECES = [CONTENT, Buffer.from(CONTENT).toString("base64").slice(0, 16)];

type Entries = Parameters<typeof archiveOf>[0];

export const FILES = [
  { path: "customers", type: "directory" as const, mode: 0o755 },
  { path: "customers/list.csv", content: `name,number\n${CONTENT}\n` },
  { path: "notes.txt", content: "ordinary\n" },
];

export const DENY_MODEL =
  "{ id: not-to-model, when: { confidentiality: confidential }, to: [model, host], decision: deny }";
export const DENY_HOST =
  "{ id: not-to-hosts, when: { confidentiality: confidential }, to: [host], decision: deny }";

const NETWORK = `network:
  - { id: example, host: example.org, methods: [GET], paths: ["/**"], decision: allow }
`;

export interface Rules {
  readonly flow?: readonly string[];
  readonly labels?: readonly string[];
  readonly git?: "fresh" | "full" | "none";
  /** A glob of files that ask before they are read. */
  readonly asked?: string;
  readonly network?: true;
}

export function policy({
  flow = [],
  labels = ['{ path: "/workspace/customers/**", confidentiality: confidential }'],
  git = "fresh",
  asked,
  network,
}: Rules): string {
  const list = (items: readonly string[]) => items.map((item) => `    - ${item}`).join("\n");
  return `version: 1
name: labels
default: deny
tools: [{ id: outputs, tool: output, decision: allow }]
exec:
  shell: contained
  rules: [{ id: any, argv: ["..."], decision: allow }]
files:
  ingest: { git: ${git} }
  read: { allow: ["/**"]${asked ? `, ask: ["${asked}"]` : ""} }
  write: { allow: ["/**"] }
data:
  labels:
${list(labels)}
${flow.length > 0 ? `  flow:\n${list(flow)}` : ""}
${network ? NETWORK : ""}`;
}

export const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
export const use = (tool: string, input: unknown) => ({ use: [{ tool, input }] });

/** A harness over real sandboxes, whose runs have a workspace with labelled files, and what its models are sent. */
export class LabelledRuns {
  readonly under: HarnessUnderTest;
  readonly host: SandboxHost;
  readonly #hosts: DockerHosts;
  /** All that models were sent since the last run began. */
  readonly #sent: string[];

  private constructor(hosts: DockerHosts, host: SandboxHost, under: HarnessUnderTest, sent: string[]) {
    this.#hosts = hosts;
    this.host = host;
    this.under = under;
    this.#sent = sent;
  }

  static async open(name: string): Promise<LabelledRuns> {
    const hosts = await dockerHosts();
    const host = hosts.host(name, { poolSize: 1 });
    const sent: string[] = [];
    const openModel = overheard((request) => sent.push(JSON.stringify(request)));
    return new LabelledRuns(hosts, host, await harnessUnderTest(host, { openModel }), sent);
  }

  async close(): Promise<void> {
    await this.under.close();
    await this.#hosts.cleanUp();
  }

  get sent(): readonly string[] {
    return this.#sent;
  }

  async submit(rules: Rules, turns: readonly unknown[], entries: Entries = FILES): Promise<string> {
    this.#sent.length = 0;
    const { hash } = await this.under.blobs.put(inPieces(archiveOf(entries), 2 ** 16), 2 ** 24);
    const { run } = await this.under.harness.submit({
      task: "Look at the customers.",
      model: scripted([...turns, { say: "Done." }]),
      policy: policy(rules),
      workspace: hash,
    });
    return run;
  }

  async ran(rules: Rules, turns: readonly unknown[], entries?: Entries) {
    const run = await this.submit(rules, turns, entries);
    const events = await this.under.ended(run);
    return { run, events, outputs: dataOf(events, "action.finished") };
  }

  /** A run whose agent waits for `/tmp/go`, and then does the turns. */
  async waiting(rules: Rules, turns: readonly unknown[], entries?: Entries): Promise<string> {
    const first = [bash("echo begun > begun"), bash(UNTIL_TOLD)];
    const run = await this.submit(rules, [...first, ...turns], entries);
    await this.under.until(run, (event) => event.type === "action.started" && event.data.action === "a2");
    return run;
  }

  async inShell(run: string, command: string) {
    const { action } = await this.under.harness.shell(run, { command });
    const ended = (event: JournalEvent) => event.type === "action.finished" && event.data.action === action;
    const { data } = await this.under.until(run, ended);
    return data as { output: unknown };
  }

  /** What of the file's content stands in what models were sent, or in the journal and the texts that it names. */
  async leaked(events: readonly JournalEvent[]): Promise<string[]> {
    const journal = await Promise.all(events.map(({ data }) => hydrate(data, this.under.blobs)));
    const told = [...this.#sent, JSON.stringify(journal)].join("\n");
    return PIECES.filter((piece) => told.includes(piece));
  }
}
