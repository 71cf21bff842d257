package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// producerLinger is Linkspan's default, so that the bare producer batches alike.
const producerLinger = 5 * time.Millisecond

// Names that the ratios under the table refer to.
const (
	bareStock      = "bare producer, 100,000 in flight, one payload, no headers"
	bareProducer   = "bare producer, 5,000 in flight, no headers"
	bareHeaders    = "bare producer, 5,000 in flight, headers"
	uplinkFlood    = "uplink 50 × 100, Apache Kafka"
	uplinkBare     = "uplink 50 × 100, no headers, Apache Kafka"
	uplinkSingle   = "uplink 1,000 × 1, Apache Kafka"
	leastSingle    = "least gateway, 1,000 × 1, Apache Kafka"
	mosquittoAlone = "Mosquitto alone, 50 × 100"
	toLight        = "Mosquitto to one subscriber, 50 × 100"
	toLinkspan     = "Mosquitto to Linkspan, 50 × 100, Apache Kafka"
	barePaced      = "bare producer, as many a second as that, headers"
)

// flood is the usual load: as much as 5,000 messages in flight allow.
var flood = load{devices: 50, window: 100}

// single is the load in which messages share least: each device waits for its ack.
var single = load{devices: 1000, window: 1}

// paced is a load of rate messages a second.
func paced(rate int) load { return load{devices: 50, window: 100, rate: rate} }

// A scenario measures one row of a table, or several at once.
type scenario struct {
	rows []string
	run  func(*lab) ([]result, error)
}

// row is a scenario of one.
func row(name string, run func(*lab) (result, error)) scenario {
	return scenario{[]string{name}, func(l *lab) ([]result, error) {
		r, err := run(l)
		return []result{r}, err
	}}
}

// straight are the scenarios in which nothing waits for long. All scenarios are measured in the order in which they are here.
var straight = []scenario{
	row(bareStock, measureBare(stock, 100_000)),
	row(bareProducer, measureBare(own, 5000)),
	row(bareHeaders, measureBare(headers, 5000)),
	row(uplinkFlood, uplink(onApache, flood)),
	row(uplinkBare, uplink(strings.ReplaceAll(onApache, `key: "{device}"`, `key: "{device}", facts: [none]`), flood)),
	row("uplink 50 × 100, default routes, Apache Kafka", uplink(onApacheDefault, flood)),
	row(uplinkSingle, uplink(onApache, single)),
	row(leastSingle, leastGateway(single)),
	row("uplink 5,000/s paced, Apache Kafka", uplink(onApache, paced(5000))),
	row("uplink 20,000/s paced, Apache Kafka", uplink(onApache, paced(20_000))),
	row(mosquittoAlone, measureMosquitto),
	row(toLight, toSubscriber),
	row(toLinkspan, throughBroker),
	row(barePaced, measureBarePaced),
	row("Mosquitto to Linkspan, 20 in flight, Apache Kafka", withSmallWindow),
	row("downlink to Mosquitto, Apache Kafka", toBroker),
	row("uplink 50 × 100, embedded", uplink(onEmbedded, flood)),
	row("uplink 20,000/s paced, embedded", uplink(onEmbedded, paced(20_000))),
	row("downlink to 50 subscribers, Apache Kafka", downlink(onApache, 50, 1)),
	row("downlink fan-out 1 to 50, Apache Kafka", downlink(onApache, 50, 50)),
	row("downlink 1,000/s paced, Apache Kafka", downlinkPaced(onApache, 50, 1000)),
	row("downlink 5,000/s paced, Apache Kafka", downlinkPaced(onApache, 50, 5000)),
	row("downlink 20,000/s paced, Apache Kafka", downlinkPaced(onApache, 50, 20_000)),
	row("downlink to 50 subscribers, embedded", downlink(onEmbedded, 50, 1)),
	row("downlink 20,000/s paced, embedded", downlinkPaced(onEmbedded, 50, 20_000)),
	row(amqpUplinkFlood, amqpUplink(50, 100)),
	row("AMQP downlink, a receiver for each partition, Apache Kafka", amqpDownlink),
	row("5,000 idle AMQP connections, a session and a link each, TCP", amqpAtRest(5000)),
	row("5,000 idle connections, TCP", idle(5000, false)),
	row("2,000 idle connections, TLS", idle(2000, true)),
	row("connections a second, TCP", connectionRate(false)),
	row("connections a second, TLS", connectionRate(true)),
}

