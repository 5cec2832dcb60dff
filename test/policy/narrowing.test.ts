/** P2 over every layer of a verdict: whatever documents say, a further one only narrows. */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { actionOf, type ExampleAction } from "../../daemon/policy/example-action.ts";
import { type ExampleStep, historyAfter } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import type { Policy } from "../../daemon/policy/port.ts";
import { requestTerms, tunnelTo } from "../../daemon/policy/request-terms.ts";
import type { Layer } from "../../daemon/protocol/verdicts.ts";

const RANK = { allow: 0, ask: 1, deny: 2 };
const RUNS = { numRuns: process.env.CAISSON_TEST_FULL ? 5_000 : 100 };

const decision = fc.constantFrom("allow", "ask", "deny");
const effect = fc.option(fc.constantFrom("read", "local", "external"), { nil: undefined });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const some = <T>(arbitrary: fc.Arbitrary<T>) => maybe(fc.array(arbitrary, { maxLength: 4 }));
const glob = fc.constantFrom("/workspace/**", "/workspace/a/**", "**/x", "/**");
const label = fc.constantFrom(
  { integrity: "untrusted" },
  { confidentiality: "confidential" },
  { integrity: "untrusted", confidentiality: "secret" },
);
const command = fc.constantFrom(
  "git push",
  "npm test",
  "cat a/x",
  "ls > /workspace/x",
  "if",
  "npm test && git push",
);

const exec = fc.record({
  argv: fc.constantFrom(["..."], ["git", "push"], ["git", "..."], ["npm", "test"], ["cat", "..."]),
  decision,
  effect,
});
const network = fc
  .record({
    host: fc.constantFrom("a.example", "*.example", "b.a.example"),
    ports: maybe(fc.constant([443])),
    methods: fc.constantFrom(["GET"], ["POST"], ["GET", "POST"]),
    paths: fc.constantFrom(["/**"], ["/a/**"], ["/a"]),
    addresses: maybe(fc.constantFrom(["127.0.0.0/8"], ["127.0.0.1/32", "10.0.0.0/8"])),
    maxBytesOut: maybe(fc.constantFrom(10, 1000)),
    opaque: fc.boolean(),
    decision,
    effect,
  })
  .map(({ opaque, methods, paths, ...rule }) => ({ ...rule, ...(opaque ? { opaque } : { methods, paths }) }));
const document = fc.record({
  exec: maybe(
    fc.record({
      shell: fc.constantFrom("contained", "strict", "none"),
      rules: fc.array(exec, { maxLength: 4 }),
    }),
  ),
  read: maybe(fc.dictionary(decision, fc.array(glob, { minLength: 1, maxLength: 2 }))),
  write: maybe(fc.dictionary(decision, fc.array(glob, { minLength: 1, maxLength: 2 }))),
  tools: some(fc.record({ tool: fc.constantFrom("plan", "*", "delegate"), decision, effect })),
  network: some(network),
  labels: some(
    fc
      .tuple(
        fc.constantFrom(
          { path: "/workspace/a/**" },
          { tool: "fetch" },
          { host: "a.example" },
          { tool: "bash" },
        ),
        label,
      )
      .map(([source, what]) => ({ ...source, ...what })),
  ),
  flow: some(fc.record({ when: label, to: fc.constantFrom(["host"], ["model", "host"]), decision })),
  sequence: some(
    fc.record({
      atMost: fc.constantFrom(0, 1, 2),
      of: fc.constant(["untrusted-input", "private-data", "external-effect"]),
      else: decision,
    }),
  ),
  tiers: maybe(fc.dictionary(fc.constantFrom("read", "local", "external"), decision)),
});
const example: fc.Arbitrary<ExampleAction> = fc.oneof(
  command.map((text) => ({ exec: text })),
  fc.constantFrom("/workspace/a/x", "/workspace/b", "/etc/x").map((read) => ({ read })),
  fc.constantFrom("/workspace/a/x", "/workspace/b").map((write) => ({ write })),
  fc.constantFrom("plan", "delegate").map((tool) => ({ tool })),
  fc
    .tuple(
      fc.constantFrom("GET", "POST", "CONNECT"),
      fc.constantFrom(
        "https://a.example/a",
        "https://b.a.example/a/b",
        "http://a.example/",
        "https://a.example/%61",
      ),
    )
    .map(([method, url]) => ({ http: `${method} ${url}` })),
);
const steps: fc.Arbitrary<ExampleStep[]> = fc.array(example, { maxLength: 3 });

type Drawn = typeof document extends fc.Arbitrary<infer D> ? D : never;

function policyOf(
  { exec, read, write, labels, flow, sequence, tools, network, ...rest }: Drawn,
  layer: Layer,
): Policy {
  const ids = <T extends object>(rules: readonly T[] | undefined, letter: string) =>
    rules?.map((rule, i) => ({ id: `${letter}${i}`, ...rule }));
  const rules = exec?.shell === "none" ? [] : ids(exec?.rules, "e");
  const whole = {
    ...rest,
    ...(exec ? { exec: { ...exec, rules } } : {}),
    ...(read || write ? { files: { read, write } } : {}),
    tools: ids(tools, "t"),
    network: ids(network, "n"),
    data: { labels, flow: ids(flow, "f") },
    sequence: ids(sequence, "s"),
  };
  return parsed(whole, layer);
}

