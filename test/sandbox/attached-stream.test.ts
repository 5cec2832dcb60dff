import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AttachedPiece, demultiplex } from "../../daemon/sandbox/attached-stream.ts";

interface Frame {
  readonly kind: number;
  readonly content: Buffer;
}

function encode(frames: readonly Frame[]): Buffer {
  return Buffer.concat(
    frames.flatMap(({ kind, content }) => {
      const header = Buffer.alloc(8);
      header.writeUInt8(kind, 0);
      header.writeUInt32BE(content.length, 4);
      return [header, content];
    }),
  );
}

async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let index = 0; at < bytes.length; index += 1) {
    const end = at + (sizes[index % sizes.length] ?? 1);
    yield bytes.subarray(at, end);
    at = end;
  }
}

async function joined(pieces: AsyncIterable<AttachedPiece>): Promise<Record<string, Buffer>> {
  const found: Record<"stdout" | "stderr", Buffer[]> = { stdout: [], stderr: [] };
  for await (const { stream, bytes } of pieces) found[stream].push(bytes);
  return { stdout: Buffer.concat(found.stdout), stderr: Buffer.concat(found.stderr) };
}

const frame = fc.record({
  kind: fc.constantFrom(1, 2),
  content: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
});

describe("the engine's attached stream", () => {
  it("gives each stream's bytes whole and in order, however the frames are cut", async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 20 }), sizes, async (frames, cuts) => {
        const of = (kind: number) =>
          Buffer.concat(frames.filter((f) => f.kind === kind).map((f) => f.content));
        const got = await joined(demultiplex(cut(encode(frames), cuts)));
        expect(got).toEqual({ stdout: of(1), stderr: of(2) });
      }),
    );
  });

  it("pulls nothing that was not asked for", async () => {
    let pulled = 0;
    async function* source(): AsyncGenerator<Buffer> {
      for (;;) {
        pulled += 1;
        yield encode([{ kind: 1, content: Buffer.from("x") }]);
      }
    }
    const pieces = demultiplex(source());
    await pieces.next();
    await pieces.next();
    expect(pulled).toBe(2);
    await pieces.return(undefined);
  });

  it.each([
    ["an unknown kind", Buffer.from([3, 0, 0, 0, 0, 0, 0, 1, 65])],
    ["text", Buffer.from("HTTP/1.1 200 OK")],
    ["an absurd length", Buffer.from([1, 0, 0, 0, 255, 0, 0, 0])],
  ])("S4: refuses %s instead of passing it on", async (_what, bytes) => {
    await expect(joined(demultiplex(cut(bytes, [4])))).rejects.toThrow("out of step");
  });

  it("drops a header that its source's end cut off", async () => {
    const whole = encode([{ kind: 1, content: Buffer.from("abc") }]);
    const bytes = Buffer.concat([whole, whole.subarray(0, 5)]);
    expect((await joined(demultiplex(cut(bytes, [3])))).stdout?.toString()).toBe("abc");
  });
});
