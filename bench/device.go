package main

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// A device is one MQTT 3.1.1 connection of the load generator. It costs as little as it can: the processors are the
// server's.
type device struct {
	conn net.Conn
	in   []byte // read, not yet taken
	buf  []byte
	came samples // of what it received, if wanted
}

// connect opens a connection and waits for the CONNACK.
func connect(addr, id string, secure *tls.Config) (*device, error) {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		secure = secure.Clone()
		secure.ServerName = "localhost"
		conn = tls.Client(conn, secure)
	}
	d := &device{conn: conn}
	hello := packet.Connect{Version: packet.V311, CleanStart: true, ClientID: id}
	if _, err := conn.Write(hello.Append(nil)); err != nil {
		d.close()
		return nil, err
	}
	r, err := d.read()
	if err == nil && (r.Type() != packet.CONNACK || r.Body[1] != 0) {
		err = fmt.Errorf("%s was refused: % x", id, r.Body)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *device) close() { _ = d.conn.Close() }

// read returns the next packet, which is good until the next read.
func (d *device) read() (packet.Raw, error) {
	for {
		r, n, _, err := packet.Cut(d.in, 0)
		if err != nil {
			return r, err
		}
		if n > 0 {
			d.in = d.in[n:]
			return r, nil
		}
		if err := d.fill(); err != nil {
			return r, err
		}
	}
}

// fill reads once more, behind what is there.
func (d *device) fill() error {
	if d.buf == nil {
		d.buf = make([]byte, 16<<10)
	}
	have := copy(d.buf, d.in)
	if have == len(d.buf) {
		return errors.New("packet larger than the generator's buffer")
	}
	n, err := d.conn.Read(d.buf[have:])
	d.in = d.buf[:have+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// subscribe subscribes to filter with QoS 1 and waits for the SUBACK.
func (d *device) subscribe(filter string) error {
	var s packet.Subscribe
	s.PacketID = 1
	s.Filters = append(s.Filters, packet.Subscription{Filter: filter, QoS: 1})
	if _, err := d.conn.Write(s.Append(nil, packet.V311)); err != nil {
		return err
	}
	r, err := d.read()
	if err == nil && (r.Type() != packet.SUBACK || r.Body[2] > 2) {
		err = fmt.Errorf("SUBSCRIBE %s was answered with %s % x", filter, r.Type(), r.Body)
	}
	return err
}

// publication returns a QoS 1 PUBLISH for topic, and where in it the packet identifier and the payload are.
func publication(topic string, payload int) (b []byte, id, body int) {
	p := packet.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: make([]byte, payload)}
	b = p.Append(nil, packet.V311)
	return b, len(b) - payload - 2, len(b) - payload
}

// stamp writes the time into the first eight bytes of a payload; stamped reads it.
func stamp(b []byte, t time.Time) { binary.BigEndian.PutUint64(b, uint64(t.UnixNano())) }

func stamped(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
