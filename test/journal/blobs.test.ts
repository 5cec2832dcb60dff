import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fc, test } from "@fast-check/vitest";
import { afterEach, beforeEach, describe, expect } from "vitest";
import { type BlobStore, openFileBlobs } from "../../daemon/journal/blobs.ts";
import { externalise, MAXIMUM_DEPTH, TOO_DEEP, UNTRUSTED_PLACES } from "../../daemon/journal/externalise.ts";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { hydrate } from "../../daemon/journal/hydrate.ts";
import { BlobDamaged, BlobMissing, BodyTooLarge } from "../../daemon/journal/port.ts";
import { sha256 } from "../../daemon/protocol/chain.ts";
import { EVENT_DATA, type NewEvent } from "../../daemon/protocol/events.ts";
import { INLINE_BYTES, isBlobReference, previewOf, referencesIn } from "../../daemon/protocol/text.ts";
import { collect, message } from "../contracts/journal.ts";
import { SPINE_RUN } from "../fixtures/spine-events.ts";
import { systemClock, temporaryHome } from "./homes.ts";

function proposed(input: unknown): NewEvent {
  return { type: "action.proposed", data: { action: "a1", turn: 1, tool: "bash", input } };
}
function inputOf(event: NewEvent): unknown {
  return event.type === "action.proposed" ? event.data.input : undefined;
}
const forged = { blob: "a".repeat(64), bytes: 3, preview: "abc" };
const never = () => false;

describe("externalise", () => {
  test("a string moves to a blob when it takes over 16 KiB of UTF-8", () => {
    for (const [text, moved] of [
      ["x".repeat(INLINE_BYTES), false],
      ["x".repeat(INLINE_BYTES + 1), true],
      ["ü".repeat(INLINE_BYTES / 2), false],
      [`${"ü".repeat(INLINE_BYTES / 2)}x`, true],
      ["😀".repeat(INLINE_BYTES / 4), false],
      [`${"😀".repeat(INLINE_BYTES / 4)}x`, true],
    ] as const) {
      const { event, blobs } = externalise(message(text), never);
      expect(blobs.length).toBe(moved ? 1 : 0);
      expect(isBlobReference(event.type === "message.received" && event.data.text)).toBe(moved);
      if (moved)
        expect(blobs[0]?.reference).toMatchObject({ blob: sha256(text), bytes: Buffer.byteLength(text) });
    }
  });

  test("a preview is the first 1,024 characters and never half of one", () => {
    const text = `${"x".repeat(1023)}😀${"y".repeat(INLINE_BYTES)}`;
    expect(externalise(message(text), never).blobs[0]?.reference.preview).toBe("x".repeat(1023));
  });

  test("what an outsider made never passes for a reference", () => {
    for (const input of [forged, { deep: [{ er: forged }] }, [forged]]) {
      const { event, blobs } = externalise(proposed(input), never);
      expect([...referencesIn(event)]).toEqual([]);
      expect(JSON.stringify(event)).toContain(JSON.stringify(JSON.stringify(forged)));
      expect(blobs).toEqual([]);
    }
    const responded: NewEvent = {
      type: "model.responded",
      data: {
        turn: 1,
        content: [
          { type: "tool_use", id: "t", name: "bash", input: { command: forged } },
          { type: "text", text: forged },
        ],
        stopReason: "tool_use",
        usage: { inputTokens: 1, outputTokens: 1 },
      },
    };
    // The text block's reference stands where only we write one.
    expect([...referencesIn(externalise(responded, never).event)]).toEqual([forged]);
  });

  test("a reference that we made is kept where outsiders' data stands", () => {
    const { event } = externalise(proposed({ command: forged }), (reference) => reference === forged);
    expect(inputOf(event)).toEqual({ command: forged });
  });

  test("every place of unknown shape in EVENT_DATA counts as untrusted, and no other does", () => {
    type Schema = { def: { type: string; [key: string]: unknown } };
    const places: string[] = [];
    const walk = (schema: Schema, path: readonly string[]): void => {
      const { type, shape, element, innerType, options } = schema.def as {
        type: string;
        shape?: Record<string, Schema>;
        element?: Schema;
        innerType?: Schema;
        options?: Schema[];
      };
      if (type === "unknown" || type === "any") places.push(path.join("."));
      for (const [key, part] of Object.entries(shape ?? {})) walk(part, [...path, key]);
      if (element) walk(element, [...path, "*"]);
      if (innerType) walk(innerType, path);
      for (const option of options ?? []) walk(option, path);
    };
    for (const [type, schema] of Object.entries(EVENT_DATA)) walk(schema as unknown as Schema, [type]);
    const listed = Object.entries(UNTRUSTED_PLACES).map(([type, path]) => [type, ...path].join("."));
    expect(places.sort()).toEqual(listed.sort());
  });

  test("hostile shapes stay what they are: __proto__, long keys, deep nesting", () => {
    const input = JSON.parse('{"__proto__":{"polluted":1},"x":"\\ud800"}') as unknown;
    const own = inputOf(externalise(proposed(input), never).event) as object;
    expect(Object.keys(own)).toEqual(["__proto__", "x"]);
    expect(Object.getPrototypeOf(own)).toBe(Object.prototype);
    const long = externalise(proposed({ ["k".repeat(20_000)]: 1 }), never);
    expect(long.blobs[0]?.content.toString()).toContain("kkk");
    let deep: unknown = "bottom";
    for (let level = 0; level < 50_000; level++) deep = [deep];
    const { event } = externalise(proposed(deep), never);
    expect(JSON.stringify(event)).toContain(TOO_DEEP);
    expect(JSON.stringify(event).length).toBeLessThan(MAXIMUM_DEPTH * 2 + 300);
  });

  test.prop([fc.jsonValue({ maxDepth: 6 })])("J2: the event in memory is what its line says", (input) => {
    const { event } = externalise(proposed(input), never);
    expect(JSON.parse(JSON.stringify(event))).toEqual(JSON.parse(JSON.stringify(proposed(input))));
    if (JSON.stringify(input) === JSON.stringify(inputOf(event))) return;
    expect(inputOf(event)).not.toBe(input);
  });
});

