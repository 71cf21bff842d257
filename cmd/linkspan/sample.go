package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/bridge"
)

// envPassword is the variable that the sample clients take the password from.
const envPassword = "MQTT_PASSWORD"

// connectionFlags are what pub and sub share.
type connectionFlags struct {
	Topic     []string      `arg:"" help:"One topic or several."`
	Broker    string        `short:"b" default:"mqtt://127.0.0.1:1883" placeholder:"URL" help:"The broker: mqtt, mqtts, ws or wss. Default mqtt://127.0.0.1:1883."`
	QoS       byte          `name:"qos" short:"q" default:"1" placeholder:"0|1|2" help:"The quality of service. Default 1."`
	Client    string        `short:"i" placeholder:"ID" help:"The client identifier. Default: one by chance."`
	User      string        `short:"u" placeholder:"NAME" help:"The user name. The password comes from the variable MQTT_PASSWORD."`
	CA        string        `name:"ca" placeholder:"FILE" help:"The certificate authorities to trust, instead of the system's."`
	Cert      string        `placeholder:"FILE" help:"The certificate of this client."`
	Key       string        `placeholder:"FILE" help:"Its private key."`
	AnyName   bool          `help:"The broker's certificate may have any name."`
	Insecure  bool          `help:"Do not verify the broker's certificate."`
	Protocol  string        `default:"auto" enum:"auto,5,3.1.1,3.1" placeholder:"VERSION" help:"The version of MQTT: auto, 5, 3.1.1 or 3.1. Default auto."`
	KeepAlive time.Duration `default:"30s" help:"How long the connection may be silent. Default 30s."`
	Timeout   time.Duration `help:"End after that long, such as 30s. Default: never."`
	Verbose   bool          `short:"v" help:"Tell more on standard error."`
}

func (f *connectionFlags) connection(p *program) bridge.SampleConnection {
	c := bridge.SampleConnection{
		URL: f.Broker, Version: f.Protocol, ClientID: f.Client, Username: f.User, KeepAlive: f.KeepAlive,
		TLS: bridge.SampleTLS{CA: f.CA, Cert: f.Cert, Key: f.Key, AnyName: f.AnyName, Insecure: f.Insecure},
	}
	for _, e := range p.environ {
		if password, ok := strings.CutPrefix(e, envPassword+"="); ok && f.User != "" {
			c.Password = password
		}
	}
	return c
}

// refused is an error in what the user wrote, by the names that flags have.
func (f *connectionFlags) refused(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "dial: "); ok {
		err = fmt.Errorf("--broker %s: %s", f.Broker, text)
	}
	return wrong{err}
}

func (f *connectionFlags) log(p *program) *slog.Logger {
	level := "warn"
	if f.Verbose {
		level = "debug"
	}
	return bridge.NewLogger(bridge.LogConfig{Level: level, Format: "text"}, p.stderr)
}

// untilStopped returns a context that ends with a signal, or with the time that was given.
func (f *connectionFlags) untilStopped() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	if f.Timeout == 0 {
		return ctx, stop
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("gave up after %v, as --timeout says", f.Timeout))
	return ctx, func() { cancel(); stop() }
}

type pubCommand struct {
	connectionFlags
	Message  string        `short:"m" default:"{n}" placeholder:"TEXT" help:"The payload. {n} is the number of the message, {topic} its topic, {client} the client identifier, {time} the time. Default {n}."`
	Count    int           `short:"n" default:"1" help:"How many messages in all, to the topics in turn; 0: until it is stopped. Default 1."`
	Interval time.Duration `short:"e" help:"The time between two messages. Default 0: as fast as the broker acknowledges."`
	Retain   bool          `short:"r" help:"The broker keeps the last message of each topic for later subscribers."`
}

func (pubCommand) Help() string {
	return `It waits for the broker's acknowledgements, and connects again as often as it has to. At the end it tells on standard error how many messages were acknowledged; the exit code is 0 if all were.

    linkspan pub sensors/hall-1/t7/temp -m 21.5
    linkspan pub line/1 line/2 -n 1000 -e 10ms -m '{"seq": {n}, "at": "{time}"}'
    MQTT_PASSWORD=... linkspan pub a/b -b mqtts://broker.example.org:8883 --ca ca.pem -u ada -q 2
`
}

func (c pubCommand) Run(p *program) error {
	ctx, stop := c.untilStopped()
	defer stop()
	report, err := bridge.Publish(ctx, c.connection(p), bridge.SamplePublication{
		Topics: c.Topic, Count: c.Count, Interval: c.Interval, QoS: c.QoS, Retain: c.Retain, Payload: c.Message,
	}, c.log(p))
	if report.Sent == 0 && err != nil && ctx.Err() == nil {
		return c.refused(err)
	}
	word := "acknowledged"
	if c.QoS == 0 {
		word = "sent"
	}
	rate := float64(report.Acked) / max(report.Elapsed.Seconds(), 1e-9)
	fmt.Fprintf(p.stderr, "%d of %d messages %s in %v, %.0f a second\n", report.Acked, report.Sent, word, report.Elapsed.Round(time.Millisecond), rate)
	return err
}

type subCommand struct {
	connectionFlags
	Count  int    `short:"n" help:"End after that many messages. Default 0: when it is stopped."`
	Format string `short:"f" default:"{topic} {payload}" placeholder:"TEXT" help:"What is printed for a message: {topic}, {payload}, {qos}, {retain} and {n}, its number, stand for these. Default: {topic} {payload}."`
}

func (subCommand) Help() string {
	return `The topics may have the wildcards + and #. It connects again as often as it has to. A message is acknowledged when it is printed. With --timeout or a signal it ends with the number of messages on standard error; the exit code is 1 if --count asked for more.

    linkspan sub 'sensors/#'
    linkspan sub 'sensors/#' --timeout 10s
    linkspan sub 'line/+' 'alarms/#' -n 1000 -f '{n} {topic} {qos} {payload}'
    MQTT_PASSWORD=... linkspan sub '#' -b wss://broker.example.org/mqtt -u ada
`
}

func (c subCommand) Run(p *program) error {
	ctx, stop := c.untilStopped()
	defer stop()
	start := time.Now()
	n, err := bridge.Subscribe(ctx, c.connection(p), bridge.SampleSubscription{Topics: c.Topic, Count: c.Count, QoS: c.QoS, Format: c.Format}, p.stdout, c.log(p))
	switch {
	case err != nil && n == 0:
		return c.refused(err)
	case err == nil && n < c.Count:
		return fmt.Errorf("ended after %d of %d messages", n, c.Count)
	case err == nil && ctx.Err() != nil:
		fmt.Fprintf(p.stderr, "%d messages in %v\n", n, time.Since(start).Round(time.Millisecond))
	}
	return err
}
