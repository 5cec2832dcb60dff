import { type Host, plainHost } from "../gateway/hosts.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { type ConnectingHost, connectingHost, outsideUnderTest } from "./outside-under-test.ts";

/** A harness whose sandbox has a way out, through a real gateway, to a host of this machine. */
export interface WayOut {
  readonly server: Host;
  readonly sandboxes: ConnectingHost;
  readonly under: HarnessUnderTest;
  /** As when the daemon is started anew. */
  restart(): Promise<HarnessUnderTest>;
  /** Ends what waits, then everything. */
  close(): Promise<void>;
}

export async function wayOut(answer: Parameters<typeof plainHost>[0]): Promise<WayOut> {
  const server = await plainHost(answer);
  const sandboxes = connectingHost();
  const outside = outsideUnderTest();
  const under = await harnessUnderTest(sandboxes.host, { outside });
  let latest = under;
  return {
    server,
    sandboxes,
    under,
    restart: async () => {
      latest = await latest.restart();
      return latest;
    },
    close: async () => {
      sandboxes.endCommands();
      await latest.close();
      outside.close();
      await server.close();
    },
  };
}
