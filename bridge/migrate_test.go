package bridge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
)

const migrateData = "internal/migrate/testdata/"

// dotEnv makes a file of the migrations' test data the .env of a directory of its own, and goes there.
func dotEnv(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(migrateData + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// leads checks which Kafka topic and key a topic leads to; "" is none.
func leads(t *testing.T, cfg Config, endpoint, topic, kafka, key string) {
	t.Helper()
	table, err := cfg.table(nil)
	if err != nil {
		t.Fatal(err)
	}
	e := table.ExplainUp(&linkspan.Message{Topic: topic, Endpoint: endpoint, QoS: 1})
	var r linkspan.Record
	if e.Route != "" && e.Err == nil {
		r = e.Message.Record
	}
	if r.Topic != kafka || string(r.Key) != key {
		t.Errorf("%s: topic %q, key %q, want %q and %q", topic, r.Topic, r.Key, kafka, key)
	}
}

// Exact topics win, then the first wildcard; every legal topic name that a filter matches is mapped; what .env and the
// environment say is read as connector reads it (CON-A1, A2, A3).
func TestConnectorProfile(t *testing.T) {
	dotEnv(t, "connector-oauth.env")
	cfg, notes, err := LoadProfile("connector", []string{"HOME=/", "TOPIC_LIST=plant/x/temp:exact", "LINKSPAN_ADMIN_LISTEN=127.0.0.1:1"})
	if err != nil || len(notes) == 0 {
		t.Fatal(notes, err)
	}
	for topic, kafka := range map[string]string{
		"plant/x/temp": "exact", "plant/y/temp": "temps", "plant/hall/temp": "temps", "plant": "rest", "plant/ä b//c:d": "rest", "x/hall/temp": "halls", "other/": "other",
	} {
		leads(t, cfg, "broker", topic, kafka, topic)
	}
	leads(t, cfg, "broker", "a b/ü//c", "", "") // the environment wins over .env
	leads(t, cfg, "broker", "other", "", "")
	if cfg.Admin.Listen != "127.0.0.1:1" || cfg.Log.Level != "error" || string(cfg.Kafka.SASL.OAuth.ClientSecret) != "very secret" || cfg.Kafka.TLS == nil {
		t.Errorf("%+v", cfg)
	}
}

// RUN_MODE=PRODUCTION does without .env, as does a directory without one.
func TestConnectorProfileWithoutDotEnv(t *testing.T) {
	environ := []string{"HOME=/", "MQTT_BROKER_URL=b", "MQTT_BROKER_PORT=1883", "MQTT_CLIENT_ID=c", "MQTT_USER_NAME=", "MQTT_USER_PASSWORD=", "KAFKA_BROKER=k:9092"}
	dotEnv(t, "connector.env")
	if _, _, err := LoadProfile("connector", append(environ, "RUN_MODE=PRODUCTION")); err == nil || !strings.Contains(err.Error(), "TOPIC_LIST") {
		t.Error(".env was read:", err)
	}
	if _, _, err := LoadProfile("connector", environ); err != nil {
		t.Error(".env was not read:", err)
	}
	t.Chdir(t.TempDir())
	cfg, _, err := LoadProfile("connector", append(environ, "TOPIC_LIST=a:b"))
	if err != nil {
		t.Fatal(err)
	}
	leads(t, cfg, "broker", "a", "b", "a")
	if _, _, err := LoadProfile("conector", environ); err == nil || !strings.Contains(err.Error(), "connector") {
		t.Error(err)
	}
	if _, _, err := LoadProfile("connector", append(environ, "TOPIC_LIST=a/#/b:c")); err == nil || !strings.Contains(err.Error(), "profile connector:") {
		t.Error(err)
	}
	if err := os.WriteFile(".env", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadProfile("connector", environ); err == nil || !strings.Contains(err.Error(), ".env:1") {
		t.Error(err)
	}
}

// loaded checks that what was imported is a configuration, and loads it.
func loaded(t *testing.T, made Imported, err error) Config {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Validate(); err != nil {
		t.Fatalf("%v\n%s", err, made.Text)
	}
	environ := []string{"HOME=/"}
	for _, v := range made.Variables {
		environ = append(environ, v+"=secret")
	}
	cfg, err := Parse("linkspan.yaml", []byte(made.Text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// What is imported loads, and maps as the other program did (UNS-A8, A9, A12).
func TestImports(t *testing.T) {
	dir, err := filepath.Abs(migrateData)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	dotEnv(t, "connector.env")
	made, err := ImportConnector(nil)
	cfg := loaded(t, made, err)
	leads(t, cfg, "broker", "default/kc/x", "general", "default/kc/x")
	leads(t, cfg, "broker", "default/kc/mqtt", "custom-kafka", "default/kc/mqtt")

	made, err = ImportUNS(in("uns.settings.yaml"), "", nil)
	cfg = loaded(t, made, err)
	leads(t, cfg, "broker", "test/uns/a/b", "test.uns.a.b", "test/uns/a/b")
	leads(t, cfg, "broker", "other", "", "")
	made, err = ImportUNS(in("uns-secure.settings.yaml"), in("uns-secure.secrets.yaml"), nil)
	cfg = loaded(t, made, err)
	if c := cfg.Endpoints["broker"].Client; string(c.TLS.KeyPassword) != "secret" || !c.TLS.AnyName || c.TLS.Insecure || c.Version != "3.1.1" || c.QoS != 2 {
		t.Errorf("%+v", c)
	}

	made, err = ImportStrimzi(in("strimzi.rules.json"), "")
	cfg = loaded(t, made, err)
	for _, c := range [][3]string{ // the examples of its README
		{"building/A/room/1003/floor/2", "building_A", "room_1003"},
		{"sensors/temperature/data", "sensor_data", ""},
		{"sensors/temperature/living-room", "sensor_others", ""},
		{"devices/thermostat/data/all", "device_thermostat_data", "device_all"},
		{"locations/city/luanda/angola", "locations", "location_city"},
		{"locations/city", "locations", "location_city"},
		{"nobody/knows", "messages_default", ""},
		{"devices/thermostat/data/most", "messages_default", ""},
	} {
		leads(t, cfg, "devices", c[0], c[1], c[2])
	}
	made, err = ImportStrimzi(in("strimzi-first.rules.json"), in("strimzi-first.properties"))
	cfg = loaded(t, made, err)
	leads(t, cfg, "devices", "building/A/room/3/x", "building_A", "building_A_room_3")
	leads(t, cfg, "devices", "devices/t7/temp/data", "devices_t7_data", "t7_temp")
	leads(t, cfg, "devices", "all/a/b", "all", "{a/b}")
}

// What comes out and would not run is told before anybody tries.
func TestImportsThatDoNotLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(file, []byte(`[{"mqttTopic": "a/#/b", "kafkaTopic": "k"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := ImportStrimzi(file, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Validate(); err == nil || !strings.Contains(err.Error(), "routes[0].from") {
		t.Error(err)
	}
	if _, err := ImportUNS("missing.yaml", "", nil); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Error(err)
	}
	if _, err := ImportStrimzi(file, "missing.properties"); err == nil || !strings.Contains(err.Error(), "missing.properties") {
		t.Error(err)
	}
}
