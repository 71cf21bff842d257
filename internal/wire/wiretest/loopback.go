package wiretest

import (
	"fmt"
	"net"
	"os"
)

// Loopback returns HOST:0 of this machine for a server that goes away and comes back, with a host that no other process has where the
// system has that many: else the port may be somebody else's meanwhile, and those who call there be heard in another test.
func Loopback() string {
	pid := os.Getpid()
	own := fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
	ln, err := net.Listen("tcp", own)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = ln.Close()
	return own
}
