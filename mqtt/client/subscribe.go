package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// subscriptions are what the broker sends us messages for, for the reader to look at.
type subscriptions struct {
	all []Subscription
	// numbered: more than one may match a message. Those that do are told apart by their identifiers, and the lowest counts.
	numbered bool
	// loose: messages may come that nobody wants, since filters were joined or the session had others before.
	loose bool
}

// wants reports whether one of our filters matches a message.
func (c *conn) wants(p *packet.Publish) bool {
	t := c.table.Load()
	return t == nil || !t.loose || c.w.c.wants(p.Topic)
}

func (c *Client) wants(topic string) bool {
	for _, f := range c.filters {
		if matches(unshared(f), topic) {
			return true
		}
	}
	return false
}

// repeated reports whether a message is one of several copies, one for each subscription that it matches, and not the one that
// counts [MQTT-3.3.4-3], [MQTT-3.3.4-4]. The subscription that counts is the oldest, so that there has been a copy for it
// whenever there was one for another. A copy for a subscription that we do not have any more counts, too.
func (c *conn) repeated(p *packet.Publish) bool {
	t := c.table.Load()
	if t == nil || !t.numbered || !p.Properties.Has(packet.SubscriptionID) {
		return false
	}
	oldest := uint32(0)
	for i := range t.all {
		if s := &t.all[i]; (oldest == 0 || s.ID < oldest) && matches(unshared(s.Filter), p.Topic) {
			oldest = s.ID
		}
	}
	for id := range p.Properties.SubscriptionIDs() {
		if id == oldest || !slices.ContainsFunc(t.all, func(s Subscription) bool { return s.ID == id }) {
			return false
		}
	}
	return oldest != 0
}

// echo reports whether a message is one that we have published ourselves.
func (c *conn) echo(p *packet.Publish) bool {
	e := &c.w.c.echoes
	return e.some.Load() > 0 && !p.Retain && e.take(e.sum(p.Topic, p.Payload), c.now)
}

// expectEcho remembers a message that the broker will send back to us.
func (w *worker) expectEcho(c *conn, p *packet.Publish, now time.Time) {
	if (c.version < packet.V5 || w.c.shared()) && w.c.wants(p.Topic) {
		w.c.echoes.add(w.c.echoes.sum(p.Topic, p.Payload), now)
	}
}

// want returns what a worker subscribes to on a connection.
func (w *worker) want(c *conn, share string) subscriptions {
	cfg := &w.c.cfg
	filters := w.c.filters
	t := subscriptions{}
	if len(overlapping(filters)) > 0 {
		if t.numbered = share == "" && c.version == packet.V5 && c.limits.SubscriptionIDs; !t.numbered {
			filters = disjoint(filters)
			t.loose = slices.ContainsFunc(filters, func(f string) bool { return !slices.Contains(w.c.filters, f) })
		}
	}
	next := 1 + rand.Uint32N(1<<27) // of a session that we may know too little of
	for _, k := range w.known {
		next = max(next, k.ID+1)
	}
	// One that the session perhaps does not have is new, and not the oldest: see repeated.
	has := func(filter string) int {
		return slices.IndexFunc(w.known, func(k Subscription) bool { return k.Filter == filter && k.ID != 0 && !k.Unsure })
	}
	for _, f := range filters {
		if share != "" && !isShared(f) {
			f = sharePrefix + share + "/" + f
		}
		s := Subscription{Filter: f, QoS: cfg.QoS, NoLocal: c.version == packet.V5 && !isShared(f)} // [MQTT-3.8.3-4]
		if t.numbered {
			if i := has(f); i >= 0 {
				s.ID = w.known[i].ID
			} else {
				s.ID, next = next, next+1
			}
		}
		t.all = append(t.all, s)
	}
	slices.SortStableFunc(t.all, func(a, b Subscription) int { return int(int64(a.ID) - int64(b.ID)) })
	return t
}

// subscribe brings the session to what is wanted: only what it lacks is subscribed to, and only then what is too much is
// unsubscribed, so that nothing is missed in between. What would be forgotten with this process is not unsubscribed at all, see
// [State]. It returns the filters that the broker refuses, with why.
func (w *worker) subscribe(ctx context.Context, c *conn, share string) (denied map[string]packet.Reason, err error) {
	t := w.want(c, share)
	t.loose = t.loose || c.present && (w.loose || !w.sure)
	var missing, surplus []Subscription
	for _, s := range t.all {
		if !slices.Contains(w.known, s) || isShared(s.Filter) { // which a broker that restarts may forget, and keep the session
			missing = append(missing, s)
		}
	}
	for _, k := range w.known {
		if !slices.ContainsFunc(t.all, func(s Subscription) bool { return s.Filter == k.Filter }) {
			surplus = append(surplus, k)
			t.loose = true
		}
	}
	w.loose, w.sure = t.loose, true
	if len(missing) == 0 {
		c.table.Store(&t)
	}
	if len(missing)+len(surplus) == 0 && w.stored {
		return nil, nil
	}
	left := unsure(nil, nil, surplus)
	noted := w.remember(unsure(w.known, missing, surplus))
	denied, err = w.ask(ctx, c, &t, missing)
	if err == nil && noted {
		left, err = nil, w.unsubscribe(ctx, c, surplus)
	}
	if err == nil {
		has := slices.DeleteFunc(slices.Clone(t.all), func(s Subscription) bool { _, no := denied[s.Filter]; return no })
		w.remember(append(has, left...))
	}
	return denied, err
}

