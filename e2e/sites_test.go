package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// shared are the MQTT brokers that several tests use and nobody breaks, started when the first test wants them: a Java
// virtual machine is not started in no time.
var shared = map[string]func() (*harness.Site, error){
	"mosquitto": shareable("mosquitto"), "rabbitmq": shareable("rabbitmq"), "activemq": shareable("activemq"),
	"artemis": shareable("artemis"), "hivemq": shareable("hivemq"),
}

// started are the shared ones that run.
var started struct {
	sync.Mutex
	sites []interface {
		Log() string
		Close()
	}
}

func shareable(kind string) func() (*harness.Site, error) {
	return sync.OnceValues(func() (*harness.Site, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s, err := harness.StartSite(ctx, siteConfig(kind, filepath.Join(world.dir, "site-"+kind), ""))
		if err == nil {
			started.Lock()
			started.sites = append(started.sites, s)
			started.Unlock()
		}
		return s, err
	})
}

func siteConfig(kind, dir, extra string) harness.SiteConfig {
	return harness.SiteConfig{Kind: kind, Dir: dir, Parts: world.parts, Certs: world.certs, Extra: extra}
}

// closeSites ends all that is shared. Their logs are shown if a test has failed.
func closeSites(failed bool) {
	started.Lock()
	defer started.Unlock()
	for _, s := range started.sites {
		if failed {
			fmt.Println(s.Log())
		}
		s.Close()
	}
}

// sharedSite returns the shared broker of that kind.
func sharedSite(t *testing.T, kind string) *harness.Site {
	t.Helper()
	s, err := shared[kind]()
	must(t, err)
	return s
}

// ownSite starts an MQTT broker for this test alone, one that may be broken.
func ownSite(t *testing.T, kind, extra string) *harness.Site {
	t.Helper()
	s, err := harness.StartSite(deadline(t), siteConfig(kind, t.TempDir(), extra))
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		s.Close()
	})
	return s
}

// throughProxy returns a proxy to addr that ends with the test.
func throughProxy(t *testing.T, addr string) *harness.Proxy {
	t.Helper()
	p, err := harness.NewProxy(addr)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}
