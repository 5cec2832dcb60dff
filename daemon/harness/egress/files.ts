import type { RunSecrets } from "../../boundary/run-secrets.ts";
import type { Authority } from "../../gateway/port.ts";
import { type GatedSandbox, PROXY_PORT } from "../../sandbox/gate.ts";

const HOME = "/home/agent";
const FOLDER = `${HOME}/.caisson`;
const CERTIFICATE = `${FOLDER}/ca.pem`;
/** The system's certificates, and the run's own authority. */
const BUNDLE = `${FOLDER}/bundle.pem`;
const SYSTEM = "/etc/ssl/certs/ca-certificates.crt";
const DEADLINE_MS = 20_000;

const PROXY = `http://127.0.0.1:${PROXY_PORT}`;
const INSIDE = "localhost,127.0.0.1,::1";

/**
 * How programs find the proxy and whom they trust. Each variable is another program's: Node reads NODE_EXTRA_CA_CERTS
 * beside its own certificates, npm `cafile` instead of them, Python's requests and pip the bundle, as curl and git do.
 */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  http_proxy: PROXY,
  https_proxy: PROXY,
  HTTP_PROXY: PROXY,
  HTTPS_PROXY: PROXY,
  ALL_PROXY: PROXY,
  all_proxy: PROXY,
  no_proxy: INSIDE,
  NO_PROXY: INSIDE,
  NODE_USE_ENV_PROXY: "1",
  NODE_EXTRA_CA_CERTS: CERTIFICATE,
  SSL_CERT_FILE: BUNDLE,
  REQUESTS_CA_BUNDLE: BUNDLE,
  CURL_CA_BUNDLE: BUNDLE,
  GIT_SSL_CAINFO: BUNDLE,
  PIP_CERT: BUNDLE,
  npm_config_cafile: BUNDLE,
};

/**
 * The certificate comes on standard input, behind it what is there to be noticed. Each file is whole or not there,
 * whatever stood in its place: a checkpoint's files may hold another run's authority.
 */
const SCRIPT = `
b=/.caisson/busybox
put() { $b mkdir -p "\${1%/*}" && $b cat > "$1.new" && $b mv "$1.new" "$1"; }
put ${CERTIFICATE} || exit
{ [ ! -r ${SYSTEM} ] || $b cat ${SYSTEM}; $b cat ${CERTIFICATE}; } | put ${BUNDLE} || exit
[ -z "$1" ] || [ -e "$1" ] || $b printf %s "$2" | put "$1"
`;

/** Puts what {@link ENVIRONMENT} names into a sandbox. @throws when that can't be done: no command would trust it */
export async function install(
  sandbox: GatedSandbox,
  { certificate }: Pick<Authority, "certificate">,
  { canary }: Pick<RunSecrets, "canary">,
): Promise<void> {
  const planted = canary ? [`${HOME}/${canary.path}`, canary.content] : ["", ""];
  const { output, outcome, errors } = await sandbox.housekeep({
    program: "bash",
    arguments: ["--norc", "--noprofile", "-c", SCRIPT, "install", ...planted],
    stdin: once(Buffer.from(certificate)),
    deadlineMs: DEADLINE_MS,
  });
  for await (const _ of output);
  const { exitCode } = await outcome;
  if (exitCode !== 0)
    throw new Error(`the run's certificate authority could not be put into its sandbox: ${errors().trim()}`);
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
