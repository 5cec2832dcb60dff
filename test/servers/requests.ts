import fc from "fast-check";
import {
  type OpenApi,
  type Operation,
  operationsOf,
  type Parameter,
  resolved,
  type Schema,
} from "./openapi.ts";
import { fitting, nearly, odd } from "./schema-values.ts";

/** A request that an {@link Operation} of the document may or may not like. */
export interface FuzzedRequest {
  readonly operation: Operation;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Whatever is to be sent instead of the plain rendering of these parts. */
  readonly wire: string | undefined;
  /** Its sender hangs up before its end: there need be no answer. */
  readonly cut: boolean;
}

export interface RequestSettings {
  readonly document: OpenApi;
  /** `127.0.0.1:7433`. */
  readonly address: string;
  readonly token: string;
  /** Ids to name beside made-up ones, by parameter: asked anew for each request. */
  readonly known: () => Readonly<Record<string, readonly string[]>>;
  /** Put over a body that would fit: what keeps submissions from being work. */
  readonly tamed: (operation: Operation, body: unknown, at: number) => unknown;
}

type Parts = Omit<FuzzedRequest, "wire" | "cut">;
const JSON_TYPE = "application/json";

/** Requests of every operation: those that fit, those that nearly do, and those that no client would send. */
export function requests(settings: RequestSettings): fc.Arbitrary<FuzzedRequest> {
  const each = operationsOf(settings.document).map((operation) => partsOf(operation, settings));
  const plain = fc.oneof(...each);
  return fc.oneof(
    { weight: 3, arbitrary: plain.map((parts) => ({ ...parts, wire: undefined, cut: false })) },
    { weight: 2, arbitrary: fc.tuple(plain, mangling).map(([parts, mangle]) => mangle(parts)) },
  );
}

/** The bytes to be sent. */
export function rendered(request: FuzzedRequest): Buffer {
  if (request.wire !== undefined) return Buffer.from(request.wire, "latin1");
  return Buffer.concat([Buffer.from(headOf(request), "latin1"), request.body]);
}

