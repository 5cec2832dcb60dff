/** One row of the speed table, medians unless the name says otherwise. `ratio` above 1: ours is better. */
export interface BenchRow {
  readonly name: string;
  readonly plain: number;
  readonly ours: number;
  readonly unit: string;
  readonly ratio: number;
  readonly plainP99?: number;
  readonly oursP99?: number;
}

/** A row of durations in milliseconds, from every single measurement of both sides. */
export function timesRow(name: string, plain: readonly number[], ours: readonly number[]): BenchRow {
  return {
    name,
    plain: quantile(plain, 0.5),
    ours: quantile(ours, 0.5),
    unit: "ms",
    ratio: quantile(plain, 0.5) / quantile(ours, 0.5),
    plainP99: quantile(plain, 0.99),
    oursP99: quantile(ours, 0.99),
  };
}

/** The value that the given share of all values does not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
