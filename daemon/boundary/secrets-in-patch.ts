/** What of a run's changes holds a secret is left out whole: a patch with a part redacted could not be applied. */
import type { Change, FileState } from "./change.ts";
import type { WorkspacePatch } from "./export.ts";
import { writePatch } from "./patch.ts";
import type { Found, Redactor } from "./redaction.ts";

/** What is redacted of a content, were it shown. */
export function foundIn(redactor: Redactor, content: Uint8Array): readonly Found[] {
  const stream = redactor.byteStream();
  stream.push(Buffer.from(content));
  stream.end();
  return stream.found();
}

/** The patch without the files of which it would show a secret (J6); they are omitted, with the secret's name. */
export function withoutSecrets(changed: WorkspacePatch, redactor: Redactor): WorkspacePatch {
  const { changes, folders, omitted, patch } = changed;
  const held = new Map(changes.map((change) => [change.path, heldBy(change, redactor)]));
  const named = [...held].flatMap(([path, kinds]) =>
    kinds.length > 0 ? [{ path: redactor.text(path).text, reason: reasonFor(kinds) }] : [],
  );
  if (named.length === 0 && redactor.kindsIn(patch).length === 0) return changed;
  const shown = changes.filter(({ path }) => held.get(path)?.length === 0);
  const clean = (paths: readonly string[]) => paths.filter((path) => redactor.kindsIn(path).length === 0);
  const left = { created: clean(folders.created), removed: clean(folders.removed) };
  return { ...changed, patch: writePatch(shown, left), folders: left, omitted: [...omitted, ...named] };
}

/** In what the patch would show of it, or in what it has more of than before: a line break in the middle hides it there. */
function heldBy(change: Change, redactor: Redactor): readonly string[] {
  const section = writePatch([change]);
  const shown = redactor.kindsIn(section);
  if (shown.length > 0) return shown;
  const after = of(change.after, redactor);
  const before = of(change.before, redactor);
  if (section.includes("\nGIT binary patch\n")) return [...new Set([...after.keys(), ...before.keys()])];
  return [...after].flatMap(([kind, count]) => (count > (before.get(kind) ?? 0) ? [kind] : []));
}

function of(state: FileState | undefined, redactor: Redactor): ReadonlyMap<string, number> {
  const found = state ? foundIn(redactor, state.content) : [];
  return new Map(found.map(({ kind, count }) => [kind, count]));
}

function reasonFor(kinds: readonly string[]): string {
  const named = kinds.map((kind) =>
    kind.startsWith("secret:") ? `the secret ${kind.slice(7)}` : `a credential (${kind})`,
  );
  return `it holds ${[...new Set(named)].join(" and ")}`;
}
