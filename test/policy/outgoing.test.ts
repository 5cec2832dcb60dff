import { describe, expect, test } from "vitest";
import { NOTHING_DONE } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import { flowTo, labelOf } from "../../daemon/policy/labels.ts";
import type { Policy, PolicyAction, Registry } from "../../daemon/policy/port.ts";
import { requestTerms, tunnelTo } from "../../daemon/policy/request-terms.ts";
import type { Labels } from "../../daemon/protocol/labels.ts";
import { policy } from "./kit.ts";

type HttpAction = Extract<PolicyAction, { kind: "http" }>;
const http = (text: string, registry?: Registry): HttpAction => {
  const [method = "", url = ""] = text.split(" ");
  return { kind: "http", tool: "fetch", method, url, ...(registry ? { registry } : {}) };
};
const judged = (layers: readonly Policy[], action: HttpAction, labels: Labels = NOTHING_DONE.labels) =>
  judge(layers, action, { ...NOTHING_DONE, labels });

const NETWORK = `
network:
  - { id: npm, registry: npm, methods: [GET, HEAD], paths: ["/**"], decision: allow, sink: registry, maxBytesOut: 8KiB }
  - { id: docs, host: docs.example.org, methods: [GET], paths: ["/guide/**"], decision: allow }
  - { id: no-drafts, host: docs.example.org, methods: [GET], paths: ["/guide/drafts/**"], decision: deny, reason: Not out yet. }
  - { id: below, host: "*.example.net", ports: [443, 8443], methods: [GET], paths: ["/**"], decision: allow }
  - { id: pr, host: api.example.com, methods: [POST], paths: ["/repos/acme/app/pulls"], decision: ask, secret: vcs, maxBytesOut: 1MiB }
  - { id: dev, host: dev.internal, addresses: [127.0.0.0/8, 10.1.0.0/16], methods: [GET], paths: ["/**"], decision: allow }
  - { id: own, host: own.internal, addresses: [10.1.0.0/16], methods: [GET], paths: ["/**"], decision: allow, secret: vcs }
  - { id: tunnel, host: t.example, opaque: true, decision: allow }
secrets:
  vcs: { from: env:VCS_TOKEN, header: "authorization: Bearer {}", hosts: [api.example.com, own.internal] }
`;
const online = policy(NETWORK);

