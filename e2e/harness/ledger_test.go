package harness

import (
	"bytes"
	"testing"
)

// The account would be worth nothing if it could not see what it is there to see.
func TestLedger(t *testing.T) {
	type arrival struct {
		n         uint64
		partition int32
	}
	tests := map[string]struct {
		acked   []uint64 // of 5 sent
		arrived []arrival
		want    Report
	}{
		"all well":          {[]uint64{1, 2, 3}, []arrival{{n: 1}, {n: 2}, {n: 3}, {n: 4}}, Report{Acked: 3, Arrived: 4}},
		"acked and lost":    {[]uint64{1, 2, 3}, []arrival{{n: 1}, {n: 3}}, Report{Acked: 3, Arrived: 2, Lost: 1}},
		"not acked is free": {nil, []arrival{{n: 2}, {n: 4}}, Report{Arrived: 2}},
		"out of order":      {[]uint64{1, 2, 3}, []arrival{{n: 1}, {n: 3}, {n: 2}}, Report{Acked: 3, Arrived: 3, OutOfOrder: 1}},
		"sent again after a kill": {[]uint64{1, 2, 3}, []arrival{{n: 1}, {n: 2}, {n: 1}, {n: 2}, {n: 3}},
			Report{Acked: 3, Arrived: 3, Duplicates: 2}},
		"never sent":     {[]uint64{1}, []arrival{{n: 1}, {n: 6}, {n: 0}}, Report{Acked: 1, Arrived: 3, OutOfOrder: 1, Unknown: 2}},
		"two partitions": {nil, []arrival{{n: 1}, {n: 2, partition: 1}}, Report{Arrived: 2, Spread: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var l Ledger
			for n := range uint64(5) {
				l.Sent("d", n+1)
			}
			for _, n := range test.acked {
				l.Acked("d", n)
			}
			for _, a := range test.arrived {
				l.Arrived("d", a.n, a.partition)
			}
			got := l.Report()
			bad := got.Err() != nil
			got.detail = nil
			test.want.Devices, test.want.Sent = 1, 5
			if got.String() != test.want.String() {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
			if want := test.want.Lost+test.want.OutOfOrder+test.want.Unknown+test.want.Spread > 0; bad != want {
				t.Errorf("Err says %v, want %v", bad, want)
			}
		})
	}
}

func TestPayload(t *testing.T) {
	for _, size := range []int{0, 20, 100, 1000} {
		b := Payload("dev-1", 7, size)
		if size >= 20 && len(b) != size {
			t.Errorf("%d bytes, want %d", len(b), size)
		}
		if device, n, err := ParsePayload(b); device != "dev-1" || n != 7 || err != nil {
			t.Errorf("read back as %q, %d, %v", device, n, err)
		}
		changed := bytes.Clone(b)
		changed[len(changed)/2]++
		if _, _, err := ParsePayload(changed); err == nil {
			t.Error("a changed payload was not noticed")
		}
	}
}
