import fc from "fast-check";
import { type OpenApi, resolved, type Schema } from "./openapi.ts";

/** Characters of a string that fits, however long a schema lets it be. */
const USUAL_CHARACTERS = 60;

/** Values that fit a schema. */
export function fitting(document: OpenApi, given: Schema): fc.Arbitrary<unknown> {
  const schema = resolved(document, given);
  const inner = (one: Schema) => fitting(document, one);
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return fc.oneof(...options.map(inner));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  const types = schema.type === undefined ? ["any"] : [schema.type].flat();
  return fc.oneof(...types.map((type) => ofType(type, schema, inner)));
}

function ofType(type: string, schema: Schema, inner: (one: Schema) => fc.Arbitrary<unknown>) {
  switch (type) {
    case "string":
      return schema.pattern === undefined ? text(schema) : fc.stringMatching(new RegExp(schema.pattern));
    case "integer":
    case "number":
      return fc.integer({ min: schema.minimum ?? 0, max: Math.min(schema.maximum ?? 1e6, 1e6) });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(inner(schema.items ?? {}), { maxLength: Math.min(schema.maxItems ?? 3, 3) });
    case "object":
      return fc.record(
        Object.fromEntries(Object.entries(schema.properties ?? {}).map(([key, one]) => [key, inner(one)])),
        { requiredKeys: [...(schema.required ?? [])] },
      );
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function text(schema: Schema): fc.Arbitrary<string> {
  const maxLength = Math.min(schema.maxLength ?? USUAL_CHARACTERS, USUAL_CHARACTERS);
  return fc.string({ unit: "binary", minLength: schema.minLength ?? 0, maxLength });
}

/** Values that fit nothing in particular. */
export const odd: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(null, true, -1, 0, 1.5, 1e308, -0, Number.MAX_SAFE_INTEGER + 2, "", "\0", "\u0000*", "*"),
  fc.constantFrom("\ud800", "\u202e", "../../etc/passwd", "__proto__", "constructor", "[object Object]"),
  fc.constantFrom([], {}, [[]], [null], { blob: "a".repeat(64), bytes: 1, preview: "" }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.jsonValue({ maxDepth: 3 }),
);

/** Values one step away from fitting: something of another type, left out, or put in. */
export function nearly(document: OpenApi, schema: Schema): fc.Arbitrary<unknown> {
  const step = fc.constantFrom("replace", "remove", "add", "lengthen");
  return fc
    .tuple(fitting(document, schema), step, fc.nat(), odd)
    .map(([value, how, at, other]) => changed(value, how, at, other));
}

type Place = { readonly holder: Record<string, unknown>; readonly key: string };

function changed(value: unknown, how: string, at: number, other: unknown): unknown {
  const root: Record<string, unknown> = { root: structuredClone(value) };
  const places = [...placesIn(root)];
  const place = places[at % places.length];
  if (place === undefined) return other;
  const { holder, key } = place;
  const here = holder[key];
  if (how === "remove" && holder !== root) delete holder[key];
  else if (how === "lengthen") holder[key] = typeof here === "string" ? here.repeat(2_000) : other;
  else if (how === "add" && typeof here === "object" && here !== null)
    Reflect.set(here, at % 2 === 0 ? "__proto__x" : "extra", other);
  else holder[key] = other;
  return root.root;
}

function* placesIn(holder: object): Generator<Place> {
  for (const [key, value] of Object.entries(holder)) {
    yield { holder: holder as Record<string, unknown>, key };
    if (typeof value === "object" && value !== null) yield* placesIn(value);
  }
}
