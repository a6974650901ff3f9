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

# Fail closed: an operator who loses the data document loses the spending, not the limits.
test_nothing_is_spent_without_limits if {
	ours := data.samples.allowed["our own, the last of the day"]
	verdict := policy.verdict with input as ours with data.spending as {}
	verdict.reasons == {"need-over-role-limit", "task-over-limit", "daily-spending-over-limit"}
}
