import { CaissonError } from "../protocol/errors.ts";
import { LimitName, type Limits } from "../protocol/limits.ts";
import type { Policy } from "./port.ts";

type Requested = { readonly [Name in keyof Limits]?: number | undefined };

/**
 * The limits in force: of each kind the lowest that a layer or the request names (P2, L1). Units as in `Limits`.
 * @throws CaissonError `limit_above_policy`: the request names more than a layer allows
 */
export function narrowLimits(layers: readonly Policy[], requested: Requested): Limits {
  const limits: Limits = {};
  const errors: { path: string; message: string }[] = [];
  for (const name of LimitName.options) {
    const allowed = layers.flatMap((policy) => policy.limits[name] ?? []);
    const highest = allowed.length > 0 ? Math.min(...allowed) : undefined;
    const wanted = requested[name];
    if (wanted !== undefined && highest !== undefined && wanted > highest)
      errors.push({ path: `limits.${name}`, message: `${wanted} is above the policy's ${highest}` });
    const value = wanted ?? highest;
    if (value !== undefined) limits[name] = value;
  }
  if (errors.length > 0)
    throw new CaissonError(
      "limit_above_policy",
      `A task's limits can only be lower than the policy's: ${errors.map((error) => `${error.path}: ${error.message}`).join("; ")}. Nothing was started; lower them, or change the policy.`,
      { errors },
    );
  return limits;
}
