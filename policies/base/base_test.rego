package swarm.policy_test

import data.swarm.policy

sender := "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

need := {
	"budget": 60000,
	"epoch": 7,
	"gate": "ingress",
	"kind": "NEED",
	"payload_size": 456,
	"sender": sender,
}

# The sample inputs, each with the reasons it must be denied for.
test_allowed_samples if {
	count(data.samples.allowed) > 0
	every name, facts in data.samples.allowed {
		verdict := policy.verdict with input as facts
		{name: verdict} == {name: {"allow": true, "reasons": set(), "obligations": []}}
	}
}

test_denied_samples if {
	count(data.samples.denied) > 0
	every name, sample in data.samples.denied {
		verdict := policy.verdict with input as sample.input
		reasons := {reason | some reason in sample.reasons}
		{name: verdict} == {name: {"allow": false, "reasons": reasons, "obligations": []}}
	}
}

test_exactly_the_eighteen_kinds if {
	kinds := [
		"NEED", "PROPOSE", "CLAIM", "COMMIT", "ATTEST", "DECIDE", "FINALIZE", "YIELD", "RELEASE",
		"UPDATE_PLAN", "ATTEST_PLAN", "CHALLENGE", "INVALIDATE", "RECONCILE", "CHECKPOINT", "POOL", "MONEY", "ESCROW",
	]
	count(kinds) == 18
	policy.allowed_kinds == {kind | some kind in kinds}
	every kind in kinds {
		policy.verdict.allow with input as object.union(need, {"kind": kind})
	}
}

test_kinds_are_case_sensitive if {
	not policy.verdict.allow with input as object.union(need, {"kind": "need"})
}

test_all_three_gates if {
	every gate in ["preflight", "ingress"] {
		policy.verdict.allow with input as object.union(need, {"gate": gate})
	}
	commit := object.union(need, {"gate": "commit", "claimed": {"size": 1, "cpu_ms": 1}, "actual": {"size": 1}})
	policy.verdict.allow with input as commit
}

test_sender_on_the_deny_list if {
	verdict := policy.verdict with input as need
		with data.deny.senders as {sender: "spam"}
	verdict == {"allow": false, "reasons": {"sender-denied"}, "obligations": []}
}

test_other_senders_pass_the_deny_list if {
	policy.verdict.allow with input as need
		with data.deny.senders as {"did:key:z6Mkother": "spam"}
}

test_every_reason_is_named if {
	verdict := policy.verdict with input as {
		"gate": "ingress", "kind": "X", "sender": sender,
		"payload_size": 1048576, "budget": 2,
	}
		with data.deny.senders as {sender: "spam"}
		with data.limits.max_budget as 1
	verdict.reasons == {"kind-not-allowed", "payload-too-big", "sender-denied", "budget-over-cap"}
}

test_a_lower_cap if {
	policy.verdict.allow with input as need with data.limits.max_budget as 60000
	not policy.verdict.allow with input as need with data.limits.max_budget as 59999
}

# Fail closed: an operator who loses the data document loses the spending, not the cap.
test_no_budget_passes_without_a_cap if {
	verdict := policy.verdict with input as need with data.limits as {}
	verdict.reasons == {"budget-over-cap"}
	policy.verdict.allow with input as object.remove(need, ["budget"]) with data.limits as {}
}

test_a_tighter_ratio_of_cpu_time if {
	commit := object.union(need, {
		"gate": "commit",
		"claimed": {"size": 1, "cpu_ms": 3000},
		"actual": {"size": 1, "cpu_ms": 1000},
	})
	policy.verdict.allow with input as commit with data.telemetry as {"max_ratio": 3, "slack_ms": 0}
	verdict := policy.verdict with input as commit with data.telemetry as {"max_ratio": 2, "slack_ms": 999}
	verdict.reasons == {"cpu-overstated"}
	without := policy.verdict with input as commit with data.telemetry as {}
	without.reasons == {"cpu-overstated"}
}
