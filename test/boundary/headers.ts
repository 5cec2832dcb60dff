import { extract, type Header } from "tar-stream";

/** The headers of an archive's entries, in order. */
export async function headersOf(tar: AsyncIterable<Uint8Array>): Promise<Header[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of tar) pieces.push(piece);
  const archive = extract();
  archive.end(Buffer.concat(pieces));
  const headers: Header[] = [];
  for await (const entry of archive) {
    headers.push(entry.header);
    entry.resume();
  }
  return headers;
}
