import type { CommandWord, PolicyAction, SimpleCommand } from "../../policy/port.ts";
import type { EventData } from "../../protocol/events.ts";
import { countedUse } from "../../run/family.ts";
import type { ActionState } from "../../run/state.ts";
import type { LiveRun } from "../live-run.ts";
import { type Plan, ToolRefusal } from "../tools/tool.ts";
import { planOf, verdictOn } from "./act.ts";

/** Approvals that are asked as one: as many as a person looks through. */
const MOST_ALIKE = 20;

/** Programs whose first word says what they do, as in `git push`; of others it is what they do it to. */
const SUBCOMMANDED: ReadonlySet<string> = new Set(
  "git gh npm npx pnpm yarn pip cargo go docker kubectl terraform make apt apt-get systemctl".split(" "),
);

/** An action that is going to be asked for. */
export interface Asking {
  readonly action: ActionState;
  readonly plan: Plan;
  readonly verdict: Omit<EventData<"action.judged">, "action">;
}

/**
 * The later actions of this turn that ask as this one does: by the same rule, with the same tool and a command of
 * the same shape. They are asked together with it, so that a person answers many as one. Each gets an approval of
 * its own, bound to exactly that action; when its turn comes it is brought into normal form again and compared.
 */
export async function askingAlike(run: LiveRun, first: ActionState, plan: Plan): Promise<Asking[]> {
  const { asks } = countedUse(run.state, run.deps.families.beside(run.run));
  const asksLeft = (run.state.policy?.limits.asks ?? Number.POSITIVE_INFINITY) - asks;
  const room = Math.min(MOST_ALIKE, asksLeft) - 1;
  const shape = shapeOf(plan.policy);
  const alike: Asking[] = [];
  for (const action of run.state.branch.actions) {
    if (alike.length >= room) break;
    if (action.stage !== "proposed" || action.tool !== first.tool) continue;
    const asking = await askingOf(run, action);
    if (asking?.verdict.rule !== first.verdict?.rule || asking?.verdict.verdict !== "ask") continue;
    if (shapeOf(asking.plan.policy) === shape) alike.push(asking);
  }
  return alike;
}

/** Undefined for an input that makes no sense: that is told when its turn comes. */
async function askingOf(run: LiveRun, action: ActionState): Promise<Asking | undefined> {
  try {
    const plan = await planOf(run, action);
    return { action, plan, verdict: await verdictOn(run, plan) };
  } catch (error) {
    if (error instanceof ToolRefusal) return undefined;
    throw error;
  }
}

/** What actions that look the same to a person have in common: the programs, what they are told to do, their flags. */
function shapeOf(actions: readonly PolicyAction[]): string {
  return JSON.stringify(
    actions.map((action) =>
      action.kind === "exec"
        ? ["exec", action.cwd, ...action.command.commands.map(shapeOfCommand)]
        : [action.kind, action.tool],
    ),
  );
}

function shapeOfCommand({ argv, redirects, assignments }: SimpleCommand): unknown {
  const [program, ...words] = argv ?? [];
  const flags = words.filter((word) => typeof word === "string" && word.startsWith("-")).map(flagName);
  return [
    program ?? null,
    typeof program === "string" && SUBCOMMANDED.has(program) && typeof words[0] === "string"
      ? words[0]
      : null,
    [...new Set(flags)].sort(),
    redirects.map(({ operator }) => operator),
    Object.keys(assignments).sort(),
  ];
}

function flagName(word: CommandWord): string {
  return String(word).split("=")[0] ?? "";
}
