package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	requestSuffix = ".request"
	answerSuffix  = ".answer"
	maxRequest    = 1 << 20
	askEvery      = 100 * time.Millisecond
)

// Drop says which entries of a lane are to go: all, those up to a number, or those that were appended before a time. With
// several of them set, each has to allow it.
type Drop struct {
	Lane   string    `json:"lane"`            // its name
	All    bool      `json:"all,omitempty"`   // all that are durable when the request is carried out
	UpTo   uint64    `json:"up_to,omitempty"` // 0: not said
	Before time.Time `json:"before,omitzero"` // zero: not said
}

// Dropped is what became of a Drop.
type Dropped struct {
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"` // on disk
}

type answer struct {
	Dropped
	Error string `json:"error,omitempty"`
}

// Request drops entries of the journal in dir. If a process has it open, that process is asked through a file in the
// directory, which it looks for each second; otherwise it is done at once. What it returns as
// dropped stays so after any crash. When ctx ends before there is an answer, the request is taken back, unless it is being carried out that moment.
func Request(ctx context.Context, dir string, d Drop) (Dropped, error) {
	return request(ctx, System(), dir, d)
}

func request(ctx context.Context, o OS, dir string, d Drop) (Dropped, error) {
	if !d.All && d.UpTo == 0 && d.Before.IsZero() {
		return Dropped{}, errors.New("say what is to be dropped: all, up to a number, or before a time")
	}
	if _, err := inspect(o, dir); err != nil {
		return Dropped{}, err
	}
	id := filepath.Join(dir, rand.Text())
	asked := false
	defer func() {
		if asked {
			_ = o.Remove("request.remove", id+requestSuffix)
			_ = o.Remove("request.remove", id+answerSuffix)
		}
	}()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		// A request that the process of before has answered is not carried out twice.
		if p, err := readFile(o, "request.answer", id+answerSuffix, maxRequest); err == nil {
			return decodeAnswer(p)
		}
		out, err := dropAlone(o, dir, d)
		if !errors.Is(err, ErrLocked) {
			return out, err
		}
		if !asked {
			asked = true
			p, err := json.Marshal(d)
			if err == nil {
				err = replaceFile(o, "request.ask", id+requestSuffix, p)
			}
			if err != nil {
				return Dropped{}, fmt.Errorf("ask the process that has the spool in %s: %w", dir, err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Dropped{}, fmt.Errorf("no answer from the process that has the spool in %s: %w", dir, ctx.Err())
		}
	}
}

func decodeAnswer(p []byte) (Dropped, error) {
	var a answer
	if err := json.Unmarshal(p, &a); err != nil {
		return Dropped{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if a.Error != "" {
		return Dropped{}, errors.New(a.Error)
	}
	return a.Dropped, nil
}

// dropAlone carries out d in a journal that nobody has open. It needs next to no room: the disk may be full.
func dropAlone(o OS, dir string, d Drop) (Dropped, error) {
	j, _, err := Open(Options{Dir: dir, OS: o, SegmentBytes: minSegment})
	if err != nil {
		return Dropped{}, err
	}
	out, err := j.drop(d)
	return out, errors.Join(err, j.deleteSettled(), j.Close())
}

// drop settles what d says, and counts it. It is on the disk when drop returns: who is told that a message is dropped must not
// see it delivered after a crash.
func (j *Journal) drop(d Drop) (Dropped, error) {
	l, upTo, out, err := j.weigh(d)
	if err != nil {
		return out, err
	}
	j.Settle(l, upTo)
	j.lanes.get(l).dropped.Add(out.Messages)
	if err := j.keep.store(j, true); err != nil {
		return Dropped{}, fmt.Errorf("the disk does not keep that they are dropped, and after a crash they may be delivered: %w", err)
	}
	return out, nil
}

// weigh finds out what d means: up to which entry of which lane, and how much that is.
func (j *Journal) weigh(d Drop) (l Lane, upTo uint64, out Dropped, err error) {
	if l = j.lanes.find(d.Lane); l == 0 {
		var names []string
		for _, n := range j.Lanes() {
			names = append(names, n.Name)
		}
		return 0, 0, out, fmt.Errorf("there is no lane %q in the spool; there are: %s", d.Lane, strings.Join(names, ", "))
	}
	settled := j.Settled(l)
	upTo = j.Backlog(l).Last
	if d.UpTo > 0 {
		upTo = min(upTo, d.UpTo)
	}
	if !d.Before.IsZero() {
		upTo = min(upTo, j.Before(l, d.Before))
	}
	out.Messages, out.Bytes = j.Between(l, settled, upTo)
	return l, upTo, out, nil
}

// answerAll carries out the requests in the directory.
func (j *Journal) answerAll() error {
	names, err := j.os.List("request.list", j.o.Dir)
	if err != nil {
		return failed("request.list", err)
	}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, requestSuffix); ok {
			err = errors.Join(err, j.answer(filepath.Join(j.o.Dir, name), filepath.Join(j.o.Dir, id+answerSuffix)))
		}
	}
	return err
}

// answer carries out one request. One that cannot be read, as another user's may be, keeps no other from being answered.
func (j *Journal) answer(request, to string) error {
	var d Drop
	var a answer
	p, err := readFile(j.os, "request.read", request, maxRequest)
	if isNotExist(err) {
		return nil // taken back
	}
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w: ask as the user of the process that has the spool, number %d", err, os.Getuid())
	}
	if err == nil {
		err = json.Unmarshal(p, &d)
	}
	if err == nil {
		a.Dropped, err = j.drop(d)
	}
	if err != nil {
		a.Error = err.Error()
		j.log.Warn("spool: a request to drop messages fails", "route", d.Lane, "err", err)
	} else {
		j.log.Info("spool: messages dropped on request", "route", d.Lane, "messages", a.Messages)
	}
	if p, err = json.Marshal(a); err == nil {
		err = replaceFile(j.os, "request.answer", to, p)
	}
	if err = errors.Join(err, j.os.Remove("request.remove", request)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return failed("request.answer", err)
	}
	return nil
}

// Dropped returns how many entries of l requests have dropped since Open.
func (j *Journal) Dropped(l Lane) uint64 {
	if x := j.lanes.get(l); x != nil {
		return x.dropped.Load()
	}
	return 0
}
