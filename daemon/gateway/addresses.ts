import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";

/** All that IANA has given out of IPv6 as global unicast; beyond it lie forms that carry other addresses. */
const GLOBAL_IPV6 = "2000::/3";
/** RFC 6890; the library counts it as public. */
const PROTOCOL_IPV4 = "192.0.0.0/24";

/** IPv4-mapped addresses become the IPv4 ones they are. The library alone would take short forms, such as `127.1`. */
function parse(address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  return isIP(address) > 0 ? ipaddr.process(address) : undefined;
}

function within(address: ipaddr.IPv4 | ipaddr.IPv6, range: string): boolean {
  const cidr = cidrOf(range);
  return cidr !== undefined && cidr[0].kind() === address.kind() && address.match(cidr);
}

/** A range as `a/n`, or of a single address; undefined: it is none. */
function cidrOf(range: string): [ipaddr.IPv4 | ipaddr.IPv6, number] | undefined {
  if (ipaddr.isValidCIDR(range)) return ipaddr.parseCIDR(range);
  const single = parse(range);
  return single && [single, single.kind() === "ipv4" ? 32 : 128];
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}

/**
 * Why an address is not dialled: anything but a public one, and this machine's own, unless `named` (ranges that the
 * rule names) holds it. Undefined: it may be dialled.
 */
export function addressProblem(
  address: string,
  named: readonly string[],
  own: readonly string[] = ownAddresses(),
): string | undefined {
  const parsed = parse(address);
  if (parsed === undefined) return `${address} is no address`;
  if (named.some((range) => within(parsed, range))) return undefined;
  const elsewhere = parsed.kind() === "ipv6" ? !within(parsed, GLOBAL_IPV6) : within(parsed, PROTOCOL_IPV4);
  if (elsewhere || parsed.range() !== "unicast") {
    return `${address} is not a public address${parsed.range() === "unicast" ? "" : ` (${parsed.range()})`}`;
  }
  const ours = own.some((one) => parse(one)?.toString() === parsed.toString());
  return ours ? `${address} is this machine's own address` : undefined;
}

/** The one address that ranges settle without a resolver: a single one, or of a loopback range its usual one. */
export function settledAddress(named: readonly string[]): string | undefined {
  const settled = named.flatMap((range) => {
    const cidr = cidrOf(range);
    if (cidr === undefined) return [];
    const [address, bits] = cidr;
    if (bits === (address.kind() === "ipv4" ? 32 : 128)) return [address.toString()];
    const usual = parse(address.kind() === "ipv4" ? "127.0.0.1" : "::1");
    return address.range() === "loopback" && usual !== undefined && within(usual, range)
      ? [usual.toString()]
      : [];
  });
  return settled.length === 1 ? settled[0] : undefined;
}
