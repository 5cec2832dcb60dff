import { describe, expect, test } from "vitest";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";

const HEAD = "version: 1\nname: test\ndefault: deny\n";
const NET = "{ id: a, host: a.example, methods: [GET], paths: [/**], decision: allow }";
const network = (...rules: string[]) => `network:\n${rules.map((rule) => `  - ${rule}\n`).join("")}`;
const net = (change: Record<string, string | undefined>) => {
  const rule = {
    id: "a",
    host: "a.example",
    methods: "[GET]",
    paths: '["/**"]',
    decision: "allow",
    ...change,
  };
  const keys = Object.entries(rule).filter(([, value]) => value !== undefined);
  return network(`{ ${keys.map(([key, value]) => `${key}: ${value}`).join(", ")} }`);
};
const secrets = (text: string) => `${network(NET)}secrets: { vcs: ${text} }\n`;

describe("what can leave by no reading is refused, with what to write instead", () => {
  test.each<[string, string, RegExp, RegExp | undefined]>([
    ["neither host nor registry", net({ host: undefined }), /either `host` or `registry`/, undefined],
    ["both", net({ registry: "npm" }), /either `host` or `registry`/, undefined],
    ["a registry's kind", net({ host: undefined, registry: "nmp" }), /`nmp` is not a value/, /`npm`/],
    ["no methods", net({ methods: undefined }), /lacks its key `methods`/, undefined],
    [
      "opaque with paths",
      net({ opaque: "true", methods: undefined }),
      /an opaque rule sees no paths/,
      undefined,
    ],
    [
      "opaque with a secret",
      net({ opaque: "true", methods: undefined, paths: undefined, secret: "vcs" }),
      /nothing can be put into/,
      undefined,
    ],
    ["a host in upper case", net({ host: "A.example" }), /can match no host/, undefined],
    ["a dot at its end", net({ host: '"a.example."' }), /can match no host.*dot/, undefined],
    ["a URL as host", net({ host: '"https://a.example/"' }), /can match no host/, /host alone/],
    ["a port in it", net({ host: '"a.example:8080"' }), /can match no host/, /ports have their own key/],
    ["an IDN", net({ host: "bücher.example" }), /A-labels; write `xn--bcher-kva\.example`/, undefined],
    ["a star elsewhere", net({ host: '"a.*.example"' }), /`\*` that is not alone/, /subdomains/],
    ["an octal address", net({ host: "0177.0.0.1" }), /can match no host/, undefined],
    ["an address's subdomains", net({ host: '"*.127.0.0.1"' }), /no subdomains/, undefined],
    ["a bad range", net({ addresses: "[127.0.0.0/33]" }), /no range/, /127\.0\.0\.0\/8/],
    ["a port", net({ ports: "[70000]" }), /65535/, undefined],
    ["a relative path", net({ paths: '["repos/**"]' }), /begin with `\/`/, undefined],
    ["an encoded path", net({ paths: '["/a%20b"]' }), /matched plain/, undefined],
    ["a dot path", net({ paths: '["/a/../b"]' }), /can match nothing/, undefined],
    ["CONNECT", net({ methods: "[CONNECT]" }), /tunnels are looked into/, /opaque: true/],
    ["an unknown secret", net({ secret: "vsc" }), /no secret is called `vsc`/, undefined],
    [
      "a secret for another host",
      `${net({ secret: "vcs" })}secrets: { vcs: { from: env:A, header: "x: {}", hosts: [b.example] } }`,
      /not for `a\.example`/,
      /b\.example/,
    ],
    ["a secret's place", secrets('{ from: A, header: "x: {}", hosts: [a.example] }'), /no place/, /env:NAME/],
    [
      "a secret out of its folder",
      secrets('{ from: "file:../token", header: "x: {}", hosts: [a.example] }'),
      /no place/,
      undefined,
    ],
    [
      "a secret's header",
      secrets('{ from: env:A, header: "x", hosts: [a.example] }'),
      /one `\{\}`/,
      /Bearer/,
    ],
    [
      "a secret in a header that frames the request",
      secrets('{ from: env:A, header: "Transfer-Encoding: {}", hosts: [a.example] }'),
      /how the request is carried/,
      /Bearer/,
    ],
    [
      "a secret's host",
      secrets('{ from: env:A, header: "x: {}", hosts: [A] }'),
      /can match no host/,
      undefined,
    ],
    [
      "a label without source",
      "data: { labels: [{ integrity: untrusted }] }",
      /exactly one of `path`/,
      undefined,
    ],
    ["a label that says nothing", "data: { labels: [{ tool: read }] }", /write `integrity`/, undefined],
    [
      "a label's relative path",
      "data: { labels: [{ path: src, integrity: untrusted }] }",
      /absolute/,
      /\/workspace\/src/,
    ],
    ["a label's tool", "data: { labels: [{ tool: fecth, integrity: untrusted }] }", /no tool/, /`fetch`/],
    [
      "a sink's typo",
      "data: { flow: [{ id: f, when: { integrity: untrusted }, to: [hots], decision: deny }] }",
      /no sink is called `hots`/,
      /`host`/,
    ],
    [
      "a flow about nothing",
      "data: { flow: [{ id: f, when: {}, to: [host], decision: deny }] }",
      /`when` says nothing/,
      undefined,
    ],
    [
      "methods to the model",
      "data: { flow: [{ id: f, when: { integrity: untrusted }, to: [model], methods: [GET], decision: deny }] }",
      /about none/,
      /add `host`/,
    ],
    [
      "a rule that is not there",
      "sequence:\n  - { id: s, before: psh, require: { argv: [npm, test] }, else: deny }",
      /no rule has the id `psh`/,
      undefined,
    ],
    [
      "a rule that no action matches",
      "sequence:\n  - { id: s, atMost: 1, of: [private-data], else: deny }\n  - { id: t, before: s, require: { argv: [npm, test] }, else: deny }",
      /rule of `sequence`, which no action matches/,
      /exec/,
    ],
    [
      "a requirement that nothing meets",
      `${network(NET)}sequence:\n  - { id: t, before: a, require: { argv: ["...", npm] }, else: deny }`,
      /stands last/,
      undefined,
    ],
    ["half a rule", "sequence:\n  - { id: s, atMost: 1, else: deny }", /write either `atMost`/, undefined],
    ["a tier", "tiers: { extrenal: ask }", /unknown key `extrenal`/, /`external`/],
    ["a test without a method", 'tests: [{ http: "https://a.example/", expect: deny }]', /no request/, /GET/],
    ["another registry", 'tests: [{ http: "GET registry:gem/x", expect: deny }]', /no request/, undefined],
    [
      "a step that is none",
      "tests: [{ after: [{ read: /a, write: /b }], exec: ls, expect: deny }]",
      /exactly one/,
      undefined,
    ],
    [
      "the exit of a read",
      "tests: [{ after: [{ read: /a, exit: 1 }], exec: ls, expect: deny }]",
      /only commands/,
      undefined,
    ],
    [
      "a tool of its own section",
      "tests: [{ after: [{ tool: fetch }], exec: ls, expect: deny }]",
      /judged by `network`/,
      /http/,
    ],
  ])("%s", (_, sections, message, hint) => {
    const { ok, errors } = checkPolicy(HEAD + sections);
    expect(ok).toBe(false);
    expect(errors[0]?.message).toMatch(message);
    if (hint) expect(errors[0]?.hint).toMatch(hint);
    expect(errors[0]?.line).toBeGreaterThan(3);
  });
});

