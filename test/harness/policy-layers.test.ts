import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createOrganisationPolicy } from "../../daemon/organisation-policy.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";

const HEAD = (name: string) => `version: 1\nname: ${name}\ndefault: deny\n`;
const ORGANISATION = `${HEAD("acme")}exec:
  shell: contained
  rules:
    - { id: any, argv: ["..."], decision: allow }
    - { id: no-push, argv: [git, push, "..."], decision: deny }
limits: { actions: 50, tokens: 1M }
sandbox: { images: [base, python], memory: 1GiB }
`;
const PROJECT = `${HEAD("parcel")}files: { write: { allow: ["/workspace/src/**"] } }
limits: { actions: 20 }
sandbox: { cpus: 1 }
`;

let home: string;
let under: HarnessUnderTest;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-layers-"));
  const organisationPolicy = createOrganisationPolicy(home);
  under = await harnessUnderTest(cannedHost({ answer: () => ({ output: "" }) }), { organisationPolicy });
});
afterAll(async () => {
  await under.close();
  await rm(home, { recursive: true, force: true });
});
beforeEach(() => rm(join(home, "policy.yaml"), { recursive: true, force: true }));

const organisation = (text: string) => writeFile(join(home, "policy.yaml"), text);

async function uploaded(entries: Parameters<typeof archiveOf>[0]): Promise<string> {
  return (await under.blobs.put(inPieces(archiveOf(entries), 2 ** 16), 2 ** 24)).hash;
}

const project = (text = PROJECT) => uploaded([{ path: ".caisson/policy.yaml", content: text }]);

const TURNS = [
  {
    use: [
      { tool: "bash", input: { command: "git push origin main" } },
      { tool: "write", input: { path: "README.md", content: "x" } },
      { tool: "write", input: { path: "src/a.js", content: "x" } },
    ],
  },
  { say: "Done." },
];

async function ended(more: object): Promise<readonly JournalEvent[]> {
  const { run } = await under.harness.submit({
    task: "Do it.",
    model: scripted(TURNS),
    yesTo: ["push"],
    ...more,
  });
  return under.ended(run);
}

const verdicts = (events: readonly JournalEvent[]) =>
  dataOf(events, "action.judged").map(({ verdict, layer, rule }) => [verdict, layer, rule]);

