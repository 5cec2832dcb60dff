import { afterEach, describe, expect, it } from "vitest";
import { Containers } from "../../daemon/sandbox/containers.ts";
import { EngineError, EngineUnreachable } from "../../daemon/sandbox/host.ts";
import { type Answer, type FakeEngine, fakeEngine } from "./fake-engine.ts";

const GONE = { status: 404, body: { message: "No such container" } };
const BUSY = { status: 500, body: { message: "device or resource busy" } };
const REMOVED = { status: 204 };
const THERE = {
  status: 200,
  body: {
    Id: "c",
    Name: "/c",
    Image: "i",
    State: { Running: false, Paused: false, ExitCode: 0 },
    Config: {},
  },
};

describe("removing a container", () => {
  let fake: FakeEngine | undefined;
  afterEach(() => fake?.close());

  const start = async (answer: Answer): Promise<{ containers: Containers; calls: string[] }> => {
    fake = await fakeEngine(answer);
    return { containers: new Containers(fake.engine), calls: fake.calls };
  };

  /** Answers DELETE in turn, the last one for ever; the container is there until a DELETE has succeeded. */
  const deletes = (...answers: ({ status: number } | undefined)[]): Answer => {
    let gone = false;
    return (call) => {
      if (!call.startsWith("DELETE")) return gone ? GONE : THERE;
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer?.status === 204) gone = true;
      return answer;
    };
  };

  it("S6: is done when the engine has confirmed that it is gone", async () => {
    const { containers, calls } = await start(deletes(REMOVED));
    await containers.remove("c");
    expect(calls).toEqual(["DELETE /containers/c", "GET /containers/c/json"]);
  });

  it("S6: already gone is success", async () => {
    const { containers, calls } = await start(() => GONE);
    await containers.remove("c");
    expect(calls).toEqual(["DELETE /containers/c"]);
  });

  it("S6: is tried again while the engine fails or a removal is under way", async () => {
    const underWay = { status: 409, body: { message: "removal of container c is already in progress" } };
    const { containers, calls } = await start(deletes(BUSY, underWay, REMOVED));
    await containers.remove("c");
    expect(calls.filter((call) => call.startsWith("DELETE"))).toHaveLength(3);
  });

  it("S6: a hung removal is given up at its deadline and tried again", async () => {
    const { containers, calls } = await start(deletes(undefined, REMOVED));
    await containers.remove("c", { callMs: 50 });
    expect(calls.filter((call) => call.startsWith("DELETE"))).toHaveLength(2);
  });

  it("S6: says what is left and what to do when it can't be removed", async () => {
    const { containers } = await start(deletes(BUSY));
    const removal = containers.remove("c", { withinMs: 150 });
    await expect(removal).rejects.toThrow(/c is still there \(.*busy.*\); remove it with `docker rm -f`/);
    await expect(removal).rejects.toBeInstanceOf(EngineError);
  });

  it("S6: one container whose calls hang does not hold up another", async () => {
    const { containers } = await start((call) => (call.includes("/hung") ? undefined : GONE));
    const hung = containers.remove("hung", { callMs: 400, withinMs: 400 });
    const refused = expect(hung).rejects.toBeInstanceOf(EngineError);
    const order: string[] = [];
    void hung.catch(() => order.push("hung"));
    await Promise.all(["a", "b", "c"].map((id) => containers.remove(id).then(() => order.push(id))));
    expect(order.sort()).toEqual(["a", "b", "c"]);
    await refused;
  });

  it("tells an engine that went away from one that refuses", async () => {
    const { containers } = await start((_call, request) => {
      request.socket.destroy();
      return undefined;
    });
    await expect(containers.inspect("c")).rejects.toBeInstanceOf(EngineUnreachable);
  });
});

describe("listing containers", () => {
  it("S5: believes labels, not the engine's filter", async () => {
    const one = (id: string, owner: string, kind = "sandbox") => ({
      Id: id,
      Names: [`/${id}`],
      State: "running",
      Labels: { "caisson.owner": owner, "caisson.kind": kind },
    });
    // A container that somebody made from a checkpoint image inherits its owner.
    const body = [one("mine", "me"), one("theirs", "they"), one("by-hand", "me", "checkpoint")];
    const fake = await fakeEngine(() => ({ status: 200, body }));
    try {
      const listed = await new Containers(fake.engine).list("me");
      expect(listed).toEqual([{ id: "mine", name: "mine", running: true }]);
    } finally {
      await fake.close();
    }
  });
});
