import type { IncomingMessage } from "node:http";
import { z } from "zod";
import type { Harness } from "../harness/port.ts";
import type { Blobs, Journal } from "../journal/port.ts";
import { CaissonError, type ErrorCode } from "../protocol/errors.ts";
import { ApprovalId, QuestionId, RunId, Sha256 } from "../protocol/ids.ts";
import type { Views } from "../views/port.ts";
import type { Admission } from "./admission.ts";
import { parsed } from "./problems.ts";

/** What the routes act on. */
export interface Services {
  readonly harness: Harness;
  readonly views: Views;
  readonly journal: Journal;
  readonly blobs: Blobs;
  readonly metrics: MetricsPage;
  /** The daemon's version, so that a client notices a daemon older than itself. */
  readonly version: string;
  readonly admission: Admission;
  /** Largest workspace archive, in bytes. */
  readonly maximumWorkspaceBytes: number;
}

/** Measurements in Prometheus' text format. */
export interface MetricsPage {
  readonly contentType: string;
  text(): Promise<string>;
}

/** What a handler answers. `raw` and `stream` go out as they are. */
export type Reply =
  | { readonly type: "json"; readonly status: number; readonly body: unknown }
  | { readonly type: "raw"; readonly contentType: string; readonly body: string; readonly headers?: Headers }
  | {
      readonly type: "stream";
      readonly contentType: string;
      readonly body: AsyncIterable<Uint8Array>;
      readonly headers?: Headers;
    }
  | { readonly type: "empty" };
type Headers = Readonly<Record<string, string>>;

/** One request, before its parts are parsed. */
export interface RawCall {
  readonly params: Readonly<Record<string, unknown>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly request: IncomingMessage;
  readBody(): Promise<unknown>;
}

/** One request, parsed. */
export interface Call<Name extends string, Query, Body> {
  readonly params: Readonly<Record<Name, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly request: IncomingMessage;
}

/** A path's parameter: an id of the wrong shape is an unknown one. */
export const PARAMETERS = {
  run: { schema: RunId, unknown: "unknown_run", detail: "There is no such run. `caisson ls` lists them." },
  hash: { schema: Sha256, unknown: "unknown_blob", detail: "The run has no such blob." },
  approval: {
    schema: ApprovalId,
    unknown: "unknown_approval",
    detail: "There is no such approval. `caisson approvals` lists them.",
  },
  question: {
    schema: QuestionId,
    unknown: "unknown_question",
    detail: "There is no such question. `caisson inbox` lists them.",
  },
} as const satisfies Record<string, { schema: z.ZodType<string>; unknown: ErrorCode; detail: string }>;
export type ParameterName = keyof typeof PARAMETERS;

export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** What a route answers when all went well, for the OpenAPI document. */
export interface Answer {
  readonly status: 200 | 202 | 204 | 501;
  readonly description: string;
  readonly contentType?: string;
  readonly schema?: z.ZodType;
}

/** How a route is written down; types follow from the schemas. */
export interface RouteSpec<Name extends ParameterName, Query, Body> {
  readonly method: Method;
  /** Express syntax; each `:name` is a key of PARAMETERS. */
  readonly path: string;
  readonly summary: string;
  readonly params?: readonly Name[];
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  /** A body that is no JSON: its content type. The handler reads it from the request. */
  readonly binaryBody?: string;
  readonly answer: Answer;
  readonly errors?: readonly ErrorCode[];
  /** Answered without a token. */
  readonly open?: true;
  handle(call: Call<Name, Query, Body>): Promise<Reply> | Reply;
}

/** A route of any types: the one table from which Express and OpenAPI are both made. */
export interface Route extends Omit<RouteSpec<ParameterName, unknown, unknown>, "handle"> {
  /** Parses ids, query and body in that order, then handles. @throws CaissonError */
  invoke(call: RawCall): Promise<Reply>;
}

const Nothing = z.strictObject({});

export function route<Name extends ParameterName = never, Query = unknown, Body = unknown>(
  spec: RouteSpec<Name, Query, Body>,
): Route {
  const { handle, ...rest } = spec;
  return {
    ...rest,
    async invoke(raw) {
      const params = identified(spec.params ?? [], raw.params);
      const query = parsed((spec.query ?? Nothing) as z.ZodType<Query>, raw.query, "query");
      const body = await bodyOf(spec, raw);
      return await handle({ params, query, body, request: raw.request });
    },
  };
}

async function bodyOf<Body>(
  spec: Pick<RouteSpec<never, unknown, Body>, "method" | "body" | "binaryBody">,
  raw: RawCall,
): Promise<Body> {
  if (!takesJson(spec)) return undefined as Body;
  return parsed((spec.body ?? Nothing) as z.ZodType<Body>, await raw.readBody(), "body");
}

/** Whether a route reads a body of JSON, be it that it must be empty. */
export function takesJson({ method, binaryBody }: Pick<Route, "method" | "binaryBody">): boolean {
  return (method === "POST" || method === "PUT") && binaryBody === undefined;
}

function identified<Name extends ParameterName>(
  names: readonly Name[],
  given: Readonly<Record<string, unknown>>,
): Record<Name, string> {
  const entries = names.map((name) => {
    const parameter = PARAMETERS[name];
    const result = parameter.schema.safeParse(given[name]);
    if (!result.success) throw new CaissonError(parameter.unknown, parameter.detail);
    return [name, result.data] as const;
  });
  return Object.fromEntries(entries) as Record<Name, string>;
}

export function json(status: number, body: unknown): Reply {
  return { type: "json", status, body };
}

/** The list `{items}` of a collection that has one page. */
export function whole(items: readonly unknown[]): Reply {
  return json(200, { items });
}

/** @throws CaissonError `unknown_run` */
export function requireRun(views: Views, run: RunId) {
  const view = views.run(run);
  if (view === undefined) throw new CaissonError(PARAMETERS.run.unknown, PARAMETERS.run.detail);
  return view;
}

/** @throws CaissonError `not_supported`, always */
export function notSupported(what: string): never {
  throw new CaissonError("not_supported", `This daemon can't ${what} yet; nothing was changed.`);
}
