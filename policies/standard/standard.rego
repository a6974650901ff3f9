# All the rules that ship, in one policy.
#
# Nothing of its own: its module is compiled from those it uses, its data is theirs. Limits are wide; narrow
# them in a copy of data.json.
#
# uses: base, capabilities, content-types, rates, roles, spending
package swarm.policy
