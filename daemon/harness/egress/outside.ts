import type { Duplex } from "node:stream";
import type { RunSecrets } from "../../boundary/run-secrets.ts";
import type { Authority, Gatekeeper } from "../../gateway/port.ts";
import type { Policy, Registry } from "../../policy/port.ts";
import type { RunId } from "../../protocol/ids.ts";

/** How runs reach the outside: what a daemon has one of, whatever the run. */
export interface Outside {
  /** Speaks to one connection of a sandbox's, as a proxy, under the eyes of the run's own keeper. */
  serve(connection: Duplex, keeper: Gatekeeper): void;
  /** The kind of package registry that this machine's own clients have at that host. */
  registryOf(host: string, port: number): Registry | undefined;
  /** The run's own certificate authority: made when it is first asked for, kept for as long as the run is. */
  authorityOf(run: RunId): Promise<Authority>;
  /** The secrets of these policies, as far as this machine has them, and the run's own placeholders for them. */
  secretsOf(run: RunId, policies: readonly Policy[]): Promise<RunSecrets>;
}
