package frame

import (
	"bytes"
	"testing"
)

// [AMQP 2.3]: size, data offset, type, channel, extended header, body.
func TestCut(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       Frame
	}{
		{"heartbeat", "00000008 02000000", Frame{}},
		{"body", "0000000b 02000007 'abc'", Frame{TypeAMQP, 7, []byte("abc")}},
		{"extended header", "0000000f 03000102 ffffffff 'abc'", Frame{TypeAMQP, 0x0102, []byte("abc")}},
		{"SASL has no channel", "00000009 0201ffff 'a'", Frame{TypeSASL, 0, []byte("a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			for i := range wire {
				f, n, need, err := Cut(wire[:i:i], 0)
				if n != 0 || err != nil || f.Body != nil || need != 0 && need != len(wire) || i >= 4 && need == 0 {
					t.Fatalf("%d of %d bytes: %v, %d, %d, %v", i, len(wire), f, n, need, err)
				}
			}
			f, n, need, err := Cut(append(wire, "more"...), uint32(len(wire)))
			if err != nil || n != len(wire) || need != 0 || f.Type != c.want.Type || f.Channel != c.want.Channel || !bytes.Equal(f.Body, c.want.Body) {
				t.Fatalf("%v, %d, %d, %v", f, n, need, err)
			}
			if cap(f.Body) != len(f.Body) {
				t.Error("an append to the body would write into the next frame")
			}
		})
	}
}

func TestCutRefuses(t *testing.T) {
	for _, c := range []struct{ name, wire, section string }{
		{"size within the header", "00000007", "2.3.1"},
		{"larger than allowed", "00000201", "2.7.1"},
		{"as large as can be", "ffffffff", "2.7.1"},
		{"data offset within the header", "00000008 0100", "2.3.1"},
		{"data offset behind the frame", "00000008 0300", "2.3.1"},
		{"unknown type", "00000008 0202", "2.3.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, n, need, err := Cut(unhex(t, c.wire), MinMaxFrameSize)
			wantError(t, err, FramingError, c.section)
			if n != 0 || need != 0 {
				t.Errorf("%d, %d", n, need)
			}
		})
	}
}

func TestFramesAreWritten(t *testing.T) {
	b := AppendHeartbeat([]byte("before"))
	at := len(b)
	b = EndFrame(append(BeginFrame(b, TypeAMQP, 0x0203), "body"...), at)
	if want := unhex(t, "'before' 00000008 02000000 0000000c 02000203 'body'"); !bytes.Equal(b, want) {
		t.Errorf("got % x, want % x", b, want)
	}
}