function parsed(sections: object, layer: Layer = "run"): Policy {
  const whole = { version: 1, name: "drawn", default: "deny", ...sections };
  const result = parsePolicy(JSON.stringify(whole), layer);
  if (!result.ok) throw new Error(JSON.stringify(result.check.errors));
  return result.policy;
}

function verdict(layers: readonly Policy[], before: readonly ExampleStep[], action: ExampleAction) {
  return judge(layers, actionOf(action), historyAfter(layers, before));
}

describe("P2", () => {
  property.prop([fc.array(document, { minLength: 1, maxLength: 2 }), document, steps, example], RUNS)(
    "what comes with the workspace only narrows, whatever it says and leaves out",
    (others, brought, before, action) => {
      const own = others.map((one, i) => policyOf(one, i < others.length - 1 ? "organisation" : "run"));
      const project = policyOf(brought, "project");
      const [last, ...above] = own.toReversed();
      if (last === undefined) return;
      const without = verdict(own, before, action);
      const within = verdict([...above, project, last], before, action);
      expect(RANK[within.verdict]).toBeGreaterThanOrEqual(RANK[without.verdict]);
    },
  );

  property.each([
    ["ls > /workspace/x", "write"],
    ["cat < /workspace/x", "read"],
  ])("in the strict shell, a project's policy opens no path to %s", (exec, access) => {
    const own = parsed({
      exec: { shell: "strict", rules: [{ id: "any", argv: ["..."], decision: "allow" }] },
    });
    const files = { [access]: { allow: ["/workspace/**"] } };
    expect(verdict([own], [], { exec }).verdict).toBe("deny");
    expect(verdict([parsed({ files }, "project"), own], [], { exec }).verdict).toBe("deny");
    expect(verdict([parsed({ files }, "organisation"), own], [], { exec }).verdict).toBe("allow");
  });

  property.prop([document, document, steps, example], RUNS)(
    "no layer lets through what another one with an opinion holds back",
    (one, other, before, action) => {
      const [upper, lower] = [policyOf(one, "organisation"), policyOf(other, "run")];
      const both = verdict([upper, lower], before, action);
      for (const layer of [upper, lower]) {
        const alone = verdict([layer], before, action);
        // Denied because nothing matched may be no opinion at all: then the other layer's is the verdict.
        if (alone.rule === "default") continue;
        expect(RANK[both.verdict]).toBeGreaterThanOrEqual(RANK[alone.verdict]);
      }
    },
  );

  property.prop([fc.array(document, { minLength: 1, maxLength: 2 }), document], RUNS)(
    "tunnels, private addresses and bytes out only narrow",
    (others, brought) => {
      const WIDTH = { refused: 0, inspect: 1, opaque: 2 };
      const own = others.map((one) => policyOf(one, "run"));
      const all = [policyOf(brought, "organisation"), ...own];
      if (own.every(({ rules }) => rules.network === undefined)) return;
      for (const host of ["a.example", "b.a.example"])
        expect(WIDTH[tunnelTo(all, { host, port: 443 }).mode]).toBeLessThanOrEqual(
          WIDTH[tunnelTo(own, { host, port: 443 }).mode],
        );
      const action = actionOf({ http: "GET https://a.example/a" });
      if (action.kind !== "http") return;
      const [narrow, wide] = [requestTerms(all, action), requestTerms(own, action)];
      expect(narrow.maxBytesOut ?? Number.POSITIVE_INFINITY).toBeLessThanOrEqual(
        wide.maxBytesOut ?? Number.POSITIVE_INFINITY,
      );
      for (const range of narrow.addresses)
        expect(
          wide.addresses.some(
            (other) => other === range || other === "127.0.0.0/8" || other === "10.0.0.0/8",
          ),
        ).toBe(true);
    },
  );
});

describe("deny beats ask beats allow, in any order", () => {
  property.prop([document, steps, example, fc.infiniteStream(fc.nat())], RUNS)(
    "the verdict is the strictest of what matched, and the order of rules means nothing",
    (drawn, before, action, numbers) => {
      const shuffled = <T>(list: readonly T[] | undefined) =>
        list
          ?.map((one) => [numbers.next().value ?? 0, one] as const)
          .toSorted(([a], [b]) => a - b)
          .map(([, one]) => one);
      const found = verdict([policyOf(drawn, "run")], before, action);
      const strictest = Math.max(...found.matched.map((match) => RANK[match.decision]), 0);
      if (found.matched.length > 0) expect(RANK[found.verdict]).toBeGreaterThanOrEqual(strictest);
      if (found.verdict !== "deny") expect(RANK[found.verdict]).toBe(strictest);
      const other = policyOf(
        {
          ...drawn,
          ...(drawn.exec ? { exec: { ...drawn.exec, rules: shuffled(drawn.exec.rules) ?? [] } } : {}),
          network: shuffled(drawn.network),
          tools: shuffled(drawn.tools),
          flow: shuffled(drawn.flow),
          sequence: shuffled(drawn.sequence),
          labels: shuffled(drawn.labels),
        },
        "run",
      );
      expect(verdict([other], before, action).verdict).toBe(found.verdict);
    },
  );
});