// spooled are those of the spool.
var spooled = []scenario{
	row(appendAlone, storeAlone),
	row(appendUplink, appends),
	compareAcks(unpacedAcks, flood),
	compareAcks(pacedAcks, paced(20_000)),
	{[]string{built, recovered, drained, bareDrain}, measureBacklog},
}

const (
	onApache = `
kafka: {brokers: ["$KAFKA"]}
admin: {listen: "$ADMIN"}
endpoints: {devices: {listen: "mqtt://$MQTT"}}
routes:
  - {from: "mqtt:bench/{device}", to: "kafka:$UP", key: "{device}"}
  - {from: "kafka:$DOWN", to: "mqtt:{key}", qos: 1}
`
	onApacheDefault = `
kafka: {brokers: ["$KAFKA"]}
admin: {listen: "$ADMIN"}
endpoints: {devices: {listen: "mqtt://$MQTT"}}
`
	onEmbedded = `
kafka: {embedded: {dir: "$DIR/kafka", listen: "$EMBEDDED"}}
admin: {listen: "$ADMIN"}
endpoints: {devices: {listen: "mqtt://$MQTT"}}
routes:
  - {from: "mqtt:bench/{device}", to: "kafka:$UP", key: "{device}"}
  - {from: "kafka:$DOWN", to: "mqtt:{key}", qos: 1}
`
)

func measureBare(kind string, inFlight int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		return l.bareProducer("-records", kind, "-in-flight", strconv.Itoa(inFlight))
	}
}

// bareProducer measures the bare producer with flags, on a topic of its own.
func (l *lab) bareProducer(flags ...string) (result, error) {
	addr, err := l.kafka()
	if err != nil {
		return result{}, err
	}
	l.n++
	topic := fmt.Sprintf("bench.bare.%d", l.n)
	if err := newTopic(l.ctx, addr, topic); err != nil {
		return result{}, err
	}
	defer deleteTopics(l.ctx, addr, topic)
	b, err := l.child(append([]string{"producer", "-broker", addr, "-topic", topic}, flags...)...)
	if err != nil {
		return result{}, err
	}
	n, err := count(l.ctx, addr, topic)
	b.Lost = b.All - n
	return b.result(), err
}

// uplink measures devices that publish, and at a set rate also how long a message is under way to a Kafka consumer.
func uplink(config string, load load) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, up, _, err := l.bridge(config)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		return l.published(s, up, load)
	}
}

// published puts the load on the server, and looks for it in the topic.
func (l *lab) published(s *server, topic string, load load) (result, error) {
	end := func(time.Time) latencies { return nil }
	held, err := count(l.ctx, s.kafka, topic)
	if err == nil && load.rate > 0 {
		end, err = watch(l.ctx, s.kafka, topic)
	}
	if err != nil {
		return result{}, err
	}
	r, p, err := s.take(load, l.length)
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, s.Tail(4000))
	}
	n, err := count(l.ctx, s.kafka, topic)
	r.lost = max(0, p.all-(n-held))
	under := end(p.began)
	r.endP50, r.endP99 = under.quantile(0.5), under.quantile(0.99)
	return r, err
}

// take puts the load on the server.
func (s *server) take(load load, length time.Duration) (result, published, error) {
	load.length = length
	var before time.Duration
	p, err := load.publish(s.mqtt, func() { before = s.cpu() })
	return result{messages: p.acked, elapsed: p.elapsed, cpu: s.cpu() - before,
		ackP50: p.acks.quantile(0.5), ackP99: p.acks.quantile(0.99)}, p, err
}

