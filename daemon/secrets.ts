import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { SHORTEST_SECRET } from "./boundary/encodings.ts";
import { type Secret, SecretsRefused } from "./boundary/redaction.ts";
import type { SecretValues } from "./boundary/run-secrets.ts";

/** Variables whose values are credentials of the daemon's own. */
const SECRET_VARIABLES = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];
const OWN = new Set([...SECRET_VARIABLES, "CAISSON_TOKEN"]);
/** Bytes; what is longer is no credential. */
const LONGEST = 4_096;
const FOR_OTHERS = 0o077;

/** Every secret this daemon knows of: none of them may reach a journal, a model, a client or a log (J6). */
export function configuredSecrets(env: NodeJS.ProcessEnv, token: string): Secret[] {
  const named = SECRET_VARIABLES.flatMap((name) => {
    const value = env[name]?.trim(); // as the SDK sends it
    return value ? [{ name, value }] : [];
  });
  return [...named, { name: "caisson-token", value: token }];
}

/** The secrets that policies may name: of the daemon's environment, and of files in `secrets/` of its home. */
export function createSecretValues(env: NodeJS.ProcessEnv, home: string): SecretValues {
  return {
    async value(from) {
      const [, kind, name = ""] = /^(env|file):(.+)$/s.exec(from) ?? [];
      if (kind === "env") return usable(fromEnvironment(env, name));
      if (kind === "file") return usable(await fromFile(join(home, "secrets"), name));
      throw new SecretsRefused("`from` is `env:NAME` or `file:NAME`");
    },
  };
}

function usable(value: string): string {
  if (value.length < SHORTEST_SECRET)
    throw new SecretsRefused(
      `it has fewer than ${SHORTEST_SECRET} characters, so it can't be told from ordinary text in what leaves the daemon`,
    );
  if (Buffer.byteLength(value) > LONGEST) throw new SecretsRefused(`it is over ${LONGEST} bytes`);
  return value;
}

function fromEnvironment(env: NodeJS.ProcessEnv, name: string): string {
  if (OWN.has(name))
    throw new SecretsRefused(`${name} is the daemon's own credential; give the policy another variable`);
  const value = env[name]?.trim();
  if (!value)
    throw new SecretsRefused(
      `the variable ${name} is not set in the daemon's environment; set it and start the daemon again`,
    );
  return value;
}

/** A file of ours that nobody else may read, and nothing that leads elsewhere. */
async function fromFile(folder: string, name: string): Promise<string> {
  if (!/^[\w.-]{1,100}$/.test(name) || name === "." || name === "..")
    throw new SecretsRefused(`\`file:\` takes the name of a file in ${folder}, without folders`);
  const path = join(folder, name);
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") throw new SecretsRefused(`there is no file ${path}`);
      throw new SecretsRefused(
        error.code === "ELOOP"
          ? `${path} is a link; put the file itself there`
          : `${path} can't be read (${error.code})`,
      );
    },
  );
  try {
    const found = await file.stat();
    const own = process.getuid?.();
    if (!found.isFile()) throw new SecretsRefused(`${path} is not a file`);
    if (own !== undefined && found.uid !== own) throw new SecretsRefused(`${path} belongs to another user`);
    if ((found.mode & FOR_OTHERS) !== 0)
      throw new SecretsRefused(
        `${path} can be read by others; \`chmod 600\` it, and change the secret if it matters`,
      );
    if (found.size > LONGEST) throw new SecretsRefused(`${path} is over ${LONGEST} bytes`);
    return (await file.readFile("utf8")).trim();
  } finally {
    await file.close();
  }
}
