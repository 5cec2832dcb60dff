import type { IncomingMessage, ServerResponse } from "node:http";
import { performance } from "node:perf_hooks";
import type { HttpTarget } from "../policy/http-target.ts";
import { relay } from "./answer.ts";
import {
  type Body,
  type Framing,
  framingOf,
  hasBody,
  heldBody,
  judgedBody,
  Meter,
  outgoingPieces,
} from "./body.ts";
import type { GatewayLimits } from "./limits.ts";
import type { Gatekeeper, Judged, OutgoingScanner, Violation } from "./port.ts";
import { ASK_A_PERSON, refusalOf, refuse, TooLate } from "./refusal.ts";
import { endToEnd, readRequest, type TunnelEnd } from "./request.ts";
import { type Sending, send, type Upstream } from "./upstream.ts";
import { type Watch, watch } from "./watch.ts";

/** Where a request came in. */
export interface Place {
  readonly keeper: Gatekeeper;
  readonly upstream: Upstream;
  readonly limits: GatewayLimits;
  readonly tunnel?: TunnelEnd;
  /** What is wrong with all of its requests. */
  readonly violation?: Violation;
}

/** A request that may be judged, and sent as it was judged. */
interface Prepared {
  readonly target: HttpTarget;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Body;
  readonly scanner: OutgoingScanner;
}

type Permitted = Extract<Judged, { allowed: true }>;

/**
 * One request from the sandbox: read, judged, sent, answered. What isn't allowed is answered with the reason.
 * @throws {Error} when the keeper does: then the connection is to be reset
 */
export async function exchange(
  request: IncomingMessage,
  response: ServerResponse,
  place: Place,
): Promise<void> {
  const { keeper } = place;
  const gone = goneWith(response);
  const read = readRequest(request, place.tunnel);
  const wrong = place.violation ?? ("violation" in read ? read.violation : undefined);
  if (wrong !== undefined || "violation" in read) {
    const url = "violation" in read ? read.url : read.target.url;
    return deny(request, response, { place, url, violation: wrong ?? NOTHING_WRONG, gone, body: {} });
  }
  const { target, headers } = read;
  const scanner = keeper.inspection.outgoing(target.host);
  const body = await bodyOf(request, response, place, target);
  const found = body === undefined ? TOO_LARGE : firstFinding(target, headers, body, scanner);
  const known = body === undefined ? {} : judgedBody(body);
  if (found !== undefined || body === undefined) {
    return deny(request, response, {
      place,
      url: target.url,
      violation: found ?? TOO_LARGE,
      gone,
      body: known,
    });
  }
  const judged = await keeper.judge({ method: target.method, url: target.url, ...known }, gone);
  if (!judged.allowed) {
    const { rule, reason } = judged.verdict;
    return refuse(response, { status: 403, what: whatOf(target), rule, reason, next: ASK_A_PERSON });
  }
  await forward({ target, headers, body, scanner }, judged, { request, response, place, gone });
}

const NOTHING_WRONG: Violation = { rule: "gateway", reason: "the request can't be judged" };
const TOO_LARGE: Violation = {
  rule: "gateway.body",
  reason: "the body is too large to be judged before it leaves; where it must be known, it has at most 1 MiB",
};

function whatOf({ method, url }: { readonly method: string; readonly url: string }): string {
  return `${method} ${url}`;
}

/** Aborted when the sandbox no longer waits for the answer. */
function goneWith(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort(new Error("the sandbox closed the connection"));
  });
  return controller.signal;
}

/** Journals a denial of the gateway's own, and answers with it. */
async function deny(
  { method = "" }: IncomingMessage,
  response: ServerResponse,
  { place, url, violation, gone, body }: Denial,
): Promise<void> {
  const judged = await place.keeper.judge({ method, url: url.slice(0, MOST_URL), violation, ...body }, gone);
  if (judged.allowed)
    await place.keeper.finished(judged.request, { ...NOTHING_PASSED, error: violation.reason });
  const { rule, reason } = violation;
  await refuse(response, {
    status: 403,
    what: whatOf({ method, url: url.slice(0, MOST_URL) }),
    rule,
    reason,
    next: ASK_A_PERSON,
  });
}

interface Denial {
  readonly place: Place;
  readonly url: string;
  readonly violation: Violation;
  readonly gone: AbortSignal;
  readonly body: ReturnType<typeof judgedBody> | Record<string, never>;
}

/** Characters of a URL that is only told of. */
const MOST_URL = 8_192;
const NOTHING_PASSED = { bytesOut: 0, bytesIn: 0, durationMs: 0 } as const;

/** Undefined: it must be known before it is judged, and is too large for that. */
async function bodyOf(
  request: IncomingMessage,
  response: ServerResponse,
  { keeper, limits }: Place,
  target: HttpTarget,
): Promise<Body | undefined> {
  if (!hasBody(request)) return { kind: "none" };
  if (keeper.body({ method: target.method, url: target.url }) === "streamed") {
    return { kind: "streamed", framing: framingOf(request) };
  }
  if (Number(request.headers["content-length"] ?? 0) > limits.heldBodyBytes) return undefined;
  if (request.headers.expect !== undefined) response.writeContinue();
  const bytes = await heldBody(request, { most: limits.heldBodyBytes, idleMs: limits.idleMs });
  return bytes && { kind: "held", bytes };
}

