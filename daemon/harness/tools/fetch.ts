import { createHash } from "node:crypto";
import { z } from "zod";
import { parseTarget } from "../../policy/http-target.ts";
import { type Fetched, type Tool, ToolRefusal, type ToolResult } from "./tool.ts";

/** Bytes of a body: as many as the gateway holds to look at before they leave. */
const BODY_BYTES = 1024 * 1024;
const MOST_HEADERS = 50;
/** Milliseconds for the whole answer, a person's time to be asked left out. */
const PATIENCE_MS = 120_000;

const Input = z.strictObject({
  url: z.string().min(1).max(8_192).describe("The address, with http:// or https://."),
  method: z.string().max(20).optional().describe("GET by default."),
  headers: z.record(z.string(), z.string().max(8_192)).optional().describe("Further headers, by name."),
  body: z.string().max(BODY_BYTES).optional().describe("What is sent, as text."),
});

/** They are the proxy's, the connection's or the daemon's to say. */
const OTHERS: ReadonlySet<string> = new Set(
  "host connection keep-alive te trailer transfer-encoding content-length upgrade expect via forwarded accept-encoding".split(
    " ",
  ),
);

export const fetch: Tool<z.infer<typeof Input>> = {
  name: "fetch",
  description:
    "Sends one HTTP request to a host that the policy allows and returns the status, the headers and the text of " +
    "the answer. It does not follow redirects. Credentials are added outside: none are to be given.",
  input: Input,
  async normalise(input, context) {
    const target = parseTarget(input.method?.toUpperCase() ?? "GET", input.url);
    if ("refused" in target) throw new ToolRefusal(`${input.url}: ${target.refused}.`);
    if (target.method === "CONNECT") throw new ToolRefusal("CONNECT is no request that can be sent alone.");
    const { method, url } = target;
    const headers = headersOf(input.headers ?? {}, context.injected({ method, url }));
    const body = input.body === undefined ? undefined : Buffer.from(input.body, "utf8");
    if (body && body.length > BODY_BYTES)
      throw new ToolRefusal(`The body is larger than ${BODY_BYTES} bytes; nothing was sent.`);
    if (body && (method === "GET" || method === "HEAD"))
      throw new ToolRefusal(`A ${method} has no body; leave it out, or use another method.`);
    const registry = context.registryOf(target);
    return {
      policy: [
        {
          kind: "http",
          tool: "fetch",
          method,
          url,
          ...(registry === undefined ? {} : { registry }),
          ...(body === undefined ? {} : { bodyHash: createHash("sha256").update(body).digest("hex") }),
        },
      ],
      leaves: true,
      perform: async ({ fetch: send }) =>
        resultOf(await send({ method, url, headers, body, deadlineMs: PATIENCE_MS })),
    };
  },
};

/** Lower-case names. @throws ToolRefusal for those that are not the model's to set */
function headersOf(given: Readonly<Record<string, string>>, injected: ReadonlySet<string>) {
  const headers: Record<string, string> = {};
  const entries = Object.entries(given);
  if (entries.length > MOST_HEADERS) throw new ToolRefusal(`More than ${MOST_HEADERS} headers; send fewer.`);
  for (const [name, value] of entries) {
    const lower = name.toLowerCase();
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]{1,200}$/.test(lower) || /[^\t\x20-\x7e]/.test(value))
      throw new ToolRefusal(
        `The header ${JSON.stringify(name)} can't be sent: a name is letters, digits and \`-\`, a value visible ASCII.`,
      );
    if (injected.has(lower))
      throw new ToolRefusal(
        `The header ${lower} is not to be given: the daemon adds it, with the credential.`,
      );
    if (OTHERS.has(lower) || lower.startsWith("proxy-"))
      throw new ToolRefusal(`The header ${lower} is not to be given: the connection sets it.`);
    if (Object.hasOwn(headers, lower)) throw new ToolRefusal(`The header ${lower} is given twice.`);
    headers[lower] = value;
  }
  return headers;
}

/** How an answer reads to the model. */
function resultOf(fetched: Fetched): ToolResult {
  if ("refused" in fetched) return { ok: false, output: fetched.refused };
  const { status, reason, headers, text } = fetched;
  const head = [`HTTP ${status} ${reason}`.trim(), ...headers.map(([name, value]) => `${name}: ${value}`)];
  return { ok: status < 400, output: `${head.join("\n")}\n\n${text}` };
}
