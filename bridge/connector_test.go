package bridge

import (
	"testing"
	"time"

	"github.com/linkspan/linkspan/spool"
)

// Each setting of connector's store and of its pump sets something (CON-A6, A7, CON-W4).
func TestConnectorStore(t *testing.T) {
	load := func(more ...string) Config {
		t.Helper()
		environ := append([]string{"HOME=/home/ada", "RUN_MODE=PRODUCTION", "MQTT_BROKER_URL=b", "MQTT_BROKER_PORT=1883", "MQTT_CLIENT_ID=c", "MQTT_USER_NAME=", "MQTT_USER_PASSWORD=", "KAFKA_BROKER=k:9092", "TOPIC_LIST=a:b"}, more...)
		cfg, _, err := LoadProfile("connector", environ)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	ack := func(cfg Config) spool.Ack {
		ack, _ := cfg.custody(&cfg.Routes[0])
		return ack
	}
	cfg := load("DB_PERSIST_PATH=/data/", "INVOKE_LATENCY_SEC=20", "INVOKE_MAX_GOROUTINE=7", "INVOKE_MIN_GOROUTINE=3")
	if !cfg.spooled() || cfg.Spool.Dir != "/data/spool" || ack(cfg) != spool.AckKafkaElseSpool || !cfg.Fleet.Alone {
		t.Errorf("%+v %v", cfg.Spool, ack(cfg))
	}
	if d := cfg.Spool.Drain; d.MaxInFlight != 7 || d.Refill != 3 || cfg.Kafka.RetryInterval != 20*time.Second {
		t.Errorf("%+v %v", d, cfg.Kafka.RetryInterval)
	}
	if cfg = load(); cfg.spooled() || ack(cfg) != spool.AckMemory {
		t.Errorf("%+v %v", cfg.Spool, ack(cfg))
	}
}
