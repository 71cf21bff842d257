package fleet

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan"
)

// unit stands between device and endpoint in a key: no endpoint's name has it.
const unit = '\x1f'

// entry is the value of the log of locations.
type entry struct {
	// Seen is when the device was heard, or left, in milliseconds since 1970.
	Seen int64 `json:"seen"`
	// Left says that the device has gone from the endpoint.
	Left bool `json:"left"`
	// Of is the offset of the entry that the leaving ends, where the writer knew it. Without it, after compaction, an older
	// entry for another endpoint would come to life again. nil: the endpoint's newest.
	Of *int64 `json:"of"`
}

// write sends an entry to the log.
func (l *Locations) write(ctx context.Context, device string, s saying, of int64) {
	value := strconv.AppendInt([]byte(`{"seen":`), s.at, 10)
	if s.left {
		value = append(value, `,"left":true`...)
	}
	if of >= 0 {
		value = strconv.AppendInt(append(value, `,"of":`...), of, 10)
	}
	device = strings.Clone(device)
	l.to.Send(ctx, &linkspan.Message{Payload: append(value, '}'), Record: linkspan.Record{
		Topic: l.topic, Partition: Lane(device, l.lanes), Key: append(append([]byte(device), unit), s.endpoint...),
	}}, func(err error) {
		if err != nil {
			l.stats.WriteErrors.Add(1)
			l.unsay(device, s)
		}
	})
}

// unsay forgets that s was written.
func (l *Locations) unsay(device string, s saying) {
	d := l.of(device)
	d.mu.Lock()
	if p := d.all[device]; p != nil && p.said == s {
		p.said = saying{}
	}
	d.mu.Unlock()
}

// Apply takes a record of the log, in the order of its partition.
func (l *Locations) Apply(m *linkspan.Message) {
	key := string(m.Record.Key)
	at := strings.LastIndexByte(key, unit)
	if at <= 0 || at == len(key)-1 {
		l.stats.Malformed.Add(1)
		return
	}
	device, endpoint := key[:at], l.names.own(m.Record.Key[at+1:])
	var e entry
	if m.Payload == nil {
		e.Left = true // somebody deleted the key
	} else if err := json.Unmarshal(m.Payload, &e); err != nil {
		l.stats.Malformed.Add(1)
		return
	}
	if e.Left {
		l.left(device, endpoint, e)
	} else {
		l.seen(device, endpoint, e.Seen, m.Record.Offset)
	}
}

// left applies that the device has gone from the endpoint.
func (l *Locations) left(device, endpoint string, e entry) {
	d := l.of(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.all[device]
	if p == nil {
		return
	}
	if p.said.left && p.said.endpoint == endpoint {
		p.said = saying{}
	}
	if e.Of == nil && p.endpoint == endpoint || e.Of != nil && p.offset <= *e.Of {
		p.endpoint, p.seen = "", 0
		if p.said.endpoint == "" {
			l.remove(d, device)
		}
	}
}

// seen applies that the device was heard at the endpoint.
func (l *Locations) seen(device, endpoint string, seen, offset int64) {
	d := l.of(device)
	d.mu.Lock()
	l.forgetAged(d)
	p := d.all[device]
	if l.old(seen) {
		// Older than anything that is not: it ends what was before, as it does for who read it when it was new.
		if p != nil && p.said.endpoint == "" {
			l.remove(d, device)
		} else if p != nil {
			p.endpoint = ""
		}
		d.mu.Unlock()
		return
	}
	if p == nil {
		p = l.add(d, device)
	}
	appeared := p.endpoint != endpoint
	p.endpoint, p.seen, p.offset = endpoint, seen, offset
	if p.said.endpoint == endpoint && !p.said.left {
		p.said = saying{}
	}
	d.mu.Unlock()
	if appeared {
		l.changed(device, endpoint)
	}
}

// add makes a place for a device, at the cost of one that was silent for longer if there are Max. d is locked.
func (l *Locations) add(d *devices, device string) *place {
	if l.count.Load() >= int64(l.cfg.Max) {
		l.evict(d)
	}
	p := new(place)
	d.all[strings.Clone(device)] = p
	l.count.Add(1)
	return p
}

func (l *Locations) remove(d *devices, device string) {
	delete(d.all, device)
	l.count.Add(-1)
}

// evict forgets the device that was silent for the longest of some.
func (l *Locations) evict(d *devices) {
	victim, oldest, n := "", int64(0), 0
	for device, p := range d.all {
		if at := max(p.seen, p.said.at); n == 0 || at < oldest {
			victim, oldest = device, at
		}
		if n++; n == sample {
			break
		}
	}
	if n == 0 {
		return
	}
	l.remove(d, victim)
	l.stats.Evicted.Add(1)
	if !l.full.Swap(true) {
		l.log.Warn("more devices than fleet.devices.max: those that were silent for long are forgotten", "max", l.cfg.Max)
	}
}

// forgetAged forgets what is too old of some devices, so that the table does not grow by what nobody asks for.
func (l *Locations) forgetAged(d *devices) {
	n := 0
	for device, p := range d.all {
		if l.old(max(p.seen, p.said.at)) {
			l.remove(d, device)
			l.stats.Aged.Add(1)
		}
		if n++; n == 2 {
			break
		}
	}
}
