import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  readRegistries,
  registryAddresses,
  registryAt,
  registryUrls,
} from "../../daemon/gateway/registries.ts";

const pipSays = (values: Record<string, string>) =>
  JSON.stringify({ values, index: "https://pip-own.test/simple", files: "pip-files.test" });

function clients(npm: string | Error, pip: string | Error) {
  return async (program: string) => {
    const answer = program === "npm" ? npm : pip;
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

/** One index lies in the company's network, another is not to be found; the rest are public. */
const resolver = async (host: string) => {
  if (host === "uv.test") throw new Error("ENOTFOUND");
  return host === "more.test" ? ["10.1.2.3", "8.8.8.8"] : ["8.8.8.8"];
};

it("registries are those of the clients' own configuration, scopes and further indexes included", async () => {
  const npm = JSON.stringify({
    "@acme:registry": "http://acme.test:8080",
    registry: "https://packages.test/npm/",
    "replace-registry-host": "never",
  });
  const pip = pipSays({
    ":env:.index-url": "https://user:password@pypi.test/root/simple",
    "global.extra-index-url": "https://more.test/simple file:///opt/simple",
  });
  const registries = await readRegistries(
    { UV_INDEX: "named=https://uv.test/i" },
    clients(npm, pip),
    resolver,
  );
  expect(registries).toEqual({
    npm: [
      { scheme: "https", host: "packages.test", port: 443, base: "/npm/", addresses: [] },
      { scheme: "http", host: "acme.test", port: 8080, base: "/", addresses: [] },
    ],
    pypi: [
      { scheme: "https", host: "pypi.test", port: 443, base: "/root/simple/", addresses: [] },
      { scheme: "https", host: "more.test", port: 443, base: "/simple/", addresses: ["10.1.2.3"] },
      { scheme: "https", host: "uv.test", port: 443, base: "/i/", addresses: [] },
    ],
    problems: [],
  });
  expect(registryUrls(registries)).toEqual({
    npm: "https://packages.test/npm/",
    pypi: "https://pypi.test/root/simple/",
  });
  expect(registryAt(registries, { host: "acme.test", port: 8080 })).toBe("npm");
  expect(registryAt(registries, { host: "acme.test", port: 443 })).toBeUndefined();
  expect(registryAt(registries, { host: "uv.test", port: 443 })).toBe("pypi");
});

it("a registry that is configured where nothing is public may be dialled there, at that port and address alone", async () => {
  const npm = JSON.stringify({ registry: "http://127.0.0.1:4873/", "@acme:registry": "https://more.test" });
  const registries = await readRegistries({}, clients(npm, pipSays({})), resolver);
  expect(registryAddresses(registries, { host: "127.0.0.1", port: 4873 })).toEqual(["127.0.0.1"]);
  expect(registryAddresses(registries, { host: "more.test", port: 443 })).toEqual(["10.1.2.3"]);
  expect(registryAddresses(registries, { host: "127.0.0.1", port: 80 })).toEqual([]);
  expect(registryAddresses(registries, { host: "pip-own.test", port: 443 })).toEqual([]);
});

it("of a host that is both kinds of registry the path tells which is meant", async () => {
  const npm = JSON.stringify({ registry: "https://mirror.test/npm/" });
  const registries = await readRegistries(
    {},
    clients(npm, pipSays({ "g.index-url": "https://mirror.test/pypi" })),
    resolver,
  );
  const at = (path: string) => registryAt(registries, { host: "mirror.test", port: 443, path });
  expect([at("/npm/left-pad"), at("/pypi/simple/"), at("/other")]).toEqual(["npm", "pypi", "npm"]);
});

it("where pip is told no index, its own is asked of it, and the host of its files with it", async () => {
  const { pypi } = await readRegistries({}, clients("{}", pipSays({ "global.timeout": "5" })), resolver);
  expect(pypi.map(({ host }) => host)).toEqual(["pip-own.test", "pip-files.test"]);
});

it("a client that is missing or says something else has no registries, and people are told without its words", async () => {
  const gone = Object.assign(new Error("spawn npm ENOENT\n//registry.test/:_authToken=abc"), {
    code: "ENOENT",
  });
  const registries = await readRegistries({}, clients(gone, "Traceback"));
  expect(registries).toMatchObject({ npm: [], pypi: [] });
  expect(registries.problems).toHaveLength(2);
  expect(registries.problems.join()).not.toContain("abc");
});

it("this machine's real clients are asked", async () => {
  const folder = await mkdtemp(join(tmpdir(), "caisson-registries-"));
  try {
    await writeFile(join(folder, "npmrc"), "@acme:registry=https://acme.test:8443/npm/\n");
    const env = {
      PATH: process.env.PATH,
      HOME: folder,
      npm_config_registry: "https://npm.test/x/",
      npm_config_userconfig: join(folder, "npmrc"),
      PIP_CONFIG_FILE: "/dev/null",
      PIP_INDEX_URL: "https://pip.test/simple",
    };
    const { npm, pypi, problems } = await readRegistries(env);
    if (problems.length > 0) console.warn(`not checked: ${problems.join("; ")}`);
    if (!problems.some((one) => one.startsWith("npm"))) {
      expect(npm).toEqual([
        { scheme: "https", host: "npm.test", port: 443, base: "/x/", addresses: [] },
        { scheme: "https", host: "acme.test", port: 8443, base: "/npm/", addresses: [] },
      ]);
    }
    if (!problems.some((one) => one.startsWith("pip"))) {
      expect(pypi).toEqual([
        { scheme: "https", host: "pip.test", port: 443, base: "/simple/", addresses: [] },
      ]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
