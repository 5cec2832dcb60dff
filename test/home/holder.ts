import { openHome } from "../../daemon/home.ts";

/** Holds a home until it is killed. */
await openHome(process.argv[2] ?? "", undefined);
process.send?.("held");
setInterval(() => undefined, 60_000);
