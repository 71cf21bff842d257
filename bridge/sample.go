package bridge

import (
	"context"
	"io"
	"log/slog"

	"github.com/linkspan/linkspan/bridge/internal/sample"
)

// What the sample clients are told, and what they tell.
type (
	SampleConnection   = sample.Connection
	SampleTLS          = sample.TLS
	SamplePublication  = sample.Publication
	SampleSubscription = sample.Subscription
	SampleReport       = sample.Report
)

// Publish is a sample client that publishes to any MQTT broker, and waits for its acknowledgements.
func Publish(ctx context.Context, c SampleConnection, p SamplePublication, log *slog.Logger) (SampleReport, error) {
	return sample.Publish(ctx, c, p, log)
}

// Subscribe is a sample client that prints what it gets from any MQTT broker, and returns how many messages there were.
func Subscribe(ctx context.Context, c SampleConnection, s SampleSubscription, out io.Writer, log *slog.Logger) (int, error) {
	return sample.Subscribe(ctx, c, s, out, log)
}
