import type { z } from "zod";
import { ERROR_STATUS, Problem } from "../../daemon/protocol/errors.ts";
import { type OpenApi, type Operation, operationsOf, parserOf, type Schema } from "./openapi.ts";
import type { RawAnswer } from "./raw-http.ts";

/** What no document can declare for an operation: answers to what never became a request of it. */
const NEVER_ARRIVED: ReadonlySet<string> = new Set(["not_found", "method_not_allowed"]);

/** Says what is wrong with an answer, by the daemon's own document. */
export class AnswerCheck {
  readonly #document: OpenApi;
  readonly #secrets: readonly string[];
  readonly #parsers = new Map<Schema, z.ZodType>();
  readonly #operations: readonly Operation[];

  /** @param secrets what may stand in no answer */
  constructor(document: OpenApi, secrets: readonly string[]) {
    this.#document = document;
    this.#secrets = secrets;
    this.#operations = operationsOf(document);
  }

  /** The operation that a method and a target name, if any. */
  operation(method: string, target: string): Operation | undefined {
    const path = target.replace(/^[a-z]+:\/\/[^/]*/, "").split(/[?#]/)[0] ?? "";
    const asked = method === "HEAD" ? "GET" : method;
    return this.#operations.find(
      (one) => one.method === asked && new RegExp(`^${one.path.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(path),
    );
  }

  /** @param operation undefined when the request names none @returns undefined when all is well */
  fault(answer: RawAnswer, operation: Operation | undefined, head = false): string | undefined {
    const text = `${[...answer.headers].join("\n")}\n${answer.body}`;
    if (this.#secrets.some((secret) => text.includes(secret))) return "a secret is in the answer";
    if (answer.status >= 400) return this.#problemFault(answer, operation, head);
    const declared = operation?.responses[answer.status];
    if (declared === undefined) return `status ${answer.status} is not declared`;
    const schema = declared.content?.["application/json"]?.schema;
    if (schema === undefined || head) return undefined;
    const json = jsonOf(answer.body);
    if (json === undefined)
      return `no JSON, ${answer.body.length} characters: ${JSON.stringify([...answer.headers])}`;
    const parsed = this.#parser(schema).safeParse(json);
    return parsed.success ? undefined : `the body is not as declared: ${parsed.error.message.slice(0, 500)}`;
  }

  #problemFault(answer: RawAnswer, operation: Operation | undefined, head: boolean): string | undefined {
    if (answer.headers.get("content-type") !== "application/problem+json") return "no problem document";
    if (head) return undefined;
    const problem = Problem.safeParse(JSON.parse(answer.body));
    if (!problem.success) return "not a problem document";
    const { code, status } = problem.data;
    if (code === "internal") return "an internal failure";
    if (status !== answer.status || ERROR_STATUS[code] !== status)
      return `code ${code} with ${answer.status}`;
    if (operation === undefined || NEVER_ARRIVED.has(code)) return undefined;
    const declared = operation.responses[status]?.content?.["application/problem+json"]?.schema;
    const codes = declared?.properties?.code?.enum ?? [];
    return codes.includes(code) ? undefined : `${operation.operationId} does not declare ${status} ${code}`;
  }

  #parser(schema: Schema): z.ZodType {
    const made = this.#parsers.get(schema) ?? parserOf(this.#document, schema);
    this.#parsers.set(schema, made);
    return made;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
