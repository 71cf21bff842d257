package packet

// Publish is a PUBLISH.
type Publish struct {
	Topic      string // empty only with a topic alias
	Payload    []byte
	PacketID   uint16 // QoS 1 and 2 only
	QoS        byte
	Dup        bool
	Retain     bool
	Properties Properties
}

// Decode reads a PUBLISH. It allocates nothing.
func (p *Publish) Decode(v Version, r Raw) error { panic("soon") }

// Size returns how many bytes Append adds, and more than [MaxSize] if p cannot be written.
func (p *Publish) Size(v Version) int { panic("soon") }

// Append adds p to the end of dst.
func (p *Publish) Append(dst []byte, v Version) []byte { panic("soon") }
