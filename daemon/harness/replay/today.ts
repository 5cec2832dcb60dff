import { parseCommand } from "../../policy/parse-command.ts";
import type { Policy } from "../../policy/port.ts";
import type { EventData } from "../../protocol/events.ts";
import type { ActionState, RunState } from "../../run/state.ts";
import { Budget } from "../budget.ts";
import { type AssembledContext, assembleContext } from "../context.ts";
import { Retelling } from "../conversation.ts";
import type { Dependencies } from "../dependencies.ts";
import { actionOf, injectedInto } from "../egress/verdict.ts";
import { absolutePath } from "../housekeeping.ts";
import { hydrateInput } from "../inputs.ts";
import { policiesOf } from "../policies.ts";
import { lexicalPath } from "../resolutions.ts";
import { verdictOf } from "../steps/act.ts";
import { type Plan, ToolRefusal } from "../tools/tool.ts";
import { alike } from "./compare.ts";

/** Those of the harness's means that need neither sandbox nor model. */
export type ReplayDependencies = Pick<
  Dependencies,
  "blobs" | "outside" | "policyCache" | "toolbox" | "redactor"
>;

/** What may be put in the place of what a run was made with. */
export interface Instead {
  /** Judge by these. What the model was told of its policies stays as it was. */
  readonly policies?: readonly Policy[];
  readonly prompt?: Parameters<typeof assembleContext>[1];
}

type Judged = EventData<"action.judged">;

/** Today's harness, asked what it makes of a state of a run. Of one run; keeps what it has read. */
export class Today {
  readonly deps: ReplayDependencies;
  readonly #instead: Instead;
  readonly #retelling: Retelling;
  readonly #budget = new Budget();
  #bound: readonly Policy[] | undefined;

  constructor(deps: ReplayDependencies, instead: Instead = {}) {
    this.deps = deps;
    this.#instead = instead;
    this.#retelling = new Retelling(deps.blobs);
  }

  /** Whether verdicts come from other policies than those that were bound. */
  get rebound(): boolean {
    return this.#instead.policies !== undefined;
  }

  /** The policies in force. @throws CaissonError `policy_invalid` when one can't be read any more */
  async policies(state: RunState): Promise<readonly Policy[]> {
    return this.#instead.policies ?? (await this.bound(state));
  }

  /** The policies as the journal has them; kept once they are bound. */
  async bound(state: RunState): Promise<readonly Policy[]> {
    const read = this.#bound ?? (await policiesOf({ state, deps: this.deps, policies: undefined }));
    if (state.policy) this.#bound = read;
    return read;
  }

  async context(state: RunState): Promise<AssembledContext> {
    const policies = await this.bound(state);
    const run = { state, deps: this.deps, retelling: this.#retelling, budget: this.#budget, policies };
    return assembleContext(run, this.#instead.prompt);
  }

  /** The action in normal form; paths lead where they led then. @throws ToolRefusal */
  async plan(action: ActionState, recorded: Judged | undefined): Promise<Plan> {
    const registries = action.tool === "fetch" ? await this.deps.outside?.registries() : undefined;
    const registryOf = registries?.at ?? (() => undefined);
    const policies = this.#instead.policies ?? this.#bound ?? [];
    return this.deps.toolbox.normalise(action.tool, await hydrateInput(this, action), {
      action: action.action,
      resolve: async (path) => resolvedThen(path, recorded),
      parseCommand,
      env: {},
      timeoutMs: 1,
      registryOf,
      injected: (request) => injectedInto(policies, actionOf(request, registryOf)),
      scratch: "/tmp",
      mayRead: () => () => true,
    });
  }

  /** What comes out today as it would be journalled: where it is not what the journal has, without secrets (J6). */
  journalled<T extends object>(recorded: object, got: T): T {
    const then: Readonly<Record<string, unknown>> = { ...recorded };
    const entries = Object.entries(got).map(([key, value]) => [
      key,
      alike(then[key], value) ? value : this.redacted(value),
    ]);
    return Object.fromEntries(entries) as T;
  }

  redacted<T>(value: T): T {
    return this.deps.redactor.value(value).value;
  }

  /** The verdict on the strictest of an action's parts. */
  async verdict(state: RunState, actions: Plan["policy"]): Promise<Omit<Judged, "action">> {
    return verdictOf({ state, deps: this.deps, policies: await this.policies(state) }, actions);
  }
}

/** Where a path led, by the verdict that was journalled. @throws ToolRefusal as the sandbox refused it then */
function resolvedThen(path: string, recorded: Judged | undefined): string {
  const absolute = absolutePath(path);
  if (recorded?.rule === "builtin.input" && recorded.reason.startsWith(`${path}: `))
    throw new ToolRefusal(recorded.reason);
  const { resolved } = recorded ?? {};
  const known = resolved && Object.hasOwn(resolved, path) ? resolved[path] : undefined;
  return known ?? lexicalPath(absolute);
}
