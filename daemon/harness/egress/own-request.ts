import { once } from "node:events";
import { type IncomingMessage, request as requestOver } from "node:http";
import type { Duplex } from "node:stream";
import { TextDecoder } from "node:util";
import type { Fetched, OwnRequest } from "../tools/tool.ts";

/** Bytes of an answer that are kept. */
const KEPT = 1024 * 1024;
/** Header lines of an answer that the model is shown. */
const SHOWN = 30;
const HEAD_BYTES = 64 * 1024;

/**
 * Sends one request over a connection to the gateway, with an absolute URL, as a program in the sandbox would.
 * @param signal aborts it, sent or not
 * @throws whatever breaks the connection, or the reason of the signal
 */
export async function sendOver(
  connection: Duplex,
  { method, url, headers, body }: OwnRequest,
  signal: AbortSignal,
): Promise<Fetched> {
  const request = requestOver({
    createConnection: () => connection,
    method,
    path: url,
    headers: {
      host: new URL(url).host,
      "user-agent": "caisson",
      accept: "*/*",
      ...headers,
      "accept-encoding": "identity",
      connection: "close",
      ...(body === undefined ? {} : { "content-length": body.length }),
    },
    maxHeaderSize: HEAD_BYTES,
    signal,
  });
  try {
    const answered = once(request, "response") as Promise<[IncomingMessage]>;
    request.end(body);
    const [response] = await answered;
    return await read(response);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    // Whatever comes late has nobody to tell.
    request.on("error", () => undefined);
    connection.destroy();
  }
}

async function read(response: IncomingMessage): Promise<Fetched> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    const room = KEPT - bytes;
    bytes += part.length;
    if (room > 0) parts.push(part.subarray(0, room));
    // What is beyond is not waited for.
    if (bytes > KEPT) break;
  }
  const text = textOf(Buffer.concat(parts), response.headers["content-type"], bytes > KEPT);
  return {
    status: response.statusCode ?? 0,
    reason: response.statusMessage ?? "",
    headers: headersOf(response),
    text: bytes > KEPT ? `${text}\n[the answer goes on; these are its first ${KEPT} bytes]` : text,
  };
}

function headersOf({ rawHeaders }: IncomingMessage): [string, string][] {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < rawHeaders.length && headers.length < SHOWN; index += 2)
    headers.push([(rawHeaders[index] ?? "").toLowerCase(), rawHeaders[index + 1] ?? ""]);
  return headers;
}

/** @param cut its last character may be incomplete */
function textOf(body: Buffer, type: string | undefined, cut: boolean): string {
  const charset = /charset="?([\w-]+)/i.exec(type ?? "")?.[1] ?? "utf-8";
  try {
    const text = new TextDecoder(charset, { fatal: !cut }).decode(body);
    if (!text.includes("\0")) return text;
  } catch {
    // Told below.
  }
  return `[${body.length} bytes that are no text${type === undefined ? "" : `, ${type}`}]`;
}