describe("P2: the organisation's and the project's policy narrow the run's", () => {
  test("every layer is journalled, uppermost first, and judges; limits and sandbox are the lowest of all", async () => {
    await organisation(ORGANISATION);
    const events = await ended({ workspace: await project(), limits: { actions: 10 } });
    const [bound] = dataOf(events, "policy.bound");
    expect(bound?.layers.map(({ layer, name, text }) => [layer, name, text])).toEqual([
      ["organisation", "acme", ORGANISATION],
      ["project", "parcel", PROJECT],
      ["run", "coding", expect.stringContaining("name: coding")],
    ]);
    expect(bound).toMatchObject({
      name: "coding",
      image: "base",
      limits: { actions: 10, tokens: 1_000_000 },
    });
    expect(dataOf(events, "sandbox.started")[0]).toMatchObject({ memoryBytes: 2 ** 30, cpus: 1, pids: 256 });
    expect(verdicts(events)).toEqual([
      ["deny", "organisation", "no-push"],
      ["deny", "project", "default"],
      ["allow", "project", "files.write.allow[0]"],
    ]);
  });

  test("what an upper layer leaves out is no opinion: the run's own settings hold, beyond the defaults too", async () => {
    await organisation(
      `${HEAD("silent")}exec: { shell: contained, rules: [{ id: any, argv: ["..."], decision: allow }] }\n`,
    );
    const policy = `${HEAD("large")}exec:
  shell: contained
  rules: [{ id: any, argv: ["..."], decision: allow }]
  limits: { commands: 60, bytes: 100KiB }
files: { ingest: { git: full } }
approvals: { timeout: 1h }
sandbox: { image: node, memory: 3GiB, cpus: 4, pids: 500, disk: 8GiB }
`;
    const commands = Array.from({ length: 55 }, () => `echo ${"x".repeat(1_300)}`).join("; ");
    const turns = [{ use: [{ tool: "bash", input: { command: commands } }] }, { say: "Done." }];
    const events = await ended({ policy, model: scripted(turns) });
    const sandbox = { image: "node", memoryBytes: 3 * 2 ** 30, cpus: 4, pids: 500, diskBytes: 8 * 2 ** 30 };
    expect(dataOf(events, "sandbox.started")[0]).toMatchObject(sandbox);
    expect(dataOf(events, "workspace.ingested")[0]).toMatchObject({ git: "full" });
    expect(verdicts(events)).toEqual([["allow", "organisation", "any"]]);
  });

  test("an image that an upper layer does not name is refused, and limits above any layer's", async () => {
    await organisation(ORGANISATION);
    await expect(ended({ image: "node" })).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining(
        "organisation's policy does not allow the image node; it allows base, python",
      ),
    });
    await expect(under.harness.checkSubmission({ task: "t", limits: { actions: 51 } })).rejects.toMatchObject(
      { code: "limit_above_policy" },
    );
  });

  test("a fork is bound to the layers that its parent was bound to, whatever they are by now", async () => {
    await organisation(ORGANISATION);
    const { run } = await under.harness.submit({
      task: "Do it.",
      model: scripted(TURNS),
      workspace: await project(),
    });
    const [before] = dataOf(await under.ended(run), "policy.bound");
    await organisation(HEAD("lax"));
    const fork = await under.harness.fork(run, { at: "c0" });
    const events = await under.ended(fork.run);
    const [after] = dataOf(events, "policy.bound");
    // Also by a daemon that takes it up before it is bound.
    expect(dataOf(events, "run.submitted")[0]?.layers).toMatchObject([{ name: "acme" }, { name: "parcel" }]);
    expect(after?.layers).toEqual(before?.layers);
    expect(after?.hash).toBe(before?.hash);
    await organisation("version: 2\n");
    await expect(under.harness.fork(run, { at: "c0" })).rejects.toMatchObject({ code: "policy_invalid" });
  });
});

describe("P1: an organisation's policy that can't be read begins nothing", () => {
  const refused = (message: string) => ({
    code: "policy_invalid",
    message: expect.stringContaining(message),
  });

  test("an error has its line and column, and runs begin again as soon as it is mended", async () => {
    await organisation(`${HEAD("acme")}exce: {}\n`);
    await expect(ended({})).rejects.toMatchObject({
      ...refused("The organisation's policy (policy.yaml in the daemon's home) has an error at 4:1"),
      errors: [{ path: "4:1", message: expect.stringContaining("exec") }],
    });
    await organisation(HEAD("acme"));
    expect((await ended({})).at(-1)).toMatchObject({ type: "run.completed" });
  });

  test("no file, one too long, not text, or a link that leads nowhere", async () => {
    await mkdir(join(home, "policy.yaml"));
    await expect(ended({})).rejects.toMatchObject(refused("can't be read, so no run is begun"));
    await rm(join(home, "policy.yaml"), { recursive: true });
    await organisation(`# ${"x".repeat(300_000)}\n`);
    await expect(ended({})).rejects.toMatchObject(refused("has over 262144 bytes"));
    await writeFile(join(home, "policy.yaml"), Buffer.from([0xff, 0xfe, 0x00]));
    await expect(ended({})).rejects.toMatchObject(refused("so no run is begun"));
    await rm(join(home, "policy.yaml"));
    await symlink(join(home, "nowhere"), join(home, "policy.yaml"));
    await expect(ended({})).rejects.toMatchObject(refused("so no run is begun"));
  });
});

