import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applyPatch } from "../../client/workspace/apply.ts";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { contentOf, copyOf, fetchPackage, installBeside } from "./published-package.ts";
import { dataOf, scripted } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL === "1";
/** Both suites run twice over in the sandbox, on whatever machine this is. */
const RUN_MS = 900_000;

interface RealPackage {
  readonly name: string;
  readonly dependencies: Readonly<Record<string, string>>;
  /** Files that the package's archive lacks and its tests want. */
  readonly added: Readonly<Record<string, string>>;
  /**
   * Tests that fail on the package as published, always or now and then: they want data that it lacks, an older Node,
   * or what two files read at once say in the order in which they were named.
   */
  readonly without: readonly string[];
  readonly tests: string;
  /** What the mistake does to one file. */
  readonly mistake: { readonly path: string; readonly good: string; readonly bad: string };
  readonly leastFiles: number;
}

/** Numbers equal within a part in ten thousand; everything else as `assert` has it. */
const APPROX = `const assert = require("assert");
const close = (a, b, epsilon) => {
  const largest = a === 0 || b === 0 ? 1 : Math.max(Math.abs(a), Math.abs(b));
  return Object.is(a, b) || a === b || Math.abs(a - b) <= largest * epsilon;
};
const equal = (a, b, epsilon = 1e-4) => {
  const numbers = typeof a === "number" && typeof b === "number";
  if (!numbers || !close(a, b, epsilon)) assert.equal(a, b);
};
const isObject = (value) => typeof value === "object" && value !== null;
const deepEqual = (a, b) => {
  if (!isObject(a) || !isObject(b)) return equal(a, b);
  for (const key of Object.keys({ ...a, ...b })) deepEqual(a[key], b[key]);
};
module.exports = { equal, deepEqual };
`;

const MATHJS: RealPackage = {
  name: "mathjs@3.20.2",
  dependencies: {
    "complex.js": "2.0.4",
    "decimal.js": "9.0.1",
    "escape-latex": "1.2.0",
    "fraction.js": "4.0.4",
    "javascript-natural-sort": "0.7.1",
    "seed-random": "2.2.0",
    "tiny-emitter": "2.0.2",
    "typed-function": "0.10.7",
    mocha: "4.0.1",
    ndarray: "1.0.18",
    "pad-right": "0.2.2",
    underscore: "1.8.3",
  },
  added: { "tools/approx.js": APPROX },
  without: [
    "test/cli/cli.js",
    "test/function/algebra/decomposition/slu.test.js",
    "test/function/algebra/sparse/cs_amd.test.js",
    "test/function/algebra/sparse/cs_lu.test.js",
    "test/function/arithmetic/multiply.test.js",
    "test/function/trigonometry/acsc.test.js",
    "test/function/trigonometry/asin.test.js",
    "test/type/complex/Complex.test.js",
  ],
  // Beside others a test may take longer than mocha's two seconds.
  tests: "node_modules/.bin/mocha test --recursive --reporter dot --timeout 60000",
  mistake: {
    path: "lib/function/arithmetic/gcd.js",
    good: "return (a < 0) ? -a : a;",
    bad: "return a;",
  },
  leastFiles: 1_001,
};

const ZOD: RealPackage = {
  name: "zod@4.6.7",
  dependencies: {
    vitest: "4.1.12",
    "@web-std/file": "3.0.3",
    recheck: "4.5.0",
    "@seriousme/openapi-schema-validator": "2.11.0",
    esbuild: "0.28.2",
  },
  added: {
    "vitest.config.mjs":
      'const conditions = ["@zod/source"];\nexport default { resolve: { conditions }, ssr: { resolve: { conditions } } };\n',
  },
  without: [],
  tests: "node_modules/.bin/vitest run --root . src",
  mistake: {
    path: "src/v4/core/util.ts",
    good: "const tolerance = 4 * Number.EPSILON",
    bad: "const tolerance = 0 * Number.EPSILON",
  },
  leastFiles: 800,
};

/** Modes, link targets, paths and bytes of all but the dependencies, as one text. */
const FINGERPRINT = `find . \\( -path ./node_modules -o -path ./.git \\) -prune -o \\( -type f -printf '%m %p ' -exec sha256sum {} \\; -o -printf '%y %m %p %l\\n' \\) | sort | sha256sum`;

describe.runIf(FULL)("real packages, repaired under the eyes of their own tests", () => {
  let folder: string;
  let daemon: DaemonUnderTest;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "caisson-e2e-real-"));
    daemon = await DaemonUnderTest.start();
  });
  afterAll(async () => {
    await daemon?.cleanUp();
    rmSync(folder, { recursive: true, force: true });
  });

  test.for([MATHJS, ZOD])(
    "$name: what the run left is applied byte for byte and mode for mode",
    { timeout: RUN_MS + 300_000 },
    async (wanted, { skip }) => {
      const own = mkdtempSync(join(folder, "package-"));
      const original = fetchPackage(wanted.name, own);
      if (original === undefined) return skip(`npm could not fetch ${wanted.name}`);
      await furnish(original, wanted);
      const files = contentOf(original);
      expect(files.size).toBeGreaterThanOrEqual(wanted.leastFiles);
      const broken = copyOf(original, "broken");
      breakIt(broken, wanted);
      const client = await daemon.client();
      const { mistake, tests } = wanted;
      const { run } = await client.submit({
        task: "The tests fail. Mend the source, not the tests.",
        workspace: await client.uploadWorkspace(packWorkspace(broken)),
        image: "node",
        accept: [tests],
        model: scripted([
          { use: [{ tool: "bash", input: { command: `${tests} > /tmp/first.log; echo "status $?"` } }] },
          {
            expect: { output: "/status [1-9]/" },
            use: [
              { tool: "edit", input: { path: mistake.path, old: mistake.bad, new: mistake.good } },
              { tool: "bash", input: { command: FINGERPRINT } },
            ],
          },
          { expect: { verdict: "allow" }, say: "Mended." },
        ]),
      });
      const events = await daemon.untilEnded(run, RUN_MS);
      // With what the tests said, should one have failed.
      expect(dataOf(events, "acceptance.checked")).toMatchObject([{ passed: true }]);
      expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Mended." } });
      await applyPatch(broken, (await client.diff(run)).patch);
      const left = dataOf(events, "action.finished").at(-1);
      expect(execFileSync("bash", ["-c", FINGERPRINT], { cwd: broken, encoding: "utf8" })).toBe(left?.output);
      expect(contentOf(broken)).toEqual(files);
    },
  );
});

async function furnish(root: string, wanted: RealPackage): Promise<void> {
  await installBeside(root, wanted.dependencies);
  writeFileSync(join(root, ".gitignore"), "node_modules\n");
  for (const [path, text] of Object.entries(wanted.added)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  for (const path of wanted.without) rmSync(join(root, path));
}

function breakIt(root: string, { mistake }: RealPackage): void {
  const path = join(root, mistake.path);
  const text = readFileSync(path, "utf8");
  if (!text.includes(mistake.good)) throw new Error(`${mistake.path} lacks what is to be broken`);
  writeFileSync(
    path,
    text.replace(mistake.good, () => mistake.bad),
  );
}
