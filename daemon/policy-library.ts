import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { PolicyLibrary } from "./harness/dependencies.ts";

const NAME = /^[a-z][a-z0-9-]{0,63}$/;

/** The ready policies: one `<name>.yaml` each in a folder. */
export function createPolicyLibrary(folder: string): PolicyLibrary {
  const text = async (name: string): Promise<string | undefined> => {
    if (!NAME.test(name)) return undefined;
    try {
      return await readFile(join(folder, `${name}.yaml`), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  };
  return {
    text,
    async list() {
      const files = (await readdir(folder)).filter((file) => file.endsWith(".yaml")).sort();
      return Promise.all(
        files.map(async (file) => {
          const name = file.slice(0, -".yaml".length);
          return {
            name,
            hash: createHash("sha256")
              .update((await text(name)) ?? "")
              .digest("hex"),
          };
        }),
      );
    },
  };
}
