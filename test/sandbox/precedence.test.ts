import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Precedence } from "../../daemon/sandbox/precedence.ts";

const LONG_MS = 10_000;

describe("a sandbox's precedence", () => {
  let shares: number[];
  let engine: (shares: number) => Promise<void>;
  let busy: boolean;
  let precedence: Precedence;
  beforeEach(() => {
    vi.useFakeTimers();
    shares = [];
    engine = async () => undefined;
    busy = false;
    const weigh = (wanted: number): Promise<void> => {
      shares.push(wanted);
      return engine(wanted);
    };
    precedence = new Precedence({ weigh, busy: async () => busy });
  });
  afterEach(() => vi.useRealTimers());

  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const GAVE_WAY_AND_BACK = [64, 1_024];

  it("asks nothing of the engine for commands that are short, however many", async () => {
    for (let i = 0; i < 20; i++) {
      precedence.began();
      await pass(100);
      precedence.ended(false);
    }
    await pass(LONG_MS);
    expect(shares).toEqual([]);
  });

  it("goes when a command goes on, once, and comes back with its end", async () => {
    precedence.began();
    await pass(LONG_MS);
    expect(shares).toEqual([64]);
    precedence.ended(false);
    await pass(0);
    expect(shares).toEqual(GAVE_WAY_AND_BACK);
  });

  it("comes back when the last of several has ended", async () => {
    precedence.began();
    await pass(LONG_MS);
    precedence.began();
    precedence.ended(false);
    await pass(LONG_MS);
    expect(shares).toEqual([64]);
    precedence.ended(false);
    await pass(0);
    expect(shares).toEqual(GAVE_WAY_AND_BACK);
  });

  it("goes with what a short command left running, and comes back when a later one finds nothing of it", async () => {
    const short = async (left: boolean): Promise<void> => {
      precedence.began();
      await pass(10);
      precedence.ended(left);
    };
    busy = true;
    await short(true);
    await short(false);
    await pass(LONG_MS);
    await short(false);
    await pass(LONG_MS);
    expect(shares).toEqual([64]);
    busy = false;
    await short(false);
    await pass(0);
    expect(shares).toEqual(GAVE_WAY_AND_BACK);
  });

  it("is settled one change after the other, and is what was wanted last", async () => {
    const answers: (() => void)[] = [];
    engine = () => new Promise<void>((answer) => answers.push(answer));
    precedence.began();
    await pass(LONG_MS);
    precedence.ended(false);
    await pass(LONG_MS);
    expect(shares).toEqual([64]);
    answers.pop()?.();
    await pass(0);
    expect(shares).toEqual(GAVE_WAY_AND_BACK);
  });

  it("is set again for a command that an earlier daemon left, for nobody knows what that set", async () => {
    precedence.resumed();
    await pass(10);
    precedence.ended(false);
    await pass(0);
    expect(shares).toEqual([1_024]);
  });

  it("stays where it is when the engine refuses, and is asked for anew with the next long command", async () => {
    engine = async () => {
      throw new Error("no cgroups here");
    };
    for (let i = 0; i < 2; i++) {
      precedence.began();
      await pass(LONG_MS);
      precedence.ended(false);
      await pass(0);
    }
    expect(shares).toEqual([...GAVE_WAY_AND_BACK, ...GAVE_WAY_AND_BACK]);
  });

  it("changes no more when the sandbox is let go of", async () => {
    precedence.began();
    precedence.end();
    await pass(LONG_MS);
    expect(shares).toEqual([]);
  });
});
