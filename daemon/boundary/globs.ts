/** The policy's path globs, as ingest and export use them. */
import picomatch from "picomatch";

/** Where a workspace stands in its sandbox; globs may be written with it or relative to it. */
export const WORKSPACE = "/workspace";

/** A glob, or what gives the name of the rule that a path matches. */
export type PathDenial = string | ((path: string) => string | undefined);

/**
 * The name of the first rule that a workspace path matches: itself, or a folder above it (a glob that names a
 * folder means everything below it). `place` is where the list stands in the policy: `files.ingest.deny`.
 */
export function pathRules(
  denials: readonly PathDenial[],
  place: string,
): (path: string) => string | undefined {
  const matchers = denials.map((denial, index) =>
    typeof denial === "string" ? globRule(denial, `${place}[${index}]`) : denial,
  );
  const known = new Map<string, string | undefined>();
  const ruleOf = (path: string): string | undefined => {
    for (const rule of matchers) {
      const name = rule(path);
      if (name !== undefined) return name;
    }
    return undefined;
  };
  const folderRule = (folder: string): string | undefined => {
    if (known.has(folder)) return known.get(folder);
    const rule = folderRuleAbove(folder) ?? ruleOf(folder);
    // Bounded: an archive may have a million folders.
    if (known.size > 50_000) known.clear();
    known.set(folder, rule);
    return rule;
  };
  const folderRuleAbove = (path: string): string | undefined => {
    const slash = path.lastIndexOf("/");
    return slash === -1 ? undefined : folderRule(path.slice(0, slash));
  };
  return (path) => folderRuleAbove(path) ?? ruleOf(path);
}

function globRule(glob: string, name: string): (path: string) => string | undefined {
  const matches = picomatch(glob, { dot: true, nonegate: true });
  return (path) => (matches(`${WORKSPACE}/${path}`) || matches(path) ? name : undefined);
}