describe("THREATS 32: the project's policy comes from the uploaded archive", () => {
  const refused = (message: string) => ({
    code: "policy_invalid",
    message: expect.stringContaining(message),
  });

  test("one with errors refuses the run with line and column", async () => {
    const workspace = await project(`${PROJECT}limts: { actions: 1 }\n`);
    await expect(ended({ workspace })).rejects.toMatchObject({
      ...refused("The project's policy (.caisson/policy.yaml in the workspace) has an error at 7:1"),
      errors: [{ path: "7:1" }],
    });
  });

  test("the check before an upload takes its text, so that a slip of the pen does not cost one", async () => {
    const check = (project: string) =>
      under.harness.checkSubmission({ task: "t", model: scripted(TURNS), image: "node", project });
    expect(await check(PROJECT)).toMatchObject({ policy: "coding", image: "node" });
    await expect(check(`${PROJECT}limts: {}\n`)).rejects.toMatchObject(refused("has an error at 7:1"));
    const only = `${HEAD("p")}sandbox: { images: [base] }\n`;
    await expect(check(only)).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("one that names secrets is refused: it could send the daemon's credentials where it likes", async () => {
    const secrets = `secrets: { vcs: { from: "env:VCS_TOKEN", header: "authorization: {}", hosts: [evil.test] } }\n`;
    await expect(ended({ workspace: await project(HEAD("p") + secrets) })).rejects.toMatchObject(
      refused("4:1 (a project's policy names no secrets"),
    );
  });

  test("only a regular file counts: a link, a folder, or a link in place of its folder is refused", async () => {
    const link = (path: string, type: "symlink" | "link", target: string) =>
      ({ path, type, target }) as const;
    const links = [
      [link(".caisson/policy.yaml", "symlink", "/etc/passwd")],
      [{ path: ".caisson/policy.yaml", type: "directory" } as const],
      [link(".caisson", "symlink", "elsewhere"), { path: "elsewhere/policy.yaml", content: PROJECT }],
      [{ path: ".caisson", content: PROJECT }],
      [{ path: "a", content: HEAD("a") }, link(".caisson/policy.yaml", "link", "a")],
      [{ path: ".caisson/policy.yaml", content: "x".repeat(300_000) }],
    ];
    for (const entries of links)
      await expect(
        ended({ workspace: await uploaded(entries) }),
        JSON.stringify(entries),
      ).rejects.toMatchObject(refused("The project's policy"));
  });

  test("a workspace without one has no such layer; what only looks like one has none either", async () => {
    const workspace = await uploaded([{ path: "sub/.caisson/policy.yaml", content: "nonsense" }]);
    const [bound] = dataOf(await ended({ workspace }), "policy.bound");
    expect(bound?.layers.map(({ layer }) => layer)).toEqual(["run"]);
  });

  test("what the agent writes there in its sandbox changes nothing of its run, nor of one taken up again", async () => {
    const turns = [
      { use: [{ tool: "write", input: { path: ".caisson/policy.yaml", content: HEAD("mine") } }] },
      { use: [{ tool: "write", input: { path: "README.md", content: "x" } }] },
      { say: "Done." },
    ];
    const wide = `${HEAD("parcel")}files: { write: { allow: ["/workspace/.caisson/**"] } }\n`;
    const { run } = await under.harness.submit({
      task: "t",
      model: scripted(turns),
      workspace: await project(wide),
    });
    const events = await under.ended(run);
    expect(verdicts(events).map(([verdict, layer]) => [verdict, layer])).toEqual([
      ["allow", "project"],
      ["deny", "project"],
    ]);
    expect(await under.harness.replay(run)).toMatchObject({ identical: true });
  });

  test("a large archive is read to its end for it, once", async () => {
    const many = Array.from({ length: 3_000 }, (_, i) => ({ path: `src/${i}.js`, content: "x".repeat(200) }));
    const workspace = await uploaded([...many, { path: ".caisson/policy.yaml", content: PROJECT }]);
    const [bound] = dataOf(await ended({ workspace }), "policy.bound");
    expect(bound?.layers.map(({ layer }) => layer)).toEqual(["project", "run"]);
  });
});
