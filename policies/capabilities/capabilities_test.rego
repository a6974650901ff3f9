package swarm.policy_test

import data.swarm.policy

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

need := data.samples.allowed["a need"]

reasons(lists) := verdict.reasons if {
	verdict := policy.verdict with input as need with data.capabilities as lists
}

test_exact_names if {
	reasons({"allowed": ["text.split", "text.wordcount"], "denied": []}) == set()
	reasons({"allowed": ["text.split"], "denied": []}) == {"capability-not-allowed"}
}

test_families if {
	reasons({"allowed": ["text.*"], "denied": []}) == set()
	reasons({"allowed": ["image.*", "text"], "denied": []}) == {"capability-not-allowed"}
}

test_denied_is_stronger if {
	reasons({"allowed": ["*"], "denied": ["text.split"]}) == {"capability-denied"}
	reasons({"allowed": ["*"], "denied": ["text.w*"]}) == {"capability-denied"}
	reasons({"allowed": ["*"], "denied": ["image.*"]}) == set()
}

test_nothing_is_allowed_without_lists if {
	reasons({}) == {"capability-not-allowed"}
	reasons({"allowed": [], "denied": []}) == {"capability-not-allowed"}
}