function firstFinding(
  target: HttpTarget,
  headers: readonly (readonly [string, string])[],
  body: Body,
  scanner: OutgoingScanner,
): Violation | undefined {
  const texts = [target.url, ...headers.map(([name, value]) => `${name}: ${value}`)];
  const inHead = texts.flatMap((text) => scanner.text(text));
  const inBody = body.kind === "held" ? [...scanner.push(body.bytes), ...scanner.end()] : [];
  return [...inHead, ...inBody][0];
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly place: Place;
  readonly gone: AbortSignal;
}

/** Sends an allowed request, answers, and journals how it ended. */
async function forward(prepared: Prepared, judged: Permitted, exchange: Exchange): Promise<void> {
  const { response, place } = exchange;
  const started = performance.now();
  const meter = new Meter(place.keeper, judged.request, judged.terms.maxBytesOut);
  const told: Told = { bytesIn: 0, bytesOut: () => 0 };
  try {
    await sendAndRelay(prepared, judged, exchange, meter, told);
  } catch (thrown) {
    const error = exchange.gone.aborted ? exchange.gone.reason : thrown;
    told.error = error instanceof Error ? error.message : String(error);
    if (response.headersSent) response.destroy();
    else await refuse(response, refusalOf(error, whatOf(prepared.target)));
  }
  const durationMs = Math.round(performance.now() - started);
  await place.keeper.finished(judged.request, { ...told, bytesOut: told.bytesOut(), durationMs });
}

interface Told {
  status?: number;
  error?: string;
  bytesIn: number;
  /** None before there is a connection: what no host was reached for has not left. */
  bytesOut: () => number;
}

async function sendAndRelay(
  prepared: Prepared,
  { request: id, terms, headers: injected }: Permitted,
  { request, response, place, gone }: Exchange,
  meter: Meter,
  told: Told,
): Promise<void> {
  const { keeper, limits, upstream } = place;
  const { target } = prepared;
  gone.throwIfAborted();
  meter.take(headBytes(prepared) + (prepared.body.kind === "held" ? prepared.body.bytes.length : 0));
  const headers = headersFor(prepared, injected, keeper.inspection.incoming() !== undefined);
  const sending = send(target, headers, { upstream, addresses: terms.addresses, gone, limits });
  sending.request.once("socket", () => {
    told.bytesOut = () => meter.bytes;
  });
  let stalled: TooLate | undefined;
  const idle = watch(limits.idleMs, () => {
    stalled = new TooLate(`nothing moved for ${limits.idleMs} ms`);
    sending.request.destroy(stalled);
  });
  try {
    writeBody(prepared, { request, response }, sending, meter, idle);
    const answer = await sending.answered;
    told.status = answer.statusCode ?? 0;
    await keeper.arriving(id, told.status);
    const came = (bytes: number) => {
      told.bytesIn += bytes;
    };
    await relay(answer, response, { inspection: keeper.inspection, most: limits.responseBytes, idle, came });
  } catch (error) {
    // What broke says only that it was broken off.
    throw stalled ?? error;
  } finally {
    idle.stop();
    // After a whole answer this frees the connection; after less, or with a body that nobody wants, it closes it.
    if (!sending.request.writableFinished || !response.writableFinished) sending.request.destroy();
  }
}

/** What the sandbox chose of the head: what it could say by it. */
function headBytes({ target, headers }: Prepared): number {
  const lines = headers.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);
  return target.method.length + target.target.length + lines;
}

/** What is sent: the sandbox's own, those injected over them, and what this hop says for itself. */
function headersFor(
  { target, headers, body }: Prepared,
  injected: Readonly<Record<string, string>>,
  looked: boolean,
): Record<string, string | string[]> {
  const own: Record<string, string> = {
    host: target.url.slice(target.scheme.length + 3).split(/[/?]/, 1)[0] ?? "",
    ...bodysOwn(target.method, body),
    // A secret that comes back compressed would not be seen.
    ...(looked ? { "accept-encoding": "identity" } : {}),
  };
  // Credentials frame no body, and say nothing to one hop.
  const credentials = endToEnd(Object.entries(injected)).filter(([name]) => !/^content-length$/i.test(name));
  const over = new Map(
    [...credentials, ...Object.entries(own)].map(([name, value]) => [name.toLowerCase(), value]),
  );
  const sent = new Map<string, string | string[]>();
  for (const [name, value] of headers) {
    const lower = name.toLowerCase();
    sent.set(lower, [...(sent.get(lower) ?? []), value].flat());
  }
  for (const [name, value] of over) sent.set(name, value);
  return Object.fromEntries(sent);
}

/** Said for every body, whatever its method: Node's client would send those of some methods without an end. */
function bodysOwn(method: string, body: Body): Framing | Record<string, never> {
  if (body.kind === "streamed") return body.framing;
  if (body.kind === "held") return { "content-length": String(body.bytes.length) };
  return BODY_EXPECTED.has(method) ? { "content-length": "0" } : {};
}

/** Methods of which servers want to hear that there is no body. */
const BODY_EXPECTED = new Set(["POST", "PUT", "PATCH"]);

function writeBody(
  { body, scanner }: Prepared,
  { request, response }: Pick<Exchange, "request" | "response">,
  { request: sending }: Sending,
  meter: Meter,
  idle: Watch,
): void {
  if (body.kind !== "streamed") {
    sending.end(body.kind === "held" ? body.bytes : undefined);
    return;
  }
  if (request.headers.expect !== undefined) response.writeContinue();
  const pieces = outgoingPieces(meter, scanner, idle);
  pieces.once("error", (error) => {
    request.unpipe(pieces);
    sending.destroy(error);
  });
  sending.once("close", () => {
    request.unpipe(pieces);
    // What is left of it is dropped; the connection's next request stands behind it.
    request.resume();
  });
  request.pipe(pieces).pipe(sending);
}
