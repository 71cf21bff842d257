package client

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// ProbeResult is what [Probe] found out.
type ProbeResult struct {
	URL     string // that answered
	Version string // the highest that the broker takes, of those that are configured
	Limits  Limits // what it allows; see SharedTried for Limits.Shared
	// SharedTried says that the broker has not said whether it has shared subscriptions, but has been asked for one. A broker of
	// MQTT 3.1.1 that does not know them may accept one and send nothing.
	SharedTried bool
	// Advice is one line about what bounds the throughput.
	Advice string
}

// Probe connects once, with a client identifier of its own so that it disturbs nobody, and returns what the broker offers. ctx
// bounds it, and cfg.ConnectTimeout each attempt. The error is that of the last address tried.
func Probe(ctx context.Context, cfg Config) (ProbeResult, error) {
	if cfg.ClientID == "" {
		cfg.ClientID = "linkspan"
	}
	cfg.ClientID += "-probe" + strconv.Itoa(rand.IntN(1000))
	cfg.SessionExpiry, cfg.Workers, cfg.Will = 0, 1, Will{}
	client := New(cfg, nil, nil, slog.New(slog.DiscardHandler))
	client.to = linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) })
	w := client.workers[0]
	c, err := w.connect(ctx)
	if err != nil {
		return ProbeResult{}, fmt.Errorf("cannot connect to the broker: %w", err)
	}
	r := ProbeResult{URL: c.target.Text, Version: c.version.String(), Limits: c.limits}
	c.start()
	defer c.finish()
	if c.version < packet.V5 {
		r.SharedTried = c.version == packet.V311
		r.Limits.Shared = r.SharedTried
	}
	if r.SharedTried {
		denied, err := w.ask(ctx, c, &subscriptions{}, []Subscription{{Filter: sharePrefix + "linkspan-probe/linkspan/probe"}})
		if err != nil {
			return r, fmt.Errorf("ask for a shared subscription: %w", err)
		}
		r.Limits.Shared = len(denied) == 0
	}
	r.Advice = advice(&r)
	c.leave(packet.Disconnect{})
	return r, nil
}

// advice says what bounds the throughput of a connection: messages in flight, divided by the time that each takes.
func advice(r *ProbeResult) string {
	const perSecond = 200 // round trips of 5 ms: to Kafka, and back to the broker
	more := "raise it there (Mosquitto: max_inflight_messages)"
	if r.Limits.Shared {
		more += ", or share the load with workers: 2 or more"
	}
	if r.Version != packet.V5.String() {
		return "a broker of MQTT " + r.Version + " does not say how many messages it keeps in flight to us; Mosquitto's 20 allow about " +
			strconv.Itoa(20*perSecond) + " a second at 5 ms each: " + more
	}
	n := int(r.Limits.ReceiveMaximum)
	if n >= 1000 {
		return "the broker takes " + strconv.Itoa(n) + " messages in flight; if it sends as many, that is no limit to speak of"
	}
	return fmt.Sprintf("the broker takes %d messages in flight, and likely sends no more itself: about %d a second each way at 5 ms each; %s",
		n, n*perSecond, more)
}
