package wire

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
)

// maxUpgrade is how many bytes a peer may send as HTTP request for a WebSocket.
const maxUpgrade = 16 << 10

// upgrade answers the HTTP request that turns the connection into a WebSocket, bounded by the connection's deadline.
func (c *Conn) upgrade(rw io.ReadWriter) error {
	w := &c.s.cfg
	var origin string
	var spoken bool
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			if path, _, _ := strings.Cut(string(uri), "?"); w.At.Path != "" && path != w.At.Path {
				return rejected(http.StatusNotFound, "not found")
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "Origin") {
				origin = string(value)
			}
			return nil
		},
		Protocol: func(p []byte) bool { // [MQTT-6.0.0-4]
			spoken = slices.Contains(w.Subprotocols, string(p))
			return spoken
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !spoken { // [MQTT-6.0.0-3]
				return nil, rejected(http.StatusBadRequest, "no subprotocol "+w.Subprotocols[0])
			}
			if origin != "" && len(w.Origins) > 0 && !slices.Contains(w.Origins, origin) {
				return nil, rejected(http.StatusForbidden, "origin not allowed")
			}
			return nil, nil
		},
	}
	_, err := u.Upgrade(struct {
		io.Reader
		io.Writer
	}{io.LimitReader(rw, maxUpgrade), rw})
	if err == nil {
		c.ws = websocket.NewReader(websocket.Server)
	}
	return err
}

// rejected is the answer to a request that gets no WebSocket.
func rejected(status int, why string) error {
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(why))
}
