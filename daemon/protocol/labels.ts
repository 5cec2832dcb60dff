import { z } from "zod";

/** Integrity: trusted > untrusted. Confidentiality: public < internal < confidential < secret. */
export const Integrity = z.enum(["trusted", "untrusted"]);
export type Integrity = z.infer<typeof Integrity>;
export const Confidentiality = z.enum(["public", "internal", "confidential", "secret"]);
export type Confidentiality = z.infer<typeof Confidentiality>;

/** What is said of a piece of data; what is left out is no opinion. */
export const Label = z.object({
  integrity: Integrity.optional(),
  confidentiality: Confidentiality.optional(),
});
export type Label = z.infer<typeof Label>;

/** What a piece of data, or all that a sandbox has read together, is. */
export interface Labels {
  readonly integrity: Integrity;
  readonly confidentiality: Confidentiality;
}

/** The workspace's, unless it is labelled; the task's confidentiality is lower, and nothing depends on that. */
export const ORDINARY: Labels = { integrity: "trusted", confidentiality: "internal" };

const rankOf = (one: Confidentiality) => Confidentiality.options.indexOf(one);

export function isOrdinary(labels: Labels): boolean {
  return areSame(labels, ORDINARY);
}

export function areSame(one: Labels, other: Labels): boolean {
  return one.integrity === other.integrity && one.confidentiality === other.confidentiality;
}

/** Data made of both: labels join upwards, to the less trusted and the more confidential. */
export function joined(labels: Labels, { integrity, confidentiality }: Label): Labels {
  const raised = confidentiality !== undefined && rankOf(confidentiality) > rankOf(labels.confidentiality);
  return {
    integrity: integrity === "untrusted" ? "untrusted" : labels.integrity,
    confidentiality: raised ? confidentiality : labels.confidentiality,
  };
}

/** Both opinions of one piece of data: the less trusted and the more confidential. */
export function both(one: Label, other: Label): Label {
  const integrities = [one.integrity, other.integrity].filter((value) => value !== undefined);
  const confidentiality = highest(one.confidentiality, other.confidentiality);
  return {
    ...(integrities.length === 0
      ? {}
      : { integrity: integrities.includes("untrusted") ? "untrusted" : "trusted" }),
    ...(confidentiality === undefined ? {} : { confidentiality }),
  };
}

/** The more confidential of the two; undefined where neither is given. */
export function highest(
  one: Confidentiality | undefined,
  other: Confidentiality | undefined,
): Confidentiality | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return rankOf(one) > rankOf(other) ? one : other;
}

/** Whether the first is as confidential as the second, or less. */
export function atMost(one: Confidentiality, other: Confidentiality): boolean {
  return rankOf(one) <= rankOf(other);
}

/** What a person's word leaves of labels: what it names and they are above goes down to it. */
export function lowered(labels: Labels, { integrity, confidentiality }: Label): Labels {
  const lower = confidentiality !== undefined && atMost(confidentiality, labels.confidentiality);
  return {
    integrity: integrity === "trusted" ? "trusted" : labels.integrity,
    confidentiality: lower ? confidentiality : labels.confidentiality,
  };
}

/** Whether data of these labels is what a rule's condition names: as untrusted, and as confidential or more. */
export function meets(labels: Labels, { integrity, confidentiality }: Label): boolean {
  return (
    (integrity === undefined || integrity === "trusted" || labels.integrity === "untrusted") &&
    (confidentiality === undefined || rankOf(labels.confidentiality) >= rankOf(confidentiality))
  );
}
