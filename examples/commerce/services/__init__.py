"""Five ordinary web services. None of them knows that a mesh exists."""
