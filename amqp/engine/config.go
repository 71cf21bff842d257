package engine

import (
	"time"

	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// Config is what a connection says about itself, and its bounds. It is not changed by the engine, and can be shared by many
// connections but for External and Wake.
type Config struct {
	// ContainerID names us to the peer. It must not be empty.
	ContainerID string
	// Hostname is the host that a client wants to talk to. Default "": not said.
	Hostname string

	// MaxFrameSize is the size in bytes of the largest frame that the peer may send, at least 512. Default 64 KiB.
	MaxFrameSize uint32
	// ChannelMax is the highest channel, so there are one more sessions than this, for both sides. Default 255.
	ChannelMax uint16
	// HandleMax is the highest handle, so there are one more links in a session than this, for both sides. At most 65535.
	// Default 1023.
	HandleMax uint32
	// IdleTimeout is how long the peer may be silent; it is told half of it, so that one that is late does not lose its
	// connection. Default 0: for ever. [DefaultConfig] has a minute.
	IdleTimeout time.Duration

	// MaxMessageSize is the size in bytes of the largest message that is received, where a link does not say otherwise; the
	// link is detached with amqp:link:message-size-exceeded when one is larger. Default 1 MiB.
	MaxMessageSize uint64
	// MaxLinks is how many links the peer may have on the connection; it is closed with amqp:resource-limit-exceeded when
	// there are more. Default 4096.
	MaxLinks int
	// MaxPartial bounds in bytes what is kept of messages that are not whole yet, and of what links are, for the whole
	// connection; the link of the message that is too much is detached with amqp:resource-limit-exceeded. Default 8 MiB.
	MaxPartial int
	// MaxOutput is how many bytes may wait for Output: with more, Send answers [ErrWindow] and Input takes nothing. Default
	// 256 KiB.
	MaxOutput int
	// IncomingWindow is how many transfer frames the peer may send ahead in a session. Default 2048.
	IncomingWindow uint32

	// OfferedCapabilities and DesiredCapabilities of the open. Default nil.
	OfferedCapabilities, DesiredCapabilities []frame.Symbol
	// Properties of the open: a map with symbols as keys. Default nil.
	Properties frame.Map

	// Checker is who may connect, for a server. Default nil: anybody, with ANONYMOUS or without SASL.
	Checker *sasl.Checker
	// External is who the certificate of a server's peer says that it is. Default "": it has none.
	External string
	// Credentials are a client's. Default nil: no SASL at all.
	Credentials *sasl.Credentials

	// Wake is called when there is output and the driver does not run the engine at that moment. It is called from any
	// goroutine, with nothing locked, possibly when the output has been taken already, and must not block or call the engine.
	// Default nil: the driver asks [Conn.Pending].
	Wake func()
}

// DefaultConfig returns a Config with all defaults.
func DefaultConfig() Config {
	return Config{
		MaxFrameSize:   64 << 10,
		ChannelMax:     255,
		HandleMax:      1023,
		IdleTimeout:    time.Minute,
		MaxMessageSize: 1 << 20,
		MaxLinks:       4096,
		MaxPartial:     8 << 20,
		MaxOutput:      256 << 10,
		IncomingWindow: 2048,
	}
}

// complete sets what is zero to its default, and what is out of range to what is in it.
func (c *Config) complete() {
	d := DefaultConfig()
	set(&c.MaxFrameSize, d.MaxFrameSize)
	set(&c.ChannelMax, d.ChannelMax)
	set(&c.HandleMax, d.HandleMax)
	set(&c.MaxMessageSize, d.MaxMessageSize)
	set(&c.MaxLinks, d.MaxLinks)
	set(&c.MaxPartial, d.MaxPartial)
	set(&c.MaxOutput, d.MaxOutput)
	set(&c.IncomingWindow, d.IncomingWindow)
	c.MaxFrameSize = max(c.MaxFrameSize, frame.MinMaxFrameSize)
	c.HandleMax = min(c.HandleMax, 1<<16-1)
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
