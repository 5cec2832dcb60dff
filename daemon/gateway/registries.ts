import { execFile } from "node:child_process";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { promisify } from "node:util";
import { z } from "zod";
import { parseTarget } from "../policy/http-target.ts";
import type { Registry } from "../policy/port.ts";
import { addressProblem } from "./addresses.ts";
import { type Lookup, literalOf, lookupBySystem, within } from "./resolve.ts";

/** Where a package manager gets packages from. */
export interface RegistryHost {
  readonly scheme: "http" | "https";
  /** As in a parsed target. */
  readonly host: string;
  readonly port: number;
  /** The path below which it lies, with a slash at its end. */
  readonly base: string;
  /**
   * Those of its addresses that are not public. Who configured a registry in the company's network, or on this
   * machine, has named it: it may be dialled there.
   */
  readonly addresses: readonly string[];
}

/** The registries of this machine's own package managers, as they are configured for the user of the daemon. */
export interface Registries extends Readonly<Record<Registry, readonly RegistryHost[]>> {
  /** What could not be read, for people: a rule of that registry then matches nothing. */
  readonly problems: readonly string[];
}

/** Runs a program to its end. @throws when it is not there, fails or takes too long */
export type RunClient = (program: string, args: readonly string[]) => Promise<string>;

/** Clients start in a quarter of a second; on a loaded machine in several. */
const DEADLINE_MS = 20_000;
const RESOLVE_MS = 5_000;
const MOST_OUTPUT = 1024 * 1024;

/**
 * What pip itself would use, its own default included: asked of it, since the defaults are pip's to know. Files lie
 * on a host of their own there, which its index pages link to.
 */
const ASK_PIP = `
import json
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
found = Configuration(isolated=False)
found.load()
print(json.dumps({"values": {k: str(v) for k, v in found.items()}, "index": PyPI.simple_url, "files": PyPI.file_storage_domain}))
`;
const PipAnswer = z.object({
  values: z.record(z.string(), z.string()),
  index: z.string(),
  files: z.string(),
});
const NpmAnswer = z.record(z.string(), z.unknown());
/** uv's own names for what pip has, each one or several URLs, some with a name before them. */
const UV_INDEXES = ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"];

/** @param env of the clients, and read for those that are told by variables alone */
function runClientIn(env: NodeJS.ProcessEnv): RunClient {
  const run = promisify(execFile);
  return async (program, args) => {
    // In the home folder: a project's own configuration, which an agent may have written, is not this machine's.
    const options = { cwd: homedir(), env, timeout: DEADLINE_MS, maxBuffer: MOST_OUTPUT };
    return (await run(program, [...args], options)).stdout;
  };
}

/**
 * Asks this machine's clients for their registries. Never throws: of a client that is missing or can't be understood
 * there are none.
 */
export async function readRegistries(
  env: NodeJS.ProcessEnv,
  run: RunClient = runClientIn(env),
  lookup: Lookup = lookupBySystem,
): Promise<Registries> {
  const [npm, pypi] = await Promise.allSettled([npmUrls(run), pypiUrls(run, env)]);
  const hosts = async (settled: PromiseSettledResult<readonly string[]>) => {
    const found = settled.status === "fulfilled" ? distinct(settled.value.flatMap(hostOf)) : [];
    return Promise.all(
      found.map(async (one) => ({ ...one, addresses: await privateOnes(one.host, lookup) })),
    );
  };
  const problem = (client: string, settled: PromiseSettledResult<unknown>) =>
    settled.status === "fulfilled"
      ? []
      : [`${client} could not be asked for its registries: ${shortly(settled.reason)}`];
  const problems = [...problem("npm", npm), ...problem("pip", pypi)];
  return { npm: await hosts(npm), pypi: await hosts(pypi), problems };
}

