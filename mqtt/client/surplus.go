package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// quiet is how long nothing may come before a session that gets nothing new is taken to be empty.
const quiet = 2 * time.Second

// dissolve ends the session of a worker that is one too many, without loss: nothing new gets into it, what it holds is received
// and acknowledged after custody, and when nothing more comes it is ended. It returns nil when that is done, or ctx has ended.
// A session that is new with this connection holds nothing; whatever the version, it is left as empty as it came.
func (w *worker) dissolve(ctx context.Context, c *conn) error {
	if !c.resumed() {
		c.hangUp()
		w.gone()
		return nil
	}
	c.table.Store(&subscriptions{loose: true})
	c.start()
	defer c.finish()
	w.log.Info("emptying the session of a worker that is not needed any more")
	w.remember(unsure(nil, nil, w.known))
	err := w.unsubscribe(ctx, c, w.known)
	if err == nil {
		err = w.untilQuiet(ctx, c)
	}
	if ctx.Err() != nil {
		w.drain(c)
		return nil
	}
	if err != nil {
		return err
	}
	d := packet.Disconnect{}
	d.Properties.Set(packet.SessionExpiry) // 0: it ends now [MQTT 3.14.2.2.2]
	c.leave(d)
	if c.version < packet.V5 {
		w.clean = true // the next connection ends the session; MQTT 3 has no other way
		return errAgain
	}
	w.gone()
	return nil
}

// gone notes that the worker has no session any more, and has the leader ask for its shared subscriptions again: there are brokers that
// offer what waits for one to a member when that acknowledges or subscribes, and at no other time (HiveMQ CE). If all that was
// under way when the leader had nothing was under way to this worker, nobody would be offered the rest (P2).
func (w *worker) gone() {
	w.c.save(w.id, nil, false)
	select {
	case w.c.workers[0].again <- struct{}{}:
	default:
	}
}

// crowded reports whether there are sessions of other workers still.
func (c *Client) crowded() bool {
	c.saving.Lock()
	defer c.saving.Unlock()
	return slices.ContainsFunc(c.saved.Workers, func(s WorkerState) bool { return s.ClientID != c.cfg.ClientID })
}

// unshare gives the worker that is left of several subscriptions of its own in place of the shared ones. What waits for a shared
// one may be in a queue of its own, which goes with the last who leaves it (HiveMQ CE). So that happens when the other
// workers have gone and nothing comes any more (P2); as long as there is no such moment, the worker shares with nobody. Between the two
// subscriptions a message may come twice.
func (w *worker) unshare(ctx context.Context, c *conn) error {
	for w.c.crowded() {
		if err := c.await(ctx, w.again); err != nil {
			return err
		}
	}
	if err := w.subscribeAll(ctx, c); err != nil { // again, see gone
		return err
	}
	if err := w.untilQuiet(ctx, c); err != nil {
		return err
	}
	own := w.want(c, "")
	shared := w.known
	if !w.remember(unsure(shared, own.all, nil)) {
		return nil // the next connection tries again
	}
	denied, err := w.ask(ctx, c, &own, own.all)
	if err != nil {
		return err
	}
	if len(denied) > 0 {
		w.subscribed(ctx, denied, true)
		return nil
	}
	w.remember(slices.Concat(shared, own.all))
	if err := w.untilQuiet(ctx, c); err != nil {
		return err
	}
	if _, err := w.subscribe(ctx, c, ""); err != nil {
		return err
	}
	if w.sharedBefore() == "" {
		w.log.Info("nothing is shared any more")
		w.c.sharing.Store(false)
		w.subscribed(ctx, nil, false)
	}
	return nil
}

// errAgain asks for another connection at once.
var errAgain = errors.New("connect again")

// hangUp ends a connection that was made for its CONNECT alone.
func (c *conn) hangUp() {
	d := packet.Disconnect{}
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell))
	_, _ = c.nc.Write(d.Append(nil, c.version))
	_ = c.nc.Close()
}

// untilQuiet waits until nothing comes any more, and all that has come is settled and acknowledged. The broker has read our
// acknowledgements when it answers the PINGREQ behind them.
func (w *worker) untilQuiet(ctx context.Context, c *conn) error {
	for {
		w.mu.Lock()
		before := w.in.opened
		w.mu.Unlock()
		if !dial.Sleep(ctx, w.c.quiet) {
			return ctx.Err()
		}
		if err := w.window.WaitEmpty(ctx); err != nil {
			return err
		}
		select {
		case <-c.pong: // of an earlier one
		default:
		}
		c.pingNow(time.Now())
		if err := c.await(ctx, c.pong); err != nil {
			return err
		}
		w.mu.Lock()
		after := w.in.opened
		w.mu.Unlock()
		if before == after && !c.stalled.Load() {
			return nil
		}
	}
}

// await waits for what is said on said, unless the connection or ctx ends first.
func (c *conn) await(ctx context.Context, said <-chan struct{}) error {
	select {
	case <-said:
		return nil
	case <-c.ended:
		return c.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}
