package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// boundless is a Mosquitto that lets a subscriber have as much in flight as that wants.
const boundless = "max_inflight_messages 0\n"

// usual is how many messages Linkspan lets a broker have in flight by default; mosquittos is what Mosquitto allows by itself.
const (
	usual      = "1000"
	mosquittos = "20"
)

// onBroker is Linkspan as the client of a broker, in a fleet of its own so that it need not wait for the one before it.
const onBroker = `
kafka: {brokers: ["$KAFKA"]}
admin: {listen: "$ADMIN"}
fleet: {name: "$UP"}
endpoints: {broker: {dial: "mqtt://$BROKER", receive_maximum: $WINDOW}}
routes:
  - {from: "mqtt:bench/{device}", to: "kafka:$UP", key: "{device}"}
  - {from: "kafka:$DOWN", to: "mqtt:{key}", qos: 1}
`

// A chain is a Linkspan that dials a Mosquitto.
type chain struct {
	broker, linkspan *server
	up, down         string // topics
}

// chain starts both, with a window for what is on its way to Kafka, and waits until a message comes through.
func (l *lab) chain(window string) (c chain, err error) {
	if c.broker, err = l.mosquitto(boundless); err != nil {
		return c, err
	}
	c.linkspan, c.up, c.down, err = l.bridge(strings.NewReplacer("$BROKER", c.broker.mqtt, "$WINDOW", window).Replace(onBroker))
	if err != nil {
		c.broker.close()
		return c, err
	}
	if err = c.first(l); err != nil {
		err = fmt.Errorf("%w\n%s", err, c.linkspan.Tail(4000))
		c.close()
	}
	return c, err
}

// first publishes until Kafka has something: Linkspan has subscribed then.
func (c chain) first(l *lab) error {
	d, err := connect(c.broker.mqtt, "first", nil)
	if err != nil {
		return err
	}
	defer d.close()
	probe, _, _ := publication("bench/first", payload)
	return harness.Until(l.ctx, func() error {
		if _, err := d.conn.Write(probe); err != nil {
			return err
		}
		if _, err := d.read(); err != nil {
			return err
		}
		if n, err := count(l.ctx, c.linkspan.kafka, c.up); n == 0 || err != nil {
			return fmt.Errorf("nothing came through: %w", err)
		}
		return nil
	})
}

// stored tells how many messages Kafka has.
func (c chain) stored(l *lab) func() (int, error) {
	return func() (int, error) { return count(l.ctx, c.linkspan.kafka, c.up) }
}

func (c chain) close() {
	c.linkspan.close()
	c.broker.close()
}

// toSubscriber measures Mosquitto with one subscriber that only acknowledges.
func toSubscriber(l *lab) (result, error) {
	broker, err := l.mosquitto(boundless)
	if err != nil {
		return result{}, err
	}
	defer broker.close()
	g, err := broker.subscribe(1, "bench/#")
	if err != nil {
		return result{}, err
	}
	defer g.close()
	g.receive(false)
	r, err := broker.pass(l, flood, broker, func() (int, error) { return int(g.got.Load()), nil }, true)
	r.broker = 0 // it is the server
	return r, err
}

// throughBroker measures Linkspan between Mosquitto and Kafka.
func throughBroker(l *lab) (result, error) {
	c, err := l.chain(usual)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	r, err := c.broker.pass(l, flood, c.linkspan, c.stored(l), true)
	l.rate = int(r.rate())
	return r, err
}

// withSmallWindow measures how many messages a second get through with as few in flight as Mosquitto allows by itself. Linkspan
// keeps to the number, by its Receive Maximum: Mosquitto lets it be exceeded under load. The others wait in Mosquitto, and are left
// there.
func withSmallWindow(l *lab) (result, error) {
	c, err := l.chain(mosquittos)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	r, err := c.broker.pass(l, paced(10_000), c.linkspan, c.stored(l), false)
	r.broker, r.lost = 0, notCounted // most of what it took is still there
	return r, err
}

// toBroker measures records that Linkspan publishes to Mosquitto, where a subscriber takes them.
func toBroker(l *lab) (result, error) {
	c, err := l.chain(usual)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	g, err := c.broker.subscribe(1, "down/#")
	if err != nil {
		return result{}, err
	}
	defer g.close()
	g.receive(false)
	return g.fed(l, c.linkspan, c.down, 50, 60_000, 1)
}

// pass puts the load on the broker, and measures what arrives behind it, and the processor time of it and of the server there, which
// may be the same. It does so as long as there is load, and if all is wanted, until all has arrived.
func (broker *server) pass(l *lab, load load, behind *server, arrived func() (int, error), all bool) (r result, err error) {
	load.length = l.length
	held, err := arrived()
	if err != nil {
		return r, err
	}
	var first int
	var failed atomic.Pointer[error]
	p, err := load.publish(broker.mqtt, func() {
		n, err := arrived()
		if err != nil {
			failed.Store(&err)
		}
		first, r.cpu, r.broker = n, behind.cpu(), broker.cpu()
	})
	if e := failed.Load(); e != nil && err == nil {
		err = *e
	}
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, behind.Tail(4000))
	}
	n, err := arrived()
	for late := time.Now().Add(time.Minute); all && n < held+p.all && time.Now().Before(late) && err == nil; {
		time.Sleep(10 * time.Millisecond)
		n, err = arrived()
	}
	r.elapsed, r.messages, r.lost = time.Since(p.began), n-first, max(0, held+p.all-n)
	r.cpu, r.broker = behind.cpu()-r.cpu, broker.cpu()-r.broker
	return r, err
}

// measureBarePaced measures the bare producer at the rate that throughBroker has found: Kafka's batches are the same then.
func measureBarePaced(l *lab) (result, error) {
	if l.rate == 0 {
		return result{}, errors.New("needs the rate that the scenario before it finds")
	}
	return l.bareProducer("-records", headers, "-rate", strconv.Itoa(l.rate))
}
