/** An id like this text that is not among those given; it is then. */
export function freshId(text: string, ids: Set<string>): string {
  const plain = text
    .replaceAll(/[^A-Za-z0-9_-]+/g, "-")
    .replaceAll(/^[^A-Za-z]+|-+$/g, "")
    .slice(0, 60);
  const base = plain === "" || plain === "default" ? `rule-${plain}`.replace(/-$/, "") : plain;
  for (let n = 1; ; n++) {
    const id = n === 1 ? base : `${base}-${n}`;
    if (ids.has(id)) continue;
    ids.add(id);
    return id;
  }
}
