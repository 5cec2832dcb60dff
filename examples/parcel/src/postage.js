/** Prices in cents, by the most grams a parcel of that class may weigh. */
const CLASSES = [
  { name: "letter", grams: 100, price: 160 },
  { name: "small", grams: 1000, price: 350 },
  { name: "medium", grams: 5000, price: 690 },
  { name: "large", grams: 20000, price: 1490 },
];

/** The cheapest class that takes a parcel of this weight. */
export function classOf(grams) {
  if (!(grams > 0)) throw new RangeError("a parcel weighs more than nothing");
  const found = CLASSES.find((one) => grams < one.grams);
  if (!found) throw new RangeError("too heavy to send");
  return found;
}

/** What it costs, in cents, to send parcels of these weights in grams; from the fifth on they cost half. */
export function postage(weights) {
  return weights
    .map((grams) => classOf(grams).price)
    .reduce((sum, price, index) => sum + (index >= 4 ? price / 2 : price), 0);
}