/** None of what can't be resolved now: it will have to be public then. */
async function privateOnes(host: string, lookup: Lookup): Promise<string[]> {
  const literal = literalOf(host);
  const found = isIP(literal)
    ? [literal]
    : await within(lookup(host), RESOLVE_MS, "resolving").catch(() => []);
  return found.filter((address) => addressProblem(address, []) !== undefined);
}

/** The addresses that may be dialled for a registry's host though they are not public. */
export function registryAddresses(
  registries: Registries,
  { host, port }: { readonly host: string; readonly port: number },
): string[] {
  const all = [...registries.npm, ...registries.pypi];
  return all.filter((one) => one.host === host && one.port === port).flatMap(({ addresses }) => addresses);
}

/**
 * The kind of registry that has this host and port. Where one host is several, the path tells which: the one with the
 * longest base before it.
 */
export function registryAt(
  registries: Registries,
  { host, port, path = "/" }: { readonly host: string; readonly port: number; readonly path?: string },
): Registry | undefined {
  const lengths = KINDS.flatMap((kind) =>
    registries[kind]
      .filter((one) => one.host === host && one.port === port)
      .map(({ base }) => ({ kind, length: path.startsWith(base) ? base.length : 0 })),
  );
  return lengths.sort((one, other) => other.length - one.length)[0]?.kind;
}

const KINDS: readonly Registry[] = ["npm", "pypi"];

async function npmUrls(run: RunClient): Promise<string[]> {
  const answer = NpmAnswer.parse(JSON.parse(await run("npm", ["config", "ls", "--long", "--json"])));
  // The registry itself first: scopes are beside it.
  const keys = ["registry", ...Object.keys(answer).filter((key) => key.endsWith(":registry"))];
  return keys.flatMap((key) => {
    const url = answer[key];
    return typeof url === "string" ? [url] : [];
  });
}

async function pypiUrls(run: RunClient, env: NodeJS.ProcessEnv): Promise<string[]> {
  const { values, index, files } = PipAnswer.parse(JSON.parse(await run("python3", ["-c", ASK_PIP])));
  const named = (ending: string) =>
    Object.entries(values).flatMap(([key, value]) => (key.endsWith(`.${ending}`) ? value.split(/\s+/) : []));
  const main = named("index-url").length > 0 ? named("index-url") : [index];
  const uv = UV_INDEXES.flatMap((name) => env[name]?.split(/\s+/) ?? []).map((url) =>
    url.replace(/^[\w-]+=/, ""),
  );
  const urls = [...main, ...named("extra-index-url"), ...named("find-links"), ...uv];
  const [own] = hostOf(index);
  return urls.some((url) => hostOf(url)[0]?.host === own?.host) ? [...urls, `https://${files}/`] : urls;
}

/** None for what is no web address: a folder, or nothing. */
function hostOf(url: string): Omit<RegistryHost, "addresses">[] {
  const bare = url.replace(/^(https?:\/\/)[^/@]*@/i, "$1");
  const target = parseTarget("GET", bare);
  if ("refused" in target) return [];
  const { scheme, host, port, path } = target;
  return [{ scheme, host, port, base: path.replace(/\/*$/, "/") }];
}

function distinct<Host>(hosts: readonly Host[]): Host[] {
  return [...new Map(hosts.map((one) => [JSON.stringify(one), one])).values()];
}

/** Of a client's failure its first line: the rest may quote a configuration, credentials included. */
function shortly(reason: unknown): string {
  const [line = ""] = (reason instanceof Error ? reason.message : String(reason)).split("\n");
  return line.slice(0, 200);
}

/** Where a client in a sandbox finds the packages of each kind: as this machine's own client is told. */
export function registryUrls(registries: Registries): Readonly<Partial<Record<Registry, string>>> {
  return Object.fromEntries(
    KINDS.flatMap((kind) => {
      const [first] = registries[kind];
      return first ? [[kind, new URL(first.base, `${first.scheme}://${first.host}:${first.port}`).href]] : [];
    }),
  );
}
