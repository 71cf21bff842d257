package websocket

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

var roles = map[string]Role{"server": Server, "client": Client}

// sent is what the other end of r sends.
func sent(r Role, frames ...ws.Frame) []byte {
	var b bytes.Buffer
	for _, f := range frames {
		if r == Server {
			f = ws.MaskFrame(f)
		}
		_ = ws.WriteFrame(&b, f)
	}
	return b.Bytes()
}

// FuzzUnframe: however the bytes are cut, the payload is the same, and so are the answers and the end; and the payload is what the
// library's reader makes of them, as long as that is content.
func FuzzUnframe(f *testing.F) {
	hello, ping := ws.NewBinaryFrame([]byte("hello")), ws.NewPingFrame([]byte("x"))
	for _, r := range roles {
		for _, frames := range [][]ws.Frame{
			{hello},
			{ws.NewFrame(ws.OpBinary, false, make([]byte, 126)), ping, ws.NewFrame(ws.OpContinuation, true, []byte("rest"))},
			{ws.NewBinaryFrame(make([]byte, 70_000))},
			{ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))},
			{ws.NewTextFrame(nil)},
		} {
			f.Add(bool(r), sent(r, frames...), uint8(3))
		}
		f.Add(bool(!r), sent(r, hello), uint8(0)) // of the wrong end
	}
	f.Fuzz(func(t *testing.T, client bool, data []byte, step uint8) {
		whole, cut := NewReader(Role(client)), NewReader(Role(client))
		payload, err := whole.all(data, len(data)+1)
		if parts, cutErr := cut.all(data, int(step)+1); !bytes.Equal(payload, parts) || (err == nil) != (cutErr == nil) {
			t.Errorf("whole: %q, %v; in parts: %q, %v", payload, err, parts, cutErr)
		}
		if len(whole.Answer()) != len(cut.Answer()) || whole.Closed() != cut.Closed() || whole.Closed() != (err == io.EOF) {
			t.Errorf("answers, or who has closed, depend on how the bytes come: %v", err)
		}
		if want := library(data); err == nil && !bytes.Equal(payload, want) {
			t.Errorf("%q, but the library reads %q", payload, want)
		}
	})
}

// all takes the frames off data, which comes in parts of n bytes.
func (r *Reader) all(data []byte, n int) (payload []byte, err error) {
	for len(data) > 0 && err == nil {
		part := bytes.Clone(data[:min(n, len(data))])
		data = data[len(part):]
		var m int
		m, err = r.Unframe(part)
		payload = append(payload, part[:m]...)
	}
	return payload, err
}

// library reads the payload of data frames as gobwas/ws does, the last as far as it has come.
func library(data []byte) (all []byte) {
	r := bytes.NewReader(data)
	for {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return all
		}
		body := make([]byte, min(h.Length, int64(r.Len())))
		_, _ = io.ReadFull(r, body)
		if ws.Cipher(body, h.Mask, 0); !h.OpCode.IsControl() {
			all = append(all, body...)
		}
	}
}

// RFC 6455, 5: what is not allowed ends the connection with the code that says so.
func TestForbidden(t *testing.T) {
	reserved := ws.NewBinaryFrame(nil)
	reserved.Header.Rsv = 1
	begun := ws.NewFrame(ws.OpBinary, false, []byte("a"))
	for name, r := range roles {
		for _, test := range []struct {
			what string
			sent []byte
			code ws.StatusCode
		}{
			{"text", sent(r, ws.NewTextFrame([]byte("x"))), ws.StatusUnsupportedData}, // [MQTT-6.0.0-1]
			{"masked, or not", sent(!r, ws.NewBinaryFrame([]byte("x"))), ws.StatusProtocolError},
			{"reserved bit", sent(r, reserved), ws.StatusProtocolError},
			{"reserved code", sent(r, ws.NewFrame(0xB, true, nil)), ws.StatusProtocolError},
			{"nothing to continue", sent(r, ws.NewFrame(ws.OpContinuation, true, nil)), ws.StatusProtocolError},
			{"begun twice", sent(r, begun, begun), ws.StatusProtocolError},
			{"ping in parts", sent(r, ws.NewFrame(ws.OpPing, false, nil)), ws.StatusProtocolError},
			{"ping too long", sent(r, ws.NewFrame(ws.OpPing, true, make([]byte, 126))), ws.StatusProtocolError},
		} {
			var e *Error
			if _, err := NewReader(r).all(test.sent, len(test.sent)); !errors.As(err, &e) || e.Code != test.code {
				t.Errorf("%s, %s: %v", name, test.what, err)
			}
		}
	}
}

