package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/bridge"
)

type runCommand struct{ configFlag }

func (runCommand) Help() string {
	return `Without a configuration everything is on this machine: an MQTT listener on port 1883, an embedded Kafka on port 9092, metrics on port 9644.

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
		line("devices", "%s (endpoint %s)", e.URL, e.Name)
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
	if len(s.Endpoints) == 1 && strings.HasPrefix(s.Endpoints[0].URL, "mqtt://") {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.Endpoints[0].URL, "mqtt://"))
		option := ""
		if port != "1883" {
			option = " -p " + port
		}
		fmt.Fprintf(&b, tryThis, option, s.Kafka[0])
	}
	return b.String()
}

const tryThis = `
Try, each in a terminal of its own:
  mosquitto_sub%[1]s -t '#' -v
  mosquitto_pub%[1]s -t sensors/hall-1/t7/temp -m 21.5 -q 1
  kcat -b %[2]s -C -t mqtt.messages -f '%%k %%h %%s\n'
  echo 'hall-1/t7:open' | kcat -b %[2]s -P -t mqtt.commands -K:
Ctrl-C stops it.

`
