package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Site is an MQTT broker that somebody else made, with devices of its own: what a client endpoint dials. RabbitMQ, ActiveMQ Classic
// and Artemis speak AMQP 1.0, too. It is on loopback, takes everybody, and keeps sessions and QoS 1 messages in its folder, so that they survive [Site.Restart].
//
// All keep them through [Site.Stop]. After [Site.Kill] RabbitMQ, ActiveMQ Classic, Artemis and HiveMQ still have what they
// acknowledged. Mosquitto has nothing of it: it saves when it stops. It could save after each change, but acknowledges
// before, and becomes so slow that acknowledgements are left unread when their connection ends.
//
// Artemis acknowledges in an order of its own: its publishers do well with one message in flight. It may hand over anew what a
// subscriber had not acknowledged when its connection ended behind what came later.
type Site struct {
	Kind string // mosquitto, rabbitmq, activemq, artemis, hivemq
	Dir  string

	urls    map[string]string // by scheme
	command func() *exec.Cmd
	helper  *Process // what the broker needs beside itself; may be nil
	process *Process
	done    sync.Once
}

// SiteConfig says which MQTT broker to start.
type SiteConfig struct {
	Kind  string
	Dir   string
	Parts Parts
	Certs *Certs // of the listeners with TLS that Mosquitto and RabbitMQ have; nil: they have none
	Extra string // lines for the end of mosquitto.conf
}

// sites are the brokers that there are.
var sites = map[string]func(*Site, SiteConfig) error{
	"mosquitto": mosquitto, "rabbitmq": rabbitmq, "activemq": activemq, "artemis": artemis, "hivemq": hivemq,
}

// StartSite starts a broker, and returns when it takes connections.
func StartSite(ctx context.Context, cfg SiteConfig) (*Site, error) {
	for attempt := 0; ; attempt++ {
		s := &Site{Kind: cfg.Kind, Dir: filepath.Join(cfg.Dir, fmt.Sprint(attempt)), urls: map[string]string{}}
		err := os.MkdirAll(s.Dir, 0o755)
		if err == nil {
			err = sites[cfg.Kind](s, cfg)
		}
		if err == nil {
			err = s.Start(ctx)
		}
		if err == nil {
			return s, nil
		}
		s.Close()
		if !errors.Is(err, errPortTaken) || attempt == 4 {
			return nil, err
		}
	}
}

// URL returns the address of its listener for mqtt, mqtts, ws, wss, amqp or amqps; "" where it has none.
func (s *Site) URL(scheme string) string { return s.urls[scheme] }

// Addr returns host and port of its listener for plain MQTT.
func (s *Site) Addr() string { return strings.TrimPrefix(s.urls["mqtt"], "mqtt://") }

// Start starts the broker again after [Site.Stop] or [Site.Kill], with the same ports and data.
func (s *Site) Start(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		if err := s.start(ctx); !errors.Is(err, errEnded) || attempt == 4 {
			return err
		}
	}
}

