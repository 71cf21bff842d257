package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/bridge"
)

type runCommand struct{ configFlag }

func (runCommand) Help() string {
	return `Without a configuration everything is on this machine: an MQTT listener on port 1883, an AMQP 1.0 listener on port 5672, an embedded Kafka on port 9092, metrics on port 9644.

    linkspan run
    linkspan run -c linkspan.yaml
    LINKSPAN_LOG_LEVEL=debug linkspan run -c linkspan.yaml
    linkspan run --profile connector

SIGTERM and SIGINT (Ctrl-C) stop it: nothing new is taken, what is in flight is stored and acknowledged within drain_timeout, and it exits with 0. A second signal ends it at once.
`
}

func (c runCommand) Run(p *program) error {
	cfg, notes, err := c.load(p)
	if err != nil {
		return err
	}
	if _, err := bridge.Check(cfg); err != nil {
		return wrong{err}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	log := bridge.NewLogger(cfg.Log, p.stderr)
	log.Info("starting", "version", versionText(), "config", c.Config, "profile", c.Profile)
	for _, n := range notes {
		log.Warn("profile", "note", n) // also at the level that connector has by default
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	go func() {
		log.Info("signal received", "signal", (<-signals).String())
		stop()
		log.Warn("second signal, exiting at once", "signal", (<-signals).String())
		os.Exit(exitFailed)
	}()

	return bridge.Run(ctx, cfg, log, func(s bridge.Status) {
		if c.Config == "" && c.Profile == "" {
			fmt.Fprint(p.stdout, introduction(s))
		}
	})
}

// introduction tells a newcomer what runs where, and what to try.
func introduction(s bridge.Status) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-8s "+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintln(&b, "\nLinkspan is running.")
	for _, e := range s.Endpoints {
		who := "devices"
		if strings.HasPrefix(e.URL, "amqp") {
			who = "AMQP"
		}
		line(who, "%s (endpoint %s)", e.URL, e.Name)
	}
	line("Kafka", "%s", strings.Join(s.Kafka, ","))
	if s.DataDir != "" {
		line("data", "%s", s.DataDir)
	}
	if s.Admin != "" {
		line("admin", "http://%s with /metrics, /healthz, /readyz", s.Admin)
	}
	for _, r := range s.Routes {
		line("route", "%s", r)
	}
	if s.Banner != "" {
		fmt.Fprintf(&b, "\n%s\n", s.Banner)
	}
	if mqtt, ok := endpointAt(s, "mqtt://"); ok {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(mqtt, "mqtt://"))
		option := ""
		if port != "1883" {
			option = " -p " + port
		}
		fmt.Fprintf(&b, tryMQTT, option, s.Kafka[0])
	}
	if amqp, ok := endpointAt(s, "amqp://"); ok {
		fmt.Fprintf(&b, tryAMQP, amqp)
	}
	fmt.Fprint(&b, "Ctrl-C stops it.\n\n")
	return b.String()
}

// endpointAt returns the URL of the first endpoint with such a scheme.
func endpointAt(s bridge.Status, scheme string) (url string, ok bool) {
	i := slices.IndexFunc(s.Endpoints, func(e bridge.EndpointStatus) bool { return strings.HasPrefix(e.URL, scheme) })
	if i < 0 {
		return "", false
	}
	return s.Endpoints[i].URL, true
}

const tryMQTT = `
Try, each in a terminal of its own:
  mosquitto_sub%[1]s -t '#' -v
  mosquitto_pub%[1]s -t sensors/hall-1/t7/temp -m 21.5 -q 1
  kcat -b %[2]s -C -t mqtt.messages -f '%%k %%h %%s\n'
  echo 'hall-1/t7:open' | kcat -b %[2]s -P -t mqtt.commands -K:
`

// tryAMQP is for Qpid Proton's Python, for want of a command line that machines have.
const tryAMQP = `and with AMQP 1.0, after pip install python-qpid-proton:
  python3 -c "from proton import Message as M; from proton.utils import BlockingConnection as C; C('%[1]s').create_sender('orders').send(M('one'))"
  python3 -c "from proton.utils import BlockingConnection as C; r = C('%[1]s').create_receiver('orders/group.id/billing'); print(r.receive(timeout=30)); r.accept()"
`
