package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A door is an address that stays while what is behind it comes and goes, so that no other process can take the port
// in between.
type door struct {
	net.Listener
	t     *testing.T
	conns sync.WaitGroup
	hole  sync.RWMutex // locked: what comes is taken, and nothing gets through

	mu     sync.Mutex
	behind string // "": nobody is there
	open   map[net.Conn]bool
}

func newDoor(t *testing.T) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: ln, t: t, open: map[net.Conn]bool{}}
	d.conns.Go(d.accept)
	t.Cleanup(func() {
		ln.Close()
		d.shut()
		d.conns.Wait()
	})
	return d
}

func (d *door) addr() string { return d.Addr().String() }

func (d *door) accept() {
	for {
		in, err := d.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		behind := d.behind
		d.mu.Unlock()
		out, err := net.Dial("tcp", behind)
		if err != nil {
			in.Close()
			continue
		}
		d.mu.Lock()
		d.open[in], d.open[out] = true, true
		if d.behind == "" { // shut meanwhile
			in.Close()
			out.Close()
		}
		d.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			d.conns.Go(func() {
				d.pass(way[0], way[1])
				in.Close()
				out.Close()
			})
		}
	}
}

// pass carries bytes from one connection to another until one of them ends.
func (d *door) pass(to, from net.Conn) {
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		d.hole.RLock()
		d.hole.RUnlock()
		if _, e := to.Write(b[:n]); err != nil || e != nil {
			return
		}
	}
}

// shut cuts all connections and lets in no more.
func (d *door) shut() {
	d.lead("")
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		c.Close()
	}
	clear(d.open)
}

// lead lets in to addr.
func (d *door) lead(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = addr
}

// broker starts a broker that tells its clients to come through the door, and returns its own address.
func (d *door) broker() string {
	d.t.Helper()
	cfg := kafka.Default().Embedded
	cfg.Dir, cfg.Partitions, cfg.Advertise = d.t.TempDir(), 1, d.addr()
	for {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			d.t.Fatal(err)
		}
		cfg.Listen = free.Addr().String()
		free.Close()
		e, err := kafka.StartEmbedded(cfg, logger(d.t))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // another process was faster
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(e.Close)
		return cfg.Listen
	}
}

// With Kafka away at the start and no spool devices can connect, subscribe and publish, get no ack, and are served when it is there.
func TestKafkaAwayAtTheStart(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	r := startPatient(t, parse(t, "{kafka: {brokers: ["+kafka.addr()+"]}, spool: {dir: off}}"), time.Millisecond)
	d := r.device("d")
	d.Subscribe(1, packet.Subscription{Filter: "#", QoS: 1})
	d.Send(publish("t", "early", 1, 9))
	d.Ping() // no ack came before the answer, and the connection is alive (P1, P6)
	if status, body := r.get("/readyz"); status != 503 || !strings.HasPrefix(body, "Kafka cannot be reached yet\ndevices: listens on ") {
		t.Errorf("readyz: %d %s", status, body)
	}
	if got := r.metric("linkspan_kafka_connected"); got != "0" {
		t.Errorf("linkspan_kafka_connected = %q", got)
	}

	kafka.lead(at)
	var acked, received bool
	for !acked || !received { // in either order
		raw, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch raw.Type() {
		case packet.PUBACK:
			acked = true
			if all := records(t, cluster(t, at), "mqtt.messages"); len(all) != 1 {
				t.Errorf("acknowledged with %d records in Kafka", len(all))
			}
		case packet.PUBLISH:
			received = true
		}
	}
	if status, body := r.get("/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
}

// With Kafka away later and no spool devices wait, keep-alives are answered, /readyz says so, and nothing is lost or out of order (P1 to P3).
func TestKafkaAwayForAWhile(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	kafka.lead(at)
	r := start(t, parse(t, "{kafka: {brokers: ["+kafka.addr()+"]}, spool: {dir: off}, admin: {stall_timeout: 1ms}}"))
	d := r.device("d")
	d.Send(publish("t", "0", 1, 1))
	d.ExpectAck(packet.PUBACK, 1, packet.Success)
	kafka.shut()
	const n = 20
	for i := 1; i < n; i++ {
		d.Send(publish("t", fmt.Sprint(i), 1, uint16(i+1)))
	}
	d.Ping()
	eventually(t, "not ready while messages wait", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.HasPrefix(body, "Kafka has not acknowledged a message for ")
	})
	d.Ping()
	kafka.lead(at)
	for i := 1; i < n; i++ {
		d.ExpectAck(packet.PUBACK, uint16(i+1), packet.Success)
	}
	eventually(t, "ready again", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	all := records(t, cluster(t, at), "mqtt.messages")
	for i, m := range all {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, m.Payload)
		}
	}
	if len(all) != n {
		t.Errorf("%d records, want %d", len(all), n)
	}
}

