package harness

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Ledger is the account of a load: which numbered messages each device sent, which of them were acknowledged, and
// which arrived.
type Ledger struct {
	mu      sync.Mutex
	devices map[string]*account
}

type account struct {
	sent    uint64               // numbers 1 to sent were sent
	acked   map[uint64]bool      // of these, the acknowledged ones
	waiting map[uint64]time.Time // since when the others wait for it
	longest time.Duration        // that one of the acknowledged ones waited

	gone map[uint64]bool // arrived where it is no more

	arrived   map[uint64]int // how often each number arrived
	highest   uint64         // of those that arrived
	disorder  int            // first arrivals after one with a higher number
	unknown   int            // arrivals of what was never sent
	partition map[int32]bool
}

func (l *Ledger) account(device string) *account {
	if l.devices == nil {
		l.devices = map[string]*account{}
	}
	a := l.devices[device]
	if a == nil {
		a = &account{acked: map[uint64]bool{}, waiting: map[uint64]time.Time{}, gone: map[uint64]bool{},
			arrived: map[uint64]int{}, partition: map[int32]bool{}}
		l.devices[device] = a
	}
	return a
}

// lost reports whether number n has arrived nowhere.
func (a *account) lost(n uint64) bool { return a.arrived[n] == 0 && !a.gone[n] }

// Sent notes that device sent number n, or is about to.
func (l *Ledger) Sent(device string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(device)
	if n > a.sent {
		a.sent = n
		a.waiting[n] = time.Now()
	}
}

// Acked notes that device was told that its message number n is safe.
func (l *Ledger) Acked(device string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(device)
	a.acked[n] = true
	if since, ok := a.waiting[n]; ok {
		a.longest = max(a.longest, time.Since(since))
		delete(a.waiting, n)
	}
}

// Arrived notes a message at the other end. Calls for one partition come in the order of its offsets.
func (l *Ledger) Arrived(device string, n uint64, partition int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(device)
	a.partition[partition] = true
	a.arrived[n]++
	if n == 0 || n > a.sent {
		a.unknown++
	}
	if a.arrived[n] == 1 && n < a.highest {
		a.disorder++
	}
	a.highest = max(a.highest, n)
}

// Gone notes that the other end has lost all that has arrived there. What has arrived once is not missing; it may arrive
// again, and order begins anew.
func (l *Ledger) Gone() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.devices {
		for n := range a.arrived {
			a.gone[n] = true
		}
		clear(a.arrived)
		clear(a.partition)
		a.highest = 0
	}
}

// Counts returns how many messages were sent, acknowledged, and arrived at least once, all devices together.
func (l *Ledger) Counts() (sent, acked, arrived int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.devices {
		sent += int(a.sent)
		acked += len(a.acked)
		arrived += len(a.arrived)
	}
	return sent, acked, arrived
}

// Missing returns how many acknowledged messages have not arrived.
func (l *Ledger) Missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	missing := 0
	for _, a := range l.devices {
		for n := range a.acked {
			if a.lost(n) {
				missing++
			}
		}
	}
	return missing
}

// A Report is the balance of a [Ledger].
type Report struct {
	Devices, Sent, Acked, Arrived int
	Lost                          int // acknowledged, and did not arrive (P1, P5)
	OutOfOrder                    int // arrived first after a later one of the same device (P3)
	Duplicates                    int // further arrivals
	Unknown                       int // nobody sent these
	Spread                        int // devices in more than one partition, where order means nothing
	Gone                          int // arrived only where it is no more

	Longest time.Duration // that an acknowledged message waited for its acknowledgement

	detail []string
}

// Report closes the account.
func (l *Ledger) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{Devices: len(l.devices)}
	for device, a := range l.devices {
		r.Sent += int(a.sent)
		r.Acked += len(a.acked)
		r.Arrived += len(a.arrived)
		for n := range a.gone {
			if a.arrived[n] == 0 {
				r.Gone++
			}
		}
		r.Longest = max(r.Longest, a.longest)
		r.OutOfOrder += a.disorder
		r.Unknown += a.unknown
		if len(a.partition) > 1 {
			r.Spread++
		}
		for _, times := range a.arrived {
			r.Duplicates += times - 1
		}
		var lost []uint64
		for n := range a.acked {
			if a.lost(n) {
				lost = append(lost, n)
			}
		}
		r.Lost += len(lost)
		if len(lost)+a.disorder+a.unknown > 0 {
			slices.Sort(lost)
			r.detail = append(r.detail, fmt.Sprintf("%s: sent %d, acked %d, highest arrived %d, out of order %d, unknown %d, lost %v",
				device, a.sent, len(a.acked), a.highest, a.disorder, a.unknown, lost[:min(len(lost), 20)]))
		}
	}
	slices.Sort(r.detail)
	return r
}

// String is one line.
func (r Report) String() string {
	return fmt.Sprintf("%d devices: sent %d, acked %d, arrived %d, LOST %d, out of order %d, duplicates %d, unknown %d, spread %d",
		r.Devices, r.Sent, r.Acked, r.Arrived, r.Lost, r.OutOfOrder, r.Duplicates, r.Unknown, r.Spread)
}

// Err returns what must never be: loss, disorder, messages that nobody sent.
func (r Report) Err() error {
	if r.Lost+r.OutOfOrder+r.Unknown+r.Spread == 0 {
		return nil
	}
	return fmt.Errorf("%v\n%s", r, strings.Join(r.detail, "\n"))
}

// Payload returns message number n of device, padded to size bytes or a few more, under a checksum.
func Payload(device string, n uint64, size int) []byte {
	b := append([]byte(device), 0)
	b = binary.BigEndian.AppendUint64(b, n)
	for len(b) < size-4 {
		b = append(b, byte('a'+len(b)%26))
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// ParsePayload reads what [Payload] wrote.
func ParsePayload(b []byte) (device string, n uint64, err error) {
	if len(b) < 4 || crc32.ChecksumIEEE(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return "", 0, fmt.Errorf("a payload of %d bytes was changed on its way", len(b))
	}
	device, rest, found := strings.Cut(string(b[:len(b)-4]), "\x00")
	if !found || len(rest) < 8 {
		return "", 0, fmt.Errorf("a payload of %d bytes is none of ours", len(b))
	}
	return device, binary.BigEndian.Uint64([]byte(rest)), nil
}
