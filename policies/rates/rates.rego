# How much may be asked for, how often.
#
# `data.rates.max_tasks` bounds the tasks of one need, `max_deadline_s` how long it may hold the mesh's
# attention. How many needs this node posted in the last hour it judges before publishing one of its own; what
# others may send it is bounded by the transport, for verdicts that depend on when an envelope arrived would
# differ between nodes.
#
# uses: base
package swarm.policy

reasons contains "too-many-tasks" if {
	input.kind == "NEED"
	not tasks_within_limit
}

tasks_within_limit if {
	is_number(input.tasks)
	input.tasks <= data.rates.max_tasks
}

reasons contains "deadline-too-far" if {
	input.kind == "NEED"
	not deadline_within_limit
}

deadline_within_limit if {
	is_number(input.deadline_s)
	input.deadline_s <= data.rates.max_deadline_s
}

reasons contains "too-many-needs" if {
	_ = input.local
	not needs_within_limit
}

needs_within_limit if {
	is_number(input.local.needs_1h)
	input.local.needs_1h < data.rates.max_needs_per_hour
}
