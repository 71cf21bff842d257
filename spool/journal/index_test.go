package journal

import (
	"bytes"
	"testing"
)

// FuzzIndex: an index that can be read is the one that was written, and one that cannot costs nothing.
func FuzzIndex(f *testing.F) {
	x := index{every: 1 << 10}
	for i := range uint64(500) {
		x.add(header{lane: Lane(1 + i%3), seq: 10 + i, length: int64(i % 70), time: 1_700_000_000_000 + int64(i%5)}, int64(24+100*i))
	}
	f.Add(x.encode(nil))
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, p []byte) {
		x, ok := decodeIndex(p)
		if !ok {
			return
		}
		again, ok := decodeIndex(x.encode(nil))
		if !ok || !bytes.Equal(again.encode(nil), x.encode(nil)) {
			t.Fatalf("%+v is read as %+v", x, again)
		}
	})
}
