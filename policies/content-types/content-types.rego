# What kind of content may be sent.
#
# `input.content_types`: how the inputs of a need's tasks are to be read ("json", "text", "bytes").
# `data.content_types.allowed` lists those that pass. A need without inputs has none, which passes.
#
# uses: base
package swarm.policy

reasons contains "content-types-missing" if {
	input.kind == "NEED"
	not content_types_given
}

content_types_given if is_array(input.content_types)

reasons contains "content-type-not-allowed" if {
	some content_type in input.content_types
	not content_type_allowed(content_type)
}

content_type_allowed(content_type) if content_type in data.content_types.allowed
