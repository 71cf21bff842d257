package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A lab holds what the scenarios share: one Apache Kafka for all of them, and a fresh Linkspan or Mosquitto for each.
type lab struct {
	ctx    context.Context
	dir    string
	binary string
	length time.Duration

	broker *harness.Kafka
	n      int // processes started, for the names of their folders
	rate   int // messages a second that came through a broker and Linkspan the last time
}

func (l *lab) close() {
	if l.broker != nil {
		l.broker.Close()
	}
}

// kafka returns the address of Apache Kafka, and starts it the first time.
func (l *lab) kafka() (string, error) {
	if l.broker == nil {
		parts, err := harness.FindParts()
		if err != nil {
			return "", err
		}
		l.broker, err = harness.StartKafka(l.ctx, harness.KafkaConfig{Jars: parts.Kafka, Dir: filepath.Join(l.dir, "kafka"), Brokers: 1})
		if err != nil {
			return "", err
		}
		if err := l.warm(l.broker.Brokers[0].Addr); err != nil {
			return "", fmt.Errorf("warm up Kafka: %w", err)
		}
	}
	return l.broker.Brokers[0].Addr, nil
}

// jvmWarmUp is how long a new Kafka works before it is measured. Its compiler takes most of a core for that long, and messages wait
// up to 300 ms for it.
const jvmWarmUp = 8 * time.Second

// warm has Kafka take and give records at a moderate rate.
func (l *lab) warm(addr string) error {
	const topic = "bench.warm"
	if err := newTopic(l.ctx, addr, topic); err != nil {
		return err
	}
	defer deleteTopics(l.ctx, addr, topic)
	stop, err := watch(l.ctx, addr, topic)
	if err != nil {
		return err
	}
	defer stop(time.Now())
	f, err := newFiller(addr, topic, 50)
	if err != nil {
		return err
	}
	f.pace(l.ctx, 20_000, jvmWarmUp)
	return f.close(l.ctx)
}

// A server is the process under measurement.
type server struct {
	*harness.Process
	mqtt   string // address for devices
	secure string // the same with TLS
	kafka  string // address of the Kafka behind it
	after  func() // close ends with it; nil: nothing
}

func (s *server) close() {
	s.Kill()
	if s.after != nil {
		s.after()
	}
}

// linkspan starts Linkspan with config, in which $MQTT, $TLS, $ADMIN, $KAFKA and $DIR are replaced; with $EMBEDDED in
// it Linkspan brings its own Kafka, which then has that address.
func (l *lab) linkspan(config string) (*server, error) {
	l.n++
	dir := filepath.Join(l.dir, fmt.Sprintf("linkspan-%d", l.n))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ports, err := harness.Ports(4)
	if err != nil {
		return nil, err
	}
	s := &server{mqtt: harness.Loopback(ports[0]), secure: harness.Loopback(ports[3])}
	admin := harness.Loopback(ports[1])
	if strings.Contains(config, "$EMBEDDED") {
		s.kafka = harness.Loopback(ports[2])
	} else if s.kafka, err = l.kafka(); err != nil {
		return nil, err
	}
	config = strings.NewReplacer("$MQTT", s.mqtt, "$TLS", s.secure, "$ADMIN", admin,
		"$KAFKA", s.kafka, "$EMBEDDED", s.kafka, "$DIR", dir).Replace(config)
	file := filepath.Join(dir, "linkspan.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s.Process, err = harness.Start("linkspan", exec.Command(l.binary, "run", "-c", file), filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx, func() error {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz says %s", resp.Status)
		}
		return nil
	})
}

// mosquitto starts Mosquitto with no limit to what waits, and with more settings.
func (l *lab) mosquitto(settings string) (*server, error) {
	l.n++
	ports, err := harness.Ports(1)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.dir, fmt.Sprintf("mosquitto-%d", l.n))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "mosquitto.conf")
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n%s", ports[0], settings)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	s := &server{mqtt: harness.Loopback(ports[0])}
	s.Process, err = harness.Start("mosquitto", exec.Command("mosquitto", "-c", file), filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx, func() error {
		c, err := connect(s.mqtt, "probe", nil)
		if err == nil {
			c.close()
		}
		return err
	})
}

// ready waits until ok is, and says what the server printed if that does not come.
func (s *server) ready(ctx context.Context, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := harness.Until(ctx, func() error {
		if !s.Running() {
			cancel()
		}
		return ok()
	})
	if err != nil {
		s.Kill()
		return fmt.Errorf("%s: %w\n%s", s.Name, err, s.Tail(4000))
	}
	return nil
}

// cpu returns the processor time that the process has used, user and system.
func (s *server) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	const tick = time.Second / 100 // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick
}

// resident returns the memory that the process holds, in bytes.
func (s *server) resident() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}
