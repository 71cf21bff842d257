package spool

import "github.com/linkspan/linkspan"

// A flight is one message that is in the spool, or that something has happened to on the direct way, until the end of all that is under
// way for it. Up to four have it at a time: a list of its lane, the one who is within Keep, Kafka's producer, and the journal.
// When nobody has it any more it is given back. The lane's mutex guards all of it.
type flight struct {
	lane       *lane
	list       *list
	prev, next *flight

	done    func(error) // the sender's; nil once it was called, so that it is called once
	promise func(error) // f.promised, bound once for the flight's many lives
	synced  func(error) // f.onDisk, likewise
	kept    linkspan.Kept

	seq      uint64 // number of its entry, 0 while it has none
	size     int64  // counted towards DrainBytes; 0: not out of the spool
	since    uint32 // ticks: when the producer got it
	attempts int
	mute     bool

	keeping bool  // someone is within Keep
	sent    bool  // the producer has it, or it is being buried: how it ends is not known
	writing bool  // the journal has it, and it is not on disk
	over    bool  // nobody waits for it any more: delivered, buried, refused or dropped
	back    bool  // the producer gave it back: to be handed over once more
	err     error // of the producer, when it gave an answer
}

// maxSpare bounds the flights that a lane keeps for what comes.
const maxSpare = 1 << 14

// flight returns one for a message of l. The caller holds mu.
func (l *lane) flight(done func(error), mute bool) *flight {
	f := l.spare
	if f == nil {
		f = &flight{lane: l}
		f.promise, f.synced = f.promised, f.onDisk
	} else {
		l.spare, f.next = f.next, nil
		l.spares--
	}
	f.done, f.mute = done, mute
	return f
}

// takeOff returns a flight on the direct way, which is within Keep. The caller holds mu.
func (l *lane) takeOff(done func(error), mute bool, since uint32) *flight {
	f := l.flight(done, mute)
	f.keeping, f.sent, f.since, f.attempts = true, true, since, 1
	l.direct.push(f)
	return f
}

// ground makes a flight of the message of seat i of r, of which those were the facts: it has not landed. The caller holds mu.
func (l *lane) ground(r *row, i int, facts uint64) *flight {
	f := l.takeOff(r.dones[i], r.mute>>i&1 != 0, r.since[i])
	if facts&(boarded<<i) != 0 {
		f.keeping, f.kept = false, r.kepts[i]
	}
	r.flights[i] = f
	return f
}

// free gives f back if nobody has it. The caller holds mu. That is held anyway, and makes this less than a sync.Pool would be,
// where those who give back run on other processors than those who take.
func (l *lane) free(f *flight) {
	if f.list != nil || f.keeping || f.sent || f.writing || l.spares == maxSpare {
		return
	}
	f.next, l.spare = l.spare, f
	f.done, f.kept, f.err = nil, nil, nil
	f.seq, f.size, f.since, f.attempts = 0, 0, 0, 0
	f.mute, f.over, f.back = false, false, false
	l.spares++
}

// tell takes the sender's function out of f: whoever gets it calls it, without a lock.
func (f *flight) tell() func(error) {
	done := f.done
	f.done = nil
	return done
}

// promised is the done of the producer. Where Keep has not returned, who is in there goes on with the outcome: only then
// it is sure that nobody else asks for the copy, and the message itself is at hand.
func (f *flight) promised(err error) {
	l := f.lane
	l.mu.Lock()
	f.sent, f.err = false, err
	if f.keeping {
		l.mu.Unlock()
		return
	}
	l.outcome(f, nil)
}

// onDisk is the done of the journal.
func (f *flight) onDisk(err error) {
	l := f.lane
	l.mu.Lock()
	f.writing = false
	var done func(error)
	switch {
	case err == nil && (l.Ack != AckKafka || f.over), // P1: on disk, and the lane says that this is enough
		err != nil && !f.sent: // the journal was closed before
		done = f.tell()
	}
	if f.list == &l.written && !f.sent && !f.over && f.done == nil { // the journal knows all there is to know
		l.written.remove(f)
	}
	l.free(f)
	l.mu.Unlock()
	if done != nil {
		done(err)
	}
	l.s.poke()
}

// A list has flights in order. A flight is in one list at most.
type list struct {
	head, tail *flight
	n          int
}

func (q *list) push(f *flight) {
	f.list, f.prev, f.next = q, q.tail, nil
	if q.tail == nil {
		q.head = f
	} else {
		q.tail.next = f
	}
	q.tail = f
	q.n++
}

func (q *list) remove(f *flight) {
	if f.prev == nil {
		q.head = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		q.tail = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.list, f.prev, f.next = nil, nil, nil
	q.n--
}
