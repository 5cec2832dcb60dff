import { pathGlob } from "./glob.ts";

/**
 * A glob over the paths of URLs: as over those of files, but that a slash at the end is part of a URL, so the glob
 * `/simple/` does not match `/simple`. A rule that narrows matches with and without it. A string says why the
 * pattern is refused.
 */
export function urlGlob(pattern: string, narrows: boolean): ((path: string) => boolean) | string {
  if (!pattern.startsWith("/")) return "can match nothing: paths begin with `/`";
  const folder = pattern.length > 1 && pattern.endsWith("/");
  const glob = pathGlob(folder ? pattern.slice(0, -1) : pattern);
  if (typeof glob === "string") return glob;
  return (path) => {
    const slash = path.length > 1 && path.endsWith("/");
    const bare = slash ? path.slice(0, -1) : path;
    if (narrows) return glob(bare) || glob(path);
    return folder ? slash && glob(bare) : glob(path);
  };
}
