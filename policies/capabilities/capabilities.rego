# What may be asked for.
#
# `data.capabilities.allowed`: capabilities such as "text.wordcount", or whole families such as "text.*"; an
# empty list allows none, "*" all. `data.capabilities.denied` is stronger.
#
# uses: base
package swarm.policy

reasons contains "capabilities-missing" if {
	input.kind == "NEED"
	not capabilities_given
}

capabilities_given if {
	is_array(input.capabilities)
	count(input.capabilities) > 0
}

# The lists are read inside of a rule of its own: as arguments, a list that is missing would make the whole
# line undefined, and nothing would object.
reasons contains "capability-not-allowed" if {
	some capability in input.capabilities
	not capability_allowed(capability)
}

capability_allowed(capability) if {
	some pattern in data.capabilities.allowed
	matches(capability, pattern)
}

reasons contains "capability-denied" if {
	some capability in input.capabilities
	some pattern in data.capabilities.denied
	matches(capability, pattern)
}

matches(capability, pattern) if capability == pattern

matches(capability, pattern) if {
	endswith(pattern, "*")
	startswith(capability, trim_suffix(pattern, "*"))
}
