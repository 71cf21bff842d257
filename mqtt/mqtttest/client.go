// Package mqtttest is what tests of MQTT need on all sides: a scripted client, which sends what it is told, whether the protocol
// allows it or not, and expects packets one by one; a sink that takes custody when it is told to; an authority for certificates.
package mqtttest

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// Patience is how long a client waits for anything before it fails its test.
const Patience = 2 * time.Minute

// A Client is one connection. Its methods fail the test that it belongs to, and are for that test's goroutine.
type Client struct {
	Conn    net.Conn
	Version packet.Version

	t   testing.TB
	in  []byte // read and not expected yet
	out []byte
}

// Dial connects by TCP to HOST:PORT. The connection is closed when the test ends.
func Dial(t testing.TB, addr string, v packet.Version) *Client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, nc, v)
}

// DialTLS connects by TLS.
func DialTLS(t testing.TB, addr string, v packet.Version, cfg *tls.Config) *Client {
	t.Helper()
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: Patience}, "tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, nc, v)
}

// New returns a client on nc, which it closes when the test ends.
func New(t testing.TB, nc net.Conn, v packet.Version) *Client {
	t.Cleanup(func() { _ = nc.Close() })
	return &Client{Conn: nc, Version: v, t: t}
}

// Write sends bytes as they are.
func (c *Client) Write(b ...byte) {
	c.t.Helper()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(Patience))
	if _, err := c.Conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// Packet is what has an Append method for the client's version.
type Packet interface {
	Append(dst []byte, v packet.Version) []byte
}

// Send sends packets in one write.
func (c *Client) Send(packets ...Packet) {
	c.t.Helper()
	c.out = c.out[:0]
	for _, p := range packets {
		c.out = p.Append(c.out, c.Version)
	}
	c.Write(c.out...)
}

// Connect sends p, with the client's version, and returns the CONNACK, which must not be a refusal.
func (c *Client) Connect(p packet.Connect) packet.Connack {
	c.t.Helper()
	ack := c.TryConnect(p)
	if ack.Reason != packet.Success {
		c.t.Fatalf("CONNACK %v", ack.Reason)
	}
	return ack
}

// TryConnect sends p, with the client's version, and returns the CONNACK.
func (c *Client) TryConnect(p packet.Connect) (ack packet.Connack) {
	c.t.Helper()
	p.Version = c.Version
	c.Write(p.Append(nil)...)
	c.Expect(packet.CONNACK, &ack)
	return ack
}

// Join connects with a clean start and that client identifier, and nothing else.
func (c *Client) Join(id string) *Client {
	c.t.Helper()
	c.Connect(packet.Connect{ClientID: id, CleanStart: true})
	return c
}

// Subscribe subscribes, and returns the reason codes.
func (c *Client) Subscribe(id uint16, filters ...packet.Subscription) []packet.Reason {
	c.t.Helper()
	c.Send(&packet.Subscribe{PacketID: id, Filters: filters})
	var ack packet.Suback
	c.Expect(packet.SUBACK, &ack)
	if ack.PacketID != id {
		c.t.Fatalf("SUBACK for %d, not %d", ack.PacketID, id)
	}
	return ack.Reasons
}

// Ping sends a PINGREQ and expects its answer next.
func (c *Client) Ping() {
	c.t.Helper()
	c.Write(packet.AppendPing(nil, packet.PINGREQ)...)
	c.Expect(packet.PINGRESP, nil)
}

// Decoder is what has a Decode method for the client's version.
type Decoder interface {
	Decode(v packet.Version, r packet.Raw) error
}

// Expect reads the next packet, which must be of type t, into p. What p points to stays valid.
func (c *Client) Expect(t packet.Type, p Decoder) {
	c.t.Helper()
	r, err := c.Next()
	if err != nil {
		c.t.Fatalf("expecting %v: %v", t, err)
	}
	if r.Type() != t {
		c.t.Fatalf("expected %v, got %v % x", t, r.Type(), r.Body)
	}
	if p == nil {
		return
	}
	if err := p.Decode(c.Version, r); err != nil {
		c.t.Fatalf("%v: %v", t, err)
	}
}

// ExpectAck reads the next packet, which must be an ack of that type, for that packet identifier, with that reason.
func (c *Client) ExpectAck(t packet.Type, id uint16, reason packet.Reason) packet.Ack {
	c.t.Helper()
	var a packet.Ack
	c.Expect(t, &a)
	if a.PacketID != id || a.Reason != reason {
		c.t.Fatalf("got %v for %d: %v; expected %d: %v", t, a.PacketID, a.Reason, id, reason)
	}
	return a
}

// ExpectDisconnect reads a DISCONNECT with that reason, and then the end of the connection.
func (c *Client) ExpectDisconnect(reason packet.Reason) packet.Disconnect {
	c.t.Helper()
	var d packet.Disconnect
	c.Expect(packet.DISCONNECT, &d)
	if d.Reason != reason {
		c.t.Fatalf("DISCONNECT %v, expected %v", d.Reason, reason)
	}
	c.ExpectClosed()
	return d
}

// ExpectClosed reads the end of the connection.
func (c *Client) ExpectClosed() {
	c.t.Helper()
	r, err := c.Next()
	if err == nil {
		c.t.Fatalf("expected the end of the connection, got %v % x", r.Type(), r.Body)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("the connection was not closed")
	}
	_ = c.Conn.Close()
}

// Next reads the next packet. It has its bytes for itself.
func (c *Client) Next() (packet.Raw, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	for {
		r, n, _, err := packet.Cut(c.in, 0)
		if err != nil {
			return r, err
		}
		if n > 0 {
			c.in = c.in[n:]
			return r, nil
		}
		grown := append(make([]byte, 0, len(c.in)+64<<10), c.in...)
		m, err := c.Conn.Read(grown[len(grown):cap(grown)])
		c.in = grown[:len(grown)+m]
		if m == 0 && err != nil {
			return packet.Raw{}, err
		}
	}
}
