# Questions about the grant's scope. Without a grant every answer is no.
package narrowgate.lib.scope

import rego.v1

# The scope of the grant, as a set; empty without one.
held contains atom if {
	some atom in input.narrowgate.token.scope
}

# Exactly this atom is held.
has(atom) if {
	atom in held
}

# Every one of these atoms is held, and there is at least one.
has_all(atoms) if {
	count(atoms) > 0
	every atom in atoms {
		atom in held
	}
}

# At least one of these atoms is held.
has_any(atoms) if {
	some atom in atoms
	atom in held
}

# What of `wanted` is held, as the sorted list that `narrowgate.scope` takes.
subset(wanted) := sort([atom | some atom in wanted; atom in held])
