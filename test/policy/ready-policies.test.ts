import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";
import { policySchema } from "../../daemon/policy/schema.ts";

const folder = new URL("../../policies/", import.meta.url);
const ready = readdirSync(folder).filter((file) => file.endsWith(".yaml"));
const text = (file: string) => readFileSync(new URL(file, folder), "utf8");

test("there are ready policies for what people mostly do", () => {
  expect(ready).toEqual([
    "coding-online.yaml",
    "coding.yaml",
    "observe.yaml",
    "research.yaml",
    "strict.yaml",
  ]);
});

test.each(ready)("%s passes its tests, and each of its rules is touched by one", (file) => {
  expect(checkPolicy(text(file))).toMatchObject({ ok: true, errors: [], warnings: [], untouched: [] });
});

test.each(ready)("%s tells editors its schema", (file) => {
  expect(text(file).split("\n")[0]).toBe("# yaml-language-server: $schema=./policy.schema.json");
});

test("the published schema is the one that is made today: npx tsx test/fixtures/make-policy-schema.ts", () => {
  expect(JSON.parse(text("policy.schema.json"))).toEqual(policySchema());
});

/** Every key of the document that has no description, by its path. */
function undescribed(schema: unknown, path: string): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]): string[] => {
    if (key !== "properties") return undescribed(value, path);
    return Object.entries(value as object).flatMap(([name, property]) => {
      const own = typeof property.description === "string" ? [] : [`${path}.${name}`];
      return [...own, ...undescribed(property, `${path}.${name}`)];
    });
  });
}

test("the schema describes every key for whoever writes one", () => {
  expect(undescribed(policySchema(), "")).toEqual([]);
});
