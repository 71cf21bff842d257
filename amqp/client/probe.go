package client

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

// ProbeResult is what [Probe] found out.
type ProbeResult struct {
	URL          string // that answered
	Broker       string // product and version, or its container identifier
	MaxFrameSize uint32 // bytes that it takes in a frame
	MaxSessions  int    // that it takes on a connection
	IdleTimeout  time.Duration
	Capabilities []frame.Symbol // that it offers
}

// Probe connects once, with a container identifier of its own so that it disturbs nobody, and returns what the broker says of itself.
// ctx bounds it, and cfg.ConnectTimeout each attempt. The error is that of the last address tried.
func Probe(ctx context.Context, cfg Config) (ProbeResult, error) {
	if cfg.ContainerID == "" {
		cfg.ContainerID = "linkspan"
	}
	cfg.ContainerID += "-probe" + strconv.Itoa(rand.IntN(1000))
	cfg.Addresses = nil
	conn, err := New(cfg, nil, nil, slog.New(slog.DiscardHandler)).connect(ctx)
	if err != nil {
		return ProbeResult{}, fmt.Errorf("cannot connect to the broker: %w", err)
	}
	defer conn.finish()
	o := conn.engine.Remote()
	conn.leave()
	return ProbeResult{
		URL: conn.target.Text, Broker: describe(o), MaxFrameSize: o.MaxFrameSize, MaxSessions: int(o.ChannelMax) + 1,
		IdleTimeout: time.Duration(o.IdleTimeout) * time.Millisecond, Capabilities: o.OfferedCapabilities,
	}, nil
}
