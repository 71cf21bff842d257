package frame

import "testing"

// busy are the bodies of a busy connection.
func busy(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for _, c := range performatives {
		switch c.p.(type) {
		case *Transfer, *Flow, *Disposition:
			out[c.name] = unhex(t, c.wire)
		}
	}
	return out
}

// The frames of a busy connection are read and written without memory.
func TestNoAllocation(t *testing.T) {
	buffer := make([]byte, 0, 4096)
	for name, body := range busy(t) {
		wire := EndFrame(append(BeginFrame(nil, TypeAMQP, 0), body...), 0)
		d, _ := DescriptorOf(body)
		p := newPerformative(d)
		check(t, name, func() {
			f, _, _, err := Cut(wire, 0)
			if err == nil {
				_, err = DescriptorOf(f.Body)
			}
			if err == nil {
				err = p.Decode(f.Body)
			}
			if err != nil {
				t.Fatal(err)
			}
			buffer = EndFrame(p.Append(BeginFrame(buffer[:0], TypeAMQP, 0)), 0)
		})
	}
	payload := message(t)
	var m Message
	n := 0
	check(t, "message", func() {
		if err := m.Decode(payload); err != nil {
			t.Fatal(err)
		}
		for k, v := range m.ApplicationProperties.All() {
			name, _ := k.Text()
			text, _ := v.Text()
			n += len(name) + len(text)
		}
		if m.MessageAnnotations.Get("x-opt-partition-key").IsNull() {
			t.Fatal("no key")
		}
		buffer = m.Append(buffer[:0])
	})
	s := Symbol("x-opt-partition-key").Intern()
	check(t, "symbol", func() { s = Symbol(borrow([]byte(s))).Intern() })
}

func check(t *testing.T, name string, f func()) {
	t.Helper()
	f()
	if got := testing.AllocsPerRun(100, f); got != 0 {
		t.Errorf("%s: %v allocations", name, got)
	}
}

// A map of many keys takes memory for the keys that it has, not for those that it claims.
func TestClaimsCostNothing(t *testing.T) {
	for _, wire := range []string{"d1 00000006 fffffffe 4141", "d0 00000005 ffffffff 41", "f0 00000006 ffffffff 50 01"} {
		in := unhex(t, wire)
		check(t, wire, func() {
			if _, _, err := CutValue(in); err == nil {
				t.Fatal("it is a value")
			}
		})
	}
}
