package outage

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/linkspan/linkspan/spool/journal/journaltest"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A kind is a kind of trouble.
type kind struct {
	name    string
	lasts   time.Duration // at most; 0: it is over at once
	brokers bool          // it may concern one broker alone
	lanes   bool          // it concerns the topic of one lane
	begin   func(w *world, tr *trouble) (end func())
}

// What can go wrong with Kafka, with devices, with the disk, and with the process.
var kafkaKinds = []kind{
	{name: "Kafka refused", lasts: 6 * time.Second, brokers: true, begin: onWay(func(y *way, n int) { y.refused += n })},
	{name: "Kafka black-holed", lasts: 6 * time.Second, brokers: true, begin: onWay(func(y *way, n int) { y.black += n })},
	{name: "Kafka's answers lost", lasts: 4 * time.Second, brokers: true, begin: onWay(func(y *way, n int) { y.deaf += n })},
	{name: "Kafka slow", lasts: 4 * time.Second, brokers: true, begin: onWay(func(y *way, n int) { y.slow += n })},
	{name: "Kafka flapping", lasts: 8 * time.Second, brokers: true, begin: flap},
	{name: "connections cut", brokers: true, begin: func(w *world, tr *trouble) func() { w.network.cut(tr.broker); return nil }},
	{name: "leaders moved", begin: func(w *world, _ *trouble) func() { w.cluster.ShufflePartitionLeaders(); return nil }},
	{name: "broker restarted", lasts: 2 * time.Second, brokers: true, begin: restart},
	{name: "broker restarted without its data", lasts: 2 * time.Second, brokers: true, begin: wipe},
	{name: "min.insync.replicas not met", lasts: 4 * time.Second, lanes: true, begin: answer(kerr.NotEnoughReplicas)},
	{name: "min.insync.replicas not met after append", lasts: 3 * time.Second, lanes: true, begin: answer(kerr.NotEnoughReplicasAfterAppend)},
	{name: "requests timed out", lasts: 3 * time.Second, lanes: true, begin: answer(kerr.RequestTimedOut)},
	{name: "not authorized", lasts: time.Second, lanes: true, begin: refuse(kerr.TopicAuthorizationFailed)},
	{name: "Kafka fails", lasts: 500 * time.Millisecond, lanes: true, begin: refuse(kerr.UnknownServerError)},
}

var deviceKinds = []kind{
	{name: "devices cut off", begin: onCalls((*call).hangUp)},
	{name: "devices gone without a word", begin: onCalls((*call).vanish)},
}

var diskKinds = []kind{
	{name: "disk full", lasts: 4 * time.Second, begin: onDisk(func(f *faults, n int) { f.full += n })},
	{name: "disk read-only", lasts: 4 * time.Second, begin: onDisk(func(f *faults, n int) { f.readOnly += n })},
	{name: "writes fail", lasts: 3 * time.Second, begin: onDisk(func(f *faults, n int) { f.writes += n })},
	{name: "syncs fail", lasts: 3 * time.Second, begin: onDisk(func(f *faults, n int) { f.syncs += n })},
	{name: "one step on the disk fails", begin: stepFails},
	{name: "syncs take 300 ms", lasts: 4 * time.Second, begin: onDisk(func(f *faults, n int) { f.slow += n })},
}

var processKinds = []kind{
	{name: "killed", lasts: time.Second, begin: kill(survive)},
	{name: "killed at once again", lasts: 100 * time.Millisecond, begin: kill(survive)},
	{name: "power lost", lasts: time.Second, begin: kill(losePower)},
	{name: "power lost, pages written at random", lasts: time.Second, begin: kill(losePages)},
	{name: "stopped", lasts: 2 * time.Second, begin: stop},
}

// onWay counts something wrong with the way to brokers up and down.
func onWay(count func(*way, int)) func(*world, *trouble) func() {
	return func(w *world, tr *trouble) func() {
		w.network.change(tr.broker, func(y *way) { count(y, 1) })
		return func() { w.network.change(tr.broker, func(y *way) { count(y, -1) }) }
	}
}

