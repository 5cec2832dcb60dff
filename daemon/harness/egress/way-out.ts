import type { ActionId } from "../../protocol/ids.ts";
import type { GatedSandbox } from "../../sandbox/gate.ts";
import type { Fetched, NormaliseContext, OwnRequest } from "../tools/tool.ts";

/** A run's way to the outside, where its policy has one. */
export interface WayOut {
  /** Answers what the sandbox's commands connect to, for as long as the run is in it. */
  hold(sandbox: GatedSandbox): void;
  /** Variables of the run's commands: where the proxy is, whom to trust, and placeholders of secrets. */
  environment(): Promise<Readonly<Record<string, string>>>;
  /** Makes the sandbox's programs trust the run's authority. Call before any command runs in it. */
  install(sandbox: GatedSandbox): Promise<void>;
  /** What a request of the model's own must be known of before it is judged. */
  destinations(): Promise<Pick<NormaliseContext, "registryOf" | "injected">>;
  /** Sends the request that an action is, on a way of the daemon's own through the same gateway. */
  fetch(action: ActionId, request: OwnRequest): Promise<Fetched>;
  /** Closes every connection. Resolves when all requests stand in the journal as ended, or a moment has passed. */
  cut(): Promise<void>;
}
