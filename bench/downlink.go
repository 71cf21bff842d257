package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// subscribers are devices that take what comes and acknowledge it.
type subscribers struct {
	*server
	devices []*device
	done    sync.WaitGroup
	failed  chan error // the first

	want atomic.Int64 // copies, of which got have come
	got  atomic.Int64
	some chan struct{} // has a token when they have, and perhaps at other times
}

// subscribe connects n devices. Each subscribes to filter, in which $N is its number.
func (s *server) subscribe(n int, filter string) (*subscribers, error) {
	g := &subscribers{server: s, failed: make(chan error, 1), some: make(chan struct{}, 1)}
	for i := range n {
		d, err := connect(s.mqtt, fmt.Sprintf("subscriber-%d", i), nil)
		if err == nil {
			g.devices = append(g.devices, d)
			err = d.subscribe(strings.ReplaceAll(filter, "$N", strconv.Itoa(i)))
		}
		if err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// receive has the devices take what comes. With each, they keep a sample of every message.
func (g *subscribers) receive(each bool) {
	for _, d := range g.devices {
		g.take(func() error { return d.receive(each, g.came) })
	}
}

// take runs f, which receives until it fails.
func (g *subscribers) take(f func() error) {
	g.done.Go(func() {
		err := f()
		select {
		case g.failed <- err:
		default:
		}
	})
}

// came notes n copies.
func (g *subscribers) came(n int) {
	if g.got.Add(int64(n)) < g.want.Load() {
		return
	}
	select {
	case g.some <- struct{}{}:
	default:
	}
}

// expect waits until n copies have come since the start.
func (g *subscribers) expect(n int) error {
	g.want.Store(int64(n))
	late := time.After(2 * time.Minute)
	for g.got.Load() < int64(n) {
		select {
		case <-g.some:
		case err := <-g.failed:
			return fmt.Errorf("after %d of %d messages: %w\n%s", g.got.Load(), n, err, g.Tail(4000))
		case <-late:
			return fmt.Errorf("only %d of %d messages came in two minutes\n%s", g.got.Load(), n, g.Tail(4000))
		}
	}
	return nil
}

// close ends the devices, and not the server.
func (g *subscribers) close() {
	for _, d := range g.devices {
		d.close()
	}
	g.done.Wait()
}

// downlink measures records that reach devices as fast as they can: copies is how many devices get each.
func downlink(config string, devices, copies int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, _, down, err := l.bridge(config)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		filter := "down/$N"
		if copies > 1 {
			filter = "down/#"
		}
		g, err := s.subscribe(devices, filter)
		if err != nil {
			return result{}, err
		}
		defer g.close()
		g.receive(false)
		return g.fed(l, s, down, devices, 400_000/copies, copies)
	}
}

// fed has the subscribers take records from a Kafka topic, with that many keys, and measures the server that brings them. copies is
// how many subscribers get each.
func (g *subscribers) fed(l *lab, s *server, topic string, keys, records, copies int) (r result, err error) {
	f, err := newFiller(s.kafka, topic, keys)
	if err != nil {
		return r, err
	}
	f.add(l.ctx, records/10) // the warm-up
	if err := g.expect(records / 10 * copies); err != nil {
		return r, err
	}
	start := time.Now()
	r.cpu, r.broker = s.cpu(), g.cpu()
	f.add(l.ctx, records)
	if err := f.close(l.ctx); err != nil {
		return r, err
	}
	if err := g.expect(f.n * copies); err != nil {
		return r, err
	}
	r.messages, r.elapsed = records*copies, time.Since(start)
	r.cpu, r.broker = s.cpu()-r.cpu, g.cpu()-r.broker
	if g.server == s {
		r.broker = 0
	}
	return r, nil
}

// downlinkPaced measures how long records are under way to devices, when rate of them come a second.
func downlinkPaced(config string, devices, rate int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, _, down, err := l.bridge(config)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		g, err := s.subscribe(devices, "down/$N")
		if err != nil {
			return result{}, err
		}
		defer g.close()
		g.receive(true)
		f, err := newFiller(s.kafka, down, devices)
		if err != nil {
			return result{}, err
		}
		f.pace(l.ctx, rate, warmUp)
		before, start, first := s.cpu(), time.Now(), f.n
		f.pace(l.ctx, rate, l.length)
		used := s.cpu() - before
		if err := f.close(l.ctx); err != nil {
			return result{}, err
		}
		if err := g.expect(f.n); err != nil {
			return result{}, err
		}
		g.close()
		var under latencies
		for _, d := range g.devices {
			under = append(under, d.came.since(start)...)
		}
		return result{messages: f.n - first, elapsed: l.length, cpu: used,
			endP50: under.quantile(0.5), endP99: under.quantile(0.99)}, nil
	}
}

// receive acknowledges what comes, all that one read brings in one write, and tells how many came. With each it keeps a sample of
// every message.
func (d *device) receive(each bool, came func(n int)) error {
	var acks []byte
	for {
		if err := d.fill(); err != nil {
			return err
		}
		acks = acks[:0]
		n, now := 0, time.Now()
		for {
			r, size, _, err := packet.Cut(d.in, 0)
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			d.in = d.in[size:]
			var p packet.Publish
			if err := p.Decode(packet.V311, r); err != nil {
				return err
			}
			if each {
				d.came.add(p.Payload, now)
			}
			acks = (&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}).Append(acks, packet.V311)
			n++
		}
		if _, err := d.conn.Write(acks); err != nil {
			return err
		}
		came(n)
	}
}
