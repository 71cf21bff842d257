package packet

// Error is what is wrong with a packet.
type Error struct {
	// Reason is what to tell the peer where the protocol has a packet for that.
	Reason Reason
	// Rule is the rule that was broken: "MQTT-1.5.4-1" as MQTT 5 numbers it, "MQTT311-3.1.2-22" where only MQTT 3.1.1 has
	// the rule, or the section where the rule has no number: "MQTT5 2.2.2.2", "MQTT31 3.1".
	Rule string
	// Text says it in a few words.
	Text string
}

// Error returns the text with reason and rule.
func (e *Error) Error() string { return e.Reason.String() + ": " + e.Text + " [" + e.Rule + "]" }

func malformed(rule, text string) error { return &Error{MalformedPacket, rule, text} }
func protocol(rule, text string) error  { return &Error{ProtocolError, rule, text} }

// What no packet may be, whatever its type. These are never written to.
var (
	errShort    = malformed("MQTT5 2.1.4", "ends before its content does")
	errLong     = malformed("MQTT5 2.1.4", "goes on behind its content")
	errPacketID = protocol("MQTT-2.2.1-3", "packet identifier 0")
)
