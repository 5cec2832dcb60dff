/** An object with a member of one's own in the place of one that it has; its private fields stay its own. */
export function over<T extends object, K extends keyof T>(whole: T, key: K, instead: T[K]): T {
  return new Proxy(whole, {
    get: (_, asked) => {
      if (asked === key) return instead;
      const value: unknown = Reflect.get(whole, asked, whole);
      return typeof value === "function" ? value.bind(whole) : value;
    },
  });
}
