package kafka

import "context"

// A duty is one of the two kinds of [Work], and the lanes on which it runs. Guarded by the mutex of its Shards, but for what does
// not change.
type duty struct {
	s      *Shards
	work   func(ctx context.Context, lane int32) error
	leased bool

	shards   map[int32]*shard // lanes that are ours
	doubtful map[int32]*shard // those that were, and perhaps are not any more: the next assignment tells
	last     map[int32]*shard // the last of each lane, perhaps not ended
}

// A shard is the work on one lane, from the time that the group gives the lane to us until it takes it away.
type shard struct {
	lane  int32
	given context.Context
	back  context.CancelFunc // ends given
	ended chan struct{}
}

func newDuty(s *Shards, leased bool) duty {
	return duty{s: s, leased: leased, shards: map[int32]*shard{}, doubtful: map[int32]*shard{}, last: map[int32]*shard{}}
}

// give makes lanes ours. Those in doubt go on if they are among them, and end if not: after a loss the group tells all that we have.
func (d *duty) give(ctx context.Context, lanes []int32) {
	for _, lane := range lanes {
		if sh := d.doubtful[lane]; sh != nil {
			delete(d.doubtful, lane)
			d.shards[lane] = sh
			continue
		}
		before := d.last[lane]
		sh := &shard{lane: lane, ended: make(chan struct{})}
		sh.given, sh.back = context.WithCancel(ctx)
		d.shards[lane], d.last[lane] = sh, sh
		go d.tend(sh, before)
	}
	for lane, sh := range d.doubtful {
		sh.back()
		delete(d.doubtful, lane)
	}
}

// doubt says that lanes may be another's.
func (d *duty) doubt(lanes []int32) {
	for _, lane := range lanes {
		if sh := d.shards[lane]; sh != nil {
			d.doubtful[lane] = sh
			delete(d.shards, lane)
		}
	}
}

// take ends the context of what runs on lanes, and returns those that were ours.
func (d *duty) take(lanes []int32) (taken []*shard) {
	for _, lane := range lanes {
		if sh := d.shards[lane]; sh != nil {
			sh.back()
			taken = append(taken, sh)
			delete(d.shards, lane)
		}
	}
	return taken
}

// tend does the work while the lane is given to us and, if it is leased, the lease holds.
func (d *duty) tend(sh, before *shard) {
	defer close(sh.ended)
	defer sh.back()
	if before != nil {
		<-before.ended
	}
	if d.work == nil {
		<-sh.given.Done()
		return
	}
	pause := backoff(d.s.c.cfg.RetryInterval)
	for tries := 1; ; tries++ {
		term := d.s.lease.wait(sh.given)
		if term == nil || sh.given.Err() != nil {
			return
		}
		if !d.leased {
			term = sh.given
		}
		ours, err := d.once(sh, term)
		switch {
		case !ours:
			tries = 0
		case err == nil:
			<-sh.given.Done()
		default:
			d.s.c.log.Warn("what runs on a kafka lane failed", "group", d.s.cfg.Group, "lane", sh.lane, "err", err)
			_ = sleep(sh.given, pause(tries))
		}
	}
}

// once does the work until it returns, or term or the shard ends it: then ours is false.
func (d *duty) once(sh *shard, term context.Context) (ours bool, err error) {
	ctx, cancel := context.WithCancel(sh.given)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	err = d.work(ctx, sh.lane)
	return ctx.Err() == nil, err
}
