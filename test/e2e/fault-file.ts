import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FaultRule } from "../../daemon/faults.ts";
import { eventually } from "./eventually.ts";

/** The faults of a daemon under test: set and taken away while it runs. */
export class FaultFile {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(...rules: readonly FaultRule[]): Promise<FaultFile> {
    const faults = new FaultFile(await mkdtemp(join(tmpdir(), "caisson-faults-")));
    await faults.set(...rules);
    return faults;
  }

  get #file(): string {
    return join(this.#folder, "faults.json");
  }

  /** For the daemon's environment. */
  get env(): Record<string, string> {
    return { NODE_ENV: "test", CAISSON_TEST_FAULTS: this.#file };
  }

  /** These from now on, and no others. */
  async set(...rules: readonly FaultRule[]): Promise<void> {
    await writeFile(`${this.#file}.new`, JSON.stringify(rules));
    await rename(`${this.#file}.new`, this.#file);
  }

  clear(): Promise<void> {
    return this.set();
  }

  /** Every point the daemon has passed so far, or stands at, in order. */
  async passed(): Promise<string[]> {
    const text = await readFile(`${this.#file}.passed`, "utf8").catch(() => "");
    return text.split("\n").slice(0, -1);
  }

  /** Resolves when a point has been reached more than `before` times. */
  async reached(point: string, before = 0): Promise<void> {
    await eventually(`${point} is reached`, async () => {
      const passed = await this.passed();
      return passed.filter((one) => one === point).length > before;
    });
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}
