// The kinds of envelopes: what part of the work each belongs to, as a mark of its own colour.
import { html } from "./lib.js";

const PARTS = {
  NEED: "ask", PROPOSE: "agree", ATTEST_PLAN: "agree", DECIDE: "agree", UPDATE_PLAN: "agree",
  CLAIM: "work", COMMIT: "work", YIELD: "warn", RELEASE: "warn",
  ATTEST: "judge", FINALIZE: "done", CHALLENGE: "bad", INVALIDATE: "bad", REVIEW: "judge", RECONCILE: "warn", DAMAGED: "bad",
};

export const partOf = (kind) => (kind.startsWith("ESCROW") ? "ask" : PARTS[kind] || "other");

export function KindMark({ kind }) {
  return html`<span class=${"kind " + partOf(kind)}>${kind.replace(/_/g, " ").toLowerCase()}</span>`;
}
