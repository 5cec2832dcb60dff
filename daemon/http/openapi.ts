import { z } from "zod";
import { Backtest, BacktestReport, LearnPolicy, LearntPolicy } from "../protocol/backtest.ts";
import {
  AnswerQuestion,
  CheckPolicy,
  CheckRun,
  DecideApproval,
  ExplainPolicy,
  ForkRun,
  InterruptRun,
  RewindRun,
  SendMessage,
  SubmitRun,
  Submitted,
  TakeCheckpoint,
} from "../protocol/commands.ts";
import { ERROR_STATUS, type ErrorCode, Problem } from "../protocol/errors.ts";
import { JournalEvent } from "../protocol/events.ts";
import { CollectGarbage, GcReport } from "../protocol/gc.ts";
import { EffectivePolicy, ShowPolicy } from "../protocol/policy-layers.ts";
import { ReplayReport } from "../protocol/replay.ts";
import * as views from "../protocol/views.ts";
import { PARAMETERS, type Route, takesJson } from "./route.ts";

type Json = Record<string, unknown>;

/** Errors that every route may give. */
const COMMON: readonly ErrorCode[] = [
  "forbidden_host",
  "forbidden_origin",
  "invalid_request",
  "request_timeout",
  "headers_too_large",
  "internal",
];
/** Errors that every route behind the token may give. */
const AUTHORISED: readonly ErrorCode[] = ["unauthorised", "too_many_requests"];

/** Nouns that get a name of their own among the components; bodies are described as they are sent. */
const ANSWERS: Readonly<Record<string, z.ZodType>> = {
  Problem,
  Submitted,
  JournalEvent,
  RunView: views.RunView,
  ApprovalView: views.ApprovalView,
  QuestionView: views.QuestionView,
  CheckpointView: views.CheckpointView,
  ReplayReport,
  BacktestReport,
  LearntPolicy,
  EffectivePolicy,
  GcReport,
  PolicyView: views.PolicyView,
  PolicyCheck: views.PolicyCheck,
  PolicyExplanation: views.PolicyExplanation,
};
const BODIES: Readonly<Record<string, z.ZodType>> = {
  SubmitRun,
  CheckRun,
  SendMessage,
  InterruptRun,
  DecideApproval,
  AnswerQuestion,
  TakeCheckpoint,
  RewindRun,
  ForkRun,
  CollectGarbage,
  CheckPolicy,
  ExplainPolicy,
  ShowPolicy,
  Backtest,
  LearnPolicy,
};

/** The OpenAPI 3.1 document of these routes, made from the schemas that parse their requests. */
export function openApiOf(routes: readonly Route[], version: string): Json {
  const answers = named(ANSWERS);
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, answers) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Caisson",
      version,
      description:
        "A local daemon that runs AI agents in sandboxes. Events stream over WebSocket: GET /v1/stream.",
    },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: { ...components(answers, "output"), ...components(named(BODIES), "input") },
    },
  };
}

type Names = ReturnType<typeof named>;

function named(schemas: Readonly<Record<string, z.ZodType>>) {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema, { id });
  return registry;
}

function components(names: Names, io: "input" | "output"): Json {
  const { schemas } = z.toJSONSchema(names, { io, uri: reference });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema as Json)]));
}

function reference(id: string): string {
  return `#/components/schemas/${id}`;
}

function operation(route: Route, answers: Names): Json {
  const parameters = [
    ...(route.params ?? []).map((name) => ({
      name,
      in: "path",
      required: true,
      schema: schemaOf(PARAMETERS[name].schema, "input"),
    })),
    ...queryParameters(route.query),
  ];
  const body = bodyOf(route);
  return {
    operationId: operationId(route),
    summary: route.summary,
    ...(route.open ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body === undefined ? {} : { requestBody: body }),
    responses: responses(route, answers),
  };
}

/** `POST /v1/runs/:run/messages` → `postRunsRunMessages`. */
function operationId({ method, path }: Route): string {
  const words = path
    .replace("/v1", "")
    .split(/[^A-Za-z]+/)
    .filter(Boolean);
  return method.toLowerCase() + words.map((word) => word[0]?.toUpperCase() + word.slice(1)).join("");
}

function bodyOf(route: Route): Json | undefined {
  if (route.binaryBody !== undefined)
    return {
      required: true,
      content: { [route.binaryBody]: { schema: { type: "string", format: "binary" } } },
    };
  if (route.body === undefined) return undefined;
  const name = Object.keys(BODIES).find((id) => BODIES[id] === route.body);
  const schema = name === undefined ? schemaOf(route.body, "input") : { $ref: reference(name) };
  return { content: { "application/json": { schema } } };
}

function queryParameters(query: z.ZodType | undefined): Json[] {
  if (query === undefined) return [];
  const schema = schemaOf(query, "input");
  return Object.entries((schema.properties ?? {}) as Record<string, Json>).map(([name, property]) => ({
    name,
    in: "query",
    required: false,
    schema: property,
  }));
}

function responses(route: Route, answers: Names): Json {
  const { status, description, contentType, schema } = route.answer;
  const result: Record<string, Json> = {
    [status]: { description, ...contentOf(contentType, schema, answers) },
  };
  for (const [code, codes] of errorsOf(route))
    result[code] = {
      description: `One of: ${codes.join(", ")}.`,
      content: {
        "application/problem+json": {
          schema: { $ref: reference("Problem"), properties: { code: { enum: codes } } },
        },
      },
    };
  return result;
}

function contentOf(contentType: string | undefined, schema: z.ZodType | undefined, answers: Names): Json {
  if (schema !== undefined) {
    const id = answers.get(schema)?.id;
    const described = id === undefined ? schemaOf(schema, "output", answers) : { $ref: reference(id) };
    return { content: { "application/json": { schema: described } } };
  }
  return contentType === undefined ? {} : { content: { [contentType]: { schema: { type: "string" } } } };
}

function errorsOf(route: Route): Map<string, ErrorCode[]> {
  const json = takesJson(route)
    ? (["invalid_json", "body_too_large", "unsupported_media_type"] as const)
    : [];
  const ids = (route.params ?? []).map((name) => PARAMETERS[name].unknown);
  const token = route.open ? [] : AUTHORISED;
  const journal = (route.params ?? []).length === 0 ? [] : (["journal_damaged"] as const);
  const append = journal.length === 0 || route.method === "GET" ? [] : (["disk_full", "stopping"] as const);
  const own = route.errors ?? [];
  const codes = new Set<ErrorCode>([...COMMON, ...token, ...ids, ...json, ...journal, ...append, ...own]);
  const byStatus = new Map<string, ErrorCode[]>();
  for (const code of codes) {
    const status = String(ERROR_STATUS[code]);
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return byStatus;
}

/** Inline, but with references to the nouns that have names. */
function schemaOf(schema: z.ZodType, io: "input" | "output", names?: Names): Json {
  const made = bare(
    z.toJSONSchema(schema, { io, ...(names === undefined ? {} : { metadata: names }) }) as Json,
  );
  const { $defs: _, ...rest } = made;
  return JSON.parse(JSON.stringify(rest).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}

/** Without the keys that belong to a document of its own. */
function bare(schema: Json): Json {
  const { $schema: _, $id: __, id: ___, ...rest } = schema;
  return rest;
}
