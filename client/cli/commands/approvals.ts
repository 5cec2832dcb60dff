import type { ApprovalView } from "../../../daemon/protocol/views.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { approvalNamed } from "../names.ts";
import { summaryOf } from "../render/action.ts";
import { columnLines } from "../render/columns.ts";
import { type Line, line, span } from "../render/line.ts";
import { duration, shortApproval, shortRun } from "../render/quantities.ts";

/** `caisson approvals` */
export async function approvals(command: Command): Promise<ExitStatus> {
  const page = await (await connect(command)).approvals();
  if (command.json) await writeJson(command, page);
  else command.terminal.say(approvalLines(page.items, Date.now()));
  return EXIT.done;
}

export function approvalLines(items: readonly ApprovalView[], now: number): Line[] {
  const open = items.filter(({ decision }) => decision === undefined);
  const standing = items.filter(({ decision }) => decision?.decision === "allow" && decision.for === "run");
  if (open.length === 0 && standing.length === 0) return [line(0, "Nothing waits for an approval.")];
  const rows = [...open, ...standing].map((one) => [
    span(shortApproval(one.id), "bold"),
    span(
      one.decision ? "for the run" : `asked, ${duration(Date.parse(one.expiresAt) - now)} left`,
      one.decision ? "good" : "warn",
    ),
    span(one.rule, "dim"),
    span(`${one.tool} ${summaryOf(one.tool, one.input)}`.slice(0, 300)),
  ]);
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
  const id = await approvalNamed(client, name);
  const reason = options.reason?.trim();
  const view = await client.decideApproval(id, { decision, for: reach, ...(reason && { reason }) });
  return told(
    command,
    view,
    decision === "deny" ? "Denied" : reach === "run" ? "Allowed for the rest of the run" : "Allowed once",
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
