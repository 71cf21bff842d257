package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// parts are the parts of a bridge that run, in the order of their start.
type parts struct {
	stops  []func(ctx context.Context) error
	failed chan error // the first part that ended without being told to
}

func newParts() *parts { return &parts{failed: make(chan error, 1)} }

// onStop has stop called when all that was started later has stopped. ctx ends with the time for draining.
func (p *parts) onStop(stop func(ctx context.Context) error) { p.stops = append(p.stops, stop) }

// run starts a part that runs until its context ends.
func (p *parts) run(part func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := part(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("a part of the bridge ended by itself")
			}
			select {
			case p.failed <- err:
				err = nil // it is told once
			default:
			}
		}
		ended <- err
	}()
	p.onStop(func(context.Context) error {
		cancel()
		return <-ended // a part promises to end within its own drain time
	})
}

// stop stops all parts, the last started first, and returns what went wrong on the way.
func (p *parts) stop(ctx context.Context) error {
	var errs []error
	for _, stop := range slices.Backward(p.stops) {
		errs = append(errs, stop(ctx))
	}
	return errors.Join(errs...)
}

// together runs functions side by side until all have returned. One that returns early ends the others.
func together(ctx context.Context, runs []func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var all sync.WaitGroup
	for i, run := range runs {
		all.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
