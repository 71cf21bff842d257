package mqtt

import (
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// Stats counts what a listener did since it was made. All of it may be read at any time.
type Stats struct {
	// Stats counts connections, bytes and packets.
	wire.Stats

	Sessions atomic.Int64 // devices connected now: CONNACK sent with success
	// Refused counts CONNACKs, and Ended DISCONNECTs that the listener sent, or would have sent to an MQTT 5 device, by reason
	// code. Ended[0] counts devices that said DISCONNECT, Gone those whose connection just ended.
	Refused [256]atomic.Uint64
	Ended   [256]atomic.Uint64
	Gone    atomic.Uint64

	// Uplink, by QoS.

	Received  [3]atomic.Uint64   // messages handed to the sink
	_         [64]byte           // readers count above, who settles below
	Acked     [3]atomic.Uint64   // those of which it took custody
	Rejected  [256]atomic.Uint64 // those refused to the device for good, by reason code; QoS 0 as well, which is not told
	Abandoned atomic.Uint64      // read, and not taken by the sink for a passing reason; not acknowledged
	Repeated  atomic.Uint64      // QoS 2 messages sent again by the device, and not handed on again

	// Downlink, by QoS.

	Delivered [3]atomic.Uint64 // PUBLISH packets to devices
	TooLarge  atomic.Uint64    // messages dropped for the device's Maximum Packet Size
}

func (s *Stats) refused(r packet.Reason)  { s.Refused[r].Add(1) }
func (s *Stats) ended(r packet.Reason)    { s.Ended[r].Add(1) }
func (s *Stats) rejected(r packet.Reason) { s.Rejected[r].Add(1) }
