package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{Name: "a b", TopicPrefix: "ä", Lanes: 2000, Devices: DevicesConfig{MaxAge: time.Second}, ParkFor: 8 * time.Hour}
	err := bad.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	for _, key := range []string{"name", "topic_prefix", "lanes", "session_timeout", "devices.max_age", "devices.max", "park_for", "max_parked", "retention"} {
		if !strings.Contains(err.Error(), "fleet."+key+":") {
			t.Errorf("nothing is said of %s in: %v", key, err)
		}
	}
}

func TestTopics(t *testing.T) {
	cfg := DefaultConfig()
	cfg.TopicPrefix, cfg.Lanes = "x.", 7
	got := map[string]string{}
	for _, topic := range cfg.Topics() {
		got[topic.Name] = fmt.Sprint(topic.Partitions, " ", topic.Configs["cleanup.policy"], " ", topic.Configs["retention.ms"])
	}
	for name, want := range map[string]string{
		"x.shards": "7 delete ", "x.devices": "7 compact,delete 129600000", "x.inbox": "7 delete 604800000", "x.parked": "7 delete 604800000", "x.clients": "1 compact ",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	for group, want := range map[string]string{
		cfg.ShardsGroup(): "linkspan.shards", cfg.RouterGroup(): "linkspan.router", cfg.EndpointGroup("e"): "linkspan.endpoint.e", cfg.InboxGroup("e"): "linkspan.inbox.e",
	} {
		if group != want {
			t.Errorf("%s, want %s", group, want)
		}
	}
}

// What is in Kafka is found by these numbers: they may never change. The hashes are FNV-1a's published ones.
func TestLane(t *testing.T) {
	for name, hash := range map[string]uint32{"": 0x811c9dc5, "a": 0xe40c292c, "foobar": 0xbf9cf968} {
		if got, want := Lane(name, 1000), int32(hash%1000); got != want {
			t.Errorf("%q: lane %d, want %d", name, got, want)
		}
	}
	count := map[int32]int{}
	for i := range 32000 {
		count[Lane(fmt.Sprint("device-", i), 32)]++
	}
	for lane := range int32(32) {
		if count[lane] < 800 || count[lane] > 1200 {
			t.Errorf("lane %d has %d of 32000", lane, count[lane])
		}
	}
}
