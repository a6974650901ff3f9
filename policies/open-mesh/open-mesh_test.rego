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
