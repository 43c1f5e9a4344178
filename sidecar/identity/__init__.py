"""Who this gate is (its own SVID, WIT and keys) and who its peers are."""
