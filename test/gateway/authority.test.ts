import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { connect, TLSSocket } from "node:tls";
import { expect, it } from "vitest";
import { createAuthority, type RunAuthority, restoreAuthority } from "../../daemon/gateway/authority.ts";
import { listening } from "./hosts.ts";

/** The certificate that a client sees which trusts the authority alone, and verifies the host. */
async function seen(
  authority: RunAuthority,
  host: string,
  ca = authority.certificate,
): Promise<X509Certificate> {
  const secureContext = await authority.contextFor(host);
  const { port, close } = await listening(
    createServer((socket) => new TLSSocket(socket, { isServer: true, secureContext }).on("error", () => {})),
  );
  const address = host.replace(/^\[|\]$/g, "");
  const name = /^[\d.]+$|:/.test(address) ? {} : { servername: host };
  const client = connect({ port, ca, host: "127.0.0.1", ...name, checkServerIdentity: () => undefined });
  try {
    await once(client, "secureConnect");
    return new X509Certificate(client.getPeerCertificate().raw);
  } finally {
    client.destroy();
    await close();
  }
}

it("a leaf is for its host alone, for servers, of the run's authority, and not yet or no longer valid by no small margin", async () => {
  const authority = await createAuthority("r1");
  const root = new X509Certificate(authority.certificate);
  expect(root.ca).toBe(true);
  for (const host of ["api.test", `${"long".repeat(15)}.${"x".repeat(60)}.test`]) {
    const leaf = await seen(authority, host);
    expect(leaf.checkHost(host)).toBe(host);
    expect(leaf.checkHost("other.test")).toBeUndefined();
    expect(leaf.ca).toBe(false);
    expect(leaf.checkIssued(root)).toBe(true);
    expect(leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    const hour = 3_600_000;
    expect(Date.parse(leaf.validFrom)).toBeLessThan(Date.now() - hour);
    expect(Date.parse(leaf.validTo)).toBeGreaterThan(Date.now() + 24 * hour);
    expect(Date.parse(leaf.validTo)).toBeLessThanOrEqual(Date.parse(root.validTo));
  }
});

it("a leaf for an address names the address", async () => {
  const authority = await createAuthority("r1");
  expect((await seen(authority, "192.0.2.1")).checkIP("192.0.2.1")).toBe("192.0.2.1");
  expect((await seen(authority, "[2001:db8::1]")).checkIP("2001:db8::1")).toBe("2001:db8::1");
});

it("authorities of two runs don't vouch for each other", async () => {
  const [one, other] = [await createAuthority("r1"), await createAuthority("r2")];
  await expect(seen(one, "api.test", other.certificate)).rejects.toThrow();
});

it("a daemon that starts again goes on with the same authority", async () => {
  const before = await createAuthority("r1");
  const after = await restoreAuthority(JSON.parse(JSON.stringify(before.saved)));
  expect(after.certificate).toBe(before.certificate);
  expect((await seen(after, "api.test", before.certificate)).checkHost("api.test")).toBe("api.test");
});

it("an authority that is damaged, or has another's key, is refused", async () => {
  const [one, other] = [await createAuthority("r1"), await createAuthority("r2")];
  const broken = [undefined, {}, { ...one.saved, key: "no key" }, { ...one.saved, key: other.saved.key }];
  for (const saved of broken) await expect(restoreAuthority(saved)).rejects.toThrow();
});

it("leaves are made once for each host, and again where there are too many", async () => {
  const authority = await createAuthority("r1");
  const first = await authority.contextFor("0.test");
  expect(await authority.contextFor("0.test")).toBe(first);
  for (let i = 1; i <= 64; i++) await authority.contextFor(`${i}.test`);
  expect(await authority.contextFor("0.test")).not.toBe(first);
});
