/**
 * Aho–Corasick over UTF-16 code units: all patterns in one pass, one table look-up a character, whatever the
 * text. Dense tables: the patterns are few.
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
  /**
   * `next[row + class]`, where a row is a state times the width; row 0 is the root. As its complement (`~row`) where
   * something ends in that state.
   */
  readonly next: Int32Array;
  /** By state, as all below. Length of the longest beginning of a pattern that the text read so far ends in. */
  readonly depth: Int32Array;
  /** Length of the longest whole pattern that the text read so far ends in; 0 for none. */
  readonly hit: Int32Array;
  readonly label: Int32Array;
  /** Of the longest whole anchor that the text read so far ends in: its label and 1; 0 for none. */
  readonly anchor: Int32Array;
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

/**
 * @param anchors looked for in the same pass, and reported apart from the patterns
 * @throws RangeError when the patterns are longer, together, than a table may be
 */
export function buildAutomaton(patterns: readonly Pattern[], anchors: readonly Pattern[] = []): Automaton {
  const all = [...patterns, ...anchors];
  const { classes, width } = classesOf(all);
  const most = all.reduce((sum, pattern) => sum + pattern.text.length, 1);
  if (most * width > MAX_CELLS)
    throw new RangeError(`${most} characters of patterns are too many to look for`);
  const automaton = {
    classes,
    width,
    next: new Int32Array(most * width),
    depth: new Int32Array(most),
    hit: new Int32Array(most),
    label: new Int32Array(most),
    anchor: new Int32Array(most),
  };
  let states = 1;
  const grow = (text: string): number => {
    let state = 0;
    for (let index = 0; index < text.length; index += 1) {
      const cell = state * width + (classes[text.charCodeAt(index)] ?? 0);
      if (automaton.next[cell] === 0) {
        automaton.next[cell] = states;
        automaton.depth[states] = index + 1;
        states += 1;
      }
      state = automaton.next[cell] ?? 0;
    }
    return state;
  };
  for (const { text, label } of patterns) {
    const state = grow(text);
    automaton.hit[state] = text.length;
    automaton.label[state] = label;
  }
  for (const { text, label } of anchors) automaton.anchor[grow(text)] = label + 1;
  link(automaton, states);
  return asRows(automaton, states);
}

/** Breadth first: a missing step goes where the longest proper ending of the state would go. */
function link({ width, next, hit, label, anchor }: Automaton, states: number): void {
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
    if (anchor[state] === 0) anchor[state] = anchor[shorter] ?? 0;
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

/** States become rows: whoever scans multiplies nothing, and needn't look whether something ended. */
function asRows(automaton: Automaton, states: number): Automaton {
  const { next, width, hit, anchor } = automaton;
  for (let cell = 0; cell < states * width; cell += 1) {
    const state = next[cell] ?? 0;
    const row = state * width;
    next[cell] = (hit[state] ?? 0) > 0 || (anchor[state] ?? 0) > 0 ? ~row : row;
  }
  return automaton;
}
