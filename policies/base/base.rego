# METADATA
# title: The rules every node starts with
# description: |
#   Denied unless no rule objects. A rule objects by adding its name to `reasons`, so a verdict says which
#   rules it hit. A rule objects when a helper that says what must hold does not hold, so a fact that is
#   missing or of the wrong type is denied, never skipped. The helper has to be a rule of its own: in
#   `not kinds[input.kind]` a missing kind makes the whole line undefined, and nothing objects. Types are
#   checked because Rego orders values of different types (null < boolean < number), so `null < 5` is true.
package swarm.policy

# METADATA
# entrypoint: true
verdict := {
	"allow": count(reasons) == 0,
	"obligations": [],
	"reasons": reasons,
}

gates := {"commit", "ingress", "preflight"}

allowed_kinds := {
	"ATTEST",
	"ATTEST_PLAN",
	"CHALLENGE",
	"CHECKPOINT",
	"CLAIM",
	"COMMIT",
	"DECIDE",
	"ESCROW",
	"FINALIZE",
	"INVALIDATE",
	"MONEY",
	"NEED",
	"POOL",
	"PROPOSE",
	"RECONCILE",
	"RELEASE",
	"UPDATE_PLAN",
	"YIELD",
}

max_payload_size := 1048576

reasons contains "gate-unknown" if not gate_known

gate_known if gates[input.gate]

reasons contains "kind-not-allowed" if not kind_allowed

kind_allowed if allowed_kinds[input.kind]

reasons contains "payload-too-big" if not payload_fits

# What the commit gate asks about is a result, whose envelope has passed the ingress gate.
payload_fits if input.gate == "commit"

payload_fits if {
	is_number(input.payload_size)
	input.payload_size >= 0
	input.payload_size < max_payload_size
}

reasons contains "sender-missing" if not sender_given

sender_given if is_string(input.sender)

# data.deny.senders: did:key -> why, for the operator's own memory.
reasons contains "sender-denied" if _ = data.deny.senders[input.sender]

# data.limits.max_budget: the most one need may offer, in USDC minor units. Without the limit no budget passes.
reasons contains "budget-over-cap" if {
	_ = input.budget
	not budget_fits
}

budget_fits if {
	is_number(input.budget)
	input.budget >= 0
	input.budget <= data.limits.max_budget
}

# At the commit gate a verifier compares what a worker claims of its run with what it found itself. `actual` has
# the size of the result it read and, if it did the work again, the CPU time that took. Claiming less than was
# used harms nobody; machines and programs differ, hence a ratio and slack, both wide.
reasons contains "telemetry-missing" if {
	input.gate == "commit"
	not telemetry_given
}

telemetry_given if {
	is_number(input.claimed.size)
	is_number(input.claimed.cpu_ms)
	is_number(input.actual.size)
}

reasons contains "size-misstated" if {
	input.gate == "commit"
	input.claimed.size != input.actual.size
}

reasons contains "cpu-overstated" if {
	input.gate == "commit"
	_ = input.actual.cpu_ms
	not cpu_plausible
}

cpu_plausible if {
	is_number(input.actual.cpu_ms)
	input.claimed.cpu_ms <= (input.actual.cpu_ms * data.telemetry.max_ratio) + data.telemetry.slack_ms
}
