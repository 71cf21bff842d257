// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5, for both ends of a connection: it turns bytes into packets
// and packets into bytes, and knows nothing of connections or sessions.
//
// Reading is two steps. [Cut] takes one whole packet off a read buffer, and the Decode method of the packet's struct reads
// it. Nothing is copied: strings and slices of a decoded packet point into the buffer, and are valid as long as its bytes
// are left alone. A struct may be decoded into again and again; each Decode replaces all of it, and keeps the memory of
// its slices.
//
// Decode is strict. Whatever the specification calls malformed or a protocol error, and can be seen in the packet alone,
// is an [*Error] that names the rule and the reason code for the peer. What needs memory of other packets is left to the
// session: topic alias 0 or above the agreed maximum, packet identifiers in use, and also what depends on the direction (a
// subscription identifier in a PUBLISH to a server [MQTT-3.3.4-6], a session expiry in a DISCONNECT from one
// [MQTT-3.14.2-2]).
//
// Writing is one step: Append adds the packet to the end of a slice, and allocates only if that has to grow. What a version
// has no words for is left out: MQTT 3 has no properties, and reason codes where it has any are its own. A packet that
// cannot be written, because a string or binary value is longer than 65,535 bytes or the whole longer than [MaxSize], adds
// nothing. Append does not check what Decode checks: packets are the caller's to get right.
package packet
