import { expect, test } from "vitest";
import { parseMetrics } from "./text-format.ts";

const GOOD = `# HELP a_seconds A.
# TYPE a_seconds histogram
a_seconds_bucket{le="0.1",call="x"} 1
a_seconds_bucket{le="+Inf",call="x"} 2
a_seconds_sum{call="x"} 3.5
a_seconds_count{call="x"} 2

# HELP b_total B.
# TYPE b_total counter
b_total{text="quote \\" back \\\\ line \\n"} 1e3
`;

test("the strict reader reads what is well formed", () => {
  const families = parseMetrics(GOOD);
  expect(families.get("b_total")?.samples).toEqual([
    { name: "b_total", labels: { text: 'quote " back \\ line \n' }, value: 1000 },
  ]);
  expect(families.get("a_seconds")?.samples).toHaveLength(4);
});

test.each([
  ["no last line feed", GOOD.trimEnd()],
  ["a sample without its type", GOOD.replace("# TYPE b_total counter\n", "")],
  ["a sample twice", `${GOOD}b_total{text="x"} 1\nb_total{text="x"} 1\n`],
  ["a family twice", GOOD + GOOD],
  ["an unescaped quote", GOOD.replace('\\"', '"')],
  ["a label twice", GOOD.replace("{text=", '{text="",text=')],
  ["a comma too many", GOOD.replace('\\n"}', '\\n",}')],
  ["a value that is none", GOOD.replace("1e3", "many")],
  ["a negative counter", GOOD.replace("1e3", "-1")],
  ["buckets that fall", GOOD.replace('le="0.1",call="x"} 1', 'le="0.1",call="x"} 3')],
  [
    "a last bucket below the count",
    GOOD.replace('a_seconds_count{call="x"} 2', 'a_seconds_count{call="x"} 3'),
  ],
  ["a sample of another family", GOOD.replace("b_total{", "c_total{")],
])("the strict reader refuses %s", (_what, text) => {
  expect(() => parseMetrics(text)).toThrow();
});