test("rules that no test touches are named, in the file's order", () => {
  const { ok, untouched } = checkPolicy(`${HEAD}network:
  - { id: a, host: a.example, methods: [GET], paths: ["/**"], decision: allow }
  - { id: b, host: b.example, methods: [GET], paths: ["/**"], decision: allow }
files: { read: { allow: [/workspace/**], deny: [/workspace/x] }, export: { deny: ["**/y"] } }
tiers: { external: ask }
tests: [{ http: "GET https://b.example/", expect: allow }, { read: /workspace/x, expect: deny }]
`);
  expect({ ok, untouched }).toEqual({ ok: true, untouched: ["a", "tiers.external"] });
});

describe("a rule that never changes a verdict is a warning", () => {
  const never = (sections: string) =>
    checkPolicy(HEAD + sections).warnings.map(({ message }) => /`(\w+)` never changes/.exec(message)?.[1]);
  test.each<[string, string, string[]]>([
    [
      "a request that a denial matches too",
      `${network(NET, '{ id: b, host: a.example, methods: [GET, POST], paths: ["/**"], decision: deny }')}`,
      ["a"],
    ],
    ["a twin", network(NET, NET.replace("id: a", "id: b")), ["b"]],
    ["a narrower port is no twin", network(NET, NET.replace("id: a", "id: b, ports: [1]")), []],
    [
      "what a rule adds is a use",
      network(NET, NET.replace("id: a", "id: b, maxBytesOut: 5").replace("/**", '"/a"')),
      [],
    ],
    [
      "a tool's rule",
      'tools: [{ id: a, tool: [plan, ask], decision: allow }, { id: b, tool: "*", decision: ask }]',
      ["a"],
    ],
    [
      "a flow rule that allows",
      "data: { flow: [{ id: f, when: { integrity: untrusted }, to: [host], decision: allow }] }",
      ["f"],
    ],
    [
      "a sequence that allows",
      "sequence: [{ id: s, atMost: 1, of: [private-data, external-effect], else: allow }]",
      ["s"],
    ],
    [
      "a bound out of reach",
      "sequence: [{ id: s, atMost: 2, of: [private-data, external-effect], else: ask }]",
      ["s"],
    ],
  ])("%s", (_, sections, expected) => {
    expect(never(sections)).toEqual(expected);
  });
});

test("labelled paths beside a whole repository are warned of: nothing keeps those files from commands", () => {
  const labels = `data: { labels: [{ path: "/workspace/a/**", confidentiality: secret }, { path: "/workspace/b/**", integrity: untrusted }] }
`;
  const warned = (git: string) =>
    checkPolicy(`${HEAD}files: { ingest: { git: ${git} } }\n${labels}`).warnings.filter(({ message }) =>
      message.includes("no file is kept from commands"),
    );
  expect(warned("full")).toMatchObject([{ line: expect.any(Number) }]);
  expect(warned("fresh")).toEqual([]);
});
