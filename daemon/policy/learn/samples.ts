/** Something that a rule matches, for a test that shows what it does; the judge says whether it is right. */
import type { ExecRuleDocument } from "../document.ts";
import { REST } from "../exec-rule.ts";

/** A word that a glob matches. */
export function sampleWord(glob: string): string {
  return glob.replaceAll(/\\(.)|\*|\?/g, (_, quoted: string | undefined) => quoted ?? "x");
}

/** A path that a glob matches. */
export function samplePath(glob: string): string {
  const plain = glob
    .replaceAll(/\{([^{},]*)[^{}]*\}/g, "$1")
    .replaceAll(/\[[!^]?(.)[^\]]*\]/g, "$1")
    .replace(/^\*\*\//, "/workspace/")
    .replaceAll(/\/\*\*/g, "")
    .replaceAll(/[*?]/g, "x");
  return plain === "" ? "/" : plain;
}

/** A command that a rule matches. */
export function sampleCommand({ argv, has }: ExecRuleDocument): string {
  const fixed = argv.filter((part) => part !== REST).map((part) => sampleWord([part].flat()[0] ?? ""));
  const wanted = has?.slice(0, 1).map(sampleWord) ?? [];
  const words = fixed.length === 0 ? ["true", ...wanted] : [...fixed, ...wanted];
  return words.map(quoted).join(" ");
}

export function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