// unsure returns what a session may have while it is being changed.
func unsure(known, missing, surplus []Subscription) (out []Subscription) {
	for _, s := range missing {
		s.Unsure = true
		out = append(out, s)
	}
	for _, s := range surplus {
		s.Unsure = true
		out = append(out, s)
	}
	for _, k := range known {
		if !slices.ContainsFunc(out, func(s Subscription) bool { return s.Filter == k.Filter }) {
			out = append(out, k)
		}
	}
	return out
}

// filtersAtOnce is how many filters one packet has. There are brokers that take no more than eight.
const filtersAtOnce = 8

// ask subscribes. Numbered subscriptions go one by one, oldest first.
func (w *worker) ask(ctx context.Context, c *conn, t *subscriptions, missing []Subscription) (denied map[string]packet.Reason, err error) {
	cfg := &w.c.cfg
	table := *t
	table.all = slices.DeleteFunc(slices.Clone(t.all), func(s Subscription) bool { return slices.Contains(missing, s) })
	for len(missing) > 0 {
		some := missing[:min(len(missing), filtersAtOnce)]
		if t.numbered {
			some = missing[:1]
		}
		missing = missing[len(some):]
		shown := table
		shown.all = slices.Concat(table.all, some)
		c.table.Store(&shown)
		p := packet.Subscribe{PacketID: w.requestID()}
		if t.numbered {
			p.Properties.AddSubscriptionID(some[0].ID)
		}
		for _, s := range some {
			p.Filters = append(p.Filters, packet.Subscription{Filter: s.Filter, QoS: s.QoS,
				NoLocal: s.NoLocal, RetainHandling: cfg.RetainHandling})
		}
		r, err := w.request(ctx, c, p.Append(nil, c.version), p.PacketID, packet.SUBACK)
		if err != nil {
			return nil, err
		}
		if len(r.reasons) != len(some) { // [MQTT-3.9.3-1]
			return nil, violation(packet.ProtocolError, "the broker's SUBACK has %d reason codes for %d filters", len(r.reasons), len(some))
		}
		for i, s := range some {
			if !r.reasons[i].Failed() {
				table.all = append(table.all, s)
				continue
			}
			if denied == nil {
				denied = map[string]packet.Reason{}
			}
			denied[s.Filter] = r.reasons[i]
		}
		next := table
		next.all = slices.Clone(table.all)
		c.table.Store(&next)
	}
	return denied, nil
}

// unsubscribe takes filters off the session.
func (w *worker) unsubscribe(ctx context.Context, c *conn, surplus []Subscription) error {
	for len(surplus) > 0 {
		some := surplus[:min(len(surplus), filtersAtOnce)]
		surplus = surplus[len(some):]
		p := packet.Unsubscribe{PacketID: w.requestID()}
		for _, s := range some {
			p.Filters = append(p.Filters, s.Filter)
		}
		if _, err := w.request(ctx, c, p.Append(nil, c.version), p.PacketID, packet.UNSUBACK); err != nil {
			return err
		}
	}
	return nil
}

// requestID returns a packet identifier for a request, and keeps it from messages until the next.
func (w *worker) requestID() uint16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.request = w.out.number()
	return w.out.request
}

// request sends a packet and waits for its answer. While the reader waits for room, the answer may be behind what it has not read.
func (w *worker) request(ctx context.Context, c *conn, p []byte, id uint16, answer packet.Type) (reply, error) {
	if len(p) == 0 {
		return reply{}, fmt.Errorf("a topic filter is longer than MQTT allows")
	}
	w.mu.Lock()
	if !c.shut {
		c.out = append(c.out, p...)
		c.kick()
	}
	w.mu.Unlock()
	asked, patience := time.Now(), w.c.cfg.ConnectTimeout
	tick := time.NewTicker(c.interval())
	defer tick.Stop()
	for {
		select {
		case r := <-c.replies:
			if r.kind == answer && r.id == id {
				return r, nil
			}
		case <-c.ended:
			select {
			case r := <-c.replies: // the session has what was granted, though the connection is gone
				if r.kind == answer && r.id == id {
					return r, nil
				}
			default:
			}
			return reply{}, c.failure
		case <-ctx.Done():
			return reply{}, ctx.Err()
		case <-tick.C:
			since := max(asked.UnixNano(), c.listened.Load())
			if time.Duration(c.seen.Load()-since) >= patience {
				return reply{}, failed(CauseTimeout, "the broker has not answered with %v within %v", answer, patience)
			}
		}
	}
}