func (s *Site) start(ctx context.Context) (err error) {
	if s.process, err = Start(s.Kind, s.command(), filepath.Join(s.Dir, "log")); err != nil {
		return err
	}
	return Until(ctx, func() error {
		if !s.process.Running() {
			if log := s.process.Tail(4000); strings.Contains(strings.ToLower(log), "address already in use") || strings.Contains(log, "eaddrinuse") {
				return Final(fmt.Errorf("%s: %w", s.Kind, errPortTaken))
			}
			return Final(fmt.Errorf("%s %w:\n%s", s.Kind, errEnded, s.process.Tail(8000)))
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		w, err := DialWire(ctx, s.Addr(), "are-you-there", 4, time.Minute)
		if err != nil {
			return fmt.Errorf("%s is not ready: %w\n%s", s.Kind, err, s.process.Tail(2000))
		}
		w.Disconnect()
		return errors.Join(w.Flush(), w.Close())
	})
}

// Stop asks the broker to end, and waits until it has.
func (s *Site) Stop(ctx context.Context) error {
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_, err := s.process.Wait(ctx)
	return err
}

// Restart stops the broker in good order and starts it again.
func (s *Site) Restart(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Kill kills the broker with SIGKILL and waits until it is gone.
func (s *Site) Kill() { s.process.Kill() }

// Freeze stops the broker with SIGSTOP: its connections stay open, and nothing answers.
func (s *Site) Freeze() error { return s.process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen broker go on.
func (s *Site) Thaw() error { return s.process.Signal(syscall.SIGCONT) }

// Log returns the end of what it printed.
func (s *Site) Log() string { return fmt.Sprintf("--- %s\n%s", s.Kind, s.process.Tail(4000)) }

// Said reports whether the broker has printed what, in any of its lives.
func (s *Site) Said(what string) bool { return strings.Contains(s.process.Log(), what) }

// Close kills the broker. It may be called twice.
func (s *Site) Close() {
	s.done.Do(func() {
		for _, p := range []*Process{s.process, s.helper} {
			if p != nil {
				p.Kill()
			}
		}
	})
}

// listen finds ports for the schemes.
func (s *Site) listen(schemes ...string) ([]int, error) {
	ports, err := Ports(len(schemes))
	for i := range ports {
		s.urls[schemes[i]] = schemes[i] + "://" + Loopback(ports[i])
	}
	return ports, err
}

// write writes a file in the broker's folder and returns its path.
func (s *Site) write(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func mosquitto(s *Site, cfg SiteConfig) error {
	ports, err := s.listen("mqtt", "ws", "mqtts", "wss")
	if err != nil {
		return err
	}
	text := fmt.Sprintf(mosquittoConf, s.Dir, ports[0], ports[1])
	if cfg.Certs != nil {
		for i, protocol := range []string{"mqtt", "websockets"} {
			text += fmt.Sprintf("listener %d 127.0.0.1\nprotocol %s\ncafile %s\ncertfile %s\nkeyfile %s\n",
				ports[2+i], protocol, cfg.Certs.CA, cfg.Certs.ServerCert, cfg.Certs.ServerKey)
		}
	}
	file, err := s.write("mosquitto.conf", text+cfg.Extra)
	s.command = func() *exec.Cmd { return exec.Command(server("mosquitto"), "-c", file) }
	return err
}

// mosquittoConf: Mosquitto runs as its own user when it is started by root, and would not get at its folder then.
const mosquittoConf = `user root
allow_anonymous true
max_queued_messages 0
persistence true
persistence_location %s/
sys_interval 1
log_type error
log_type warning
log_type notice
listener %d 127.0.0.1
listener %d 127.0.0.1
protocol websockets
`

// server returns the path of a Debian command that is not in everybody's PATH.
func server(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

// rabbitmq starts Erlang's port mapper itself, which would outlive the broker otherwise.
func rabbitmq(s *Site, cfg SiteConfig) error {
	ports, err := s.listen("mqtt", "amqp", "distribution", "epmd", "amqps")
	if err != nil {
		return err
	}
	users, err := s.write("users.json", rabbitmqUsers)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(rabbitmqConf, ports[0], ports[1], users)
	if c := cfg.Certs; c != nil {
		text += fmt.Sprintf(rabbitmqTLS, ports[4], c.CA, c.ServerCert, c.ServerKey)
	}
	conf, err := s.write("rabbitmq.conf", text)
	if err != nil {
		return err
	}
	plugins, err := s.write("enabled_plugins", "[rabbitmq_mqtt,rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl].\n")
	if err != nil {
		return err
	}
	env := append(os.Environ(), "HOME="+s.Dir, "RUNNING_UNDER_SYSTEMD=1", "RABBITMQ_NODENAME=e2e@localhost",
		"RABBITMQ_CONFIG_FILE="+conf, "RABBITMQ_ENABLED_PLUGINS_FILE="+plugins, "RABBITMQ_MNESIA_BASE="+s.Dir+"/data",
		"RABBITMQ_LOG_BASE="+s.Dir, "RABBITMQ_PID_FILE="+s.Dir+"/pid", "RABBITMQ_LOGS=-",
		fmt.Sprint("RABBITMQ_DIST_PORT=", ports[2]), fmt.Sprint("ERL_EPMD_PORT=", ports[3]), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none")
	epmd := exec.Command("epmd")
	epmd.Env = env
	if s.helper, err = Start("epmd", epmd, filepath.Join(s.Dir, "epmd.log")); err != nil {
		return err
	}
	s.command = func() *exec.Cmd {
		cmd := exec.Command(rabbitmqServer)
		cmd.Env = env
		return cmd
	}
	return nil
}

// rabbitmqServer is not Debian's wrapper of the same name, which wants to be root and uses a home of its own.
const rabbitmqServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

const rabbitmqConf = `mqtt.listeners.tcp.1 = 127.0.0.1:%d
listeners.tcp.1 = 127.0.0.1:%d
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
load_definitions = %s
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 10MB
log.console = true
log.console.level = warning
`

// rabbitmqUsers are the one that everybody is, and the one of the client's certificate, who has no password.
const rabbitmqUsers = `{"vhosts": [{"name": "/"}],
 "users": [{"name": "guest", "password": "guest", "tags": "administrator"}, {"name": "bridge", "password_hash": "", "tags": ""}],
 "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
                 {"user": "bridge", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}]}
`

const rabbitmqTLS = `listeners.ssl.1 = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
`

func activemq(s *Site, cfg SiteConfig) error {
	ports, err := s.listen("mqtt", "amqp")
	if err != nil {
		return err
	}
	s.command = jvm(cfg.Parts.Brokers["activemq"], "-Xmx192m", "ActiveMQ", filepath.Join(s.Dir, "data"),
		"mqtt://"+Loopback(ports[0]), "amqp://"+Loopback(ports[1]))
	return nil
}

// jvm returns the command that runs a main class of that folder.
func jvm(folder, memory, class string, args ...string) func() *exec.Cmd {
	all := append([]string{memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", folder + ":" + filepath.Join(folder, "*"), class}, args...)
	return func() *exec.Cmd { return exec.Command("java", all...) }
}

func artemis(s *Site, cfg SiteConfig) error {
	ports, err := s.listen("mqtt", "amqp")
	if err != nil {
		return err
	}
	file, err := s.write("broker.xml", fmt.Sprintf(artemisXML, s.Dir, ports[0], ports[1]))
	s.command = jvm(cfg.Parts.Brokers["artemis"], "-Xmx256m", "Artemis", file)
	return err
}

const artemisXML = `<configuration xmlns="urn:activemq"><core xmlns="urn:activemq:core">
  <persistence-enabled>true</persistence-enabled>
  <security-enabled>false</security-enabled>
  <journal-type>NIO</journal-type>
  <journal-buffer-timeout>1000000</journal-buffer-timeout>
  <journal-min-files>2</journal-min-files>
  <journal-file-size>1M</journal-file-size>
  <paging-directory>%[1]s/paging</paging-directory>
  <bindings-directory>%[1]s/bindings</bindings-directory>
  <journal-directory>%[1]s/journal</journal-directory>
  <large-messages-directory>%[1]s/large</large-messages-directory>
  <max-disk-usage>-1</max-disk-usage>
  <acceptors>
    <acceptor name="mqtt">tcp://127.0.0.1:%[2]d?protocols=MQTT</acceptor>
    <acceptor name="amqp">tcp://127.0.0.1:%[3]d?protocols=AMQP</acceptor>
  </acceptors>
  <address-settings>
    <address-setting match="queue.#">
      <default-address-routing-type>ANYCAST</default-address-routing-type>
      <default-queue-routing-type>ANYCAST</default-queue-routing-type>
    </address-setting>
  </address-settings>
</core></configuration>
`

func hivemq(s *Site, cfg SiteConfig) error {
	ports, err := s.listen("mqtt")
	if err != nil {
		return err
	}
	if _, err := s.write("conf/config.xml", fmt.Sprintf(hivemqXML, ports[0])); err != nil {
		return err
	}
	args := []string{filepath.Join(s.Dir, "conf"), filepath.Join(s.Dir, "data"), filepath.Join(s.Dir, "extensions")}
	for _, dir := range args[1:] {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	s.command = jvm(cfg.Parts.Brokers["hivemq"], "-Xmx384m", "HiveMQ", args...)
	return nil
}

const hivemqXML = `<hivemq>
  <listeners><tcp-listener><port>%d</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners>
  <mqtt><queued-messages><max-queue-size>100000</max-queue-size></queued-messages></mqtt>
  <persistence><mode>file</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
`
