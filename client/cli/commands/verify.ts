import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CaissonError } from "../../../daemon/protocol/errors.ts";
import { RunId, Sha256 } from "../../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { checkJournal, type HashBlob, type JournalReport } from "../journal-check.ts";
import { chosen, matching, runNamed } from "../names.ts";
import { type Line, line, span } from "../render/line.ts";
import { bytes, counted } from "../render/quantities.ts";

const JOURNAL = "journal.ndjson";

/** Where a journal's bytes and blobs are. */
interface Source {
  readonly name: string;
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly hashBlob: HashBlob;
}

/**
 * `caisson verify RUN|FILE`: reads the journal itself where it is on this machine, so that not even the daemon
 * needs to be trusted; else asks the daemon for it. 1 when it is damaged.
 */
export async function verify(
  command: Command,
  name: string,
  { head }: { readonly head?: string },
): Promise<ExitStatus> {
  if (head !== undefined && !Sha256.safeParse(head).success)
    throw badInput(`--head ${head}: write the 64 hexadecimal digits that \`caisson show\` calls head.`);
  const source = await sourceOf(command, name);
  const report = await checkJournal(source.bytes, source.hashBlob, head);
  if (command.json) await writeJson(command, report);
  else command.terminal.say(reportLines(source.name, report, head !== undefined));
  return report.ok ? EXIT.done : EXIT.failed;
}

export function reportLines(name: string, report: JournalReport, headGiven: boolean): Line[] {
  const { ok, events, head, blobs, damage, tornBytes } = report;
  const torn =
    tornBytes === 0
      ? []
      : [
          line(
            2,
            span(
              `A torn last line of ${bytes(tornBytes)} follows: a write that was cut short. The daemon cuts it off and says so when it takes the run up.`,
              "warn",
            ),
          ),
        ];
  if (ok)
    return [
      line(
        0,
        span("✓ ", "good"),
        `${name}: ${counted(events, "event")}, ${counted(blobs, "blob")}, all whole and in order`,
      ),
      line(2, span(`head ${head}`, "dim")),
      ...torn,
      ...(headGiven
        ? []
        : [
            line(
              2,
              span(
                "Whether events are missing at the end, only a head noted earlier can tell: --head HASH",
                "dim",
              ),
            ),
          ]),
    ];
  return [
    line(0, span("✗ ", "bad"), `${name} is damaged`),
    ...damage.map(({ seq, reason }) => line(2, span(`event ${seq}: `, "bad"), reason)),
    line(
      2,
      span(
        `${counted(events, "event")} before it ${events === 1 ? "is" : "are"} in order. Nothing was changed.`,
        "dim",
      ),
    ),
    ...torn,
  ];
}

async function sourceOf(command: Command, name: string): Promise<Source> {
  const { home, folder } = command.settings;
  const path = resolve(folder, name);
  if (await isFile(path)) return fileSource(name, path, [home]);
  if (name.includes("/") || name.endsWith(".ndjson")) throw badInput(`There is no file ${path}.`);
  const kept = await keptRuns(home);
  const run = matching(name, kept).length > 0 ? chosen(name, kept, "run", "caisson ls") : undefined;
  if (run !== undefined) return fileSource(run, join(home, "runs", run, JOURNAL), [home]);
  const client = await connect(command);
  const asked = await runNamed(client, name);
  const journal = join(home, "runs", asked, JOURNAL);
  return existsSync(journal) ? fileSource(asked, journal, [home]) : apiSource(client, asked);
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function keptRuns(home: string): Promise<string[]> {
  const names = await readdir(join(home, "runs")).catch(() => []);
  return names.filter((one) => RunId.safeParse(one).success && existsSync(join(home, "runs", one, JOURNAL)));
}

/** Blobs stand in the journal's own home, beside a copied journal, or in this home. */
function fileSource(name: string, path: string, homes: readonly string[]): Source {
  const folders = [join(dirname(path), "..", ".."), dirname(path), ...homes].map((one) => join(one, "blobs"));
  return {
    name,
    bytes: createReadStream(path),
    hashBlob: async (hash) => {
      for (const folder of folders) {
        const blob = join(folder, hash.slice(0, 2), hash);
        if (await isFile(blob)) return hashOf(createReadStream(blob));
      }
      return undefined;
    },
  };
}

function apiSource(client: CaissonClient, run: string): Source {
  return {
    name: run,
    bytes: linesOf(client, run),
    hashBlob: (hash) =>
      hashOf(client.blob(run, hash)).catch((error: unknown) => {
        if (error instanceof CaissonError && error.code === "unknown_blob") return undefined;
        throw error;
      }),
  };
}

/** The journal's lines as they were: their form is fixed, so parsing and writing gives them back. */
async function* linesOf(client: CaissonClient, run: string): AsyncGenerator<Uint8Array> {
  for await (const event of client.events(run)) yield Buffer.from(`${JSON.stringify(event)}\n`);
}

async function hashOf(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of content) hash.update(chunk);
  return hash.digest("hex");
}
