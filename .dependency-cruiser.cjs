// The import table of docs/architecture.md as a check that fails. Each room lists what it may import;
// everything else between rooms is forbidden.
const PROTOCOL = "^daemon/protocol/";
const room = (name) => `^daemon/${name}/`;
const port = (name) => `^daemon/${name}/port\\.ts$`;

/** Room → the files of other rooms it may import. */
const MAY_IMPORT = {
  protocol: [],
  run: [PROTOCOL],
  policy: [PROTOCOL],
  journal: [PROTOCOL],
  sandbox: [PROTOCOL, "^daemon/package-root\\.ts$"],
  model: [PROTOCOL, "^daemon/package-root\\.ts$"],
  boundary: [PROTOCOL, room("policy")],
  gateway: [PROTOCOL, room("policy")],
  views: [PROTOCOL, room("run"), port("journal"), "^daemon/journal/history\\.ts$"],
  // Ports only: the gate is all the harness sees of sandboxes, so nothing runs without a permit.
  harness: [
    PROTOCOL,
    room("run"),
    room("policy"),
    room("boundary"),
    port("journal"),
    "^daemon/journal/(output-store|hydrate|history)\\.ts$",
    port("model"),
    port("gateway"),
    "^daemon/sandbox/(gate|shell)\\.ts$",
  ],
  log: [PROTOCOL, "^daemon/boundary/redaction\\.ts$"],
  metrics: [PROTOCOL, port("journal"), "^daemon/sandbox/engine-calls\\.ts$"],
  http: [PROTOCOL, port("harness"), port("journal"), port("views")],
  sockets: [PROTOCOL, port("harness"), port("journal"), port("views"), "^daemon/http/(access|broken-request)\\.ts$"],
};

const rooms = Object.entries(MAY_IMPORT).map(([name, allowed]) => ({
  name: `room-${name}`,
  comment: `daemon/${name} may import only: ${[room(name), ...allowed].join(" ")}`,
  severity: "error",
  from: { path: room(name) },
  to: { path: "^(daemon|client|test|bench|scripts)/", pathNot: [room(name), ...allowed] },
}));

/** Packages that one file (or folder) alone may import. */
const ONLY = {
  dockerode: "^daemon/sandbox/engine\\.ts$",
  "@anthropic-ai/sdk": "^daemon/model/anthropic",
  lowdb: "^daemon/views/",
  express: "^daemon/http/",
  unbash: "^daemon/policy/",
  pino: "^daemon/log/",
  "prom-client": "^daemon/metrics/",
};

const packages = Object.entries(ONLY).map(([name, path]) => ({
  name: `only-${name.replace(/\W+/g, "-")}`,
  severity: "error",
  from: { path: "^(daemon|client)/", pathNot: path },
  to: { path: `node_modules/(@types/)?${name}/` },
}));

module.exports = {
  forbidden: [
    ...rooms,
    ...packages,
    {
      name: "client-imports-protocol-only",
      severity: "error",
      from: { path: "^client/" },
      to: { path: "^(daemon|test|bench|scripts)/", pathNot: PROTOCOL },
    },
    {
      name: "protocol-imports-zod-only",
      severity: "error",
      from: { path: PROTOCOL },
      to: { path: "node_modules/", pathNot: "node_modules/zod/" },
    },
    { name: "no-tests-in-production", severity: "error", from: { path: "^(daemon|client)/" }, to: { path: "^test/" } },
    { name: "no-cycles-between-files", severity: "error", from: { path: "^(daemon|client)/" }, to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } } },
    { name: "resolvable", severity: "error", from: { path: "^(daemon|client)/" }, to: { couldNotResolve: true } },
    {
      name: "declared-dependencies-only",
      severity: "error",
      from: { path: "^(daemon|client)/" },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"], dependencyTypesNot: ["type-only"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "node", "default"], extensions: [".ts", ".js", ".mjs", ".json"] },
  },
};
