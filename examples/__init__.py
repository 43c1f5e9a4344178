"""Worked examples. Nothing here is part of the mesh."""
