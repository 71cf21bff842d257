package harness

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// A Wire is one MQTT connection, packet by packet, for what no well-behaved client library does: pipelining
// as fast as the window allows, and not reading at all. It is written from the specification alone and shares no code with
// Linkspan, so the two cannot agree on a mistake.
type Wire struct {
	// ReceiveMaximum is how many messages with QoS 1 or 2 the other side takes at a time [MQTT-5: 3.2.2.3.3].
	ReceiveMaximum int

	conn    net.Conn
	version byte // 4: MQTT 3.1.1, or 5
	r       *bufio.Reader
	out     []byte
}

// MQTT's packet types, in the first four bits of each packet [MQTT-2.2.1].
const (
	typeConnect, typeConnack, typePublish, typePuback     = 0x10, 0x20, 0x30, 0x40
	typePubrec, typePubrel, typePubcomp, typeSubscribe    = 0x50, 0x62, 0x70, 0x82
	typeSuback, typePingreq, typePingresp, typeDisconnect = 0x90, 0xc0, 0xd0, 0xe0
)

// A Packet is one that came in. ID is that of an acknowledgement, or of a PUBLISH with QoS 1 or 2.
type Packet struct {
	Type    byte // typeConnack and so on; the flags are cut off but for PUBREL's
	QoS     byte
	ID      uint16
	Reason  byte // of a CONNACK, an acknowledgement or a DISCONNECT; 0x80 and above: refused
	Topic   string
	Payload []byte
}

// DialWire connects as client with MQTT 3.1.1, version 4, or 5, and a clean session. The kernel keeps 256 KiB or so of what is not
// read, rather than as much as it sees fit, so that who does not read is seen to be slow.
func DialWire(ctx context.Context, addr, client string, version byte, keepAlive time.Duration) (*Wire, error) {
	return dialWire(ctx, addr, client, version, keepAlive, 0x02)
}

// ResumeWire connects as client with MQTT 3.1.1 and goes on with the session that the other side may have.
func ResumeWire(ctx context.Context, addr, client string, keepAlive time.Duration) (*Wire, error) {
	return dialWire(ctx, addr, client, 4, keepAlive, 0)
}

func dialWire(ctx context.Context, addr, client string, version byte, keepAlive time.Duration, flags byte) (*Wire, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) {
			refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 256<<10)
		})
		return errors.Join(err, refused)
	}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	w := newWire(conn)
	w.version = version
	body := appendString(nil, "MQTT")
	body = append(body, version, flags) // clean session or not
	body = binary.BigEndian.AppendUint16(body, uint16(keepAlive/time.Second))
	w.append(typeConnect, appendString(w.properties(body), client))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := w.Flush(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p, err := w.Read()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if p.Type != typeConnack || p.Reason != 0 {
		return nil, errors.Join(fmt.Errorf("refused: %+v", p), conn.Close())
	}
	return w, nil
}

func newWire(conn net.Conn) *Wire {
	return &Wire{ReceiveMaximum: 65535, conn: conn, version: 4, r: bufio.NewReader(conn)}
}

// properties appends what every packet with properties has that brings none.
func (w *Wire) properties(body []byte) []byte {
	if w.version == 5 {
		body = append(body, 0)
	}
	return body
}

// Close closes the socket without a DISCONNECT, as a device that loses power does.
func (w *Wire) Close() error { return w.conn.Close() }

