package wiretest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Pair returns the two ends of a connection for tests in which a peer does not read. It is not TCP: how many megabytes that holds
// differs from system to system, and where both directions of it are full, it may lose what would have them go on.
func Pair(t testing.TB) (served, peer net.Conn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // short, as such an address has to be
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if peer, err = net.Dial("unix", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	if served, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return served, peer
}
