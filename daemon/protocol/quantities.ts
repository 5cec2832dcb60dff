import { z } from "zod";

const DURATIONS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};
const COUNTS: Readonly<Record<string, number>> = { "": 1, k: 1e3, K: 1e3, M: 1e6 };
const COSTS: Readonly<Record<string, number>> = { "": 1, USD: 1 };

function quantity(units: Readonly<Record<string, number>>, whole: boolean, hint: string) {
  return z.union([z.number(), z.string()]).transform((value, context) => {
    const parts = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(String(value).trim());
    const factor = parts ? units[parts[2] ?? ""] : undefined;
    const result = parts && factor !== undefined ? Number(parts[1]) * factor : Number.NaN;
    if (!Number.isFinite(result) || result <= 0 || result > Number.MAX_SAFE_INTEGER) {
      context.addIssue({ code: "custom", message: `write ${hint}` });
      return z.NEVER;
    }
    return whole ? Math.round(result) : result;
  });
}

/** `"30m"`, `"500ms"`, or a number of milliseconds → milliseconds. */
export const Duration = quantity({ ...DURATIONS, "": 1 }, true, "a duration such as 500ms, 30s, 10m or 2h");
/** `"20MiB"`, `"64KiB"`, or a number of bytes → bytes. */
export const ByteSize = quantity({ ...SIZES, "": 1 }, true, "a size such as 65536, 64KiB, 20MiB or 2GiB");
/** `200`, `"2M"`, `"50k"` → a count. */
export const Count = quantity(COUNTS, true, "a whole number such as 200, 50k or 2M, above zero");
/** `"5USD"`, `0.5` → US dollars. */
export const Cost = quantity(COSTS, false, "a cost such as 5USD or 0.50USD");

/** Bytes for people to read, in the units that sizes are written in. */
export function sizeText(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"] as const) {
    const size = bytes / (SIZES[unit] ?? 1);
    if (size >= 1) return `${size >= 100 ? Math.round(size) : Number(size.toFixed(1))} ${unit}`;
  }
  return `${bytes} B`;
}
