import { describeSandboxHost } from "../contracts/sandbox-host.ts";
import { dockerHosts } from "./docker-hosts.ts";

describeSandboxHost("Docker", async () => {
  const hosts = await dockerHosts();
  return {
    host: hosts.host("own"),
    successor: async () => hosts.host("own"),
    stranger: async () => hosts.host("other"),
    kill: async (id) => {
      await hosts.engine.call("test: kill", 10_000, (docker) => docker.getContainer(id).kill());
    },
    image: "base",
    cleanUp: hosts.cleanUp,
  };
});
