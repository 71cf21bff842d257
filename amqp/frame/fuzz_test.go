package frame

import (
	"bytes"
	"runtime"
	"testing"
)

// FuzzFrame cuts and decodes anything: it never panics, the answer does not depend on what follows the frame, an error
// says what to tell the peer, and what decodes is written and decoded to the same again, in no more bytes.
func FuzzFrame(f *testing.F) {
	for _, c := range performatives {
		b := BeginFrame(nil, TypeAMQP, 0)
		f.Add(EndFrame(append(b, unhex(f, c.wire)...), 0), uint32(0))
	}
	f.Add(AppendHeartbeat(nil), uint32(8))
	f.Add(unhex(f, "0000000f 03000102 ffffffff 'abc'"), uint32(15))
	f.Fuzz(func(t *testing.T, in []byte, max uint32) {
		frame, n, need, err := Cut(in, max)
		checkError(t, err)
		if n < 0 || n > len(in) || n > 0 && (need != 0 || err != nil) || need != 0 && (need <= len(in) || err != nil) {
			t.Fatalf("n %d, need %d, %v of %d bytes", n, need, err, len(in))
		}
		if n == 0 {
			return
		}
		if max > 0 && n > int(max) {
			t.Fatalf("cut %d bytes, more than %d", n, max)
		}
		if alone, m, _, err := Cut(in[:n:n], max); err != nil || m != n || !bytes.Equal(alone.Body, frame.Body) {
			t.Fatalf("alone it is %v, %d, %v", alone, m, err)
		}
		fuzzBody(t, frame.Body)
	})
}

func fuzzBody(t *testing.T, body []byte) {
	d, err := DescriptorOf(body)
	checkError(t, err)
	p := newPerformative(d)
	if err != nil || p == nil {
		return
	}
	if err := p.Decode(body); err != nil {
		checkError(t, err)
		return
	}
	out := p.Append(nil)
	again := newPerformative(d)
	if err := again.Decode(out); err != nil {
		t.Fatalf("% x, written as % x: %v", body, out, err)
	}
	if got := again.Append(nil); !bytes.Equal(got, out) || !same(p, again) {
		t.Fatalf("written as % x, then as % x", out, got)
	}
	if len(out) > len(body)+64 { // one symbol alone grows by the head of an array
		t.Fatalf("% x became longer: % x", body, out)
	}
}

// FuzzMessage decodes anything as a message: what decodes is written and decoded to the same again.
func FuzzMessage(f *testing.F) {
	for _, c := range messages {
		f.Add(unhex(f, c.wire))
	}
	for _, v := range values {
		f.Add(append([]byte{0, codeSmallUlong, byte(CodeValue)}, unhex(f, v.wire)...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var m, again Message
		if err := m.Decode(in); err != nil {
			checkError(t, err)
			return
		}
		out := m.Append(nil)
		if err := again.Decode(out); err != nil {
			t.Fatalf("% x, written as % x: %v", in, out, err)
		}
		if got := again.Append(nil); !bytes.Equal(got, out) || len(out) > len(in) {
			t.Fatalf("% x was written as % x, then as % x", in, out, got)
		}
		if len(m.Body) != len(again.Body) || m.MessageAnnotations.Len() != again.MessageAnnotations.Len() {
			t.Fatalf("% x: sections differ", in)
		}
	})
}

// FuzzValue reads anything as a value: what is one goes round byte for byte, each part of it is a value of its own, and
// reading it takes no more memory than a few times its bytes.
func FuzzValue(f *testing.F) {
	for _, v := range values {
		f.Add(unhex(f, v.wire))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var before, after runtime.MemStats
		if len(in) > 1<<12 {
			runtime.ReadMemStats(&before)
		}
		v, rest, err := CutValue(in)
		if len(in) > 1<<12 {
			if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > uint64(1<<20+64*len(in)) {
				t.Fatalf("%d bytes for %d", after.TotalAlloc-before.TotalAlloc, len(in))
			}
		}
		if err != nil {
			checkError(t, err)
			return
		}
		if got := v.Append(nil); !bytes.Equal(got, in[:len(in)-len(rest)]) {
			t.Fatalf("% x was written as % x", in, got)
		}
		inspect(t, v)
	})
}

// inspect goes through all of a value.
func inspect(t *testing.T, v Value) {
	if _, err := ParseValue(v.Raw()); err != nil {
		t.Fatalf("a part, % x: %v", v.Raw(), err)
	}
	if v.Type() == Absent {
		t.Fatal("a part is none")
	}
	n := 0
	for e := range v.Elements() {
		if n++; n <= 100 {
			inspect(t, e)
		}
	}
	for key, e := range v.Pairs() {
		n++
		inspect(t, key)
		inspect(t, e)
	}
	if n != v.Len() {
		t.Fatalf("%d elements of %d", n, v.Len())
	}
	if d, e, ok := v.Described(); ok {
		inspect(t, d)
		inspect(t, e)
	}
}

// FuzzWalk goes through what nobody has checked: it ends, and does not panic.
func FuzzWalk(f *testing.F) {
	for _, v := range values {
		f.Add(unhex(f, v.wire))
	}
	f.Fuzz(func(_ *testing.T, in []byte) {
		m := Map(in)
		m.Get("name")
		m.Len()
		for k, v := range m.All() {
			_, _, _ = k.Described()
			_ = show(v)
		}
	})
}
