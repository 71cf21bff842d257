package packet

// Connack is a CONNACK.
//
// MQTT 3 has six return codes. Decode turns them into their reason codes of MQTT 5, and Append turns reason codes
// into the return code that comes closest: there is always one, "server unavailable" where nothing else fits.
type Connack struct {
	SessionPresent bool // not in MQTT 3.1
	Reason         Reason
	Properties     Properties
}

// returnCodes are the reasons of MQTT 5 for the return codes of MQTT 3.
var returnCodes = [...]Reason{Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable,
	BadUsernameOrPassword, NotAuthorized}

func (r Reason) returnCode() byte {
	for code, reason := range returnCodes {
		if r == reason {
			return byte(code)
		}
	}
	if r == Banned {
		return NotAuthorized.returnCode()
	}
	return ServerUnavailable.returnCode()
}

// Decode reads a CONNACK.
func (c *Connack) Decode(v Version, r Raw) error {
	*c = Connack{}
	if err := r.check(CONNACK, v); err != nil {
		return err
	}
	b := r.Body
	if len(b) < 2 {
		return errShort
	}
	flags, code := b[0], b[1]
	if v == V31 {
		flags = 0 // not used, and not bound to be 0
	}
	if flags > 1 {
		return malformed("MQTT-3.2.2-1", "reserved connect acknowledge flags")
	}
	c.SessionPresent = flags == 1
	b = b[2:]
	var err error
	switch {
	case v == V5:
		if c.Reason = Reason(code); !c.Reason.in(CONNACK) {
			return protocol(reasonRules[CONNACK], "reason code not allowed in this packet")
		}
		b, err = c.Properties.decode(b, CONNACK)
	case int(code) < len(returnCodes):
		c.Reason = returnCodes[code]
	default:
		err = protocol("MQTT311 3.2.2.3", "reserved return code")
	}
	if err == nil && c.SessionPresent && c.Reason != Success {
		err = protocol("MQTT-3.2.2-6", "session present for a connection that was refused")
	}
	return end(b, err)
}

// Append adds c to the end of dst.
func (c *Connack) Append(dst []byte, v Version) []byte {
	var flags byte
	if c.SessionPresent && v != V31 {
		flags = 1
	}
	if v != V5 {
		return append(dst, CONNACK.header(), 2, flags, c.Reason.returnCode())
	}
	properties := c.Properties.size()
	remaining := 2 + sized(properties)
	if remaining > maxRemaining {
		return dst
	}
	dst = append(appendHeader(dst, CONNACK.header(), remaining), flags, byte(c.Reason))
	return c.Properties.append(dst, properties)
}
