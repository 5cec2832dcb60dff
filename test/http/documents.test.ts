import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { routesOf } from "../../daemon/http/app.ts";
import { openApiOf } from "../../daemon/http/openapi.ts";
import type { Services } from "../../daemon/http/route.ts";
import { ERROR_STATUS, type ErrorCode } from "../../daemon/protocol/errors.ts";
import { EVENT_DATA, type EventType } from "../../daemon/protocol/events.ts";
import { CLOSE } from "../../daemon/protocol/frames.ts";
import { type OpenApi, operationsOf, parserOf } from "../servers/openapi.ts";

const page = await readFile(join(import.meta.dirname, "../../docs/protocol.md"), "utf8");
const services = { version: "1.2.3" } as unknown as Services;
const routes = routesOf(services);
const document = JSON.parse(JSON.stringify(openApiOf(routes, "1.2.3"))) as OpenApi;

describe("docs/protocol.md", () => {
  it("its error table and the registry agree, code for code and status for status", () => {
    const rows = [...page.matchAll(/^\| `([a-z_]+)` \| (\d{3}) \| \S.*\|$/gm)];
    expect(rows.map(([, code, status]) => [code, Number(status)])).toEqual(Object.entries(ERROR_STATUS));
  });

  it("names every endpoint there is, and none that isn't", () => {
    const named = [...page.matchAll(/^\| (.*?) \| \d{3}/gm)].flatMap(([, cell = ""]) => {
      const [, method, path = ""] = /`(GET|POST|PUT|DELETE) ([^\s`?]+)/.exec(cell) ?? [];
      if (method === undefined) return [];
      const more = [...cell.matchAll(/`…(\/\w+)`/g)].map(([, end = ""]) => path.replace(/\/\w+$/, end));
      return [path, ...more].map((one) => `${method} ${one}`);
    });
    const actual = routes.map(
      ({ method, path }) => `${method} ${path.replace(/:(approval|question)$/, ":id")}`,
    );
    expect(named.sort()).toEqual(actual.sort());
  });

  it("names every event type, with each key of its data and whether it may be missing", () => {
    const section = /\n## Journal\n([\s\S]*?)\n## /.exec(page)?.[1] ?? "";
    const rows = new Map(
      [...section.matchAll(/^\| `([a-z]+\.[a-z]+)` \| (.*?) \|/gm)].map(([, type = "", keys = ""]) => [
        type,
        [...keys.matchAll(/`(\w+\??)`/g)].map(([, key]) => key),
      ]),
    );
    const later = /Fixed, and not written yet: ([\s\S]*)/.exec(section)?.[1]?.match(/[a-z]+\.[a-z]+/g) ?? [];
    expect([...rows.keys(), ...later].sort()).toEqual(Object.keys(EVENT_DATA).sort());
    for (const [type, keys] of rows) {
      const { shape } = EVENT_DATA[type as EventType];
      const inTheSchema = Object.entries(shape as Record<string, z.ZodType>).map(([key, value]) =>
        value.isOptional() && key !== "input" ? `${key}?` : key,
      );
      expect(keys, type).toEqual(inTheSchema);
    }
  });

  it("names every close code", () => {
    for (const code of Object.values(CLOSE)) expect(page).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
  });
});

describe("the OpenAPI document", () => {
  it("has every route once, with its parameters and a name of its own", () => {
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
    );
    expect(operations).toHaveLength(routes.length);
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(routes.length);
    for (const { path, parameters = [] } of operations)
      expect(parameters.filter((one) => one.in === "path")).toHaveLength((path.match(/\{/g) ?? []).length);
  });

  it("every reference leads somewhere", () => {
    const references = JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g);
    const missing = [...references]
      .map(([, reference = ""]) => reference)
      .filter((one) => !(one.replace("#/components/schemas/", "") in document.components.schemas));
    expect(missing).toEqual([]);
  });

  it("is what OpenAPI 3.1 asks of a document, as far as this one goes", () => {
    expect(document.openapi).toMatch(/^3\.1\.\d$/);
    expect(document.info).toMatchObject({ title: expect.any(String), version: expect.any(String) });
    expect(document.components.securitySchemes).toEqual({ token: { type: "http", scheme: "bearer" } });
    for (const { path, parameters = [], responses, requestBody, method } of operationsOf(document)) {
      expect(path).toMatch(/^\/[a-z0-9/.{}]*$/);
      expect(parameters.filter((one) => one.in === "path").map(({ name }) => `{${name}}`)).toEqual(
        path.match(/\{\w+\}/g) ?? [],
      );
      for (const { in: place, required } of parameters) expect(required).toBe(place === "path");
      for (const [status, { description, content = {} }] of Object.entries(responses)) {
        expect(status).toMatch(/^[245]\d\d$/);
        expect(description).not.toBe("");
        for (const [type, { schema }] of Object.entries(content)) {
          expect(type).toMatch(/^[a-z]+\/[a-z+-]+$/);
          expect(() => parserOf(document, schema)).not.toThrow();
        }
      }
      if (requestBody !== undefined) expect(["POST", "PUT"]).toContain(method);
    }
  });

  it("declares for each operation what can happen to any, and codes of the registry with their status alone", () => {
    for (const { path, method, responses } of operationsOf(document)) {
      const all = ["400", "403", "408", "431", "500", ...(path === "/healthz" ? [] : ["401", "429"])];
      expect(Object.keys(responses), `${method} ${path}`).toEqual(expect.arrayContaining(all));
      for (const [status, { content = {} }] of Object.entries(responses)) {
        if (Number(status) < 400) continue;
        const codes = (content["application/problem+json"]?.schema.properties?.code?.enum ??
          []) as ErrorCode[];
        expect(codes.length).toBeGreaterThan(0);
        expect(codes.map((code) => ERROR_STATUS[code])).toEqual(codes.map(() => Number(status)));
      }
    }
  });

  it("holds nothing of a document inside it", () => {
    expect(JSON.stringify(document)).not.toMatch(/"\$(schema|id|defs)"/);
  });
});
