import { z } from "zod";
import { PolicyDocument } from "./document.ts";

/** The JSON Schema of a policy document as a person writes it, for editors. What it can't say `policy check` does. */
export function policySchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(PolicyDocument, { io: "input", reused: "inline" });
  return { $schema, title: "Caisson policy, version 1", ...schema };
}
