import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { journalContract } from "../contracts/journal.ts";
import { temporaryHome } from "./homes.ts";

journalContract("NDJSON files", async () => {
  const { home, dispose } = await temporaryHome();
  return { open: (clock) => openFileJournal({ home, clock }), dispose };
});
