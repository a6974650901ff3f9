# What a mesh of strangers usually wants: the base rules, roles and content types.
#
# Nothing of its own: its module is compiled from those it uses, its data is theirs.
#
# uses: base, content-types, roles
package swarm.policy
