package bridge

import (
	"encoding"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/nearest"
	"github.com/linkspan/linkspan/route"
	"github.com/linkspan/linkspan/spool"
)

// spoolOff is the value of spool.dir for no spool at all.
const spoolOff = "off"

// completeSpool decides whether there is a spool, and where.
func (c *Config) completeSpool(lookup func(string) (string, bool)) {
	if c.Spool.Dir != "" {
		return
	}
	wanted := false
	for _, r := range c.uplinks() {
		wanted = wanted || r.Ack == spool.AckSpool.String() || len(c.Kafka.Brokers) > 0 && (r.Ack == "" || r.Ack == spool.AckKafkaElseSpool.String())
	}
	if !wanted {
		c.Spool.Dir = spoolOff
	} else if dir := dataDir(lookup); dir != "" {
		c.Spool.Dir = filepath.Join(dir, "spool")
	}
}

// spooled reports whether there is a spool.
func (c *Config) spooled() bool { return c.Spool.Dir != spoolOff }

// uplinks ranges over the routes up, with the keys that they have in the configuration.
func (c *Config) uplinks() iter.Seq2[string, *route.Config] {
	return func(yield func(string, *route.Config) bool) {
		for i := range c.Routes {
			if r := &c.Routes[i]; !strings.HasPrefix(r.From, "kafka:") && !yield(fmt.Sprintf("routes[%d]", i), r) {
				return
			}
		}
		if c.DefaultRoute != nil {
			yield("default_route", c.DefaultRoute)
		}
	}
}

// The words that routes have.
var (
	acks  = words(spool.AckKafkaElseSpool, spool.AckKafka, spool.AckSpool, spool.AckMemory)
	fulls = words(spool.FullHold, spool.FullRefuse, spool.FullDropOldest, spool.FullDropNewest)
)

func words[T fmt.Stringer](all ...T) (words []string) {
	for _, w := range all {
		words = append(words, w.String())
	}
	return words
}

// validateSpool looks at the spool, and at what routes say of it.
func (c *Config) validateSpool(p *problems) {
	if c.Spool.Dir == "" {
		p.add("spool.dir", "the environment has neither XDG_DATA_HOME nor HOME to tell where data belong; name a directory that outlives the process, or off, and devices wait when Kafka is away")
	}
	p.take("", c.Spool.Validate())
	for key, r := range c.uplinks() {
		if r.Name == spool.DeadLetters {
			p.add(key+".name", "%q is the name that dead letters have; choose another", r.Name)
		}
		var ack spool.Ack
		var full spool.Full
		if !word(p, key+".ack", r.Ack, &ack, acks) || !word(p, key+".full", r.Full, &full, fulls) {
			continue
		}
		switch {
		case ack == spool.AckSpool && !c.spooled():
			p.add(key+".ack", "spool needs a spool, and spool.dir is off; name a directory there")
		case r.Full != "" && (ack == spool.AckKafka || ack == spool.AckMemory):
			p.add(key+".full", "it says what happens when the spool is full, but with ack: %v nothing goes there; take it away", ack)
		}
	}
}

// word reads one of a few words, and reports whether it is one; "" leaves into as it is.
func word(p *problems, key, text string, into encoding.TextUnmarshaler, known []string) bool {
	if text == "" {
		return true
	}
	err := into.UnmarshalText([]byte(text))
	if err == nil {
		return true
	}
	if near, ok := nearest.To(text, known); ok {
		err = fmt.Errorf("%w; did you mean %s?", err, near)
	}
	p.add(key, "%v", err)
	return false
}

// lanes returns the lanes of the spool: one for each route up, by the names that the routes have, and that of dead letters.
func (c *Config) lanes(routes *route.Table) (lanes []spool.Lane) {
	next, stop := iter.Pull2(c.uplinks())
	defer stop()
	for _, r := range routes.Stats().Routes { // in the order of the configuration
		if !r.Down {
			_, config, _ := next()
			ack, full := c.custody(config)
			lanes = append(lanes, spool.Lane{Name: r.Route, Ack: ack, Full: full})
		}
	}
	ack, full := c.custody(&route.Config{})
	return append(lanes, spool.Lane{Name: spool.DeadLetters, Ack: ack, Full: full})
}

