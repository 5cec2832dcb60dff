import { once } from "node:events";
import { type IncomingMessage, request as requestOver } from "node:http";
import type { Duplex } from "node:stream";
import { connect as secured } from "node:tls";
import { TextDecoder } from "node:util";
import type { Fetched, OwnRequest } from "../tools/tool.ts";

/** Bytes of an answer that are kept. */
const KEPT = 1024 * 1024;
/** Header lines of an answer that the model is shown. */
const SHOWN = 30;
const HEAD_BYTES = 32 * 1024;

/**
 * Sends one request over a connection to the gateway, exactly as a program in the sandbox would: through CONNECT and
 * TLS of the run's authority where the address is https.
 * @param signal aborts it, sent or not
 * @throws whatever breaks the connection, or the reason of the signal
 */
export async function sendOver(
  connection: Duplex,
  ca: string,
  own: OwnRequest,
  signal: AbortSignal,
): Promise<Fetched> {
  const url = new URL(own.url);
  const abort = () =>
    connection.destroy(signal.reason instanceof Error ? signal.reason : new Error("stopped"));
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    if (url.protocol === "http:") return await answerTo(connection, own, own.url);
    const refusal = await tunnelled(connection, url);
    if (refusal) return refusal;
    const plain = unbracketed(url.hostname);
    const tls = secured({
      socket: connection,
      ca,
      host: plain,
      ...(/^[\d.]+$|:/.test(plain) ? {} : { servername: plain }),
      ALPNProtocols: ["http/1.1"],
    });
    await once(tls, "secureConnect");
    return await answerTo(tls, own, `${url.pathname}${url.search}`);
  } finally {
    signal.removeEventListener("abort", abort);
    connection.destroy();
  }
}

/** What the gateway said instead of opening the tunnel; undefined: it is open. */
async function tunnelled(connection: Duplex, url: URL): Promise<Fetched | undefined> {
  const authority = `${url.hostname}:${url.port === "" ? 443 : url.port}`;
  const request = requestOver({
    createConnection: () => connection,
    method: "CONNECT",
    path: authority,
    headers: { host: authority },
    maxHeaderSize: HEAD_BYTES,
  });
  const opened = new Promise<undefined>((resolve, reject) => {
    request.once("connect", (answer: IncomingMessage, _socket, head: Buffer) => {
      if (head.length > 0) connection.unshift(head);
      if (answer.statusCode === 200) resolve(undefined);
      else reject(new Error(`the gateway answered ${answer.statusCode} to CONNECT`));
    });
    request.once("error", reject);
  });
  const refused = once(request, "response").then(([answer]) => read(answer as IncomingMessage));
  refused.catch(() => undefined);
  opened.catch(() => undefined);
  request.end();
  return Promise.race([opened, refused]);
}

async function answerTo(
  connection: Duplex,
  { method, headers, body, url }: OwnRequest,
  path: string,
): Promise<Fetched> {
  const request = requestOver({
    createConnection: () => connection,
    method,
    path,
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
  });
  const answer = once(request, "response") as Promise<[IncomingMessage]>;
  answer.catch(() => undefined);
  request.end(body);
  const [response] = await answer;
  return read(response);
}

async function read(response: IncomingMessage): Promise<Fetched> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    const room = KEPT - bytes;
    bytes += part.length;
    if (room > 0) parts.push(part.subarray(0, room));
    // What is beyond is not asked for: it would only cost time.
    if (bytes > KEPT) break;
  }
  const body = Buffer.concat(parts);
  const type = response.headers["content-type"];
  return {
    status: response.statusCode ?? 0,
    reason: response.statusMessage ?? "",
    headers: headersOf(response),
    text:
      textOf(body, type) + (bytes > KEPT ? `\n[the answer goes on; its first ${KEPT} bytes are here]` : ""),
    droppedBytes: 0,
  };
}

function headersOf({ rawHeaders }: IncomingMessage): [string, string][] {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < rawHeaders.length && headers.length < SHOWN; index += 2)
    headers.push([(rawHeaders[index] ?? "").toLowerCase(), rawHeaders[index + 1] ?? ""]);
  return headers;
}

function textOf(body: Buffer, type: string | undefined): string {
  const charset = /charset="?([\w-]+)/i.exec(type ?? "")?.[1] ?? "utf-8";
  try {
    const text = new TextDecoder(charset, { fatal: body.length < KEPT }).decode(body);
    if (!text.includes("\0")) return text;
  } catch {
    // Told below.
  }
  return `[${body.length} bytes that are no text${type === undefined ? "" : `, ${type}`}]`;
}

function unbracketed(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}
