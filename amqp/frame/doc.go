// Package frame is the wire format of AMQP 1.0, for both ends of a connection: it turns bytes into frames, performatives,
// messages and values, and those into bytes, and knows nothing of connections, sessions or links.
//
// Reading is two steps. [Cut] takes one whole frame off a read buffer, and the Decode method of the performative's struct
// that [DescriptorOf] names reads its body. Nothing is copied: strings, slices, maps and values of what was decoded point
// into the buffer, and are valid as long as its bytes are left alone. A struct may be decoded into again and again; each
// Decode replaces all of it, and keeps the memory of its slices.
//
// Decode is strict. Whatever the specification forbids and can be seen in the frame alone is an [*Error] with the condition
// for the peer and the section that was broken. What needs memory of other frames is left to the engine. Values nest at
// most [MaxDepth] deep, and nothing is allocated in proportion to a count that the peer only claims.
//
// Writing is one step: Append adds the encoding to the end of a slice, in the fewest bytes, and allocates only if that has
// to grow. Append does not check what Decode checks: what is written is the caller's to get right.
//
// A [Value] of any type and a [Map] stay encoded as they came, and are looked at where they are: what is passed on is the
// same byte for byte.
package frame
