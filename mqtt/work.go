package mqtt

import (
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// work is what a connection decodes into while it has something to do. It goes along with its read buffer.
type work struct {
	now time.Time

	publish     packet.Publish
	ack         packet.Ack
	subscribe   packet.Subscribe
	unsubscribe packet.Unsubscribe
	message     linkspan.Message
}
