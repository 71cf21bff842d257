package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/linkspan/linkspan/admin"
	"github.com/linkspan/linkspan/spool"
	"github.com/linkspan/linkspan/spool/journal"
)

// SpoolStatus is how a spool is: as the process that runs tells, or as its directory shows.
type SpoolStatus struct {
	Dir     string      `json:"dir"`
	Live    bool        `json:"live"`              // the process tells; else only what is on the disk is known
	Source  string      `json:"source"`            // where from, in words
	Verdict string      `json:"verdict,omitempty"` // ok, degraded, not ready; "" where no process tells
	Reason  string      `json:"reason,omitempty"`  // of the verdict, in words
	Disk    SpoolDisk   `json:"disk"`
	Lanes   []SpoolLane `json:"lanes"`
}

// SpoolDisk is the state of the spool's files. What no process tells is left out.
type SpoolDisk struct {
	Bytes    int64      `json:"bytes"`
	Segments int        `json:"segments"`
	MaxBytes int64      `json:"max_bytes,omitempty"`
	Free     int64      `json:"free,omitempty"`     // of the file system
	MinFree  int64      `json:"min_free,omitempty"` // that are left to others
	Pending  int64      `json:"pending,omitempty"`  // bytes that wait in memory
	Full     string     `json:"full,omitempty"`     // the limit that is reached: max_bytes, min_free
	Damaged  []string   `json:"damaged,omitempty"`  // what was acknowledged and cannot be read, in words
	Failing  string     `json:"failing,omitempty"`  // what the operating system says
	Since    *time.Time `json:"since,omitempty"`    // of Failing
}

// SpoolLane is the state of one route in the spool, or of the dead letters. What no process tells is left out.
type SpoolLane struct {
	Name     string         `json:"name"`
	Ack      string         `json:"ack,omitempty"`
	Full     string         `json:"full,omitempty"`
	Gone     bool           `json:"gone,omitempty"` // no route has the name
	Way      string         `json:"way,omitempty"`  // direct, spooling, draining, holding, dropping
	Messages int64          `json:"messages"`
	Bytes    int64          `json:"bytes"`
	InFlight int            `json:"in_flight,omitempty"`
	Oldest   float64        `json:"oldest_seconds"`
	In       float64        `json:"in_per_second,omitempty"`
	Out      float64        `json:"out_per_second,omitempty"`
	ETA      float64        `json:"eta_seconds,omitempty"` // 0: not to be seen
	Counters *SpoolCounters `json:"since_start,omitempty"`
}

// SpoolCounters is what happened in a lane since the process started, in messages.
type SpoolCounters struct {
	Spooled   uint64 `json:"spooled"`
	TakenOver uint64 `json:"taken_over"`
	Drained   uint64 `json:"drained"`
	Buried    uint64 `json:"buried"`
	Refused   uint64 `json:"refused"`
	Oldest    uint64 `json:"dropped_oldest"`
	Newest    uint64 `json:"dropped_newest"`
	TooOld    uint64 `json:"dropped_too_old"`
	Lost      uint64 `json:"lost"`
}

// Gone returns how many messages were not kept, by whatever reason.
func (c *SpoolCounters) Gone() uint64 { return c.Refused + c.Oldest + c.Newest + c.TooOld + c.Lost }

// spoolPath is where the admin port tells of the spool.
const spoolPath = "/spool"

// spoolPage is what it tells there; nil: there is no spool, or not yet.
func (b *bridge) spoolPage() any {
	if b.phase.Load() == starting || b.spool == nil || !b.cfg.spooled() {
		return nil
	}
	return liveStatus(b.cfg.Spool, b.spool.Status())
}

// liveStatus puts what a spool tells into words for the outside.
func liveStatus(cfg spool.Config, now spool.Status) SpoolStatus {
	d := now.Disk
	dir, err := filepath.Abs(cfg.Dir) // whoever asks may be in another directory
	if err != nil {
		dir = cfg.Dir
	}
	s := SpoolStatus{Dir: dir, Live: true, Verdict: now.Verdict.String(), Reason: now.Reason, Disk: SpoolDisk{
		Bytes: d.Bytes, Segments: d.Segments, MaxBytes: d.MaxBytes, MinFree: cfg.MinFree, Pending: d.Pending, Full: d.Full,
	}}
	if d.Failing != nil {
		s.Disk.Failing, s.Disk.Since = d.Failing.Error(), &d.Since
	}
	for _, l := range now.Lanes {
		c := SpoolCounters(l.Counters)
		s.Lanes = append(s.Lanes, SpoolLane{
			Name: l.Name, Ack: l.Ack.String(), Full: l.Full.String(), Gone: l.Gone, Way: l.Way.String(), Messages: l.Messages, Bytes: l.Bytes,
			InFlight: l.InFlight, Oldest: l.Oldest.Seconds(), In: l.In, Out: l.Out, ETA: l.ETA.Seconds(), Counters: &c,
		})
	}
	return s
}

// ReadSpoolStatus asks the process that has the admin port of cfg, or, where that does not answer for this spool, looks into the
// directory. dir is the spool's directory in place of that of cfg, if it is not "".
func ReadSpoolStatus(ctx context.Context, cfg Config, dir string) (SpoolStatus, error) {
	dir, err := spoolDir(cfg, dir)
	if err != nil {
		return SpoolStatus{}, err
	}
	live, why := askSpool(ctx, cfg.Admin.Listen)
	if why == nil && !sameDir(live.Dir, dir) {
		why = fmt.Errorf("the process that answers there has its spool in %s", live.Dir)
	}
	if why == nil {
		live.Source = "the process at " + cfg.Admin.Listen
		return live, nil
	}
	view, err := journal.Inspect(dir)
	if err != nil {
		return SpoolStatus{}, spoolError(dir, err)
	}
	s := SpoolStatus{Dir: dir, Source: fmt.Sprintf("the files alone, since no process tells: %v", why), Disk: SpoolDisk{
		Bytes: view.Bytes, Segments: view.Segments, MaxBytes: cfg.Spool.MaxBytes, MinFree: cfg.Spool.MinFree,
	}}
	for _, c := range view.Cuts {
		if c.Acked {
			s.Disk.Damaged = append(s.Disk.Damaged, fmt.Sprintf("%s at %d: %d bytes, %s", c.File, c.Off, c.Bytes, c.Reason))
		}
	}
	for _, l := range view.Lanes {
		lane := SpoolLane{Name: l.Name, Messages: int64(l.Backlog.Messages), Bytes: l.Backlog.Bytes}
		if !l.Backlog.Oldest.IsZero() {
			lane.Oldest = time.Since(l.Backlog.Oldest).Seconds()
		}
		s.Lanes = append(s.Lanes, lane)
	}
	return s, nil
}

// askTimeout is how long the admin port may take to answer: it is near, but who asks may do so because the machine hardly gets on.
const askTimeout = 10 * time.Second

// askSpool asks an admin port.
func askSpool(ctx context.Context, listen string) (s SpoolStatus, err error) {
	if listen == admin.Off {
		return s, errors.New("admin.listen is off")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return s, fmt.Errorf("admin.listen %q names no port to ask at", listen)
	}
	if anyAddress(host) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + spoolPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is a port of this machine
	resp, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answers %s: the process there has no spool", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("%s answers something else: %w", url, err)
	}
	return s, nil
}
