import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { hostPattern } from "../../daemon/policy/host-pattern.ts";
import { parseAuthority, parseHost, parseTarget } from "../../daemon/policy/http-target.ts";

const get = (url: string) => parseTarget("GET", url);

describe("a request's target in its one spelling", () => {
  test.each([
    ["https://Docs.EXAMPLE.org/a", "https://docs.example.org/a"],
    ["HTTPS://docs.example.org:443", "https://docs.example.org/"],
    ["http://docs.example.org:8080?q=1", "http://docs.example.org:8080/?q=1"],
    ["http://192.0.2.1/", "http://192.0.2.1/"],
    ["http://[2001:db8::1]:80/", "http://[2001:db8::1]/"],
    ["https://bücher.example/", "https://xn--bcher-kva.example/"],
    ["https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"],
    ["https://a.example/a%20b/%E4%BD%A0?x=%2F..%2f", "https://a.example/a%20b/%E4%BD%A0?x=%2F..%2f"],
    ["https://a.example/@types%2fnode", "https://a.example/@types%2fnode"],
    ["https://a.example/repos/", "https://a.example/repos/"],
    ["https://a.example/a;v=1/...;/.b;c", "https://a.example/a;v=1/...;/.b;c"],
  ])("%s", (url, canonical) => {
    expect(get(url)).toMatchObject({ url: canonical });
  });

  test("rules see the path plain, as most servers do", () => {
    expect(get("https://a.example/%61dmin/@s%2fn/%C3%BC")).toMatchObject({ path: "/admin/@s/n/ü" });
  });

  test.each([
    // THREATS 21: addresses in other spellings.
    ..."http://127.1/ http://0177.0.0.1/ http://0x7f.0.0.1/ http://2130706433/ http://127.0.0.1./ http://0/".split(
      " ",
    ),
    ..."http://[::ffff:127.0.0.1]/ http://[0:0:0:0:0:0:0:1]/ http://[::1%25eth0]/ http://::1/ http://[::1/".split(
      " ",
    ),
    "http://१२७.0.0.1/",
    "http://127。0。0。1/",
    // THREATS 22: hosts that look like others.
    ..."https://a.example./ https://a..example/ https://.example/ https://a.example:/ https://a.example:0443/".split(
      " ",
    ),
    ..."https://a.example%00.evil.test/ https://a.example%2eevil.test/ https://user@a.example/ https://a:b@c/".split(
      " ",
    ),
    ..."https://a.example\\@evil.test/ https:\\\\a.example/ https:/a.example/ https:a.example //a.example/ /path".split(
      " ",
    ),
    "https://ａ.example/",
    "https://a\u00ad.example/",
    "https://a.example\u0000.evil.test/",
    "https://a.example\r\nHost: evil.test/",
    "https://a.example\t/",
    " https://a.example/",
    "https://xn--a/",
    "https://a_.-b/",
    "https:///a.example/",
    "https://a.example:65536/",
    "ftp://a.example/",
    // THREATS 23: paths that lead elsewhere.
    ..."https://a.example/../b https://a.example/a/./b https://a.example/a/%2e%2e/b https://a.example/%2E".split(
      " ",
    ),
    ..."https://a.example//b https://a.example/a//b https://a.example/a\\b https://a.example/a%5cb".split(
      " ",
    ),
    ..."https://a.example/a%2fb https://a.example/@a%2f.. https://a.example/@a%2f%2e%2e https://a.example/a%00".split(
      " ",
    ),
    ..."https://a.example/%252e%252e/b https://a.example/a%0d%0ab https://a.example/%zz https://a.example/%ff".split(
      " ",
    ),
    ..."https://a.example/a/..;/b https://a.example/a/..;x=1/b https://a.example/a/..%3b/b https://a.example/.;/b".split(
      " ",
    ),
    ..."https://a.example/a/..%3Bx/b https://a.example/a/.%3b https://a.example/a/..%253b/b".split(" "),
    ..."https://a.example/#b https://a.example/a?b#c https://a.example/{a} https://a.example/<a>".split(" "),
    "https://a.example/ä",
    `https://a.example/${"a".repeat(9_000)}`,
  ])("refused: %j", (url) => {
    expect(get(url)).toEqual({ refused: expect.any(String) });
  });

  test.each(["get", "", "GET ", "GET\r\n", "G E T", "X".repeat(21)])("refused: the method %j", (method) => {
    expect(parseTarget(method, "https://a.example/")).toHaveProperty("refused");
  });

  test("an authority is a host and a port", () => {
    expect(parseAuthority("A.example:8443")).toEqual({ host: "a.example", port: 8443 });
    expect(parseAuthority("[::1]:1")).toEqual({ host: "[::1]", port: 1 });
    for (const text of ["a.example", ":80", "a:b:1", "[::1]", "a.example:80/x", "a@b:80", ""])
      expect(parseAuthority(text)).toHaveProperty("refused");
  });
});

const piece = fc.constantFrom(
  ..."a b.example example.org . .. / // \\ @ : :80 % %2e %2f %00 ? # [ ] [::1] 127.0.0.1 0x7f 010 1 xn--bcher-kva ü 。 ａ \u00ad _ - ~ ; =".split(
    " ",
  ),
);
const messy = fc
  .tuple(fc.constantFrom("https://", "http://", "https:", "HTTP://"), fc.array(piece, { maxLength: 8 }))
  .map(([scheme, pieces]) => scheme + pieces.join(""));

describe("no two readings", () => {
  property.prop(
    [
      fc.oneof(
        messy,
        fc.webUrl(),
        fc.string().map((text) => `http://${text}/`),
      ),
    ],
    {
      numRuns: process.env.CAISSON_TEST_FULL ? 200_000 : 3_000,
    },
  )("whatever is accepted, a WHATWG reader takes for the same host, port, path and query", (url) => {
    const target = get(url);
    if ("refused" in target) return;
    for (const spelling of [url, target.url]) {
      const other = new URL(spelling);
      expect(other.hostname).toBe(target.host);
      expect(Number(other.port || { "http:": 80, "https:": 443 }[other.protocol])).toBe(target.port);
      expect(other.username + other.password + other.hash).toBe("");
      expect(other.pathname).toBe(target.target.split("?", 1)[0]);
    }
    expect(get(target.url)).toEqual(target);
  });

  property.prop([fc.ipV6(), fc.ipV4Extended()])("an address has one spelling", (six, four) => {
    const read = parseHost(`[${six}]`);
    if (typeof read === "string") expect(new URL(`http://[${six}]/`).hostname).toBe(`[${six.toLowerCase()}]`);
    if (typeof parseHost(four) === "string") expect(new URL(`http://${four}/`).hostname).toBe(four);
  });
});

test("a host is matched exactly, a star stands for subdomains only", () => {
  const [exact, below, any] = [hostPattern("example.org"), hostPattern("*.example.org"), hostPattern("*")];
  if (typeof exact === "string" || typeof below === "string" || typeof any === "string")
    return expect.unreachable();
  expect(["a.example", "localhost", "127.0.0.1", "[::1]"].filter(any)).toEqual(["a.example", "localhost"]);
  const hosts = ["example.org", "a.example.org", "b.a.example.org", "aexample.org", "example.org.evil.test"];
  expect(hosts.filter(exact)).toEqual(["example.org"]);
  expect(hosts.filter(below)).toEqual(["a.example.org", "b.a.example.org"]);
});
