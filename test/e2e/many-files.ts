import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/**
 * Text files of at most so many lines of 7 to 12 bytes in 1,067 folders, two deep; resolves with their paths in it, in
 * the order made.
 */
export async function manyFiles(folder: string, count: number, lines = 50): Promise<string[]> {
  const paths: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const path = join(`d${index % 97}`, `e${index % 11}`, `f${index}.txt`);
    if (index < 97 * 11) await mkdir(join(folder, dirname(path)), { recursive: true });
    await writeFile(join(folder, path), `file ${index}\n`.repeat(1 + (index % lines)));
    paths.push(path);
  }
  return paths;
}