// onCalls ends the calls that there are.
func onCalls(end func(*call)) func(*world, *trouble) func() {
	return func(w *world, _ *trouble) func() {
		for _, d := range w.devices {
			d.mu.Lock()
			c := d.call
			d.mu.Unlock()
			if c != nil {
				end(c)
			}
		}
		return nil
	}
}

// flap refuses and lets through in turns, of up to 2 s.
func flap(w *world, tr *trouble) (end func()) {
	random := dice{rand.New(rand.NewPCG(w.s.seed, uint64(tr.at)))}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			if i%2 == 0 {
				w.network.change(tr.broker, func(y *way) { y.refused++ })
			} else {
				w.network.change(tr.broker, func(y *way) { y.refused-- })
			}
			select {
			case <-time.After(random.between(10*time.Millisecond, 2*time.Second)):
			case <-over:
				if i%2 == 0 {
					w.network.change(tr.broker, func(y *way) { y.refused-- })
				}
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(over); <-ended })
}

// restart ends a broker's connections, lets others lead meanwhile, and has it come back with its data.
func restart(w *world, tr *trouble) (end func()) {
	w.network.change(tr.broker, func(y *way) { y.refused++ })
	w.cluster.ShufflePartitionLeaders()
	return func() { w.network.change(tr.broker, func(y *way) { y.refused-- }) }
}

// wipe has the only broker come back with nothing: it knows the topics by other identities, no record, and no producer. What was there
// nobody else has. One of several has back what it had: the others have it, too.
func wipe(w *world, tr *trouble) (end func()) {
	if w.s.brokers > 1 {
		return restart(w, tr)
	}
	w.network.change(-1, func(y *way) { y.refused++ })
	pass(100 * time.Millisecond) // for what brokers have read and not digested
	w.mourn()
	w.cluster.Close()
	w.found()
	w.disown()
	return func() { w.network.change(-1, func(y *way) { y.refused-- }) }
}

// disown refuses what is for topics of an earlier Kafka: kfake takes two that it does not know for one, and panics.
func (w *world) disown() {
	cluster, known := w.cluster, map[[16]byte]bool{}
	for _, topic := range append(w.topics(), warmTopic) {
		known[cluster.TopicInfo(topic).TopicID] = true
	}
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		ours := true
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			ours = ours && (req.Version < 13 || known[t.TopicID])
			no := kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				refused := kmsg.NewProduceResponseTopicPartition()
				refused.Partition, refused.ErrorCode = p.Partition, kerr.UnknownTopicID.Code
				no.Partitions = append(no.Partitions, refused)
			}
			resp.Topics = append(resp.Topics, no)
		}
		return resp, nil, !ours
	})
}

// answer has Kafka answer what is written to one topic with an error.
func answer(err *kerr.Error) func(*world, *trouble) func() {
	return func(w *world, tr *trouble) func() {
		fault := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: laneName(tr.lane), Err: err, Count: -1})
		return fault.Remove
	}
}

// refuse has Kafka refuse what is written to one topic, so that it is given back. The Kafka client then goes on as another epoch
// of its producer, and what other partitions have on the way with the old one, written and not answered, it writes once more.
func refuse(err *kerr.Error) func(*world, *trouble) func() {
	return func(w *world, tr *trouble) func() {
		w.mu.Lock()
		w.again = true
		w.mixed = w.mixed || err == kerr.UnknownServerError
		w.mu.Unlock()
		return answer(err)(w, tr)
	}
}

// kill ends the process as it stands, and then does something to the disk.
func kill(left func(*world, *journaltest.Disk) *journaltest.Disk) func(*world, *trouble) func() {
	return func(w *world, _ *trouble) func() {
		w.want(-1)
		w.blur()
		if p := w.current(); p != nil {
			p.kill(left)
		}
		return func() { w.want(1) }
	}
}

// stop ends the process in order.
func stop(w *world, _ *trouble) func() {
	w.want(-1)
	if p := w.current(); p != nil {
		go p.stop()
	}
	return func() { w.want(1) }
}
