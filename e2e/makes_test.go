package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// drivers are the programs that lead client libraries of other languages: one of each for all tests, since a Java virtual
// machine is not started in no time.
var drivers = map[string]func() (*harness.Driver, error){
	"paho-python": sync.OnceValues(newPython),
	"mqtt.js": sync.OnceValues(func() (*harness.Driver, error) {
		cmd := exec.Command("node", client("mqttjs.cjs"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(world.parts.Node, "node_modules"))
		return newDriver("mqtt.js", cmd)
	}),
	"hivemq": sync.OnceValues(func() (*harness.Driver, error) {
		return newDriver("hivemq", exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-cp", filepath.Join(world.parts.HiveMQ, "*"), client("HiveMQ.java")))
	}),
}

func newPython() (*harness.Driver, error) {
	return newDriver("paho-python", exec.Command(world.parts.Python, client("paho_python.py")))
}

func newDriver(name string, cmd *exec.Cmd) (*harness.Driver, error) {
	return harness.NewDriver(name, cmd, filepath.Join(world.dir, name+".log"))
}

// client returns the path of a file in clients/.
func client(name string) string {
	dir, err := filepath.Abs("clients")
	if err != nil {
		panic(err) // the working directory is the package's
	}
	return filepath.Join(dir, name)
}

// makes are all makes of MQTT client that the tests know but for mosquitto's commands.
var makes = []harness.Make{
	{Name: "paho-python", Versions: []int{3, 4, 5}, Schemes: []string{"mqtt", "mqtts", "ws", "wss"}, IDs: true, Dial: driven("paho-python")},
	{Name: "mqtt.js", Versions: []int{3, 4, 5}, Schemes: []string{"mqtt", "mqtts", "ws", "wss"}, IDs: true, Dial: driven("mqtt.js")},
	{Name: "hivemq", Versions: []int{4, 5}, Schemes: []string{"mqtt", "mqtts"}, Dial: driven("hivemq")},
	{Name: "paho-go-3", Versions: []int{3, 4}, Schemes: []string{"mqtt", "mqtts", "ws", "wss"}, Dial: harness.DialPaho3},
	{Name: "paho-go-5", Versions: []int{5}, Schemes: []string{"mqtt", "mqtts"}, IDs: true, Dial: harness.DialPaho5},
}

func driven(name string) func(context.Context, harness.Options) (harness.Device, error) {
	return func(ctx context.Context, o harness.Options) (harness.Device, error) {
		d, err := drivers[name]()
		if err != nil {
			return nil, err
		}
		return d.Connect(ctx, o)
	}
}

// dial connects a device for the length of the test.
func dial(t *testing.T, m harness.Make, o harness.Options) harness.Device {
	t.Helper()
	d, err := m.Dial(deadline(t), o)
	if err != nil {
		t.Fatalf("%s: connect to %s with MQTT %d: %v", m.Name, o.URL, o.Version, err)
	}
	t.Cleanup(func() { _ = d.Close() }) // the other side may have closed before
	return d
}

// made returns the make of that name.
func made(name string) harness.Make {
	return makes[slices.IndexFunc(makes, func(m harness.Make) bool { return m.Name == name })]
}

// subscribe subscribes, or ends the test.
func subscribe(t *testing.T, d harness.Device, s harness.Subscription) {
	t.Helper()
	must(t, d.Subscribe(deadline(t), s))
}

// publish publishes and waits for the acknowledgement, or ends the test.
func publish(t *testing.T, d harness.Device, m harness.Message) {
	t.Helper()
	must(t, d.Publish(deadline(t), m))
}

// next returns the next message that a device got, or ends the test.
func next(t *testing.T, d harness.Device) harness.Message {
	t.Helper()
	m, err := d.Next(deadline(t))
	must(t, err)
	return m
}