// Control frames are answered once: a ping with its payload, a close with its code.
func TestAnswers(t *testing.T) {
	for name, r := range roles {
		for _, test := range []struct {
			frame, want ws.Frame
			err         error
		}{
			{ws.NewPingFrame([]byte("are you there")), ws.NewPongFrame([]byte("are you there")), nil},
			{ws.NewPingFrame(nil), ws.NewPongFrame(nil), nil},
			{ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "bye")), ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "")), io.EOF},
			{ws.NewCloseFrame(nil), ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")), io.EOF},
		} {
			in := NewReader(r)
			in.control = []byte(strings.Repeat("x", 10))[:0] // used before
			if _, err := in.all(sent(r, test.frame), 3); err != test.err {
				t.Errorf("%s: %v", name, err)
			}
			got, err := ws.ReadFrame(bytes.NewReader(in.Answer()))
			if err != nil || got.Header.Masked != bool(r) || in.Closed() != (test.err == io.EOF) {
				t.Errorf("%s: %+v, %v, closed %v", name, got.Header, err, in.Closed())
			}
			if got = ws.UnmaskFrame(got); got.Header.OpCode != test.want.Header.OpCode || !bytes.Equal(got.Payload, test.want.Payload) {
				t.Errorf("%s: %+v, want %+v", name, got, test.want)
			}
			if again := in.Answer(); again != nil {
				t.Errorf("%s: answered again: %q", name, again)
			}
		}
	}
}

// Lengths are written in the fewest bytes [RFC 6455, 5.2], and a server's frames are not masked.
func TestAppend(t *testing.T) {
	for name, r := range roles {
		for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
			payload := bytes.Repeat([]byte{7}, n)
			b := r.AppendClose(r.Append([]byte("before"), ws.OpBinary, payload), ws.StatusGoingAway)
			in := bytes.NewReader(b[len("before"):])
			f, err := ws.ReadFrame(in)
			h := f.Header
			if err != nil || h.Length != int64(n) || !h.Fin || h.Masked != bool(r) || h.OpCode != ws.OpBinary ||
				ws.HeaderSize(h)+n != len(b)-len("before")-in.Len() {
				t.Errorf("%s, %d bytes: %+v, %v", name, n, h, err)
			}
			if f = ws.UnmaskFrame(f); !bytes.Equal(f.Payload, payload) {
				t.Errorf("%s, %d bytes are not what they were", name, n)
			}
			f, err = ws.ReadFrame(in)
			if code, _ := ws.ParseCloseFrameData(ws.UnmaskFrame(f).Payload); err != nil || code != ws.StatusGoingAway || in.Len() != 0 {
				t.Errorf("%s: %+v, %v", name, f, err)
			}
		}
	}
}

// BenchmarkUnframe takes 100 frames of 100 bytes off; with the server's role they are masked.
func BenchmarkUnframe(b *testing.B) {
	for name, r := range roles {
		b.Run(name, func(b *testing.B) {
			var frames []ws.Frame
			for range 100 {
				frames = append(frames, ws.NewBinaryFrame(make([]byte, 100)))
			}
			data := sent(r, frames...)
			in, p := NewReader(r), make([]byte, len(data))
			b.ReportAllocs()
			for b.Loop() {
				copy(p, data)
				if n, err := in.Unframe(p); n != 10_000 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
