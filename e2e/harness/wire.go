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

// A Wire is one MQTT 3.1.1 connection, packet by packet, for what no well-behaved client library does: pipelining
// as fast as the window allows, and not reading at all. It is written from the specification alone and shares no code with
// Linkspan, so the two cannot agree on a mistake.
type Wire struct {
	conn net.Conn
	r    *bufio.Reader
	out  []byte
}

// MQTT's packet types, in the first four bits of each packet [MQTT-2.2.1].
const (
	typeConnect, typeConnack, typePublish, typePuback        = 0x10, 0x20, 0x30, 0x40
	typePubrec, typePubrel, typePubcomp, typeSubscribe       = 0x50, 0x62, 0x70, 0x82
	typeSuback, typePingreq, typePingresp, typeDisconnect311 = 0x90, 0xc0, 0xd0, 0xe0
)

// A Packet is one that came in. ID is that of an acknowledgement, or of a PUBLISH with QoS 1 or 2.
type Packet struct {
	Type    byte // typeConnack and so on; the flags are cut off but for PUBREL's
	QoS     byte
	ID      uint16
	Topic   string
	Payload []byte
}

// DialWire connects as client, with a clean session. The kernel keeps 256 KiB or so of what is not read, rather than as
// much as it sees fit, so that who does not read is seen to be slow.
func DialWire(ctx context.Context, addr, client string, keepAlive time.Duration) (*Wire, error) {
	return dialWire(ctx, addr, client, keepAlive, 0x02)
}

// ResumeWire connects as client and goes on with the session that the other side may have.
func ResumeWire(ctx context.Context, addr, client string, keepAlive time.Duration) (*Wire, error) {
	return dialWire(ctx, addr, client, keepAlive, 0)
}

func dialWire(ctx context.Context, addr, client string, keepAlive time.Duration, flags byte) (*Wire, error) {
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
	body := appendString(nil, "MQTT")
	body = append(body, 4, flags) // level, clean session or not
	body = binary.BigEndian.AppendUint16(body, uint16(keepAlive/time.Second))
	body = appendString(body, client)
	w.append(typeConnect, body)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := w.Flush(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p, err := w.Read()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if p.Type != typeConnack || p.ID&0xff != 0 { // the other byte says that there is a session
		return nil, errors.Join(fmt.Errorf("refused: %+v", p), conn.Close())
	}
	return w, nil
}

func newWire(conn net.Conn) *Wire { return &Wire{conn: conn, r: bufio.NewReader(conn)} }

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
	w.append(first, append(body, payload...))
}

// Subscribe adds a SUBSCRIBE.
func (w *Wire) Subscribe(id uint16, filter string, qos byte) {
	body := binary.BigEndian.AppendUint16(nil, id)
	w.append(typeSubscribe, append(appendString(body, filter), qos))
}

// Ack adds an acknowledgement of that type.
func (w *Wire) Ack(kind byte, id uint16) { w.append(kind, binary.BigEndian.AppendUint16(nil, id)) }

// Puback adds a PUBACK.
func (w *Wire) Puback(id uint16) { w.Ack(typePuback, id) }

// Ping adds a PINGREQ.
func (w *Wire) Ping() { w.append(typePingreq, nil) }

// Disconnect adds a DISCONNECT.
func (w *Wire) Disconnect() { w.append(typeDisconnect311, nil) }

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
	short := fmt.Errorf("a packet %#x of %d bytes is too short", first, length)
	switch {
	case p.Type == typePublish:
		p.QoS = first >> 1 & 3
		if len(body) < 2 || len(body) < 2+int(binary.BigEndian.Uint16(body)) {
			return p, short
		}
		n := 2 + int(binary.BigEndian.Uint16(body))
		p.Topic, p.Payload = string(body[2:n]), body[n:]
		if p.QoS > 0 {
			if len(p.Payload) < 2 {
				return p, short
			}
			p.ID, p.Payload = binary.BigEndian.Uint16(p.Payload), p.Payload[2:]
		}
	case p.Type == typePingreq, p.Type == typePingresp, p.Type == typeDisconnect311:
	case len(body) < 2:
		return p, short
	default:
		p.ID, p.Payload = binary.BigEndian.Uint16(body), body[2:]
	}
	if p.Type == typePubrel&0xf0 {
		p.Type = typePubrel
	}
	return p, nil
}

func (w *Wire) append(first byte, body []byte) {
	w.out = append(w.out, first)
	w.out = binary.AppendUvarint(w.out, uint64(len(body)))
	w.out = append(w.out, body...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
