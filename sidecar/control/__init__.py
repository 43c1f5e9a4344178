"""The one stream from the authority: snapshot and deltas of everything a gate depends on."""
