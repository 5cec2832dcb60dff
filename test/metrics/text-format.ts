/** A strict reader of Prometheus' text format 0.0.4: anything that a scraper could stumble over is an error. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,(?=.)|$)/;
const VALUE = /^(?:NaN|[+-]Inf|[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
  counter: [""],
  gauge: [""],
};

/** @throws Error naming the line that is wrong */
export function parseMetrics(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line has no line feed");
  const families = new Map<string, Family>();
  let open: { name: string; help: string; type?: string; samples: Sample[] } | undefined;
  const close = () => {
    if (!open) return;
    if (open.type === undefined) throw new Error(`${open.name} has no type`);
    if (families.has(open.name)) throw new Error(`${open.name} comes twice`);
    const family = { ...open, type: open.type };
    checkFamily(family);
    families.set(open.name, family);
  };
  for (const line of text.slice(0, -1).split("\n")) {
    if (line === "") continue;
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === "HELP") {
      close();
      if (!NAME.test(name) || rest.trim() === "") throw new Error(`bad help: ${line}`);
      open = { name, help: rest, samples: [] };
    } else if (kind === "TYPE") {
      if (open?.name !== name || open.type !== undefined || !(rest in SUFFIXES))
        throw new Error(`bad type: ${line}`);
      open.type = rest;
    } else {
      const sample = parseSample(line);
      const suffixes = SUFFIXES[open?.type ?? ""] ?? [];
      if (!open || !suffixes.some((suffix) => `${open?.name}${suffix}` === sample.name))
        throw new Error(`a sample outside its family: ${line}`);
      open.samples.push(sample);
    }
  }
  close();
  return families;
}

function parseSample(line: string): Sample {
  const [, name, labelText = "", value = ""] = SAMPLE.exec(line) ?? [];
  if (name === undefined || !VALUE.test(value)) throw new Error(`not a sample: ${line}`);
  const labels: Record<string, string> = {};
  for (let rest = labelText; rest !== ""; ) {
    const [all, label, text] = LABEL.exec(rest) ?? [];
    if (all === undefined || label === undefined || text === undefined || label in labels)
      throw new Error(`bad labels: ${line}`);
    labels[label] = text.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
    rest = rest.slice(all.length);
  }
  return { name, labels, value: Number(value.replace("Inf", "Infinity")) };
}

function checkFamily({ name, type, samples }: Family): void {
  const keys = samples.map((sample) => `${sample.name} ${keyOf(sample.labels)}`);
  if (new Set(keys).size < keys.length) throw new Error(`${name} has a sample twice`);
  if (type === "counter" && samples.some(({ value }) => !(value >= 0)))
    throw new Error(`the counter ${name} is negative`);
  if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const counts = samples.filter((sample) => sample.name === `${name}_count`);
  for (const { labels, value } of counts) {
    const buckets = samples.filter(
      (sample) => sample.name === `${name}_bucket` && keyOf(withoutBound(sample.labels)) === keyOf(labels),
    );
    const bounds = buckets.map((bucket) => Number(bucket.labels.le?.replace("+Inf", "Infinity")));
    const rising = (values: readonly number[], strictly: boolean) =>
      values.every(
        (one, at) => at === 0 || one > (values[at - 1] ?? 0) || (!strictly && one === values[at - 1]),
      );
    const values = buckets.map((bucket) => bucket.value);
    if (!rising(bounds, true) || !rising(values, false)) throw new Error(`${name}: its buckets do not rise`);
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY || values.at(-1) !== value)
      throw new Error(`${name}: its last bucket does not hold all`);
    const sum = samples.find((one) => one.name === `${name}_sum` && keyOf(one.labels) === keyOf(labels));
    if (sum === undefined) throw new Error(`${name}: there is no sum`);
  }
}

function withoutBound({ le: _, ...labels }: Readonly<Record<string, string>>): Record<string, string> {
  return labels;
}

function keyOf(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The sum of a family's samples that have these labels; 0 when there is none. Of a histogram, its counts. */
export function measured(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const family = families.get(name);
  if (!family) throw new Error(`there is no ${name}`);
  const wanted = family.type === "histogram" ? `${name}_count` : name;
  return family.samples
    .filter(
      (one) =>
        one.name === wanted && Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    )
    .reduce((sum, { value }) => sum + value, 0);
}
