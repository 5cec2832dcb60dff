import { type GatedSandbox, PROXY_PORT } from "../../sandbox/gate.ts";

const FOLDER = "/home/agent/.caisson";
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

/** Whole or not at all, whatever stood there: a checkpoint's files may hold another run's authority. */
const SCRIPT = `
b=/.caisson/busybox
$b mkdir -p ${FOLDER} && $b cat > ${CERTIFICATE}.new && $b mv ${CERTIFICATE}.new ${CERTIFICATE} || exit
{ [ ! -r ${SYSTEM} ] || $b cat ${SYSTEM}; $b cat ${CERTIFICATE}; } > ${BUNDLE}.new && $b mv ${BUNDLE}.new ${BUNDLE}
`;

/** Puts the certificate where {@link ENVIRONMENT} says. @throws when that can't be done: no command would trust it */
export async function installAuthority(sandbox: GatedSandbox, certificate: string): Promise<void> {
  const { output, outcome, errors } = await sandbox.housekeep({
    program: "bash",
    arguments: ["--norc", "--noprofile", "-c", SCRIPT],
    stdin: once(Buffer.from(certificate)),
    deadlineMs: DEADLINE_MS,
  });
  for await (const _ of output);
  const ended = await outcome;
  if (ended.exitCode !== 0)
    throw new Error(`the run's certificate authority could not be put into its sandbox: ${errors().trim()}`);
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
