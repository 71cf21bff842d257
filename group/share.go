package group

import (
	"cmp"
	"slices"
	"time"
)

// share divides the parts of a topic evenly among its receivers, moving as few as can be, and returns who is to be told that there is
// none for it. Called with t locked.
func (t *team) share(tp *topic) (told []*Receiving) {
	tp.strays = slices.DeleteFunc(tp.strays, (*part).empty)
	if len(tp.receivers) == 0 {
		if len(tp.parts)+len(tp.strays) == 0 {
			delete(t.topics, tp.name)
		}
		return nil
	}
	slices.SortFunc(tp.parts, func(a, b *part) int { return cmp.Compare(a.partition, b.partition) })
	for _, rc := range tp.receivers {
		rc.homes = 0
	}
	for _, p := range tp.parts {
		if h := p.home(); h != nil {
			h.homes++
		}
	}
	// Who has most keeps what does not come out even; of equals, who came first.
	order := slices.Clone(tp.receivers)
	slices.SortStableFunc(order, func(a, b *Receiving) int { return cmp.Compare(b.homes, a.homes) })
	n, each := len(tp.parts)%len(order), len(tp.parts)/len(order)
	free := spare(tp.parts, func(rc *Receiving) bool {
		i := slices.Index(order, rc)
		return rc.homes > quota(i, each, n)
	})
	for i, rc := range order {
		for ; rc.homes < quota(i, each, n); rc.homes++ {
			t.give(free[0], rc)
			free = free[1:]
		}
	}
	for _, p := range tp.parts {
		p.mu.Lock()
		if p.redirect(tp.receivers); len(p.past) > 0 {
			t.source.Wake(p.topic, p.partition) // it may have waited for one who is not here any more
		}
		p.mu.Unlock()
	}
	return t.idlers(tp)
}

// quota is how many parts number i gets: each, and the first rest one more.
func quota(i, each, rest int) int {
	if i < rest {
		return each + 1
	}
	return each
}

// spare returns the parts that are nobody's, and those of receivers that have too many, if possible some with nothing unsettled.
func spare(parts []*part, tooMany func(*Receiving) bool) (free []*part) {
	for _, p := range parts {
		if p.home() == nil {
			free = append(free, p)
		}
	}
	for _, settled := range []bool{true, false} {
		for _, p := range parts {
			if h := p.home(); h != nil && p.empty() == settled && !slices.Contains(free, p) && tooMany(h) {
				h.homes--
				free = append(free, p)
			}
		}
	}
	return free
}

// give lets rc have p, once nothing of it is unsettled elsewhere. Called with t locked.
func (t *team) give(p *part, rc *Receiving) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stay()
	if p.owner == nil || p.unsettled == 0 {
		p.owner = rc
	} else if p.owner != rc {
		p.next, p.held = rc, true
		t.wait(p)
	}
	t.source.Wake(p.topic, p.partition)
}

// move completes a move of p that waited for the last delivery.
func (t *team) move(p *part) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil || p.unsettled > 0 {
		return
	}
	p.owner = p.next
	p.stay()
	p.redirect(p.owner.topic.receivers)
	t.source.Wake(p.topic, p.partition)
}

// wait lets p be held for as long as its owner settles some of what it has, and MovePatience longer. Called with p locked.
func (t *team) wait(p *part) {
	seen := p.settled
	p.patience = time.AfterFunc(t.registry.opts.MovePatience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.next == nil:
		case p.settled != seen:
			t.wait(p)
		default:
			p.held = false
			t.source.Wake(p.topic, p.partition)
		}
	})
}

// redirect decides who may get the records that not everybody takes. Called with the team and p locked.
func (p *part) redirect(receivers []*Receiving) {
	for _, h := range p.past {
		h.to, h.nobody = nil, false
		if len(h.not) == 0 || !slices.Contains(h.not, p.owner) {
			continue
		}
		h.to = slices.DeleteFunc(slices.Clone(receivers), func(rc *Receiving) bool { return slices.Contains(h.not, rc) })
		h.nobody = len(h.to) == 0
	}
}

// home is who has p, or will have it. Called with the team locked.
func (p *part) home() *Receiving {
	if p.next != nil {
		return p.next
	}
	return p.owner
}

// empty reports whether nothing of p is unsettled.
func (p *part) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unsettled == 0
}

// idlers returns the receivers that are to be told now that they have no part, and sees that others are told in time. Those that came last
// idle for certain if there are more receivers than partitions. Called with t locked.
func (t *team) idlers(tp *topic) (told []*Receiving) {
	surplus := len(tp.receivers) - max(tp.partitions, len(tp.parts))
	for _, rc := range slices.Backward(tp.receivers) {
		switch {
		case rc.homes > 0:
			rc.occupied()
		case rc.idle:
			surplus--
		case surplus > 0:
			surplus--
			rc.idles()
			told = append(told, rc)
		case rc.lonely == nil:
			rc.lonely = time.AfterFunc(t.registry.opts.IdleAfter, rc.isLonely)
		}
	}
	return told
}

// tell tells receivers that they idle. Nothing is locked.
func tell(told []*Receiving) {
	for _, rc := range told {
		(*rc.to.Load()).Idle()
	}
}

// isLonely is called when rc has had no part for IdleAfter.
func (rc *Receiving) isLonely() {
	rc.team.mu.Lock()
	still := rc.lonely != nil && !rc.left
	if still {
		rc.idles()
	}
	rc.team.mu.Unlock()
	if still {
		(*rc.to.Load()).Idle()
	}
}

// idles notes that rc is told. Called with the team locked.
func (rc *Receiving) idles() {
	rc.occupied()
	rc.idle = true
	rc.team.registry.stats.Idle.Add(1)
}

// occupied notes that rc has a part, or needs none any more. Called with the team locked.
func (rc *Receiving) occupied() {
	if rc.lonely != nil {
		rc.lonely.Stop()
		rc.lonely = nil
	}
	if rc.idle {
		rc.idle = false
		rc.team.registry.stats.Idle.Add(-1)
	}
}