func measureMosquitto(l *lab) (result, error) {
	s, err := l.mosquitto(boundless)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	r, _, err := s.take(flood, l.length)
	return r, err
}

const idleConfig = `
kafka: {embedded: {dir: "$DIR/kafka", listen: "$EMBEDDED"}}
admin: {listen: "$ADMIN"}
endpoints:
  devices: {listen: "mqtt://$MQTT"}
  secure: {listen: "mqtts://$TLS", tls: {cert: "$CERT", key: "$KEY"}}
`

// idle measures the resident memory of connections that do nothing.
func idle(n int, secure bool) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, addr, conf, err := l.listeners(secure)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		before := s.settledMemory()
		devices := make([]*device, n)
		defer func() {
			for _, d := range devices {
				if d != nil {
					d.close()
				}
			}
		}()
		for i := range devices {
			if devices[i], err = connect(addr, fmt.Sprintf("idle-%d", i), conf); err != nil {
				return result{}, err
			}
		}
		return result{bytesEach: (s.settledMemory() - before) / int64(n)}, nil
	}
}

// settledMemory returns the resident memory once it no longer falls.
func (s *server) settledMemory() int64 {
	last := s.resident()
	for range 30 {
		time.Sleep(time.Second)
		now := s.resident()
		if now >= last {
			return now
		}
		last = now
	}
	return last
}

// connectionRate measures how many devices connect, one after the other on each of 16 lines.
func connectionRate(secure bool) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, addr, conf, err := l.listeners(secure)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		var n atomic.Int64
		var wg sync.WaitGroup
		errs := make([]error, 16)
		before, start := s.cpu(), time.Now()
		for line := range errs {
			wg.Go(func() {
				for i := 0; time.Since(start) < l.length; i++ {
					d, err := connect(addr, fmt.Sprintf("rate-%d-%d", line, i), conf)
					if err != nil {
						errs[line] = err
						return
					}
					d.close()
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return result{messages: int(n.Load()), elapsed: time.Since(start), cpu: s.cpu() - before}, errors.Join(errs...)
	}
}

// bridge starts Linkspan with config between topics of its own for each direction, and returns their names.
func (l *lab) bridge(config string) (s *server, up, down string, err error) {
	l.n++
	up, down = fmt.Sprintf("bench.up.%d", l.n), fmt.Sprintf("bench.down.%d", l.n)
	if config == onApacheDefault {
		up, down = "mqtt.messages", "mqtt.commands"
	} else if strings.Contains(config, "$KAFKA") {
		addr, err := l.kafka()
		if err == nil {
			err = errors.Join(newTopic(l.ctx, addr, up), newTopic(l.ctx, addr, down))
		}
		if err != nil {
			return nil, "", "", err
		}
	}
	s, err = l.linkspan(strings.NewReplacer("$UP", up, "$DOWN", down).Replace(config))
	if err == nil && strings.Contains(config, "$KAFKA") && config != onApacheDefault {
		s.after = func() { deleteTopics(l.ctx, s.kafka, up, down) }
	}
	return s, up, down, err
}

// listeners starts Linkspan with a plain and a secure listener, and returns the address of one and how to reach it.
func (l *lab) listeners(secure bool) (*server, string, *tls.Config, error) {
	dir := filepath.Join(l.dir, "certs")
	err := os.MkdirAll(dir, 0o755)
	if err != nil {
		return nil, "", nil, err
	}
	certs, err := harness.NewCerts(dir)
	if err != nil {
		return nil, "", nil, err
	}
	s, err := l.linkspan(strings.NewReplacer("$CERT", certs.ServerCert, "$KEY", certs.ServerKey).Replace(idleConfig))
	if err != nil || !secure {
		return s, s.mqtt, nil, err
	}
	conf, err := certs.ClientTLS()
	if err != nil {
		s.Kill()
		return nil, "", nil, err
	}
	return s, s.secure, conf, nil
}
