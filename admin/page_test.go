package admin

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestPageIsWhatItAnswers(t *testing.T) {
	var answer atomic.Value
	page := Page{"/spool", func() any { return answer.Load() }}
	wrong := Page{"/wrong", func() any { return make(chan int) }}
	s, err := Listen(Config{Listen: "127.0.0.1:0"}, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler), page, wrong)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + s.Addr()
	if status, _ := get(t, url+"/spool"); status != 404 {
		t.Errorf("nothing to show: %d", status)
	}
	answer.Store(map[string]int{"depth": 3})
	if status, body := get(t, url+"/spool"); status != 200 || body != "{\"depth\":3}\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(t, url+"/wrong"); status != 500 {
		t.Errorf("what JSON has no form for: %d", status)
	}
}