// Publish adds a PUBLISH to what the next Flush writes.
func (w *Wire) Publish(topic string, qos byte, id uint16, dup bool, payload []byte) {
	body := appendString(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	first := typePublish | qos<<1
	if dup {
		first |= 0x08
	}
	w.append(first, append(w.properties(body), payload...))
}

// Subscribe adds a SUBSCRIBE.
func (w *Wire) Subscribe(id uint16, filter string, qos byte) {
	body := binary.BigEndian.AppendUint16(nil, id)
	w.append(typeSubscribe, append(appendString(w.properties(body), filter), qos))
}

// Ack adds an acknowledgement of that type.
func (w *Wire) Ack(kind byte, id uint16) { w.append(kind, binary.BigEndian.AppendUint16(nil, id)) }

// Puback adds a PUBACK.
func (w *Wire) Puback(id uint16) { w.Ack(typePuback, id) }

// Ping adds a PINGREQ.
func (w *Wire) Ping() { w.append(typePingreq, nil) }

// Disconnect adds a DISCONNECT.
func (w *Wire) Disconnect() { w.append(typeDisconnect, nil) }

// Flush writes what was added.
func (w *Wire) Flush() error {
	_, err := w.conn.Write(w.out)
	w.out = w.out[:0]
	return err
}

// Read waits for the next packet.
func (w *Wire) Read() (Packet, error) {
	first, err := w.r.ReadByte()
	if err != nil {
		return Packet{}, err
	}
	length, err := binary.ReadUvarint(w.r) // the same encoding as MQTT's [MQTT-2.2.3]
	if err != nil || length > 1<<28 {
		return Packet{}, fmt.Errorf("remaining length %d: %w", length, errors.Join(err))
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.r, body); err != nil {
		return Packet{}, err
	}
	p := Packet{Type: first & 0xf0}
	if p.Type == typePubrel&0xf0 {
		p.Type = typePubrel
	}
	f := &fields{b: body}
	switch p.Type {
	case typePublish:
		p.QoS = first >> 1 & 3
		p.Topic = string(f.text())
		if p.QoS > 0 {
			p.ID = f.uint16()
		}
		if w.version == 5 {
			f.properties()
		}
		p.Payload = f.b
	case typeConnack:
		f.uint8() // is there a session
		p.Reason = f.uint8()
		if most := f.properties(); most > 0 {
			w.ReceiveMaximum = most
		}
	case typePingreq, typePingresp:
	case typeDisconnect:
		if len(body) > 0 {
			p.Reason = f.uint8()
		}
	case typeSuback:
		p.ID = f.uint16()
		if w.version == 5 {
			f.properties()
		}
		p.Payload = f.b
	case typeConnect:
		f.b = nil
	default:
		p.ID = f.uint16()
		if len(f.b) > 0 {
			p.Reason = f.b[0]
		}
		p.Payload = f.b
	}
	if f.short {
		return p, fmt.Errorf("a packet %#x of %d bytes is too short", first, length)
	}
	return p, nil
}

// fields reads a packet from its front.
type fields struct {
	b     []byte
	short bool // there was less than asked for
}

func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.short, f.b = true, nil
		return make([]byte, min(n, 65535))
	}
	taken := f.b[:n]
	f.b = f.b[n:]
	return taken
}

func (f *fields) uint8() byte    { return f.take(1)[0] }
func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) text() []byte   { return f.take(int(f.uint16())) }

// properties reads the properties of MQTT 5, if there are any, and returns the Receive Maximum [MQTT-5: 2.2.2].
func (f *fields) properties() (receiveMaximum int) {
	length, n := binary.Uvarint(f.b)
	if n <= 0 {
		return 0
	}
	f.take(n)
	all := &fields{b: f.take(int(min(length, 1<<20)))}
	for len(all.b) > 0 {
		switch id := all.uint8(); id {
		case 0x21:
			receiveMaximum = int(all.uint16())
		case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a:
			all.take(1)
		case 0x13, 0x22, 0x23:
			all.take(2)
		case 0x02, 0x11, 0x18, 0x27:
			all.take(4)
		case 0x26:
			all.text()
			all.text()
		case 0x0b:
			_, n := binary.Uvarint(all.b)
			all.take(max(n, 1))
		default:
			all.text()
		}
	}
	f.short = f.short || all.short
	return receiveMaximum
}

func (w *Wire) append(first byte, body []byte) {
	w.out = append(w.out, first)
	w.out = binary.AppendUvarint(w.out, uint64(len(body)))
	w.out = append(w.out, body...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