describe("nothing leaves but by a rule", () => {
  test.each([
    ["GET https://docs.example.org/guide/a", "allow", "docs"],
    ["GET https://docs.example.org:8443/guide/a", "allow", "docs"],
    ["GET https://docs.example.org/guide/%61", "allow", "docs"],
    ["GET https://docs.example.org/guide/drafts/a", "deny", "no-drafts"],
    ["GET https://docs.example.org/guide/%64rafts/a", "deny", "no-drafts"],
    ["GET https://docs.example.org/guide/drafts/", "deny", "no-drafts"],
    ["GET https://docs.example.org/", "deny", "default"],
    ["HEAD https://docs.example.org/guide/a", "deny", "default"],
    ["GET https://docs.example.org.evil.test/guide/a", "deny", "default"],
    ["GET https://docs.example.org/guide/../admin", "deny", "default"],
    ["GET https://a.example.net/", "allow", "below"],
    ["GET https://a.example.net:8443/", "allow", "below"],
    ["GET http://a.example.net/", "deny", "default"],
    ["GET https://example.net/", "deny", "default"],
    ["POST https://api.example.com/repos/acme/app/pulls", "ask", "pr"],
    ["POST https://api.example.com/repos/acme/app/pulls?a=b", "ask", "pr"],
    ["POST https://api.example.com/repos/acme/app/issues", "deny", "default"],
    // A credential would go with it, for everybody on the way to read.
    ["POST http://api.example.com/repos/acme/app/pulls", "deny", "default"],
    ["POST https://api.example.com:8443/repos/acme/app/pulls", "ask", "pr"],
    ["GET http://own.internal/", "allow", "own"],
    ["CONNECT https://t.example:443/", "allow", "tunnel"],
    ["POST https://t.example/anything", "allow", "tunnel"],
    ["CONNECT https://docs.example.org:443/", "deny", "no-drafts"],
    ["CONNECT https://a.example.net:443/", "deny", "default"],
  ])("%s: %s by %s", (request, verdict, rule) => {
    expect(judged([online], http(request))).toMatchObject({ verdict, rule });
  });

  test("a registry is whichever host this machine's client uses", () => {
    const request = "GET https://mirror.test/left-pad";
    expect(judged([online], http(request, "npm"))).toMatchObject({ verdict: "allow", rule: "npm" });
    expect(judged([online], http(request, "pypi")).verdict).toBe("deny");
    expect(judged([online], http(request)).verdict).toBe("deny");
    expect(judged([online], http("POST https://mirror.test/left-pad", "npm")).verdict).toBe("deny");
  });

  test("without a section for the network in any layer everything is denied", () => {
    const none = policy("tiers: { read: allow, local: allow, external: allow }");
    expect(judged([none], http("GET https://docs.example.org/guide/a"))).toMatchObject({
      verdict: "deny",
      rule: "default",
    });
  });

  test("a denial says what is allowed instead, and how to ask", () => {
    const { reason } = judged([online], http("GET https://docs.example.org/"));
    expect(reason).toMatch(/`GET docs\.example\.org \/guide\/\*\*`/);
    expect(reason).toMatch(/With a person's approval: `POST api\.example\.com/);
    expect(reason).toMatch(/ask for it|give_up/);
    expect(judged([online], http("GET http://2130706433/")).reason).toMatch(/four decimal numbers/);
    expect(judged([online], http("GET https://docs.example.org/guide/drafts/a")).reason).toMatch(
      /Not out yet\./,
    );
  });
});

describe("what rules add to a request", () => {
  test("a secret's name, the least bound, ranges, sinks", () => {
    expect(requestTerms([online], http("POST https://api.example.com/repos/acme/app/pulls"))).toEqual({
      secrets: ["vcs"],
      addresses: [],
      maxBytesOut: 2 ** 20,
      sinks: [],
      opaque: false,
    });
    expect(requestTerms([online], http("GET https://m.test/x", "npm"))).toMatchObject({
      maxBytesOut: 8192,
      sinks: ["registry"],
    });
    expect(requestTerms([online], http("GET http://dev.internal/"))).toMatchObject({
      addresses: ["127.0.0.0/8", "10.1.0.0/16"],
    });
    expect(requestTerms([online], http("CONNECT https://t.example:443/")).opaque).toBe(true);
    expect(requestTerms([online], http("GET https://[::1/"))).toMatchObject({ secrets: [], addresses: [] });
  });

  test("P2: a private address needs every layer, a bound is the least, a project brings no secret", () => {
    const rule = (more: string) =>
      `network: [{ id: dev, host: dev.internal, methods: [GET], paths: ["/**"], decision: allow, ${more} }]`;
    const get = http("GET http://dev.internal/");
    const above = (more: string) => requestTerms([policy(rule(more), "organisation"), online], get);
    expect(above("maxBytesOut: 10").addresses).toEqual([]);
    expect(above("addresses: [127.0.0.1/32, 10.0.0.0/8, 192.168.0.0/16]").addresses).toEqual([
      "127.0.0.1/32",
      "10.1.0.0/16",
    ]);
    expect(above("maxBytesOut: 10").maxBytesOut).toBe(10);
    const silent = policy("limits: { actions: 5 }", "organisation");
    expect(requestTerms([silent, online], get).addresses).toHaveLength(2);
    const secret = policy(
      `${rule("secret: s")}\nsecrets: { s: { from: env:A, header: "x: {}", hosts: [dev.internal] } }`,
    );
    const overTls = http("GET https://dev.internal/");
    expect(requestTerms([secret], overTls).secrets).toEqual(["s"]);
    expect(requestTerms([secret], get).secrets).toEqual([]);
    expect(requestTerms([{ ...secret, layer: "project" }, online], overTls).secrets).toEqual([]);
  });
});

describe("what a CONNECT may become", () => {
  const to = (host: string, port = 443, registry?: Registry) => ({
    host,
    port,
    ...(registry ? { registry } : {}),
  });
  test.each<[string, ReturnType<typeof to>, string]>([
    ["opaque by its rule", to("t.example"), "opaque"],
    ["looked into", to("docs.example.org"), "inspect"],
    ["of a registry", to("m.test", 443, "npm"), "inspect"],
    ["at another port", to("a.example.net", 80), "refused"],
    ["to nobody", to("evil.test"), "refused"],
    ["in another spelling", to("T.example"), "opaque"],
    ["to no name", to("2130706433"), "refused"],
  ])("%s", (_, destination, mode) => {
    expect(tunnelTo([online], destination).mode).toBe(mode);
  });

  test("refused: the verdict says why", () => {
    const found = tunnelTo([online], to("evil.test"));
    expect(found).toMatchObject({ mode: "refused", verdict: { verdict: "deny", rule: "default" } });
    expect(tunnelTo([policy("limits: { actions: 1 }")], to("a.example")).mode).toBe("refused");
  });

  test("a rule that looks inside, in any layer, keeps a tunnel from being opaque", () => {
    const opaque = policy("network: [{ id: t, host: t.example, opaque: true, decision: allow }]");
    const inspecting = policy(
      'network: [{ id: n, host: t.example, methods: [POST], paths: ["/**"], decision: deny }, { id: t, host: t.example, opaque: true, decision: allow }]',
    );
    expect(tunnelTo([opaque], to("t.example")).mode).toBe("opaque");
    expect(tunnelTo([inspecting], to("t.example")).mode).toBe("inspect");
    expect(tunnelTo([opaque, inspecting], to("t.example")).mode).toBe("inspect");
    expect(judged([inspecting], http("POST https://t.example/")).rule).toBe("n");
    const denying = policy("network: [{ id: no, host: t.example, opaque: true, decision: deny }]");
    expect(tunnelTo([opaque, denying], to("t.example"))).toMatchObject({
      mode: "refused",
      verdict: { rule: "no" },
    });
  });
});

describe("labels and where data may go", () => {
  const data = policy(`${NETWORK}
data:
  labels:
    - { path: "/workspace/customers/**", confidentiality: confidential }
    - { path: "/workspace/customers/keys/**", confidentiality: secret, integrity: untrusted }
    - { tool: fetch, integrity: untrusted }
    - { host: docs.example.org, integrity: trusted }
    - { detector: "aws-*", confidentiality: secret }
  flow:
    - { id: no-customer-data-out, when: { confidentiality: confidential }, to: [model, host], decision: deny }
    - { id: tainted-writes, when: { integrity: untrusted }, to: [host], methods: [POST, PUT], decision: ask }
    - { id: untrusted-registry, when: { integrity: untrusted }, to: [registry], decision: deny }
    - { id: ask-export, when: { integrity: untrusted }, to: [export], decision: ask }
files: { read: { allow: ["/workspace/**"] } }
`);
  const untrusted: Labels = { integrity: "untrusted", confidentiality: "internal" };
  const confidential: Labels = { integrity: "trusted", confidentiality: "confidential" };

  test("labels join over all rules of all layers", () => {
    expect(labelOf([data], { path: "/workspace/customers/a.csv" })).toEqual({
      label: { confidentiality: "confidential" },
      rule: "data.labels[0]",
    });
    expect(labelOf([data], { path: "/workspace/customers/keys/k" })?.label).toEqual({
      confidentiality: "secret",
      integrity: "untrusted",
    });
    expect(labelOf([data], { path: "/workspace/a" })).toBeUndefined();
    expect(labelOf([data], { tool: "fetch" })?.label).toEqual({ integrity: "untrusted" });
    expect(labelOf([data], { host: "docs.example.org" })?.label).toEqual({ integrity: "trusted" });
    expect(labelOf([data], { detector: "aws-key" })?.rule).toBe("data.labels[4]");
    const more = policy("data: { labels: [{ tool: fetch, confidentiality: secret }] }", "organisation");
    expect(labelOf([more, data], { tool: "fetch" })?.label).toEqual({
      integrity: "untrusted",
      confidentiality: "secret",
    });
  });

  test("flow holds for a sink by its kind, its name, its method", () => {
    const flow = (labels: Labels, sink: Parameters<typeof flowTo>[2]) => flowTo([data], labels, sink)?.rule;
    const host = (method: string, sinks: string[] = []) => ({ to: "host", method, sinks }) as const;
    expect(flow(confidential, { to: "model" })).toBe("no-customer-data-out");
    expect(flow(NOTHING_DONE.labels, { to: "model" })).toBeUndefined();
    expect(flow(confidential, host("GET"))).toBe("no-customer-data-out");
    expect(flow(untrusted, host("GET"))).toBeUndefined();
    expect(flow(untrusted, host("POST"))).toBe("tainted-writes");
    expect(flow(untrusted, host("GET", ["registry"]))).toBe("untrusted-registry");
    expect(flow(untrusted, { to: "export" })).toBe("ask-export");
    // What a tunnel holds nobody sees, so it may be a POST.
    expect(flow(untrusted, host("CONNECT"))).toBe("tainted-writes");
  });

  test("judge: a request carries what the run has read", () => {
    const pulls = http("POST https://api.example.com/repos/acme/app/pulls");
    expect(judged([data], pulls, confidential)).toMatchObject({
      verdict: "deny",
      rule: "no-customer-data-out",
      matched: [
        { rule: "pr", decision: "ask" },
        { rule: "no-customer-data-out", decision: "deny" },
      ],
    });
    expect(judged([data], pulls, confidential).reason).toMatch(/only a person can lower/);
    expect(judged([data], pulls, untrusted)).toMatchObject({ verdict: "ask", rule: "pr" });
    expect(judged([data], http("GET https://m.test/x", "npm"), untrusted).rule).toBe("untrusted-registry");
    expect(judged([data], http("POST https://t.example/x"), untrusted).rule).toBe("tainted-writes");
    // No flow rule lets out what no rule for the network does.
    expect(judged([data], http("GET https://evil.test/")).rule).toBe("default");
  });

  test("to the model: an ask is asked before the read, a denial withholds the text and not the action", () => {
    const read = (decision: string) =>
      judge(
        [
          policy(`files: { read: { allow: ["/workspace/**"] } }
data: { labels: [{ path: "/workspace/c/**", confidentiality: secret }], flow: [{ id: m, when: { confidentiality: confidential }, to: [model], decision: ${decision} }] }`),
        ],
        { kind: "read", tool: "read", path: "/workspace/c/a" },
        NOTHING_DONE,
      );
    expect(read("ask")).toMatchObject({ verdict: "ask", rule: "m" });
    expect(read("deny")).toMatchObject({ verdict: "allow", rule: "files.read.allow[0]" });
  });
});
