import { basename, dirname } from "node:path/posix";
import type { RunSecrets } from "../../boundary/run-secrets.ts";
import type { Authority } from "../../gateway/port.ts";
import { archiveEnd, archiveHeader, archivePadding } from "../../protocol/archive.ts";
import { type GatedSandbox, PROXY_PORT } from "../../sandbox/gate.ts";
import type { KnownRegistries } from "./outside.ts";

const HOME = "/home/agent";
const FOLDER = `${HOME}/.caisson`;
const CERTIFICATE = `${FOLDER}/ca.pem`;
/** The system's certificates, and the run's own authority. */
const BUNDLE = `${FOLDER}/bundle.pem`;
const SYSTEM = "/etc/ssl/certs/ca-certificates.crt";
/** Stands before the run's authority in every bundle; no shell has anything to read into it. */
const MARK = "# Caisson: authority of this run";
const DEADLINE_MS = 20_000;
/** Bytes of the system's certificates, with room. */
const BUNDLE_BYTES = 2 * 1024 * 1024;

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

/** Clients in a sandbox look for packages where this machine's own do: rules of a registry are about those hosts. */
export function registryVariables({ npm, pypi }: KnownRegistries["urls"]): Readonly<Record<string, string>> {
  return {
    ...(npm === undefined ? {} : { npm_config_registry: npm }),
    ...(pypi === undefined ? {} : { PIP_INDEX_URL: pypi }),
  };
}

/**
 * The certificate comes on standard input; `$1` and `$2` are what is there to be noticed, its path and content. Each
 * file is whole or not there, whatever stood in its place: a checkpoint's files may hold another run's authority, which
 * is behind the system's own. The bundle is printed, where the system has one too.
 */
const SCRIPT = `
b=/.caisson/busybox
put() { $b mkdir -p "\${1%/*}" && $b cat > "$1.new" && $b mv "$1.new" "$1"; }
put ${CERTIFICATE} || exit
{ [ ! -r ${SYSTEM} ] || $b sed '/^${MARK}$/,$d' ${SYSTEM}; $b echo '${MARK}'; $b cat ${CERTIFICATE}; } | put ${BUNDLE} || exit
first() { $b head -n 1 | $b tr -d '\\0'; }
theirs() { [ -e "$1" ] && [ "$(first < "$1")" != "$($b printf %s "$2" | first)" ]; }
[ -z "$1" ] || theirs "$1" "$2" || $b printf %s "$2" | put "$1" || exit
[ ! -r ${SYSTEM} ] || $b cat ${BUNDLE}
`;

/**
 * Puts what {@link ENVIRONMENT} names into a sandbox. Resolves with the system's certificates and the run's, empty
 * where the image has none. @throws when that can't be done: no command would trust the authority
 */
export async function install(
  sandbox: GatedSandbox,
  { certificate }: Pick<Authority, "certificate">,
  { canary }: Pick<RunSecrets, "canary">,
): Promise<Buffer> {
  const planted = canary ? [`${HOME}/${canary.path}`, canary.content] : ["", ""];
  const { output, outcome, errors } = await sandbox.housekeep({
    program: "bash",
    arguments: ["--norc", "--noprofile", "-c", SCRIPT, "install", ...planted],
    stdin: once(Buffer.from(certificate)),
    deadlineMs: DEADLINE_MS,
  });
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of output) {
    bytes += part.length;
    if (bytes <= BUNDLE_BYTES) parts.push(part);
  }
  const { exitCode } = await outcome;
  if (exitCode !== 0 || bytes > BUNDLE_BYTES)
    throw new Error(`the run's certificate authority could not be put into its sandbox: ${errors().trim()}`);
  return Buffer.concat(parts);
}

/**
 * Puts these certificates in the place of the system's, for programs that read no variable. Only while no command runs.
 * @throws EngineError, OwnedFilesRefused where that can't be done
 */
export async function trustBySystem(sandbox: GatedSandbox, bundle: Buffer): Promise<void> {
  if (bundle.length > 0) await sandbox.putOwned(dirname(SYSTEM), systemStore(bundle));
}

/** An archive of the one file, root's, that all may read. */
async function* systemStore(content: Buffer): AsyncIterable<Uint8Array> {
  const mtime = Math.floor(Date.now() / 1000);
  yield archiveHeader({
    path: basename(SYSTEM),
    type: "file",
    mode: 0o644,
    size: content.length,
    mtime,
    owner: 0,
  });
  yield content;
  yield new Uint8Array(archivePadding(content.length));
  yield archiveEnd();
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
