# How much may be spent.
#
# Amounts are USDC minor units (6 decimals). `data.spending.max_budget` bounds one need by its sender's role,
# `max_price` one task. `input.local` is there only when this node asks about a need of its own before it
# publishes it: what it spent in the last 24 hours is nobody else's business, and no other node could check it.
#
# uses: base
package swarm.policy

reasons contains "need-over-role-limit" if {
	input.kind == "NEED"
	not need_within_limit
}

need_within_limit if {
	is_number(input.budget)
	input.budget <= data.spending.max_budget[input.role]
}

reasons contains "task-over-limit" if {
	input.kind == "NEED"
	not task_within_limit
}

task_within_limit if {
	is_number(input.max_price)
	input.max_price <= data.spending.max_price
}

reasons contains "daily-spending-over-limit" if {
	_ = input.local
	not daily_within_limit
}

daily_within_limit if {
	is_number(input.budget)
	is_number(input.local.spent_24h)
	input.local.spent_24h + input.budget <= data.spending.max_per_day
}
