/** Something in the folder can't be packed; the message names it. Nothing was changed. */
export class PackError extends Error {
  override readonly name = "PackError";
}
