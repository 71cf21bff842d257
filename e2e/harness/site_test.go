package harness

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

// A broker that ends before it is ready is started again, a few times: on a machine that stalls RabbitMQ, for one, gives up its own start.
func TestSiteStartsAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	for _, test := range []struct {
		failures int
		want     error
	}{{0, nil}, {2, nil}, {100, errEnded}} {
		s := &Site{Kind: "mosquitto", Dir: t.TempDir(), urls: map[string]string{}}
		if err := mosquitto(s, SiteConfig{}); err != nil {
			t.Fatal(err)
		}
		works, starts := s.command, 0
		s.command = func() *exec.Cmd {
			if starts++; starts <= test.failures {
				return exec.Command("false")
			}
			return works()
		}
		err := s.Start(ctx)
		s.Close()
		if !errors.Is(err, test.want) {
			t.Errorf("%d failures: %v", test.failures, err)
		}
		if want := min(test.failures+1, 5); starts != want {
			t.Errorf("%d failures: started %d times, want %d", test.failures, starts, want)
		}
	}
}
