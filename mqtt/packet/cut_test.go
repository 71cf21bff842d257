package packet

import (
	"bytes"
	"testing"
)

// TestVarint has the bounds that the specification lists [MQTT 1.5.5].
func TestVarint(t *testing.T) {
	for _, c := range []struct {
		value uint32
		wire  string
	}{
		{0, "00"}, {127, "7f"}, {128, "8001"}, {16383, "ff7f"}, {16384, "808001"}, {2097151, "ffff7f"}, {2097152, "80808001"}, {268435455, "ffffff7f"},
	} {
		b := unhex(t, c.wire)
		if got := appendVarint(nil, c.value); !bytes.Equal(got, b) {
			t.Errorf("%d is % x, want % x", c.value, got, b)
		}
		if got := varintSize(int64(c.value)); got != int64(len(b)) {
			t.Errorf("%d takes %d bytes, want %d", c.value, got, len(b))
		}
		got, rest, err := cutVarint(append(b, 0xaa))
		if got != c.value || err != nil || len(rest) != 1 {
			t.Errorf("% x is %d, % x, %v, want %d", b, got, rest, err, c.value)
		}
		for n := range b {
			if _, width := varint(b[:n]); width != 0 {
				t.Errorf("% x has width %d, want 0", b[:n], width)
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		name    string
		wire    string
		max     int
		n, need int
	}{
		{"nothing", "", 0, 0, 0},
		{"header alone", "30", 0, 0, 0},
		{"part of the length", "30 80", 0, 0, 0},
		{"part of the body", "30 03 00", 0, 0, 5},
		{"part of a long body", "30 ffffff7f 00", 0, 0, MaxSize},
		{"whole packet", "c0 00", 0, 2, 0},
		{"whole packet and more", "30 03 000161 c0", 0, 5, 0},
		{"as long as is allowed", "30 03 000161", 5, 5, 0},
		{"as long as is allowed, and not there", "30 03", 5, 0, 5},
	} {
		raw, n, need, err := Cut(unhex(t, c.wire), c.max)
		if n != c.n || need != c.need || err != nil {
			t.Errorf("%s: n %d, need %d, %v; want %d and %d", c.name, n, need, err, c.n, c.need)
		}
		if n > 0 && cap(raw.Body) != len(raw.Body) {
			t.Errorf("%s: the body can be appended to over what follows it", c.name)
		}
	}
}

func TestCutRefuses(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		max        int
		rule       string
		reason     Reason
	}{
		{"type 0", "00", 0, "MQTT5 2.1.2", MalformedPacket},
		{"length of five bytes", "30 ffffffff", 0, "MQTT5 2.1.4", MalformedPacket},
		{"one byte too long", "30 03", 4, "MQTT-3.2.2-15", PacketTooLarge},
		{"far too long", "30 ffffff7f", 1 << 20, "MQTT-3.2.2-15", PacketTooLarge},
	} {
		_, n, _, err := Cut(unhex(t, c.wire), c.max)
		wantError(t, err, c.rule, c.reason)
		if n != 0 {
			t.Errorf("%s: n is %d", c.name, n)
		}
	}
}

func TestRaw(t *testing.T) {
	raw, _, _, err := Cut([]byte{0x3d, 0}, 0)
	if err != nil || raw.Type() != PUBLISH || raw.Flags() != 0x0d {
		t.Errorf("type %v, flags %x, %v", raw.Type(), raw.Flags(), err)
	}
	if PUBLISH.String() != "PUBLISH" || Type(16).String() != "unknown(16)" || V311.String() != "3.1.1" || Version(9).String() != "unknown(9)" {
		t.Error("wrong names")
	}
	if SessionTakenOver.String() != "session taken over" || Reason(5).String() != "Reason(0x05)" {
		t.Error("wrong names of reasons")
	}
}
