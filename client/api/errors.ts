import { CaissonError, Problem } from "../../daemon/protocol/errors.ts";

/** No daemon answers at the address, or not in time. Nothing is known of what it did with the request. */
export class DaemonUnreachable extends Error {
  override readonly name = "DaemonUnreachable";
}

/** Something answered that doesn't speak our protocol, or a daemon newer than this client. */
export class UnexpectedAnswer extends Error {
  override readonly name = "UnexpectedAnswer";
}

/** Longest foreign text that goes into a message, in characters. */
const QUOTED = 200;

/** The error that an answer's text stands for: a CaissonError when it is a problem document. */
export function errorOf(status: number, text: string, address: string): CaissonError | UnexpectedAnswer {
  const problem = Problem.safeParse(jsonOf(text));
  if (problem.success) {
    const { code, detail, errors } = problem.data;
    return new CaissonError(code, detail, errors === undefined ? {} : { errors });
  }
  const quoted = text.slice(0, QUOTED).replaceAll(/[^\x20-\x7e]/g, "?");
  return new UnexpectedAnswer(
    `${address} answered ${status} with what is no error of ours (${quoted || "nothing"}). Is another program listening there, or a daemon of another version?`,
  );
}

export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `ECONNREFUSED` and its like, wherever Node hid it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.cause === undefined ? error.message : reasonOf(error.cause);
}