// openSpool opens the spool, shut off from Kafka until that has been joined. Without one what is left of it sees to what Kafka refuses.
func (b *bridge) openSpool(parts *parts) (err error) {
	b.dead = newDeadLetters(b.cfg.DeadLetter.Topic, slices.Sorted(maps.Keys(b.cfg.Endpoints)), b.log)
	cfg := b.cfg.Spool
	if !b.cfg.spooled() {
		cfg.Dir = ""
	}
	cfg.Drain.Timeout = min(cfg.Drain.Timeout, b.cfg.DrainTimeout/4) // the rest is for what stops before and after it
	b.spool, err = spool.Open(cfg, b.cfg.lanes(b.routes), spool.Parts{
		To: b.client.Producer(), DrainBytes: min(drainBytes, b.cfg.Kafka.Producer.MaxBufferedBytes/2), Connected: b.client.Connected, Bury: b.dead.bury,
	}, b.log)
	if err != nil {
		return fmt.Errorf("spool.dir: %w", err)
	}
	b.dead.to = b.spool
	b.spool.Hold(true)
	parts.run(b.spool.Run)
	if s := b.spool.Status(); s.Disk.Full != "" && depth(&s) == 0 {
		return fmt.Errorf("spool.dir: %s can take nothing: spool.%s is reached; make room on its disk, or choose another directory", cfg.Dir, s.Disk.Full)
	}
	return nil
}

// drainBytes is how much of the producer's memory a drain may take, at most half of it: the rest is for live messages.
const drainBytes = 16 << 20

// custody returns when messages of a route are acknowledged, and what becomes of them while the spool is full.
func (c *Config) custody(r *route.Config) (ack spool.Ack, full spool.Full) {
	_, _ = ack.UnmarshalText([]byte(r.Ack)), full.UnmarshalText([]byte(r.Full)) // both are valid, or left out
	if ack == spool.AckKafkaElseSpool && !c.spooled() {
		ack = spool.AckKafka
	}
	return ack, full
}

// describeCustody says when messages of a lane are acknowledged, and what becomes of them while the spool is full.
func describeCustody(ack spool.Ack, full spool.Full) (acked, whenFull string) {
	acked = map[spool.Ack]string{
		spool.AckKafkaElseSpool: "when all in-sync replicas of Kafka have it, or, while Kafka is away, when it is synced to the spool",
		spool.AckKafka:          "when all in-sync replicas of Kafka have it, and never before",
		spool.AckSpool:          "when it is synced to the spool",
		spool.AckMemory:         "AT ONCE, from memory: what Kafka does not have yet is LOST when the process ends",
	}[ack]
	if ack == spool.AckKafka || ack == spool.AckMemory {
		return acked, ""
	}
	return acked, map[spool.Full]string{
		spool.FullHold:       "it stays with its sender, unacknowledged",
		spool.FullRefuse:     "it is refused: quota exceeded",
		spool.FullDropOldest: "it is taken, and the route's OLDEST messages in the spool are DROPPED for it",
		spool.FullDropNewest: "it is acknowledged and DROPPED",
	}[full]
}

// custodyNotes warns of routes that may lose what they have acknowledged.
func custodyNotes(cfg *Config) (notes []string) {
	for key, r := range cfg.uplinks() {
		ack, full := cfg.custody(r)
		acked, whenFull := describeCustody(ack, full)
		if !cfg.spooled() && len(cfg.Kafka.Brokers) > 0 {
			if r.Ack == spool.AckKafkaElseSpool.String() {
				notes = append(notes, key+".ack: without a spool it means kafka; name spool.dir")
			}
			if r.Full != "" {
				notes = append(notes, key+".full: there is no spool that could be full; name spool.dir, or take it away")
			}
		}
		if ack == spool.AckMemory {
			notes = append(notes, key+".ack: memory: a message is acknowledged "+acked)
		}
		if whenFull != "" && (full == spool.FullDropOldest || full == spool.FullDropNewest) {
			notes = append(notes, fmt.Sprintf("%s.full: %v: a message that comes while the spool is full: %s", key, full, whenFull))
		}
	}
	return notes
}

// Custody says of a valid configuration when messages of its routes are acknowledged, and what becomes of them while the spool is
// full: a line for each such way, with the names of the routes.
func Custody(cfg Config) (lines []string) {
	table, err := cfg.table(nil)
	if err != nil {
		return nil
	}
	type custody struct {
		ack  spool.Ack
		full spool.Full
	}
	var order []custody
	routes := map[custody][]string{}
	for _, l := range cfg.lanes(table) {
		c := custody{l.Ack, l.Full}
		if routes[c] == nil {
			order = append(order, c)
		}
		if l.Name == spool.DeadLetters {
			l.Name = "dead letters"
		}
		routes[c] = append(routes[c], l.Name)
	}
	for _, c := range order {
		acked, whenFull := describeCustody(c.ack, c.full)
		line := fmt.Sprintf("%s: a message is acknowledged %s", strings.Join(routes[c], ", "), acked)
		if whenFull != "" {
			line += "; while the spool is full " + whenFull
		}
		lines = append(lines, line)
	}
	if cfg.spooled() {
		return append(lines, fmt.Sprintf("spool: up to %s in %s", bytesText(cfg.Spool.MaxBytes), cfg.Spool.Dir))
	}
	return append(lines, "spool: none")
}