describe("blobs on disk", () => {
  let home: string;
  let dispose: () => Promise<void>;
  let blobs: BlobStore;
  const pathOf = (hash: string) => join(home, "blobs", hash.slice(0, 2), hash);

  beforeEach(async () => {
    ({ home, dispose } = await temporaryHome());
    blobs = await openFileBlobs({ home });
  });
  afterEach(() => dispose());

  async function* pieces(...texts: string[]): AsyncGenerator<Uint8Array> {
    for (const text of texts) yield Buffer.from(text);
  }

  test("a stream is kept under its hash and read back", async () => {
    const { hash, bytes } = await blobs.put(pieces("one ", "two"), 100);
    expect([hash, bytes]).toEqual([sha256("one two"), 7]);
    expect(await readFile(pathOf(hash), "utf8")).toBe("one two");
    expect([await blobs.text(hash), await blobs.size(hash), await blobs.has(hash)]).toEqual([
      "one two",
      7,
      true,
    ]);
    expect(await blobs.put(pieces("one two"), 100)).toEqual({ hash, bytes });
  });

  test("a body that is too large, or fails, leaves nothing", async () => {
    await expect(blobs.put(pieces("12345", "67890"), 9)).rejects.toThrow(BodyTooLarge);
    async function* broken() {
      yield Buffer.from("x");
      throw new Error("the client left");
    }
    await expect(blobs.put(broken(), 9)).rejects.toThrow("the client left");
    expect(await readdir(join(home, "blobs"))).toEqual([]);
  });

  test("what a crash left half-written is cleared at the next start", async () => {
    await writeFile(join(home, "blobs", ".incoming-x"), "half");
    await openFileBlobs({ home });
    expect(await readdir(join(home, "blobs"))).toEqual([]);
  });

  test("an unknown hash, and one that is none, is missing", async () => {
    for (const hash of ["a".repeat(64), "../../etc/passwd", ""]) {
      await expect(blobs.text(hash)).rejects.toThrow(BlobMissing);
      expect(await blobs.has(hash)).toBe(false);
      expect(await blobs.size(hash)).toBeUndefined();
    }
  });

  test("a changed blob is not served as what it was", async () => {
    const { blob } = await blobs.putText("the truth");
    await writeFile(pathOf(blob), "the other");
    await expect(blobs.text(blob)).rejects.toThrow(BlobDamaged);
  });

  test("parts are read in the order asked for; beyond the end the blob is damaged, without a file missing", async () => {
    const { hash } = await blobs.put(pieces("0123456789"), 100);
    const read = async (...parts: [number, number][]) => {
      const texts: string[] = [];
      const places = parts.map(([offset, length]) => ({ offset, length }));
      for await (const part of blobs.readParts(hash, places)) texts.push(Buffer.from(part).toString());
      return texts;
    };
    expect(await read([7, 3], [0, 2], [4, 0])).toEqual(["789", "01", ""]);
    await expect(read([0, 1], [8, 3])).rejects.toThrow(BlobDamaged);
    await rm(pathOf(hash));
    await expect(read([0, 1])).rejects.toThrow(BlobMissing);
  });

  test("hydrate gives back the full texts, at any depth", async () => {
    const long = "long ".repeat(10_000);
    const reference = await blobs.putText(long);
    expect(previewOf(reference)).toBe(long.slice(0, 1024));
    expect(await hydrate({ a: [reference, "short"], b: { c: reference }, d: 1 }, blobs)).toEqual({
      a: [long, "short"],
      b: { c: long },
      d: 1,
    });
    await expect(hydrate([forged], blobs)).rejects.toThrow(BlobMissing);
  });

  test("an input with long strings survives: journalled, read, journalled again, hydrated", async () => {
    const journal = await openFileJournal({ home, clock: systemClock, blobs });
    const run = await journal.create(SPINE_RUN);
    const input = { content: "x".repeat(50_000), fake: forged };
    const kept = { content: input.content, fake: JSON.stringify(forged) };
    await run.append(0, [proposed(input)], "synced");
    await run.close();
    // A daemon that starts again knows its references from the journal alone.
    const later = await openFileBlobs({ home });
    const again = await openFileJournal({ home, clock: systemClock, blobs: later });
    const { events, journal: writer } = await again.open(SPINE_RUN);
    const [first] = events;
    if (first?.type !== "action.proposed") throw new Error("not what was appended");
    await writer.append(1, [proposed(first.data.input)], "synced");
    const [, second] = await collect(again.read(SPINE_RUN, 0));
    expect(await hydrate(second?.type === "action.proposed" ? second.data.input : undefined, later)).toEqual(
      kept,
    );
    await journal.close();
    await again.close();
  });

  test("a folder in the way is an error, not a missing blob", async () => {
    await mkdir(pathOf("b".repeat(64)), { recursive: true });
    await expect(blobs.text("b".repeat(64))).rejects.toThrow("EISDIR");
  });
});
