import type { Duplex } from "node:stream";
import type { Authority, Gatekeeper } from "../../gateway/port.ts";
import type { Registry } from "../../policy/port.ts";
import type { RunId } from "../../protocol/ids.ts";

/** The kind of package registry that this machine's own clients have there. */
export type RegistryOf = (at: {
  readonly host: string;
  readonly port: number;
  readonly path?: string;
}) => Registry | undefined;

/** The package registries of this machine's own clients. */
export interface KnownRegistries {
  readonly at: RegistryOf;
  /** Addresses at which a registry's host may be dialled though they are not public. */
  addresses(at: { readonly host: string; readonly port: number }): readonly string[];
  /** Where packages of a kind are found first. */
  readonly urls: Readonly<Partial<Record<Registry, string>>>;
}

/** How runs reach the outside: what a daemon has one of, whatever the run. */
export interface Outside {
  /** Speaks to one connection of a sandbox's, as a proxy, under the eyes of the run's own keeper. */
  serve(connection: Duplex, keeper: Gatekeeper): void;
  /** Asked of this machine's clients once; again a minute later at the earliest where one of them failed. */
  registries(): Promise<KnownRegistries>;
  /** The run's own certificate authority: made when it is first asked for, kept for as long as the run is. */
  authorityOf(run: RunId): Promise<Authority>;
}

/** Of policies that name none: then this machine's clients need not be asked. */
export const NO_REGISTRIES: KnownRegistries = { at: () => undefined, addresses: () => [], urls: {} };
