import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import { addressProblem, settledAddress } from "./addresses.ts";
import { RequestRefused, TooLate } from "./refusal.ts";

export type Lookup = (host: string) => Promise<readonly string[]>;

export async function lookupBySystem(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true, verbatim: true })).map(({ address }) => address);
}

/**
 * The addresses a host stands for, resolved once; those that may not be dialled are left out.
 * @param named ranges that may be dialled though they are not public
 * @throws {RequestRefused} when none may be
 * @throws {Error} when nobody resolves it, and no rule settles its address
 */
export async function addressesOf(
  host: string,
  named: readonly string[],
  lookup: Lookup,
  deadlineMs: number,
): Promise<readonly string[]> {
  const literal = literalOf(host);
  const found = isIP(literal) ? [literal] : await resolved(host, named, lookup, deadlineMs);
  const problems = found.map((address) => addressProblem(address, named));
  const good = found.filter((_, i) => problems[i] === undefined);
  if (good.length > 0) return good;
  throw new RequestRefused({
    rule: "gateway.address",
    reason: `${host} is no public address, and no rule that allows the request names it: ${problems.join("; ")}`,
  });
}

/** An address as sockets take it: without brackets. */
export function literalOf(host: string): string {
  return host.replace(/^\[|\]$/g, "");
}

async function resolved(
  host: string,
  named: readonly string[],
  lookup: Lookup,
  deadlineMs: number,
): Promise<readonly string[]> {
  try {
    const found = await within(lookup(host), deadlineMs, `resolving ${host}`);
    if (found.length > 0) return found;
  } catch (error) {
    const settled = settledAddress(named);
    if (settled !== undefined) return [settled];
    throw new Error(`${host} can't be resolved (${error instanceof Error ? error.message : String(error)})`);
  }
  throw new Error(`${host} has no address`);
}

/** @throws {TooLate} */
export function within<T>(work: Promise<T>, deadlineMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TooLate(`${what} took over ${deadlineMs} ms`)), deadlineMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
