import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { z } from "zod";
import { ARCHIVE_BYTES } from "../protocol/archive.ts";
import { CaissonError, ERROR_STATUS, problemOf } from "../protocol/errors.ts";
import { type Access, bearerOf } from "./access.ts";
import { readJson } from "./body.ts";
import { LINGER_MS } from "./broken-request.ts";
import { openApiOf } from "./openapi.ts";
import { type Log, toCaissonError } from "./problems.ts";
import { json, type Reply, type Route, route, type Services } from "./route.ts";
import { checkpointRoutes } from "./routes/checkpoints.ts";
import { contentRoutes } from "./routes/content.ts";
import { garbageRoutes } from "./routes/garbage.ts";
import { inboxRoutes, policyRoutes } from "./routes/people.ts";
import { runRoutes } from "./routes/runs.ts";
import { systemRoutes } from "./routes/system.ts";

/** An answer of which nobody takes a byte for so long is given up, in milliseconds. */
const STALL_MS = 120_000;

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
} as const;

export interface HttpSettings extends Omit<Services, "maximumWorkspaceBytes"> {
  readonly access: Access;
  readonly log: Log;
  readonly maximumWorkspaceBytes?: number;
}

/** The HTTP API as an Express application, without a server: see `createHttpServer`. */
export function createHttpApp(settings: HttpSettings): Express {
  const routes = routesOf({ maximumWorkspaceBytes: ARCHIVE_BYTES, ...settings });
  const app = express();
  app.disable("x-powered-by").disable("etag");
  app.set("query parser", false);
  app.enable("case sensitive routing").enable("strict routing");
  app.use((request, response, next) => guard(settings, request, response, next));
  for (const path of new Set(routes.map((one) => one.path)))
    mount(
      app,
      path,
      routes.filter((one) => one.path === path),
      settings,
    );
  app.use((request) => {
    throw new CaissonError(
      "not_found",
      `There is no ${request.path}. GET /v1/openapi.json lists what there is.`,
    );
  });
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    refuse(error, request, response, settings.log);
  });
  return app;
}

/** Every endpoint, from one table. */
export function routesOf(services: Services): readonly Route[] {
  const table: Route[] = [
    ...systemRoutes(services),
    ...runRoutes(services),
    ...contentRoutes(services),
    ...checkpointRoutes(services),
    ...garbageRoutes(services),
    ...inboxRoutes(services),
    ...policyRoutes(services),
  ];
  const openapi = route({
    method: "GET",
    path: "/v1/openapi.json",
    summary: "This document.",
    answer: { status: 200, description: "OpenAPI 3.1.", schema: z.record(z.string(), z.unknown()) },
    handle: () => json(200, document),
  });
  const routes = [...table, openapi];
  const document = openApiOf(routes, services.version);
  return routes;
}

/** Host and Origin, then the token, before anything looks at the path (H1). */
function guard(
  { access, admission }: HttpSettings,
  request: Request,
  response: Response,
  next: NextFunction,
): void {
  response.set(SECURITY_HEADERS);
  cutUnreadBody(request, response);
  const refusal = access.foreign(request);
  if (refusal !== undefined) throw new CaissonError(refusal.code, refusal.detail);
  if (request.path !== "/healthz") {
    if (!access.authorised(bearerOf(request)))
      throw new CaissonError(
        "unauthorised",
        "Send the daemon's token: Authorization: Bearer TOKEN. It stands in the token file of the daemon's home.",
      );
    admission.entered(request, response);
  }
  next();
}

function mount(app: Express, path: string, routes: readonly Route[], settings: HttpSettings): void {
  const methods = new Map(routes.map((one) => [one.method as string, one]));
  const allowed = [...methods.keys(), ...(methods.has("GET") ? ["HEAD"] : [])].join(", ");
  app.all(path, async (request, response) => {
    const method = request.method === "HEAD" ? "GET" : request.method;
    const found = methods.get(method);
    if (found === undefined) {
      response.set("allow", allowed);
      throw new CaissonError("method_not_allowed", `${path} takes ${allowed}.`);
    }
    const reply = await found.invoke({
      params: request.params,
      query: queryOf(request),
      request,
      readBody: () => readJson(request, settings.admission),
    });
    await send(reply, response, settings.log);
  });
}

/** @throws CaissonError `invalid_request` when a parameter is given twice */
function queryOf(request: IncomingMessage): Record<string, string> {
  const text = (request.url ?? "").split("?").slice(1).join("?");
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(text)) {
    if (Object.hasOwn(query, name))
      throw new CaissonError("invalid_request", `The parameter ${name} is given twice. Give it once.`);
    Object.defineProperty(query, name, { value, enumerable: true });
  }
  return query;
}

async function send(reply: Reply, response: Response, log: Log): Promise<void> {
  response.req.socket.setTimeout(STALL_MS);
  switch (reply.type) {
    case "empty":
      response.status(204).end();
      return;
    case "json":
      response.status(reply.status).set("content-type", "application/json").end(JSON.stringify(reply.body));
      return;
    case "raw":
      response.set({ "content-type": reply.contentType, ...reply.headers }).end(reply.body);
      return;
    case "stream":
      await stream(reply, response, log);
  }
}

/** Headers wait for the first bytes, so that a failure before them is still a problem document. */
async function stream(
  { body, contentType, headers = {} }: Extract<Reply, { type: "stream" }>,
  response: Response,
  log: Log,
): Promise<void> {
  const source = body[Symbol.asyncIterator]();
  const first = await source.next();
  response.set({ "content-type": contentType, ...headers });
  if (response.req.method === "HEAD") {
    await source.return?.();
    response.end();
    return;
  }
  async function* all() {
    try {
      for (let item = first; item.done !== true; item = await source.next()) yield item.value;
    } finally {
      await source.return?.();
    }
  }
  try {
    await pipeline(Readable.from(all(), { objectMode: false }), response);
  } catch (error) {
    // The status is out already: cutting the connection is what tells the client that bytes are missing.
    log.warn({ ...placeOf(response.req), err: error }, "a download broke off");
    response.destroy();
  }
}

/** What a request was about, for the log. */
function placeOf({ method, path }: Request): Readonly<Record<string, unknown>> {
  const run = /^\/v1\/runs\/([0-9a-f-]{36})(?:\/|$)/.exec(path)?.[1];
  return { ...(run === undefined ? {} : { run }), method, path };
}

function refuse(error: unknown, request: Request, response: Response, log: Log): void {
  const problem = toCaissonError(error);
  if (problem.code === "internal") log.error({ ...placeOf(request), err: error }, "request failed");
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (problem.code === "unauthorised") response.set("www-authenticate", 'Bearer realm="caisson"');
  if (problem.code === "too_many_requests") response.set("retry-after", "1");
  response
    .status(ERROR_STATUS[problem.code])
    .set("content-type", "application/problem+json")
    .end(JSON.stringify(problemOf(problem)));
}

/** The client gets a moment to read the answer; then a body that nobody wants stops arriving. */
function cutUnreadBody(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request;
  response.once("finish", () => {
    if (request.complete || socket.destroyed) return;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    request.once("close", () => clearTimeout(timer));
    request.resume();
  });
}
