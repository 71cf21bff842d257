package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt"
)

// Check looks at what only a look at the machine can tell of a configuration that [Load] returned: the files that it names. It
// returns what is worth knowing and no mistake, and an error for what is one, a line for each. It starts nothing.
func Check(cfg Config) (notes []string, err error) {
	var p problems
	if len(cfg.Kafka.Brokers) > 0 {
		client, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler))
		if err == nil {
			client.Close()
		}
		p.take("", err)
	}
	for _, name := range cfg.listeners() {
		l := cfg.Endpoints[name].Listener.ListenerConfig
		if u, err := url.Parse(l.URL); err == nil {
			u.Host = "127.0.0.1:0" // the files matter here, not the port
			l.URL = u.String()
		}
		listener, err := mqtt.Listen(l, nil, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = listener.Close()
			continue
		}
		p.add("endpoints."+name+".tls", "%v", err)
	}
	table, err := cfg.table(nil)
	p.take("", err)
	if len(p) > 0 {
		return nil, located(cfg.origin, errors.Join(p...))
	}
	for _, c := range table.Cycles() {
		notes = append(notes, "messages can go round: "+c.String())
	}
	return notes, nil
}

// CheckKafka reaches the brokers and looks for the topics that the routes name in full. It returns a line for each thing that
// it found out, and an error if the bridge could not run with what is there. It changes nothing.
func CheckKafka(ctx context.Context, cfg Config, log *slog.Logger) (lines []string, err error) {
	if len(cfg.Kafka.Brokers) == 0 {
		return []string{"no kafka.brokers: run starts an embedded Kafka in " + cfg.Kafka.Embedded.Dir}, nil
	}
	create := cfg.Kafka.Topics.Create
	cfg.Kafka.Topics.Create = false // look, do not touch
	client, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	lines = append(lines, "Kafka answers at "+strings.Join(cfg.Kafka.Brokers, ", "))
	table, err := cfg.table(nil)
	if err != nil {
		return lines, err
	}
	var errs []error
	for _, spec := range needed(table) {
		err := client.EnsureTopics(ctx, []kafka.TopicSpec{spec})
		switch {
		case err == nil:
			lines = append(lines, "topic "+spec.Name+" is there")
		case errors.Is(err, kafka.ErrUnknownTopic) && create:
			lines = append(lines, "topic "+spec.Name+" is missing; run creates it")
		default:
			errs = append(errs, fmt.Errorf("topic %s: %w", spec.Name, err))
		}
	}
	return lines, errors.Join(errs...)
}
