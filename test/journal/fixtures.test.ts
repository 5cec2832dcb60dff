import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { CHAIN_START, checkLine, sha256 } from "../../daemon/protocol/chain.ts";
import { EVENT_DATA, JournalEvent } from "../../daemon/protocol/events.ts";
import { referencesIn } from "../../daemon/protocol/text.ts";
import { everyTypeEvents } from "../fixtures/every-type.ts";
import { journalOf } from "../fixtures/make-spine.ts";
import { spineEvents } from "../fixtures/spine-events.ts";

const folder = join(packageRoot, "test/fixtures");
const fixtures = [
  ["spine", spineEvents()],
  ["every-type", everyTypeEvents()],
] as const;

async function events(name: string): Promise<JournalEvent[]> {
  const text = await readFile(join(folder, `${name}.ndjson`), "utf8");
  const found: JournalEvent[] = [];
  let position = CHAIN_START;
  for (const line of text.trimEnd().split("\n")) {
    const checked = checkLine(Buffer.from(line), position);
    if (!checked.ok) throw new Error(`${name} seq ${position.seq + 1}: ${checked.reason}`);
    found.push(checked.event);
    position = { seq: checked.event.seq, head: checked.event.hash };
    expect(JSON.stringify(checked.event)).toBe(line);
  }
  return found;
}

test.each(fixtures)("J2: the chain of %s.ndjson verifies, and the schema strips nothing", async (name) => {
  for (const event of await events(name)) expect(JournalEvent.parse(event)).toEqual(event);
});

test.each(fixtures)("%s.ndjson is what make-spine.ts writes", async (name, made) => {
  expect(await readFile(join(folder, `${name}.ndjson`), "utf8")).toBe(journalOf(made).text);
});

test("every event type stands in a fixture", async () => {
  const types = new Set((await events("every-type")).map((event) => event.type));
  expect([...types].sort()).toEqual(Object.keys(EVENT_DATA).sort());
});

test.each(fixtures)("the blobs of %s.ndjson exist and match their hashes", async (name) => {
  const references = (await events(name)).flatMap((event) => [...referencesIn(event.data)]);
  expect(references.length).toBeGreaterThan(0);
  for (const { blob, bytes } of references) {
    const content = await readFile(join(folder, "blobs", blob.slice(0, 2), blob));
    expect([sha256(content), content.length]).toEqual([blob, bytes]);
  }
});
