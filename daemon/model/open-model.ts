import { CaissonError } from "../protocol/errors.ts";
import type { AnthropicModelOptions } from "./anthropic.ts";
import type { Model } from "./port.ts";
import { createScriptedModel } from "./scripted.ts";

/**
 * The model of a task: an id of the Messages API, or a script's text.
 * @throws CaissonError `model_unconfigured`, `script_invalid`, or `invalid_request` for a script's path
 */
export async function openModel(
  choice: string | { readonly script: string },
  options: Omit<AnthropicModelOptions, "model">,
): Promise<Model> {
  if (typeof choice !== "string") return createScriptedModel(choice.script, options.clock);
  if (choice.startsWith("script:"))
    throw new CaissonError(
      "invalid_request",
      'The daemon reads no file that a client names. Send the script itself: {"model": {"script": "<text>"}}; the command line does so for --model script:FILE.',
    );
  const { createAnthropicModel } = await import("./anthropic.ts");
  return createAnthropicModel({ ...options, model: choice });
}
