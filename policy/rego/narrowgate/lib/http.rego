# Questions about the request line. Paths are compared segment by segment, never as text.
package narrowgate.lib.http

import rego.v1

# Methods that do not change anything (RFC 9110 section 9.2.1) and pass a gate.
safe if input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}

method(methods) if input.attributes.request.http.method in methods

# The path is exactly these segments.
path(segments) if input.parsed_path == segments

# The path is these segments or lies below them.
below(segments) if {
	count(segments) <= count(input.parsed_path)
	every index, segment in segments {
		input.parsed_path[index] == segment
	}
}

# The path has the form of the pattern, where `*` stands for one whole segment that is not empty.
like(pattern) if {
	count(pattern) == count(input.parsed_path)
	every index, segment in pattern {
		fits(segment, input.parsed_path[index])
	}
}

fits("*", segment) if segment != ""

fits(pattern, segment) if {
	pattern != "*"
	pattern == segment
}