// With Kafka away at the stop and no spool the drain ends with its time, and nothing that was not stored has been acknowledged (P8, P1).
func TestStopWithoutKafka(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	kafka.lead(kafka.broker())
	r := start(t, parse(t, "{kafka: {brokers: ["+kafka.addr()+"]}, spool: {dir: off}, drain_timeout: 200ms}"))
	d := r.device("d")
	d.Send(publish("t", "stored", 1, 1))
	d.ExpectAck(packet.PUBACK, 1, packet.Success)
	kafka.shut()
	d.Send(publish("t", "not stored", 1, 2))
	eventually(t, "the message is on its way", func() bool { return r.metric("linkspan_kafka_in_flight_records") == "1" })
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	for {
		raw, err := d.Next()
		if err != nil {
			break
		}
		if raw.Type() == packet.PUBACK {
			t.Error("acknowledged without being stored")
		}
		if raw.Type() == packet.DISCONNECT {
			d.Conn.Close()
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// With a Kafka at the stop that takes everything and answers nothing the drain ends with its time, however long a request may
// take (P8).
func TestStopWithoutAnswersOfKafka(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	kafka.lead(kafka.broker())
	plant := newSite(t, packet.V5)
	r := start(t, parse(t, `
kafka: {brokers: [`+kafka.addr()+`], request_timeout: 15m}
drain_timeout: 500ms
endpoints: {plant: {dial: "`+plant.url()+`"}, other: {dial: "`+plant.url()+`"}}
routes:
- {from: "plant:site/{device}", to: kafka:up, device: "{device}"}
- {from: kafka:down, to: "plant:{key}"}
- {from: kafka:located, to: "mqtt:{key}", device: "{key}"}`))
	plant.connected("linkspan-plant")
	plant.publish("site/a", "stored")
	eventually(t, "it is acknowledged", func() bool { n, _ := plant.waiting("linkspan-plant"); return n == 0 })
	produce(t, cluster(t, r.Kafka...), "down", "valve", "delivered, and not committed")
	eventually(t, "it is at the broker", func() bool { return len(plant.payloads("valve")) == 1 })
	kafka.hole.Lock()
	defer kafka.hole.Unlock()
	plant.publish("site/a", "not stored")
	eventually(t, "it is on its way", func() bool { return r.metric("linkspan_kafka_in_flight_records") != "0" })
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopped with %v", err)
		}
	case <-time.After(mqtttest.Patience):
		t.Error("does not stop")
	}
	if n, _ := plant.waiting("linkspan-plant"); n != 1 {
		t.Errorf("%d messages wait at the broker", n)
	}
}

// refusal returns what a bridge that cannot start says.
func refusal(t *testing.T, cfg Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), mqtttest.Patience)
	defer cancel()
	b := &bridge{cfg: cfg, log: logger(t), patience: time.Minute, joined: make(chan struct{})}
	return b.run(ctx, func(Status) { t.Error("it started"); cancel() })
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := kfakeWithLogin(t)
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"admin port in use": {func(c *Config) { c.Admin.Listen = taken.Addr().String() }, []string{"admin.listen", "in use"}},
		"kafka port in use": {func(c *Config) { c.Kafka.Embedded.Listen = taken.Addr().String() }, []string{"kafka.embedded.listen", "in use"}},
		"device port in use": {func(c *Config) {
			c.Endpoints["devices"].Listener.URL = "mqtt://" + taken.Addr().String()
		}, []string{"endpoints.devices.listen", "in use", "another port"}},
		"directory under a file": {func(c *Config) { c.Kafka.Embedded.Dir = file + "/data" }, []string{"kafka.embedded.dir", "not a directory"}},
		"full disk":              {func(c *Config) { c.Kafka.Embedded.MinFree = 1 << 62 }, []string{"kafka.embedded.dir", "full"}},
		"wrong password": {func(c *Config) {
			c.Kafka.Brokers = []string{locked}
			c.Kafka.SASL = &kafka.SASLConfig{Mechanism: "plain", Username: "linkspan", Password: "hunter2"}
		}, []string{"kafka.sasl"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parse(t, "")
			c.change(&cfg)
			err := refusal(t, cfg)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want it to say %q", err, want)
				}
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("it shows the password: %v", err)
			}
		})
	}
}

// kfakeWithLogin returns the address of a broker that refuses all logins.
func kfakeWithLogin(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "linkspan", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code // as Apache Kafka answers
		return resp, nil, true
	})
	return c.ListenAddrs()[0]
}
