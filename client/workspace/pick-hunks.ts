/** Choosing parts of a patch, one after the other, as `git add -p` does. */
import {
  type Hunk,
  hunkText,
  NO_BLOB,
  type PatchSection,
  patchText,
  readPatch,
  sectionText,
} from "./read-patch.ts";

/** y, n: this one. a, d: this and all that follow in the file, or none of them. q: none of all that follow. */
export type HunkAnswer = "y" | "n" | "a" | "d" | "q";

export interface HunkQuestion {
  /** The file's path; for a rename the new one. */
  readonly path: string;
  readonly kind: "hunk" | "mode" | "addition" | "deletion" | "rename" | "change" | "folder";
  /** Which of this file's questions it is, from 1, and how many there are. */
  readonly number: number;
  readonly of: number;
  /** The part of the patch in question. */
  readonly text: string;
}

type Ask = (question: HunkQuestion) => Promise<HunkAnswer>;
type Part = Pick<HunkQuestion, "kind" | "text">;

/** What is asked about one file: its sections as a whole, or a mode change and each hunk. */
interface Choice {
  readonly path: string;
  readonly parts: readonly Part[];
  /** The file's share in the patch when these of its parts are wanted. */
  chosen(wanted: readonly boolean[]): readonly PatchSection[];
}

const MODES = /^old mode \d+\nnew mode \d+\n/m;

function kindOf({ before, after }: PatchSection): HunkQuestion["kind"] {
  if (!before) return "addition";
  if (!after) return "deletion";
  return before.path === after.path ? "change" : "rename";
}

function asWhole(path: string, sections: readonly PatchSection[]): Choice {
  const first = sections[0];
  const kind = sections.length === 1 && first ? kindOf(first) : "change";
  return {
    path,
    parts: [{ kind, text: sections.map(sectionText).join("") }],
    chosen: ([wanted]) => (wanted ? sections : []),
  };
}

/** Hunks after one that is left out stand elsewhere: their new places are counted again. */
function renumbered(hunks: readonly Hunk[]): Hunk[] {
  let moved = 0;
  return hunks.map(({ before, after, body }) => {
    // A range without lines names the line before it.
    const first = before[1] === 0 ? before[0] + 1 : before[0];
    const start = first + moved;
    moved += after[1] - before[1];
    return { before, after: [after[1] === 0 ? start - 1 : start, after[1]], body };
  });
}

/** A part of a text file's change. What content that gives isn't known: its id says so. */
function partOf(section: PatchSection, mode: boolean, hunks: readonly Hunk[]): PatchSection {
  const modes = mode ? section.head : section.head.replace(MODES, "");
  if (hunks.length === section.hunks.length) return { ...section, head: modes };
  const [, from = ""] = /^index ([0-9a-f]{40})\.\./m.exec(modes) ?? [];
  const to = hunks.length === 0 ? from : NO_BLOB;
  const head = modes.replace(/^(index [0-9a-f]{40}\.\.)[0-9a-f]{40}/m, `$1${to}`);
  const withoutSides = hunks.length === 0 ? head.replace(/^--- .*\n\+\+\+ .*\n/m, "") : head;
  return { ...section, head: withoutSides, hunks: renumbered(hunks) };
}

function byHunks(path: string, section: PatchSection): Choice {
  const modes = MODES.exec(section.head)?.[0];
  const parts: Part[] = section.hunks.map((hunk) => ({ kind: "hunk", text: hunkText(hunk) }));
  const shift = modes === undefined ? 0 : 1;
  return {
    path,
    parts: modes === undefined ? parts : [{ kind: "mode", text: modes }, ...parts],
    chosen: (wanted) => {
      if (!wanted.includes(true)) return [];
      const hunks = section.hunks.filter((_, index) => wanted[index + shift] === true);
      return [partOf(section, shift === 1 && wanted[0] === true, hunks)];
    },
  };
}

/** Sections of one path belong together: a file that becomes a symlink goes and comes. */
function choicesOf(sections: readonly PatchSection[]): Choice[] {
  const byPath = new Map<string, PatchSection[]>();
  for (const section of sections) {
    const path = section.after?.path ?? section.before?.path ?? "";
    byPath.set(path, [...(byPath.get(path) ?? []), section]);
  }
  return [...byPath].map(([path, ofPath]) => {
    const [first] = ofPath;
    const text = ofPath.length === 1 && first && kindOf(first) === "change" && first.hunks.length > 0;
    return text ? byHunks(path, first) : asWhole(path, ofPath);
  });
}

/** Which of the parts are wanted; undefined in place of those not asked any more. */
async function answersTo(
  path: string,
  parts: readonly Part[],
  ask: Ask,
): Promise<{ wanted: boolean[]; quit: boolean }> {
  const wanted: boolean[] = [];
  for (const [index, part] of parts.entries()) {
    const answer = await ask({ path, ...part, number: index + 1, of: parts.length });
    wanted.push(answer === "y" || answer === "a");
    const rest = parts.slice(index + 1);
    if (answer === "a" || answer === "d")
      return { wanted: [...wanted, ...rest.map(() => answer === "a")], quit: false };
    if (answer === "q") return { wanted: [...wanted, ...rest.map(() => false)], quit: true };
  }
  return { wanted, quit: false };
}

/** The part of a patch that somebody wants, asked in the patch's order. Throws PatchRefused for no patch of ours. */
export async function pickHunks(text: string, ask: Ask): Promise<string> {
  const patch = readPatch(text);
  const sections: PatchSection[] = [];
  for (const { path, parts, chosen } of choicesOf(patch.sections)) {
    const { wanted, quit } = await answersTo(path, parts, ask);
    sections.push(...chosen(wanted));
    if (quit) return patchText({ folders: [], sections });
  }
  const folders: (typeof patch.folders)[number][] = [];
  for (const folder of patch.folders) {
    const part: Part = { kind: "folder", text: `${folder.line}\n` };
    const { wanted, quit } = await answersTo(folder.path, [part], ask);
    if (wanted[0]) folders.push(folder);
    if (quit) break;
  }
  return patchText({ folders, sections });
}
