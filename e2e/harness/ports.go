package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports for servers lie below those that the kernel gives to outgoing connections (32768 and up on Linux). A port that
// ":0" finds may be the source of somebody's connection by the time a server is started again on it; a client that dials
// a server that is down may even get the server's port for its own, and connect to itself.
const lowest, highest = 12000, 32000

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// Ports returns n loopback ports that are free now and that no other call of this process was or will be given.
func Ports(n int) ([]int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	var free []int
	for range 10_000 {
		port := lowest + rand.IntN(highest-lowest)
		if ports.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", Loopback(port))
		if err != nil {
			continue
		}
		_ = l.Close()
		ports.taken[port] = true
		if free = append(free, port); len(free) == n {
			return free, nil
		}
	}
	return nil, errors.New("no free loopback ports")
}

// Loopback returns 127.0.0.1:port.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
