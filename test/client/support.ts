import { CaissonClient } from "../../client/api/client.ts";
import { TOKEN } from "../http/daemon.ts";

export function clientOf(
  port: number,
  more: { token?: string; deadlineMs?: number; signal?: AbortSignal } = {},
) {
  return new CaissonClient({ address: `127.0.0.1:${port}`, token: TOKEN, ...more });
}

export async function bytesOf(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}
