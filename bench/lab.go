package main

import (
	"bytes"
	"cmp"
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
	// backlog is how many bytes of the disk a backlog has.
	backlog float64

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
	admin  string // address of metrics and health
	kafka  string // address of the Kafka behind it
	dir    string // of its own, and removed by close; "": there is none
	after  func() // close ends with it; nil: nothing
}

// close ends the server and removes what it leaves behind. It may be called twice.
func (s *server) close() {
	s.Kill()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
	if s.after != nil {
		s.after()
		s.after = nil
	}
}

// linkspan starts Linkspan with config and waits until it is ready.
func (l *lab) linkspan(config string) (*server, error) {
	s, err := l.started(config, "")
	if err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx, s.healthy)
}

// started starts Linkspan with config, in which $MQTT, $TLS, $ADMIN, $KAFKA and $DIR are replaced; with $EMBEDDED in
// it Linkspan brings its own Kafka, which then has that address, and at $NOWHERE there is none. Its data, the spool among them, are
// in home; "": in a folder of its own.
func (l *lab) started(config, home string) (*server, error) {
	dir := l.folder("linkspan")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ports, err := harness.Ports(4)
	if err != nil {
		return nil, err
	}
	s := &server{mqtt: harness.Loopback(ports[0]), admin: harness.Loopback(ports[1]), kafka: harness.Loopback(ports[2]), secure: harness.Loopback(ports[3]), dir: dir}
	if strings.Contains(config, "$KAFKA") {
		if s.kafka, err = l.kafka(); err != nil {
			return nil, err
		}
	}
	config = strings.NewReplacer("$MQTT", s.mqtt, "$TLS", s.secure, "$ADMIN", s.admin,
		"$KAFKA", s.kafka, "$EMBEDDED", s.kafka, "$NOWHERE", s.kafka, "$DIR", dir).Replace(config)
	file := filepath.Join(dir, "linkspan.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(l.binary, "run", "-c", file)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+cmp.Or(home, dir))
	s.Process, err = harness.Start("linkspan", cmd, filepath.Join(dir, "log"))
	return s, err
}

// healthy asks Linkspan whether it is ready.
func (s *server) healthy() error {
	resp, err := http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz says %s", resp.Status)
	}
	return nil
}

// folder returns the name of a new folder.
func (l *lab) folder(of string) string {
	l.n++
	return filepath.Join(l.dir, fmt.Sprintf("%s-%d", of, l.n))
}

// mosquitto starts Mosquitto with no limit to what waits, and with more settings.
func (l *lab) mosquitto(settings string) (*server, error) {
	ports, err := harness.Ports(1)
	if err != nil {
		return nil, err
	}
	dir := l.folder("mosquitto")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "mosquitto.conf")
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n%s", ports[0], settings)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	s := &server{mqtt: harness.Loopback(ports[0]), dir: dir}
	s.Process, err = harness.Start("mosquitto", exec.Command("mosquitto", "-c", file), filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx, s.takesDevices)
}

// takesDevices asks as a device.
func (s *server) takesDevices() error {
	c, err := connect(s.mqtt, "probe", nil)
	if err == nil {
		c.close()
	}
	return err
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

// resident returns the memory that the process holds, in bytes; peak the most that it has ever held.
func (s *server) resident() int64 { return s.memory("VmRSS:") }

func (s *server) peak() int64 { return s.memory("VmHWM:") }

func (s *server) memory(field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), field)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}
