/** Bytes from the runner, from whatever kind of stream. */
import { Readable } from "node:stream";

export interface ByteListener {
  bytes(bytes: Buffer): void;
  ended(reason: string): void;
}

const ENDED = "the runner's stream ended";

/** Listens until the returned function is called; the stream itself is left as it is. */
export function listen(input: Readable | AsyncIterable<Buffer>, listener: ByteListener): () => void {
  return input instanceof Readable ? listenToReadable(input, listener) : listenToIterable(input, listener);
}

function listenToReadable(input: Readable, listener: ByteListener): () => void {
  const onData = (bytes: Buffer) => listener.bytes(bytes);
  const onEnd = () => listener.ended(ENDED);
  const onError = (error: Error) => listener.ended(`reading from the runner failed: ${error.message}`);
  input.on("data", onData).on("end", onEnd).on("close", onEnd).on("error", onError);
  return () => {
    input.off("data", onData).off("end", onEnd).off("close", onEnd);
    input.pause();
  };
}

function listenToIterable(input: AsyncIterable<Buffer>, listener: ByteListener): () => void {
  let listening = true;
  const read = async () => {
    try {
      for await (const bytes of input) {
        if (!listening) return;
        listener.bytes(bytes);
      }
      listener.ended(ENDED);
    } catch (error) {
      listener.ended(
        `reading from the runner failed: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  };
  void read();
  return () => {
    listening = false;
  };
}
