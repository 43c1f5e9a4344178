"""HTTP: a sans-io codec per wire version, and drivers that give the path a stream.

A *stream* is one request and its response: head, body chunks, trailers, reset. Events are what the
codec saw; the path only ever speaks to a stream, so that another wire version is another codec.
"""
