package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// example returns a file of an example, with other words in place of some.
func example(t *testing.T, path string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "examples", path))
	must(t, err)
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q any more", path, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// SPK-A4, SPK-W4: the example of the documentation, as it is but for the name of its topic and its ports. AMQP clients of every make and an MQTT device send temperatures,
// and Apache Spark finds the highest of each five seconds.
func TestSpark_SPK_A4(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "temperature", 1)
	l := start(t, 2, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s]}\n", strings.Join(world.kafka.Addrs(), ", ")) + example(t, "spark/linkspan.yaml",
			"127.0.0.1:5672", harness.Loopback(p[0]), "127.0.0.1:1883", harness.Loopback(p[1]), "kafka:temperature", "kafka:"+in)
	})
	want := temperatures(t, l, in)

	dir := t.TempDir()
	job := filepath.Join(dir, "Temperature.java")
	must(t, os.WriteFile(job, []byte(example(t, "spark/Temperature.java", `"subscribe", "temperature"`, fmt.Sprintf(`"subscribe", %q`, in))), 0o644))
	cmd := exec.Command("java", "-Xmx700m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC", "-Djava.io.tmpdir="+dir,
		"-cp", filepath.Join(world.parts.Spark, "*"), job, strings.Join(world.kafka.Addrs(), ","), "once")
	cmd.Dir = dir
	spark, err := harness.Start("spark", cmd, filepath.Join(dir, "spark.log"))
	must(t, err)
	t.Cleanup(spark.Kill)
	code, err := spark.Wait(deadline(t))
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, spark.Tail(8000))
	}
	got := map[string]float64{}
	for _, row := range regexp.MustCompile(`(?m)^\|\{(.*), .*\} *\|([0-9.]+) *\|$`).FindAllStringSubmatch(spark.Log(), -1) {
		got[row[1]], err = strconv.ParseFloat(row[2], 64)
		must(t, err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("Spark has found %v, want %v\n%s", got, want, spark.Tail(8000))
	}
}

// temperatures sends readings over AMQP and MQTT until they are of three different five seconds, and returns the highest of each, by when
// these begin.
func temperatures(t *testing.T, l *harness.Linkspan, topic string) map[string]float64 {
	t.Helper()
	device := dial(t, made("paho-go-5"), harness.Options{URL: "mqtt://" + l.Addr(1), Client: "hall-1", Version: 5})
	var links []harness.Link
	for _, m := range peers {
		links = append(links, sender(t, meet(t, m, harness.PeerOptions{URL: "amqp://" + l.Addr(0)}), "temperature"))
	}
	records, highest := open(t, world.kafka, topic), map[string]float64{}
	var sent []float64 // in the order of the records: each is in Kafka before the next one is sent
	reading := func() float64 {
		sent = append(sent, 20+float64(len(sent)*7%40)/4)
		return sent[len(sent)-1]
	}
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for len(highest) < 3 {
		for _, s := range links { // as text, and as a number
			send(t, s, harness.Encode(harness.Section{Code: harness.ValueSection, Raw: harness.String(fmt.Sprint(reading()))}))
			send(t, s, harness.Encode(harness.Section{Code: harness.ValueSection, Raw: harness.Double(reading())}))
		}
		publish(t, device, harness.Message{Topic: "temperature/hall-1", QoS: 1, Payload: fmt.Append(nil, reading())})
		var all []*kgo.Record
		must(t, harness.Until(deadline(t), func() error {
			if all = records.all(func(*kgo.Record) bool { return true }); len(all) != len(sent) {
				return fmt.Errorf("%d of %d readings are in Kafka", len(all), len(sent))
			}
			return nil
		}))
		clear(highest)
		for i, r := range all {
			at := r.Timestamp.UTC().Truncate(5 * time.Second).Format(time.DateTime)
			highest[at] = max(highest[at], sent[i])
		}
		<-pace.C
	}
	return highest
}
