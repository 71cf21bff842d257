package harness

import (
	"context"
	"errors"
	"time"
)

// A Network is the proxies between its dialers and several servers: one before each, in their order.
type Network []*Proxy

// Addrs returns what to dial.
func (n Network) Addrs() []string {
	var addrs []string
	for _, p := range n {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

// Total returns how many connections there have been.
func (n Network) Total() (total int64) {
	for _, p := range n {
		total += p.Total()
	}
	return total
}

// Cut does [Proxy.Cut] everywhere.
func (n Network) Cut() { n.each((*Proxy).Cut) }

// Refuse does [Proxy.Refuse] everywhere.
func (n Network) Refuse() { n.each((*Proxy).Refuse) }

// BlackHole does [Proxy.BlackHole] everywhere.
func (n Network) BlackHole() { n.each((*Proxy).BlackHole) }

// Delay does [Proxy.Delay] everywhere.
func (n Network) Delay(d time.Duration) { n.each(func(p *Proxy) { p.Delay(d) }) }

// Throttle does [Proxy.Throttle] everywhere.
func (n Network) Throttle(rate int) { n.each(func(p *Proxy) { p.Throttle(rate) }) }

// Accept does [Proxy.Accept] everywhere.
func (n Network) Accept() error {
	var errs []error
	n.each(func(p *Proxy) { errs = append(errs, p.Accept()) })
	return errors.Join(errs...)
}

// Heal ends all faults.
func (n Network) Heal() error {
	n.each((*Proxy).Heal)
	return n.Accept()
}

// Flap takes the network away and gives it back, each for as long as pause, until ctx ends.
func (n Network) Flap(ctx context.Context, pause time.Duration) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for down := true; ; down = !down {
		if down {
			n.Refuse()
		} else if err := n.Heal(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n.Heal()
		}
	}
}

// Close ends all connections and the proxies. It may be called twice.
func (n Network) Close() { n.each((*Proxy).Close) }

func (n Network) each(f func(*Proxy)) {
	for _, p := range n {
		f(p)
	}
}
