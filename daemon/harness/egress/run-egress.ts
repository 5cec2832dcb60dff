import type { Duplex } from "node:stream";
import { anySignal } from "../../protocol/any-signal.ts";
import type { ActionId } from "../../protocol/ids.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import { madeRequest } from "../../run/requests.ts";
import { type GatedSandbox, SandboxLost } from "../../sandbox/gate.ts";
import type { LiveRun } from "../live-run.ts";
import { policiesOf } from "../policies.ts";
import type { Fetched, NormaliseContext, OwnRequest } from "../tools/tool.ts";
import { type Own, rulesAsking } from "./deciding.ts";
import { ENVIRONMENT, install, registryVariables, trustBySystem } from "./files.ts";
import { Keeper, type Keeping } from "./keeper.ts";
import { Meter } from "./meter.ts";
import { NO_REGISTRIES } from "./outside.ts";
import { sendOver } from "./own-request.ts";
import { pair } from "./pair.ts";
import { Refusals } from "./refusals.ts";
import { actionOf, injectedInto, nameRegistries } from "./verdict.ts";
import type { WayOut } from "./way-out.ts";

/** Milliseconds that requests have to be journalled as ended when their connections are closed. */
const CUT_MS = 1_000;

/** The way out of one run's sandboxes: nothing leaves them by another. Without a section `network` there is none. */
export class RunEgress implements WayOut {
  readonly #run: LiveRun;
  readonly #meter: Meter;
  readonly #refusals = new Refusals();
  readonly #connections = new Set<Duplex>();
  #keeping: Promise<Keeping | undefined> | undefined;

  constructor(run: LiveRun) {
    this.#run = run;
    this.#meter = new Meter(run);
  }

  hold(sandbox: GatedSandbox): void {
    if (!this.#run.deps.outside) return;
    sandbox.onConnection((connection) => {
      void this.#serve(connection, () => this.#run.sandbox === sandbox);
    });
  }

  async environment(): Promise<Readonly<Record<string, string>>> {
    const keeping = await this.#kept();
    if (!keeping) return {};
    return { ...ENVIRONMENT, ...registryVariables(keeping.registries.urls), ...keeping.secrets.environment };
  }

  async install(sandbox: GatedSandbox): Promise<void> {
    const keeping = await this.#kept();
    if (!keeping) return;
    const bundle = await install(sandbox, keeping.authority, keeping.secrets);
    await trustBySystem(sandbox, bundle).catch((error: unknown) => {
      if (error instanceof SandboxLost) throw error;
      const { run, deps } = this.#run;
      const why = "programs that read no variables will not trust the run's gateway";
      deps.log.warn({ run, error: String(error) }, why);
    });
  }

  async destinations(): Promise<Pick<NormaliseContext, "registryOf" | "injected">> {
    const keeping = await this.#kept();
    if (!keeping) return { registryOf: () => undefined, injected: () => new Set() };
    const { policies } = keeping;
    const registryOf = keeping.registries.at;
    return { registryOf, injected: (request) => injectedInto(policies, actionOf(request, registryOf)) };
  }

  async fetch(action: ActionId, request: OwnRequest): Promise<Fetched> {
    const keeping = await this.#kept();
    if (!keeping) return { refused: "The policy lets nothing leave the sandbox; nothing was sent." };
    const { signal } = this.#run;
    const stop = new AbortController();
    // A request in the daemon needs no sandbox: that one is lost does not stop it.
    const stopped = () =>
      signal.reason !== "lost" && stop.abort(new Error(`the run was stopped (${signal.reason})`));
    if (signal.aborted) stopped();
    signal.addEventListener("abort", stopped, { once: true });
    const [ours, theirs] = pair();
    ours.on("error", () => undefined);
    const told: { refusal?: Verdict } = {};
    void this.#serve(theirs, () => true, {
      ...ownOf(this.#run, action),
      refused: (said) => {
        told.refusal = said;
      },
    });
    try {
      const late = AbortSignal.timeout(request.deadlineMs);
      const fetched = await sendOver(ours, request, anySignal([stop.signal, late]));
      return told.refusal ? refusedBy(told.refusal) : fetched;
    } catch (error) {
      if (this.#run.stopping) throw error;
      return told.refusal
        ? refusedBy(told.refusal)
        : { refused: `${messageOf(error)} ${this.#sent(action)}` };
    } finally {
      signal.removeEventListener("abort", stopped);
    }
  }

  #sent(action: ActionId): string {
    return madeRequest(this.#run.state, action)
      ? "The request may have been sent and have had its effect."
      : "The request was not sent.";
  }

  async cut(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    const { deps } = this.#run;
    const until = deps.now() + CUT_MS;
    for (let left = CUT_MS; left > 0; left = until - deps.now()) {
      const { open, asked } = this.#run.state.requests;
      if (open.size === 0 && asked.size === 0) return;
      await this.#run.woken(left);
    }
  }

  async #serve(connection: Duplex, wanted: () => boolean, own?: Own): Promise<void> {
    // Whoever reads it learns of its end; without a listener an error would end the daemon.
    connection.on("error", () => undefined);
    this.#connections.add(connection);
    connection.once("close", () => this.#connections.delete(connection));
    try {
      const keeping = await this.#kept();
      const { state, stopping, deps } = this.#run;
      if (!keeping || !wanted() || state.ended || stopping) return void connection.destroy();
      deps.outside?.serve(connection, new Keeper(keeping, own));
    } catch (error) {
      const { log } = this.#run.deps;
      log.error({ run: this.#run.run, error: String(error) }, "a sandbox's connection could not be served");
      connection.destroy();
    }
  }

  #kept(): Promise<Keeping | undefined> {
    this.#keeping ??= this.#made().catch((error: unknown) => {
      this.#keeping = undefined;
      throw error;
    });
    return this.#keeping;
  }

  async #made(): Promise<Keeping | undefined> {
    const run = this.#run;
    const { outside } = run.deps;
    const policies = await policiesOf(run);
    if (!outside || policies.every(({ rules }) => rules.network === undefined)) return undefined;
    const authority = await run.whenRoom(() => outside.authorityOf(run.run));
    // A fork goes on with its parent's files and variables: what stands for secrets in them stays what it was.
    const origin = run.state.inherited?.first.data.run ?? run.run;
    const secrets = await run.deps.secrets.bind(origin, policies);
    const registries = nameRegistries(policies) ? await outside.registries() : NO_REGISTRIES;
    return {
      run,
      registries,
      policies,
      secrets,
      authority,
      meter: this.#meter,
      refusals: this.#refusals,
    };
  }
}

/** What was answered for the action is answered for its request. */
function ownOf({ run, state }: LiveRun, action: ActionId): Own {
  const found = [...state.again, ...state.branch.actions].find((one) => one.action === action);
  const { verdict } = found ?? {};
  if (verdict?.verdict !== "ask") return { action, answered: undefined };
  return { action, answered: { approval: approvalIdOf(run, action), rules: rulesAsking(verdict) } };
}

function refusedBy({ rule, reason }: Verdict): Fetched {
  return { refused: `Denied by rule ${rule}: ${reason} Nothing was sent.` };
}

function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return `The request failed: ${text}.`;
}
