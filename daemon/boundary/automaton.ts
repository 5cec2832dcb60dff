/**
 * Aho–Corasick over UTF-16 code units: all patterns in one pass, one table look-up a character, whatever the
 * text. Dense tables: the patterns are few and known at start.
 */

export interface Pattern {
  /** Not empty. */
  readonly text: string;
  /** What a hit reports. */
  readonly label: number;
}

export interface Automaton {
  /** Class of each code unit; 0 for those in no pattern. */
  readonly classes: Uint16Array;
  readonly width: number;
  /** `next[state * width + class]`; state 0 is the root. */
  readonly next: Int32Array;
  /** Length of the longest beginning of a pattern that the text read so far ends in. */
  readonly depth: Int32Array;
  /** Length of the longest whole pattern that the text read so far ends in; 0 for none. */
  readonly hit: Int32Array;
  readonly label: Int32Array;
}

/** Cells of one table, 4 bytes each. */
const MAX_CELLS = 2 ** 25;

function classesOf(patterns: readonly Pattern[]): { classes: Uint16Array; width: number } {
  const classes = new Uint16Array(65_536);
  let width = 1;
  for (const { text } of patterns) {
    for (let index = 0; index < text.length; index += 1) {
      const unit = text.charCodeAt(index);
      if (classes[unit] !== 0) continue;
      classes[unit] = width;
      width += 1;
    }
  }
  return { classes, width };
}

/** Throws RangeError when the patterns are longer, together, than a table may be. */
export function buildAutomaton(patterns: readonly Pattern[]): Automaton {
  const { classes, width } = classesOf(patterns);
  const most = patterns.reduce((sum, pattern) => sum + pattern.text.length, 1);
  if (most * width > MAX_CELLS)
    throw new RangeError(`${most} characters of patterns are too many to look for`);
  const next = new Int32Array(most * width);
  const depth = new Int32Array(most);
  const hit = new Int32Array(most);
  const label = new Int32Array(most);
  let states = 1;
  for (const pattern of patterns) {
    let state = 0;
    for (let index = 0; index < pattern.text.length; index += 1) {
      const cell = state * width + (classes[pattern.text.charCodeAt(index)] ?? 0);
      if (next[cell] === 0) {
        next[cell] = states;
        depth[states] = index + 1;
        states += 1;
      }
      state = next[cell] ?? 0;
    }
    hit[state] = pattern.text.length;
    label[state] = pattern.label;
  }
  link({ classes, width, next, depth, hit, label }, states);
  return { classes, width, next, depth, hit, label };
}

/** Breadth first: a missing step goes where the longest proper ending of the state would go. */
function link({ width, next, hit, label }: Automaton, states: number): void {
  const fail = new Int32Array(states);
  const queue: number[] = [];
  for (let unit = 0; unit < width; unit += 1) {
    const child = next[unit] ?? 0;
    if (child !== 0) queue.push(child);
  }
  for (let head = 0; head < queue.length; head += 1) {
    const state = queue[head] ?? 0;
    const shorter = fail[state] ?? 0;
    if (hit[state] === 0) {
      hit[state] = hit[shorter] ?? 0;
      label[state] = label[shorter] ?? 0;
    }
    for (let unit = 0; unit < width; unit += 1) {
      const child = next[state * width + unit] ?? 0;
      const fallback = next[shorter * width + unit] ?? 0;
      if (child === 0) next[state * width + unit] = fallback;
      else {
        fail[child] = fallback;
        queue.push(child);
      }
    }
  }
}
