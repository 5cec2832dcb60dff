import { LearnPolicy, LearntPolicy } from "../../protocol/backtest.ts";
import { AnswerQuestion, CheckPolicy, DecideApproval, ExplainPolicy } from "../../protocol/commands.ts";
import { CaissonError } from "../../protocol/errors.ts";
import { EffectivePolicy, ShowPolicy } from "../../protocol/policy-layers.ts";
import {
  ApprovalView,
  listOf,
  PolicyCheck,
  PolicyExplanation,
  PolicyView,
  QuestionView,
} from "../../protocol/views.ts";
import { json, notSupported, PARAMETERS, type Route, route, type Services, whole } from "../route.ts";

const ApprovalList = listOf(ApprovalView);
const QuestionList = listOf(QuestionView);
const PolicyList = listOf(PolicyView);

/** Approvals and questions: what runs ask of people. */
export function inboxRoutes({ harness, views }: Services): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/approvals",
      summary: "Approvals, pending ones first.",
      answer: { status: 200, description: "Approvals.", schema: ApprovalList },
      handle: () => whole(views.approvals()),
    }),
    route({
      method: "POST",
      path: "/v1/approvals/:approval",
      summary: "Decide an approval. It binds this exact action, once or for the rest of the run.",
      params: ["approval"],
      body: DecideApproval,
      answer: { status: 200, description: "The decision is on disk.", schema: ApprovalView },
      errors: ["already_decided", "run_ended"],
      handle: async ({ params, body }) =>
        json(200, await ofApproval(harness.decideApproval(params.approval, body))),
    }),
    route({
      method: "DELETE",
      path: "/v1/approvals/:approval",
      summary: "Revoke an approval given for the run.",
      params: ["approval"],
      answer: { status: 200, description: "The revocation is on disk.", schema: ApprovalView },
      errors: ["run_ended"],
      handle: async ({ params }) => json(200, await ofApproval(harness.revokeApproval(params.approval))),
    }),
    route({
      method: "GET",
      path: "/v1/questions",
      summary: "Questions that runs ask of people.",
      answer: { status: 200, description: "Questions.", schema: QuestionList },
      handle: () => whole(views.questions()),
    }),
    route({
      method: "POST",
      path: "/v1/questions/:question",
      summary: "Answer a question.",
      params: ["question"],
      body: AnswerQuestion,
      answer: { status: 200, description: "The answer is on disk.", schema: QuestionView },
      errors: ["already_decided", "not_supported"],
      handle: ({ params }) => {
        if (!views.questions().some(({ id }) => id === params.question))
          throw new CaissonError(PARAMETERS.question.unknown, PARAMETERS.question.detail);
        return notSupported("take answers to questions");
      },
    }),
  ];
}

/** Who names an approval of a run that there isn't named an unknown approval. */
function ofApproval<T>(work: Promise<T>): Promise<T> {
  return work.catch((error: unknown) => {
    const unknown = error instanceof CaissonError && error.code === "unknown_run";
    throw unknown ? new CaissonError(PARAMETERS.approval.unknown, PARAMETERS.approval.detail) : error;
  });
}

/** Policies: list, check, explain. */
export function policyRoutes({ harness }: Services): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/policies",
      summary: "Policies that a task may name.",
      answer: { status: 200, description: "Policies.", schema: PolicyList },
      handle: async () => whole(await harness.policies()),
    }),
    route({
      method: "POST",
      path: "/v1/policies/check",
      summary: "Check a policy document and run its tests.",
      body: CheckPolicy,
      answer: { status: 200, description: "What the check found.", schema: PolicyCheck },
      handle: ({ body }) =>
        json(
          200,
          body.layer === undefined
            ? harness.checkPolicy(body.text)
            : harness.checkPolicy(body.text, body.layer),
        ),
    }),
    route({
      method: "POST",
      path: "/v1/policies/explain",
      summary: "What a policy says about one command, path or request, and which rule decides.",
      body: ExplainPolicy,
      answer: { status: 200, description: "The verdict.", schema: PolicyExplanation },
      errors: ["policy_invalid"],
      handle: ({ body }) => json(200, harness.explainPolicy(body)),
    }),
    route({
      method: "POST",
      path: "/v1/policies/effective",
      summary: "What holds when a policy and the layers above it do, section by section.",
      body: ShowPolicy,
      answer: { status: 200, description: "The effective policy.", schema: EffectivePolicy },
      errors: ["policy_invalid"],
      handle: ({ body }) => json(200, harness.effectivePolicy(body)),
    }),
    route({
      method: "POST",
      path: "/v1/policies/learn",
      summary:
        "The narrowest policy file that would have allowed what was allowed in these runs, with tests.",
      body: LearnPolicy,
      answer: { status: 200, description: "The proposed file.", schema: LearntPolicy },
      errors: ["unknown_run", "journal_damaged", "stopping"],
      handle: async ({ body }) => json(200, await harness.learnPolicy(body)),
    }),
  ];
}
