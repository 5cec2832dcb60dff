// Compiles the programs into dist/, or into another folder: node scripts/build.mjs [FOLDER]. Each is one file, or a few,
// with its packages inside: a program starts in little more than half the time that a thousand modules take. Types are
// checked elsewhere.
import { rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What a package written for CommonJS finds in a module of its own. */
const COMMONJS = `import { createRequire as __createRequire } from "node:module";
import { dirname as __dirnameOf } from "node:path";
import { fileURLToPath as __fileOf } from "node:url";
const require = __createRequire(import.meta.url);
const __filename = __fileOf(import.meta.url);
const __dirname = __dirnameOf(__filename);`;

const shared = {
  absWorkingDir: root,
  outbase: ".",
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  banner: { js: COMMONJS },
  // Native helpers that packages do without.
  external: ["cpu-features", "*.node"],
  legalComments: "inline",
  logLevel: "warning",
};

/** @param {string} outdir absolute; emptied first */
export async function buildPrograms(outdir) {
  rmSync(outdir, { recursive: true, force: true });
  await Promise.all([
    // In one file: the daemon goes on from what it has loaded when a newer version is put in its place.
    build({ ...shared, outdir, entryPoints: ["daemon/main.ts"] }),
    build({
      ...shared,
      outdir,
      // What set-up needs of the sandbox room stands beside the client's and the developers' programs.
      entryPoints: [
        "client/cli/main.ts",
        "client/index.ts",
        "bench/main.ts",
        "examples/demo.ts",
        "daemon/sandbox/engine.ts",
        "daemon/sandbox/images.ts",
      ],
      splitting: true,
      // As deep as client/cli, from where the client finds the daemon.
      chunkNames: "client/chunks/[name]-[hash]",
    }),
  ]);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  await buildPrograms(resolve(process.argv[2] ?? join(root, "dist")));
