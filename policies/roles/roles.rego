# Who may say what.
#
# `input.role` is "verifier" for a member of the epoch's roster, else "member": every node derives the same
# from the genesis. A kind that `data.roles.kinds` names may be said by the roles it lists, any other kind by
# all. `data.roles.denied`: did:key -> kinds that this sender may not say, whatever its role.
#
# uses: base
package swarm.policy

reasons contains "role-unknown" if not role_known

role_known if input.role in {"member", "verifier"}

reasons contains "role-not-allowed" if {
	roles := data.roles.kinds[input.kind]
	not input.role in roles
}

reasons contains "kind-denied-to-sender" if input.kind in data.roles.denied[input.sender]
