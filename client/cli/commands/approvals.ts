import type { ApprovalId } from "../../../daemon/protocol/ids.ts";
import type { ApprovalView } from "../../../daemon/protocol/views.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type ApprovalGroup, groupsOf, handleOf, isGroupName } from "../approval-groups.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { approvalNamed } from "../names.ts";
import { summaryOf } from "../render/action.ts";
import { columnLines } from "../render/columns.ts";
import { type Line, line, type Span, span } from "../render/line.ts";
import { duration, shortApproval, shortRun } from "../render/quantities.ts";

/** `caisson approvals` */
export async function approvals(command: Command): Promise<ExitStatus> {
  const page = await (await connect(command)).approvals();
  if (command.json) await writeJson(command, page);
  else command.terminal.say(approvalLines(page.items, Date.now()));
  return EXIT.done;
}

export function approvalLines(items: readonly ApprovalView[], now: number): Line[] {
  const open = groupsOf(items);
  const standing = items.filter(({ decision }) => decision?.decision === "allow" && decision.for === "run");
  if (open.length === 0 && standing.length === 0) return [line(0, "Nothing waits for an approval.")];
  const rows = [
    ...open.flatMap((group) => askedRows(group, now)),
    ...standing.map((one) => [
      span(shortApproval(one.id), "bold"),
      span(one.revoked ? "revoked" : "for the run", one.revoked ? "dim" : "good"),
      span(one.rule, "dim"),
      span(actionText(one)),
    ]),
  ];
  return [
    ...columnLines(["approval", "state", "rule", "action"], rows),
    ...(open.length > 0
      ? [
          line(
            0,
            span("Answer with caisson approve ID [--for run] or caisson deny ID [--reason TEXT].", "dim"),
          ),
        ]
      : []),
  ];
}

/** Those alike as one, with their count, and each of them: one answer answers what is shown, and nothing else. */
function askedRows(group: ApprovalGroup, now: number): Span[][] {
  const [first] = group;
  const left = span(`asked, ${duration(Date.parse(first.expiresAt) - now)} left`, "warn");
  const handle = span(handleOf(group.map(({ id }) => id)), "bold");
  const rule = span(first.rule, "dim");
  if (group.length === 1) return [[handle, left, rule, span(actionText(first))]];
  return [
    [handle, left, rule, span(`${group.length} × ${first.tool}, alike:`)],
    ...group.map((one) => [
      span(`  ${shortApproval(one.id)}`, "dim"),
      span(""),
      span(""),
      span(actionText(one)),
    ]),
  ];
}

function actionText({ tool, input }: ApprovalView): string {
  return `${tool} ${summaryOf(tool, input)}`.slice(0, 300);
}

export interface DecideOptions {
  readonly for?: string;
  readonly reason?: string;
}

/** `caisson approve ID`, `caisson deny ID` */
export async function decide(
  command: Command,
  decision: "allow" | "deny",
  name: string,
  options: DecideOptions,
): Promise<ExitStatus> {
  const reach = options.for ?? "once";
  if (reach !== "once" && reach !== "run") throw badInput(`--for ${reach}: write once or run.`);
  const client = await connect(command);
  const reason = options.reason?.trim();
  const what =
    decision === "deny" ? "Denied" : reach === "run" ? "Allowed for the rest of the run" : "Allowed once";
  for (const id of await idsNamed(client, name)) {
    const view = await client.decideApproval(id, { decision, for: reach, ...(reason && { reason }) });
    await told(command, view, what);
  }
  return EXIT.done;
}

/** One approval, or exactly those that a group's name stands for. @throws CliError when the group is another now */
async function idsNamed(client: CaissonClient, name: string): Promise<readonly ApprovalId[]> {
  if (!isGroupName(name)) return [await approvalNamed(client, name)];
  const { items } = await client.approvals();
  const groups = groupsOf(items).map((group) => group.map(({ id }) => id));
  const found = groups.find((ids) => ids.length > 1 && handleOf(ids) === name);
  if (found) return found;
  throw badInput(
    `No approvals wait as the group ${name} any more: some were answered, or their time is over. Nothing was answered; \`caisson approvals\` lists what waits now.`,
  );
}

/** `caisson revoke ID` */
export async function revoke(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const view = await client.revokeApproval(await approvalNamed(client, name));
  return told(command, view, "Revoked; the next such action asks again");
}

async function told(command: Command, view: ApprovalView, what: string): Promise<ExitStatus> {
  if (command.json) await writeJson(command, view);
  else
    command.terminal.say([
      line(0, `${what}: ${view.tool} ${summaryOf(view.tool, view.input)}`),
      line(2, `caisson watch ${shortRun(view.run)}`),
    ]);
  return EXIT.done;
}