function headOf({ method, target, headers }: Parts): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}`);
  return `${[`${method} ${target} HTTP/1.1`, ...lines].join("\r\n")}\r\n\r\n`;
}

function partsOf(operation: Operation, settings: RequestSettings): fc.Arbitrary<Parts> {
  const { document, address, token } = settings;
  return fc
    .tuple(targetOf(operation, settings), bodyOf(document, operation, settings))
    .map(([target, { type, body }]) => ({
      operation,
      method: operation.method,
      target,
      headers: [
        ["host", address],
        ["authorization", `Bearer ${token}`],
        ...(body.length === 0 ? [] : ([["content-type", type]] as const)),
        ["content-length", String(body.length)],
      ],
      body,
    }));
}

function targetOf(operation: Operation, settings: RequestSettings): fc.Arbitrary<string> {
  const inPath = (operation.parameters ?? []).filter((one) => one.in === "path");
  const inQuery = (operation.parameters ?? []).filter((one) => one.in === "query");
  const values = fc.tuple(...inPath.map((one) => pathValue(one, settings)));
  return fc.tuple(values, queryOf(settings.document, inQuery)).map(([ids, query]) => {
    const path = inPath.reduce(
      (text, { name }, at) => text.replace(`{${name}}`, ids[at] ?? ""),
      operation.path,
    );
    return query === "" ? path : `${path}?${query}`;
  });
}

function pathValue({ name, schema }: Parameter, { document, known }: RequestSettings): fc.Arbitrary<string> {
  const ours = fc.nat().map((at) => {
    const ids = known()[name] ?? [];
    return ids[at % Math.max(1, ids.length)] ?? "none";
  });
  const made = fitting(document, schema).map((value) => encodeURIComponent(textOf(value)));
  const strange = fc.oneof(
    fc.constantFrom("%00", "%", "%zz", "%ff", "..", "%2e%2e", "%2f", "a%00b", "~", ";", "%F0%9F%90%8B"),
    fc.string({ maxLength: 40 }).map((text) => encodeURIComponent(text) || "-"),
    fc.constant("9".repeat(3_000)),
  );
  return fc.oneof({ weight: 4, arbitrary: ours }, made, strange);
}

/** Some objects can't be made a string, such as one whose `toString` is a number. */
function textOf(value: unknown): string {
  return typeof value === "object" ? String(JSON.stringify(value)) : String(value);
}

function queryOf(document: OpenApi, parameters: readonly Parameter[]): fc.Arbitrary<string> {
  const value = (schema: Schema) => fc.oneof(fitting(document, schema), odd).map(textOf);
  const named = parameters.map(({ name, schema }) =>
    fc.option(
      value(schema).map((text) => `${name}=${encodeURIComponent(Buffer.from(text).toString())}`),
      { freq: 2, nil: "" },
    ),
  );
  const strange = fc.constantFrom(
    ...Array<string>(50).fill(""),
    "token=x",
    "access_token=x",
    "a=1&a=2",
    "limit=1&limit=2",
    "%",
    "=",
    "&&",
    "__proto__=1",
  );
  return fc
    .tuple(fc.tuple(...named), strange)
    .map(([parts, more]) => [...parts, more].filter(Boolean).join("&"));
}

function bodyOf(document: OpenApi, operation: Operation, { tamed }: RequestSettings) {
  const content = operation.requestBody?.content ?? {};
  const [type = JSON_TYPE, described] = Object.entries(content)[0] ?? [];
  const bytes = (value: string | Uint8Array) => ({ type, body: Buffer.from(value as string) });
  if (described === undefined)
    return fc.oneof({ weight: 9, arbitrary: fc.constant(bytes("")) }, garbage.map(bytes));
  if (type !== JSON_TYPE) return fc.uint8Array({ maxLength: 2_000 }).map(bytes);
  const schema = resolved(document, described.schema);
  const tame = (values: fc.Arbitrary<unknown>) =>
    fc.tuple(values, fc.nat()).map(([value, at]) => bytes(JSON.stringify(tamed(operation, value, at)) ?? ""));
  return fc.oneof(
    { weight: 6, arbitrary: tame(fitting(document, schema)) },
    { weight: 3, arbitrary: tame(nearly(document, schema)) },
    { weight: 1, arbitrary: garbage.map(bytes) },
  );
}

/** Bodies that are no JSON, or JSON that nobody means. */
const garbage: fc.Arbitrary<string | Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json({ maxDepth: 5 }),
  fc.constantFrom("[".repeat(100_000), '{"a":'.repeat(100_000), `${"[".repeat(70)}${"]".repeat(70)}`),
  fc.constantFrom(
    "\0",
    "{}\0",
    "\ufeff{}",
    "nul",
    '"',
    '{"task":"\\ud800"}',
    '{"text":1e999}',
    "{'a':1}",
    "NaN",
  ),
  fc.constantFrom('{"__proto__":{"x":1}}', '{"text":"a","text":"b"}', `{"text":"${"x".repeat(1_100_000)}"}`),
  fc.constantFrom(
    `[${"0,".repeat(200_000)}0]`,
    `{"after":[${"0,".repeat(200_000)}0],"text":"x","read":"/x"}`,
  ),
  fc.constant(`"${"x".repeat(2 * 1024 * 1024)}"`),
);

type Mangle = (parts: Parts) => FuzzedRequest;

function withHeaders(...more: readonly (readonly [string, string])[]): Mangle {
  return (parts) => ({ ...parts, headers: [...parts.headers, ...more], wire: undefined, cut: false });
}

function replacing(name: string, value: string, cut = false): Mangle {
  return (parts) => ({
    ...parts,
    headers: parts.headers.map((one) => (one[0] === name ? ([name, value] as const) : one)),
    wire: undefined,
    cut,
  });
}

/** The head as text, changed; then the body. */
function rewriting(change: (head: string) => string, cut = false): Mangle {
  return (parts) => ({ ...parts, wire: change(headOf(parts)) + parts.body.toString("latin1"), cut });
}

function chunked(body: (text: string) => string, cut: boolean): Mangle {
  return (parts) => ({
    ...parts,
    wire:
      headOf(parts).replace(/content-length: \d+/, "transfer-encoding: chunked") +
      body(parts.body.toString("latin1")),
    cut,
  });
}

const hex = (text: string) => text.length.toString(16);
const method = (name: string): Mangle => rewriting((head) => head.replace(/^\S+/, name));
const target = (change: (old: string) => string): Mangle =>
  rewriting((head) => head.replace(/ (\S+) HTTP/, (_all, old: string) => ` ${change(old)} HTTP`));

const mangling: fc.Arbitrary<Mangle> = fc.constantFrom<Mangle[]>(
  replacing("content-type", "text/plain"),
  replacing("content-type", "application/json; charset=utf-16"),
  replacing("content-type", `${JSON_TYPE}${",a".repeat(2_000)}`),
  withHeaders(["content-encoding", "gzip"]),
  withHeaders(["content-type", "text/html"]),
  withHeaders(["host", "evil.example"]),
  withHeaders(["authorization", "Bearer wrong"]),
  withHeaders(["content-length", "0"]),
  withHeaders(["transfer-encoding", "chunked"]),
  withHeaders(["transfer-encoding", "gzip, chunked"]),
  withHeaders(["expect", "100-continue"]),
  withHeaders(["expect", "the unexpected"]),
  withHeaders(["origin", "https://evil.example"]),
  withHeaders(["origin", "null"]),
  withHeaders(["sec-fetch-site", "cross-site"]),
  withHeaders(["upgrade", "h2c"], ["connection", "upgrade"]),
  withHeaders(["upgrade", "websocket"], ["connection", "upgrade"], ["sec-websocket-key", "short"]),
  withHeaders(["x-forwarded-for", "10.0.0.1"], ["x-http-method-override", "DELETE"], ["range", "bytes=0-"]),
  withHeaders(...Array.from({ length: 300 }, (_, at) => [`x-${at}`, "1"] as const)),
  withHeaders(...Array.from({ length: 20_000 }, (_, at) => [`x-${at}`, "1"] as const)),
  withHeaders(["x-long", "a".repeat(100_000)]),
  withHeaders(["x-\0", "a"]),
  withHeaders(["x-null", "a\0b"]),
  withHeaders(["x-obs-fold", "a\r\n b"]),
  withHeaders(["", "no name"]),
  replacing("authorization", "Bearer wrong"),
  replacing("authorization", "Basic Og=="),
  replacing("authorization", `Bearer ${"a".repeat(5_000)}`),
  replacing("host", "evil.example"),
  replacing("host", ""),
  rewriting((head) => head.replace(/host: .*\r\n/, "")),
  replacing("content-length", "-1"),
  replacing("content-length", "1e3"),
  replacing("content-length", "99999999999999999999999"),
  replacing("content-length", "0x10"),
  replacing("content-length", "1000000000", true),
  replacing("content-length", "4294967296", true),
  chunked((text) => `${hex(text)}\r\n${text}\r\n0\r\n\r\n`, false),
  chunked((text) => `${hex(text)};${"e".repeat(20_000)}\r\n${text}\r\n0\r\n\r\n`, false),
  chunked((text) => `${hex(text)}1\r\n${text}`, true),
  chunked(() => "ffffffffffffffff\r\na", true),
  chunked(() => "zz\r\na\r\n0\r\n\r\n", false),
  chunked(() => "", true),
  ...["HEAD", "OPTIONS", "PATCH", "TRACE", "PUT", "DELETE", "PROPFIND", "get", "FOO", "G\0T", ""].map(method),
  target((old) => `${old}/`),
  target((old) => `/${old}`),
  target((old) => old.toUpperCase()),
  target((old) => `http://evil.example${old}`),
  target(() => "*"),
  target(() => "evil.example:80"),
  target((old) => `${old}#fragment`),
  target((old) => `${old}${"/a".repeat(10_000)}`),
  target((old) => `${old}?${"a=1&".repeat(3_000)}`),
  target((old) => `${old}\x01`),
  target((old) => `${old}\xff`),
  rewriting((head) => head.replace("HTTP/1.1", "HTTP/1.0")),
  rewriting((head) => head.replace("HTTP/1.1", "HTTP/2.0")),
  rewriting((head) => head.replace("HTTP/1.1", "HTP/1.1")),
  rewriting((head) => head.replaceAll("\r\n", "\n")),
  rewriting((head) => head.slice(0, head.length / 2), true),
  rewriting(() => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true),
  rewriting(() => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
);
