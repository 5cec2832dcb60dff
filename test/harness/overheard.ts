import { openModel } from "../../daemon/model/open-model.ts";
import type { Model, ModelRequest } from "../../daemon/model/port.ts";

/** Opens models as the daemon does, and tells each request that they are sent. */
export function overheard(
  told: (request: ModelRequest) => void,
): (choice: Parameters<typeof openModel>[0]) => Promise<Model> {
  return async (choice) => {
    const model = await openModel(choice, { prices: new Map() });
    return {
      name: model.name,
      priced: model.priced,
      respond: (request, options) => {
        told(request);
        return model.respond(request, options);
      },
    };
  };
}
