import type { Secret } from "./boundary/redaction.ts";

/** Variables whose values are credentials of the daemon's own. */
const SECRET_VARIABLES = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];

/** Every secret this daemon knows of: none of them may reach a journal, a model, a client or a log (J6). */
export function configuredSecrets(env: NodeJS.ProcessEnv, token: string): Secret[] {
  const named = SECRET_VARIABLES.flatMap((name) => {
    const value = env[name]?.trim(); // as the SDK sends it
    return value ? [{ name, value }] : [];
  });
  return [...named, { name: "caisson-token", value: token }];
}
