import { PassThrough } from "node:stream";
import { workspaceParts } from "./ingest.ts";

/**
 * An archive's bytes as they are, read strictly on their way: iterating throws CaissonError `workspace_refused`,
 * naming the entry, as soon as something is met that no sandbox would be given. Memory grows with the names only.
 */
export async function* checkedWorkspace(
  archive: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const copy = new PassThrough();
  const read = readThrough(copy, maxBytes);
  // Its failure is met where the next bytes are handed over, or at the end.
  read.catch(() => undefined);
  try {
    for await (const bytes of archive) {
      if (!copy.write(bytes)) await Promise.race([drained(copy), read]);
      yield bytes;
    }
    copy.end();
    await read;
  } finally {
    copy.destroy();
  }
}

async function readThrough(copy: PassThrough, maxBytes: number): Promise<void> {
  for await (const _ of workspaceParts(copy, { deny: [], git: "full", maxBytes }));
}

function drained(stream: PassThrough): Promise<void> {
  return new Promise((resolve) => {
    stream.once("drain", resolve);
    stream.once("close", resolve);
  });
}
