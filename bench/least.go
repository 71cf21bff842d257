package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// leastGateway measures devices that publish to the least that a gateway can be: see gateway.
func leastGateway(load load) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		l.n++
		topic := fmt.Sprintf("bench.least.%d", l.n)
		addr, err := l.kafka()
		if err == nil {
			err = newTopic(l.ctx, addr, topic)
		}
		if err != nil {
			return result{}, err
		}
		s, err := l.gateway(addr, topic)
		if err != nil {
			return result{}, err
		}
		s.after = func() { deleteTopics(l.ctx, addr, topic) }
		defer s.close()
		return l.published(s, topic, load)
	}
}

// gateway starts the least gateway and waits until it takes devices.
func (l *lab) gateway(kafka, topic string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := harness.Ports(1)
	if err != nil {
		return nil, err
	}
	dir := l.folder("gateway")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &server{mqtt: harness.Loopback(ports[0]), kafka: kafka, dir: dir}
	s.Process, err = harness.Start("gateway", exec.Command(self, "gateway", "-listen", s.mqtt, "-broker", kafka, "-topic", topic), filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx, s.takesDevices)
}

// gateway is the least that stands between devices and Kafka in Go, a process of its own: a goroutine for each connection, the
// Kafka client, two goroutines that write acks. It takes QoS 1 only, acks when Kafka has, and has no bounds, headers, routes, checks,
// sessions or spool. What it costs is the kernel's, the runtime's and the Kafka client's.
func gateway(args []string) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	listen := flags.String("listen", "", "address")
	broker := flags.String("broker", "", "address")
	topic := flags.String("topic", "", "topic")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(*broker), kgo.DefaultProduceTopic(*topic), kgo.ProducerLinger(producerLinger),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DisableClientMetrics())
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(context.Background()); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	g := &least{cl: cl, answers: sync.NewCond(new(sync.Mutex))}
	g.records.New = func() any { return g.newRecord() }
	for range 2 {
		go g.answer()
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		c := &leastConn{Conn: conn}
		go func() {
			defer conn.Close()
			if err := g.serve(c); err != nil {
				fmt.Fprintln(os.Stderr, "gateway:", err)
			}
		}()
	}
}

type least struct {
	cl      *kgo.Client
	records sync.Pool // of *leastRecord

	answers *sync.Cond
	waiting []*leastConn // that have acks to write
}

type leastConn struct {
	net.Conn
	version packet.Version

	mu      sync.Mutex
	acks    []byte
	waiting bool
}

// A leastRecord is a message under way.
type leastRecord struct {
	kgo.Record
	conn *leastConn
	id   uint16
	body []byte // that Record has its key and value in
	done func(*kgo.Record, error)
}

func (g *least) newRecord() *leastRecord {
	r := &leastRecord{}
	r.done = func(_ *kgo.Record, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "gateway:", err)
			return
		}
		g.acked(r)
	}
	return r
}

// serve reads until the device goes.
func (g *least) serve(c *leastConn) error {
	var publish packet.Publish
	buf, n := make([]byte, 16<<10), 0
	for {
		m, err := c.Read(buf[n:])
		if m == 0 {
			return nil // the device has gone
		}
		if n += m; err != nil {
			return err
		}
		used := 0
		for {
			raw, size, _, err := packet.Cut(buf[used:n], len(buf))
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			used += size
			if err := g.take(c, &publish, raw); err != nil {
				return err
			}
		}
		n = copy(buf, buf[used:n])
	}
}

func (g *least) take(c *leastConn, p *packet.Publish, raw packet.Raw) error {
	switch raw.Type() {
	case packet.CONNECT:
		var hello packet.Connect
		if err := hello.Decode(raw); err != nil {
			return err
		}
		c.version = hello.Version
		_, err := c.Write((&packet.Connack{}).Append(nil, c.version))
		return err
	case packet.PUBLISH:
		if err := p.Decode(c.version, raw); err != nil {
			return err
		}
		r := g.records.Get().(*leastRecord)
		r.conn, r.id = c, p.PacketID
		r.body = append(append(r.body[:0], p.Topic...), p.Payload...)
		key := r.body[len("bench/"):len(p.Topic)]
		r.Record = kgo.Record{Key: key, Value: r.body[len(p.Topic):]}
		g.cl.Produce(context.Background(), &r.Record, r.done)
		return nil
	}
	return errors.New(raw.Type().String() + " is too much for it")
}

// acked leaves the ack of r to be written.
func (g *least) acked(r *leastRecord) {
	c := r.conn
	c.mu.Lock()
	c.acks = packet.AppendAck(c.acks, packet.PUBACK, r.id)
	first := !c.waiting
	c.waiting = true
	c.mu.Unlock()
	g.records.Put(r)
	if first {
		g.answers.L.Lock()
		g.waiting = append(g.waiting, c)
		g.answers.L.Unlock()
		g.answers.Signal()
	}
}

// answer writes acks.
func (g *least) answer() {
	var mine []*leastConn
	for {
		g.answers.L.Lock()
		for len(g.waiting) == 0 {
			g.answers.Wait()
		}
		mine, g.waiting = g.waiting, mine[:0]
		g.answers.L.Unlock()
		for _, c := range mine {
			c.mu.Lock()
			_, _ = c.Write(c.acks) // to a device that has gone: its reader knows
			c.acks, c.waiting = c.acks[:0], false
			c.mu.Unlock()
		}
	}
}
