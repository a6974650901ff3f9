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

test_a_kind_denied_to_one_sender if {
	claim := data.samples.allowed["a claim of a member"]
	verdict := policy.verdict with input as claim with data.roles.denied as {claim.sender: ["CLAIM"]}
	verdict.reasons == {"kind-denied-to-sender"}
	policy.verdict.allow with input as claim with data.roles.denied as {claim.sender: ["NEED"]}
	policy.verdict.allow with input as claim with data.roles.denied as {"did:key:z6Mkother": ["CLAIM"]}
}

test_only_verifiers_may_post if {
	need := data.samples.allowed["a need of a member"]
	verdict := policy.verdict with input as need with data.roles.kinds as {"NEED": ["verifier"]}
	verdict.reasons == {"role-not-allowed"}
}
