import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readRegistries, registryAt } from "../../daemon/gateway/registries.ts";

const pipSays = (values: Record<string, string>) =>
  JSON.stringify({ values, index: "https://pip-own.test/simple", files: "pip-files.test" });

function clients(npm: string | Error, pip: string | Error) {
  return async (program: string) => {
    const answer = program === "npm" ? npm : pip;
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

it("registries are those of the clients' own configuration, scopes and further indexes included", async () => {
  const npm = JSON.stringify({
    registry: "https://packages.test/npm/",
    "@acme:registry": "http://acme.test:8080",
    "replace-registry-host": "never",
  });
  const pip = pipSays({
    ":env:.index-url": "https://user:password@pypi.test/root/simple",
    "global.extra-index-url": "https://more.test/simple file:///opt/simple",
  });
  const registries = await readRegistries({ UV_INDEX: "named=https://uv.test/i" }, clients(npm, pip));
  expect(registries).toEqual({
    npm: [
      { host: "packages.test", port: 443, base: "/npm/" },
      { host: "acme.test", port: 8080, base: "/" },
    ],
    pypi: [
      { host: "pypi.test", port: 443, base: "/root/simple/" },
      { host: "more.test", port: 443, base: "/simple/" },
      { host: "uv.test", port: 443, base: "/i/" },
    ],
    problems: [],
  });
  expect(registryAt(registries, { host: "acme.test", port: 8080 })).toBe("npm");
  expect(registryAt(registries, { host: "acme.test", port: 443 })).toBeUndefined();
  expect(registryAt(registries, { host: "uv.test", port: 443 })).toBe("pypi");
});

it("of a host that is both kinds of registry the path tells which is meant", async () => {
  const npm = JSON.stringify({ registry: "https://mirror.test/npm/" });
  const registries = await readRegistries(
    {},
    clients(npm, pipSays({ "g.index-url": "https://mirror.test/pypi" })),
  );
  const at = (path: string) => registryAt(registries, { host: "mirror.test", port: 443, path });
  expect([at("/npm/left-pad"), at("/pypi/simple/"), at("/other")]).toEqual(["npm", "pypi", "npm"]);
});

it("where pip is told no index, its own is asked of it, and the host of its files with it", async () => {
  const { pypi } = await readRegistries({}, clients("{}", pipSays({ "global.timeout": "5" })));
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
        { host: "npm.test", port: 443, base: "/x/" },
        { host: "acme.test", port: 8443, base: "/npm/" },
      ]);
    }
    if (!problems.some((one) => one.startsWith("pip"))) {
      expect(pypi).toEqual([{ host: "pip.test", port: 443, base: "/simple/" }]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
