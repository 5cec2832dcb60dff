/** THREATS 16 and 21: which addresses are dialled, whatever a name leads to. */
import { networkInterfaces } from "node:os";
import { afterEach, describe, expect, it } from "vitest";
import { addressProblem, settledAddress } from "../../daemon/gateway/addresses.ts";
import { type Host, plainHost, proxy } from "./hosts.ts";
import { keeperUnderTest } from "./keeper.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

describe("an address that is not public is refused unless a rule names it", () => {
  it.each([
    "0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255",
    "192.0.0.192 192.0.2.1 192.31.196.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1",
    "239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::ffff:10.0.0.1",
    "64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:20::1 2001:db8::1 2002:7f00:1::1",
    "2002:808:808::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 ::ffff:0:127.0.0.1",
  ])("%s", (addresses) => {
    for (const one of addresses.split(" ")) expect([one, addressProblem(one, [])]).not.toContain(undefined);
  });

  it("so is what is no address, and one of this machine's own", () => {
    for (const one of ["", "localhost", "1.2.3", "127.1", "fe80::1%eth0"])
      expect(addressProblem(one, [])).toBeDefined();
    for (const list of Object.values(networkInterfaces())) {
      for (const { address } of list ?? []) expect(addressProblem(address, [])).toBeDefined();
    }
    expect(addressProblem("8.8.8.8", [], ["8.8.8.8"])).toContain("this machine's own");
    expect(addressProblem("2606:4700::1", [], ["2606:4700:0::1"])).toContain("this machine's own");
  });

  it("public ones are dialled", () => {
    for (const one of ["8.8.8.8", "1.1.1.1", "100.128.0.1", "2606:4700::1", "::ffff:8.8.8.8"]) {
      expect(addressProblem(one, [])).toBeUndefined();
    }
  });

  it("a range opens what lies in it, mapped forms included, and nothing else", () => {
    const named = ["10.0.0.0/8", "fd00::/8", "not a range", "192.168.1.1"];
    for (const one of ["10.255.0.1", "::ffff:10.0.0.1", "fd12::1", "192.168.1.1"]) {
      expect(addressProblem(one, named)).toBeUndefined();
    }
    for (const one of ["11.0.0.1.", "192.168.1.2", "fc00::1", "127.0.0.1"]) {
      expect(addressProblem(one, named)).toBeDefined();
    }
  });

  it("a single address or a loopback range settle where a host lies", () => {
    expect(settledAddress(["127.0.0.0/8"])).toBe("127.0.0.1");
    expect(settledAddress(["::1/128"])).toBe("::1");
    expect(settledAddress(["10.0.0.5"])).toBe("10.0.0.5");
    expect(settledAddress(["127.1.2.0/24"])).toBeUndefined();
    expect(settledAddress(["10.0.0.0/8"])).toBeUndefined();
    expect(settledAddress(["10.0.0.5", "10.0.0.6"])).toBeUndefined();
    expect(settledAddress([])).toBeUndefined();
  });
});

describe("of a host", () => {
  async function asked(
    lookup: (host: string) => Promise<readonly string[]>,
    addresses: readonly string[] = [],
  ) {
    const host: Host = await plainHost((_request, response) => response.end("reached"));
    const keeper = await keeperUnderTest({
      judge: (_request, request) => ({ allowed: true, request, terms: { addresses }, headers: {} }),
    });
    const through = await proxy(keeper, { lookup, limits: { resolveMs: 50, connectMs: 2_000 } });
    ends.push(host.close, through.close);
    const get = (name: string) =>
      through.raw(
        `GET http://${name}:${host.port}/ HTTP/1.1\r\nHost: ${name}:${host.port}\r\nConnection: close\r\n\r\n`,
      );
    return { get, keeper, host };
  }

  it("a public name that leads to a private address is refused, and the answer names rule and address", async () => {
    const { get, keeper, host } = await asked(async () => ["127.0.0.1"]);
    const answer = await get("rebound.test");
    expect(answer).toContain("403 Forbidden");
    expect(answer).toContain("gateway.address");
    const outcome = await keeper.outcome(1);
    expect(outcome.error).toContain("127.0.0.1");
    expect(outcome.bytesOut).toBe(0);
    expect(host.received).toEqual([]);
  });

  it("the name is resolved once, and the very address that was checked is dialled", async () => {
    const answers = [["127.0.0.1"], ["10.0.0.1"]];
    let asks = 0;
    const { get, host } = await asked(async () => answers[asks++] ?? [], ["127.0.0.0/8"]);
    expect(await get("twice.test")).toContain("reached");
    expect(asks).toBe(1);
    expect(host.received).toHaveLength(1);
  });

  it("of several addresses only those that may be dialled are", async () => {
    const { get } = await asked(
      async () => ["10.255.255.1", "127.0.0.1", "169.254.169.254"],
      ["127.0.0.0/8"],
    );
    expect(await get("several.test")).toContain("reached");
  });

  it("an address in the URL itself is checked as any other", async () => {
    const { get, host } = await asked(async () => {
      throw new Error("an address is not looked up");
    });
    for (const literal of ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254"]) {
      expect(await get(literal)).toContain("gateway.address");
    }
    expect(host.received).toEqual([]);
  });

  const nobody = async () => {
    throw Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" });
  };
  it("that nobody resolves, a rule's loopback range settles the address", async () => {
    const { get } = await asked(nobody, ["127.0.0.0/8"]);
    expect(await get("dev.internal")).toContain("reached");
  });

  it("that nobody resolves and no rule settles, nothing is dialled", async () => {
    const { get } = await asked(nobody, ["10.0.0.0/8"]);
    expect(await get("nowhere.test")).toContain("502 Bad Gateway");
  });

  it("whose resolver hangs, the request ends in time", async () => {
    const { get } = await asked(() => new Promise(() => {}));
    expect(await get("hanging.test")).toMatch(/502|504/);
  });
});
