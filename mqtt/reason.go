package mqtt

import (
	"errors"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// An ending is why a connection ends. It is an error so that what reads and decodes can return it.
type ending struct {
	reason packet.Reason
	text   string // for the log, and the Reason String where there is one
	// quiet: the peer is gone, or said goodbye itself. It is told nothing.
	quiet bool
	// noWill: the device does not want its will published.
	noWill bool
	// closeCode is for a WebSocket; 0: normal.
	closeCode ws.StatusCode
}

func (e *ending) Error() string {
	if e.text == "" {
		return e.reason.String()
	}
	return e.reason.String() + ": " + e.text
}

// Endings that need no more words.
var (
	endGone      = &ending{reason: packet.UnspecifiedError, text: "connection lost", quiet: true}
	endSilent    = &ending{reason: packet.KeepAliveTimeout}
	endStopping  = &ending{reason: packet.ServerShuttingDown}
	endNoConnect = &ending{reason: packet.KeepAliveTimeout, text: "no CONNECT in time", quiet: true}
	endNotMQTT   = &ending{reason: packet.ProtocolError, text: "the first packet is no CONNECT", quiet: true}
	endCrowded   = &ending{reason: packet.ServerBusy, text: "too many packets that are not whole"}
	endNotRead   = &ending{reason: packet.UnspecifiedError, text: "the device reads nothing", quiet: true}
)

// why turns any error of reading, decoding or handling into an ending.
func why(err error) *ending {
	var e *ending
	var p *packet.Error
	var f *websocket.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &p):
		return &ending{reason: p.Reason, text: p.Text + " [" + p.Rule + "]"}
	case errors.As(err, &f):
		return &ending{reason: packet.ProtocolError, text: f.Error(), closeCode: f.Code}
	case errors.Is(err, wire.ErrCrowded):
		return endCrowded
	case errors.Is(err, wire.ErrNotRead):
		return endNotRead
	}
	return endGone
}
