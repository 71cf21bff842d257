package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// A load is what devices publish, QoS 1, each to a topic of its own.
type load struct {
	devices int
	window  int           // messages in flight per device
	rate    int           // messages a second from all devices; 0: as fast as acks come
	length  time.Duration // after the warm-up
	until   func() bool   // if not nil, it is asked when the load is enough, and not the time

	prefix  string        // of the topics; "": bench
	payload int           // bytes; 0: payload
	warm    time.Duration // 0: warmUp
}

// published is what became of a load.
type published struct {
	all     int // acked
	acked   int // of those, since the warm-up
	began   time.Time
	elapsed time.Duration
	acks    latencies // from PUBLISH to PUBACK, of what was sent since the warm-up
}

// publish connects the devices and publishes for the warm-up, calls began, and publishes for the length of the load and until all
// is acked.
func (l load) publish(addr string, began func()) (published, error) {
	publishers := make([]*publisher, l.devices)
	for i := range publishers {
		d, err := connect(addr, fmt.Sprintf("bench-%d", i), nil)
		if err != nil {
			return published{}, err
		}
		defer d.close()
		publishers[i] = newPublisher(d, i, l)
	}
	start := time.Now()
	var stop atomic.Bool
	var r published
	warmed := time.AfterFunc(cmp.Or(l.warm, warmUp), func() {
		began()
		for _, p := range publishers {
			r.acked -= int(p.seen.Load())
		}
		r.began = time.Now()
		if l.until == nil {
			time.AfterFunc(l.length, func() { stop.Store(true) })
			return
		}
		for !l.until() {
			time.Sleep(100 * time.Millisecond)
		}
		stop.Store(true)
	})
	defer warmed.Stop()

	errs := make([]error, l.devices)
	var wg sync.WaitGroup
	for i, p := range publishers {
		wg.Go(func() {
			if l.rate > 0 {
				errs[i] = p.collect()
			} else {
				errs[i] = p.flood(&stop)
			}
		})
	}
	if l.rate > 0 {
		errs = append(errs, l.pace(publishers, start, &stop))
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return published{}, err
	}
	r.elapsed = time.Since(r.began)
	if l.rate > 0 {
		r.elapsed = l.length // not what the last acks took
	}
	for _, p := range publishers {
		r.all += p.acked
		r.acks = append(r.acks, p.samples.since(r.began)...)
	}
	r.acked += r.all
	return r, nil
}

// A publisher is a device with its messages laid out in a ring of one per packet identifier.
type publisher struct {
	*device
	ring       []byte
	size, body int // of one message, and where in it the payload begins
	window     int
	sent       atomic.Int64
	acked      int
	seen       atomic.Int64 // acked, for others to read
	samples    samples
	cond       *sync.Cond // paced: acks make room
	inFlight   int
}

func newPublisher(d *device, i int, l load) *publisher {
	one, id, body := publication(fmt.Sprintf("%s/%d", cmp.Or(l.prefix, "bench"), i), cmp.Or(l.payload, payload))
	p := &publisher{device: d, size: len(one), body: body, window: l.window, cond: sync.NewCond(new(sync.Mutex))}
	for n := range l.window {
		binary.BigEndian.PutUint16(one[id:], uint16(n+1))
		p.ring = append(p.ring, one...)
	}
	return p
}

// write sends the next n messages in one write, two where the ring ends.
func (p *publisher) write(n int) error {
	now := time.Now()
	for n > 0 {
		at := int(p.sent.Load()) % p.window
		run := min(n, p.window-at)
		for i := range run {
			stamp(p.ring[(at+i)*p.size+p.body:], now)
		}
		p.sent.Add(int64(run))
		if _, err := p.conn.Write(p.ring[at*p.size : (at+run)*p.size]); err != nil {
			return err
		}
		n -= run
	}
	return nil
}

// flood keeps the window full until told to stop, and then waits for the acks that are missing.
func (p *publisher) flood(stop *atomic.Bool) error {
	for {
		if room := p.window - (int(p.sent.Load()) - p.acked); room > 0 && !stop.Load() {
			if err := p.write(room); err != nil {
				return err
			}
		}
		if p.acked == int(p.sent.Load()) {
			return nil
		}
		if err := p.takeAcks(); err != nil {
			return err
		}
	}
}

// takeAcks reads what acks there are, at least one.
func (p *publisher) takeAcks() error {
	if err := p.fill(); err != nil {
		return err
	}
	defer func() { p.seen.Store(int64(p.acked)) }()
	now := time.Now()
	for {
		r, n, _, err := packet.Cut(p.in, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		p.in = p.in[n:]
		if r.Type() != packet.PUBACK {
			return fmt.Errorf("got %s instead of PUBACK", r.Type())
		}
		slot := int(binary.BigEndian.Uint16(r.Body)) - 1
		if want := p.acked % p.window; slot != want {
			return fmt.Errorf("PUBACK %d out of order, want %d", slot+1, want+1)
		}
		if p.acked%8 == 0 { // a sample is enough, and costs less
			p.samples.add(p.ring[slot*p.size+p.body:], now)
		}
		p.acked++
	}
}

// pace sends the messages of all devices in turn, at the load's rate.
func (l load) pace(publishers []*publisher, start time.Time, stop *atomic.Bool) error {
	defer func() {
		for _, p := range publishers { // one that waits for no ack any more must see that it is over
			_ = p.conn.SetReadDeadline(time.Now())
		}
	}()
	sent := 0
	for !stop.Load() {
		for due := int(time.Since(start).Seconds() * float64(l.rate)); sent < due; sent++ {
			p := publishers[sent%len(publishers)]
			p.cond.L.Lock()
			for p.inFlight >= p.window {
				p.cond.Wait()
			}
			p.inFlight++
			p.cond.L.Unlock()
			if err := p.write(1); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// collect reads the acks of a paced device until pace has ended and all are there.
func (p *publisher) collect() error {
	for ended := false; !ended || p.acked < int(p.sent.Load()); {
		before := p.acked
		err := p.takeAcks()
		if errors.Is(err, os.ErrDeadlineExceeded) && !ended { // pace wakes all up at its end
			ended, err = true, p.conn.SetReadDeadline(time.Now().Add(10*time.Second))
		}
		if err != nil {
			return err
		}
		p.cond.L.Lock()
		p.inFlight -= p.acked - before
		p.cond.L.Unlock()
		p.cond.Signal()
	}
	return nil
}
