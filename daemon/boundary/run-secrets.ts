/** A run's secrets: their values for the daemon, their placeholders for everything else (S3). */
import { hostPattern } from "../policy/host-pattern.ts";
import { parseTarget } from "../policy/http-target.ts";
import type { Policy, SecretSource } from "../policy/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import { Inspecting, type Inspection, type Watched } from "./inspection.ts";
import { type Canaries, canariesOf, placeholderOf } from "./placeholders.ts";
import { type Redactor, SecretsRefused } from "./redaction.ts";

/** Where the values of secrets come from. */
export interface SecretValues {
  /**
   * The value that `env:NAME` or `file:NAME` names.
   * @throws SecretsRefused when there is none, or it may not be used
   */
  value(from: string): Promise<string>;
}

interface RunSecret extends Watched {
  readonly source: SecretSource;
}

/** What a run's secrets come to where it meets the outside. */
export interface RunSecrets {
  /** Whether the policy names any. */
  readonly any: boolean;
  /** Variables of its commands: placeholders where secrets would be, and a canary. */
  readonly environment: Readonly<Record<string, string>>;
  /** A file that is there to be noticed when its content leaves; its path is relative to the home folder. */
  readonly canary: Canaries["file"] | undefined;
  readonly inspection: Inspection;
  /** Aborted when a canary is on its way out, with a sentence that says so: the run is to end. */
  readonly taken: AbortSignal;
  /** The headers that carry these secrets to where they are for. */
  headers(
    names: readonly string[],
    request: { readonly method: string; readonly url: string },
  ): Readonly<Record<string, string>>;
}

export interface SecretStoreParts {
  readonly values: SecretValues;
  readonly redactor: Redactor;
  /** What only this daemon's home has: placeholders are made from it. */
  readonly key: string;
  /** Whether runs with a network get canaries. */
  readonly canaries: boolean;
}

type Layers = readonly Pick<Policy, "layer" | "secrets" | "rules">[];

/** Finds the values that policies name, and has them kept from everything that leaves the daemon (J6). */
export class SecretStore {
  readonly #parts: SecretStoreParts;

  constructor(parts: SecretStoreParts) {
    this.#parts = parts;
  }

  /**
   * The secrets that these policies name. Redacted wherever they turn up from then on. A project's policy names none:
   * it comes with the workspace.
   * @throws CaissonError `policy_invalid` naming the secret that is not there or can't be used
   */
  async bind(run: string, policies: Layers): Promise<RunSecrets> {
    const { redactor, key, canaries } = this.#parts;
    const secrets = await this.#resolved(run, policies);
    learned(redactor, secrets);
    const hasNetwork = policies.some(({ rules }) => rules.network !== undefined);
    const planted = canaries && hasNetwork ? canariesOf(key, run) : undefined;
    const taken = new AbortController();
    return {
      any: secrets.length > 0,
      environment: { ...planted?.environment, ...variablesOf(secrets) },
      canary: planted?.file,
      inspection: new Inspecting(redactor, secrets, planted?.values ?? [], (reason) => taken.abort(reason)),
      taken: taken.signal,
      headers: (names, request) => headersOf(secrets, names, request),
    };
  }

  async #resolved(run: string, policies: Layers): Promise<RunSecret[]> {
    const secrets = new Map<string, RunSecret>();
    for (const { layer, secrets: named } of policies) {
      if (layer === "project") continue;
      for (const [name, source] of Object.entries(named)) {
        const known = secrets.get(name);
        secrets.set(name, known ? narrowed(known, source) : await this.#secret(run, name, source));
      }
    }
    return [...secrets.values()];
  }

  async #secret(run: string, name: string, source: SecretSource): Promise<RunSecret> {
    const value = await this.#parts.values.value(source.from).catch((error: unknown) => {
      throw refused(error, name);
    });
    if (/[\0\r\n]/.test(value))
      throw refused(new SecretsRefused("it has more than one line, and goes into a header"), name);
    return {
      name,
      value,
      placeholder: placeholderOf(this.#parts.key, run, name),
      source,
      isFor: hostsOf(source),
    };
  }
}

/** Two layers that name the same secret have to mean the same: it is for hosts that both name. */
function narrowed(known: RunSecret, source: SecretSource): RunSecret {
  if (known.source.from !== source.from || known.source.header !== source.header)
    throw refused(new SecretsRefused("two layers of the policy say it differently"), known.name);
  const isFor = hostsOf(source);
  return { ...known, isFor: (host) => known.isFor(host) && isFor(host) };
}

function hostsOf({ hosts }: SecretSource): (host: string) => boolean {
  const patterns = hosts.map(hostPattern);
  return (host) => patterns.some((matches) => typeof matches === "function" && matches(host));
}

function learned(redactor: Redactor, secrets: readonly RunSecret[]): void {
  try {
    redactor.learn(secrets.map(({ name, value }) => ({ name, value })));
  } catch (error) {
    throw refused(error, secrets.map(({ name }) => name).join(", "));
  }
}

function refused(error: unknown, name: string): unknown {
  if (!(error instanceof SecretsRefused)) return error;
  return new CaissonError("policy_invalid", `The policy's secret ${name} can't be used: ${error.message}.`);
}

/** What a program would look for in its environment is there, as a placeholder. */
function variablesOf(secrets: readonly RunSecret[]): Record<string, string> {
  const named = secrets.filter(({ source }) => source.from.startsWith("env:"));
  return Object.fromEntries(named.map(({ source, placeholder }) => [source.from.slice(4), placeholder]));
}

function headersOf(
  secrets: readonly RunSecret[],
  names: readonly string[],
  { method, url }: { readonly method: string; readonly url: string },
): Record<string, string> {
  const target = parseTarget(method, url);
  if ("refused" in target) return {};
  const wanted = secrets.filter(({ name, isFor }) => names.includes(name) && isFor(target.host));
  return Object.fromEntries(wanted.map(headerOf));
}

function headerOf({ source: { header }, value }: RunSecret): [name: string, value: string] {
  const colon = header.indexOf(":");
  return [
    header.slice(0, colon).trim().toLowerCase(),
    header
      .slice(colon + 1)
      .trim()
      .replace("{}", () => value),
  ];
}
