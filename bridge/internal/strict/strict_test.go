package strict

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type house struct {
	Name    string            `yaml:"name"`
	Doors   int               `yaml:"doors"`
	Port    uint16            `yaml:"port"`
	Ratio   float64           `yaml:"ratio"`
	Open    bool              `yaml:"open"`
	Patient time.Duration     `yaml:"patience_time"`
	Keys    []string          `yaml:"keys"`
	Sizes   []int             `yaml:"sizes"`
	Labels  map[string]string `yaml:"labels"`
	Color   color             `yaml:"color"`
	Maybe   *string           `yaml:"maybe"`
	Garden  garden            `yaml:"garden"`
	Rooms   map[string]room   `yaml:"rooms"`
	Rules   []rule            `yaml:"rules"`
	Attic   *garden           `yaml:"attic"`
	Ways    map[string]way    `yaml:"ways"`
	common  `yaml:",inline"`
	hidden  int
}

// A way is a door or a window.
type way struct {
	Door   *door   `yaml:",shape=handle"`
	Window *window `yaml:",shape=glass"`
	Pane   *pane   `yaml:",shape=glass:lead"`
}

type pane struct {
	Glass []string `yaml:"glass"`
	Color color    `yaml:"color"`
}

type door struct {
	Handle string `yaml:"handle"`
	Height int    `yaml:"height"`
	Lock   string `yaml:"lock"`
}

func (d *door) SetDefaults() { d.Height = 2 }

type window struct {
	Glass  string   `yaml:"glass"`
	Height []string `yaml:"height"` // another meaning
}

type common struct {
	Shared int `yaml:"shared"`
}

type garden struct {
	Trees int    `yaml:"trees"`
	Gate  string `yaml:"gate"`
}

type room struct {
	Beds  int    `yaml:"beds"`
	Chair string `yaml:"chair"`
}

func (r *room) SetDefaults() { r.Beds = 1 }

type rule struct {
	From string `yaml:"from"`
	QoS  *int   `yaml:"qos"`
}

type color int

func (c *color) UnmarshalText(text []byte) error {
	switch string(text) {
	case "red":
		*c = 1
	case "blue":
		*c = 2
	default:
		return fmt.Errorf("%q is no color; one of red, blue", text)
	}
	return nil
}

func decodeFile(text string, env map[string]string) (house, error) {
	h := house{Name: "default", Doors: 2, Garden: garden{Trees: 3}}
	d := Decoder{Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	d.File("h.yaml", []byte(text), &h)
	return h, d.Err()
}

func TestFileKeepsWhatItDoesNotMention(t *testing.T) {
	h, err := decodeFile(`
doors: 1_000
port: "8080"
ratio: 0.5
open: true
patience_time: 1m30s
keys: [a, "b"]
sizes: 1, 2,3
labels: {x: y, "n": 7}
color: blue
maybe: ""
shared: 9
garden:
name: 80
rooms:
  hall: {chair: oak}
  empty:
rules:
  - from: here
    qos: 0
  - {from: "there"}
attic: {trees: 4}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	zero, empty := 0, ""
	want := house{
		Name: "80", Doors: 1000, Port: 8080, Ratio: 0.5, Open: true, Patient: 90 * time.Second,
		Keys: []string{"a", "b"}, Sizes: []int{1, 2, 3}, Labels: map[string]string{"x": "y", "n": "7"}, Color: 2, Maybe: &empty,
		Garden: garden{Trees: 3}, Rooms: map[string]room{"hall": {1, "oak"}, "empty": {Beds: 1}},
		Rules: []rule{{"here", &zero}, {From: "there"}}, Attic: &garden{Trees: 4}, common: common{9},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got  %+v\nwant %+v", h, want)
	}
}

func TestVariablesInValues(t *testing.T) {
	h, err := decodeFile(`
name: "${A}-${B:-bee}-${EMPTY:-full}-$${A}-$A"
doors: ${N}
keys: ${LIST}
labels: {a: "${EMPTY}"}
color: ${MISSING:-red}
`, map[string]string{"A": "${B}: [x", "N": "5", "EMPTY": "", "LIST": "k1:9092, k2:9092"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "${B}: [x-bee-full-${A}-$A"; h.Name != want {
		t.Errorf("name %q, want %q", h.Name, want)
	}
	if h.Doors != 5 || h.Color != 1 || !reflect.DeepEqual(h.Keys, []string{"k1:9092", "k2:9092"}) || h.Labels["a"] != "" {
		t.Errorf("got %+v", h)
	}
}

func TestAliasesAndMerges(t *testing.T) {
	h, err := decodeFile("rooms:\n  a: &a {beds: 2, chair: oak}\n  b: *a\n  c: {<<: *a, beds: 3}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]room{"a": {2, "oak"}, "b": {2, "oak"}, "c": {3, "oak"}}
	if !reflect.DeepEqual(h.Rooms, want) {
		t.Errorf("got %+v, want %+v", h.Rooms, want)
	}
}

// Each mistake names its line, its key and the remedy.
func TestProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"dors: 1", "h.yaml:1:1: dors: unknown key; did you mean doors?"},
		{"\ngarden: {tree: 1}", "h.yaml:2:10: garden.tree: unknown key; did you mean trees?"},
		{"rules:\n- form: x", "h.yaml:2:3: rules[0].form: unknown key; did you mean from?"},
		{"garden: {whatever: 1}", "h.yaml:1:10: garden.whatever: unknown key; known keys here: trees, gate"},
		{"hidden: 1", "h.yaml:1:1: hidden: unknown key; known keys here: name, doors, port,"},
		{"doors: many", `h.yaml:1:8: doors: "many" is not a whole number`},
		{"doors: 10 GiB", `h.yaml:1:8: doors: "10 GiB" is not a whole number; write 10737418240`},
		{"doors: 1.5kB", `h.yaml:1:8: doors: "1.5kB" is not a whole number; write 1500`},
		{"port: 70000", `h.yaml:1:7: port: "70000" is not a whole number from 0 to 65535`},
		{"ratio: x", `h.yaml:1:8: ratio: "x" is not a number`},
		{"open: yes", `h.yaml:1:7: open: "yes" is not true or false`},
		{"patience_time: 20", `h.yaml:1:16: patience_time: "20" is not a duration such as 20s`},
		{"color: green", `h.yaml:1:8: color: "green" is no color; one of red, blue`},
		{"name: {device}", "h.yaml:1:7: name: must be a single value, not a section with keys; a text that begins with { needs quotes"},
		{"name: [a]", "h.yaml:1:7: name: must be a single value, not a list"},
		{"garden: 3", "h.yaml:1:9: garden: must be a section with keys, not a single value; known keys: trees, gate"},
		{"rules: 3", "h.yaml:1:8: rules: must be a list, not a single value; put - before each entry"},
		{"keys: {a: b}", "h.yaml:1:7: keys: must be a list, not a section with keys"},
		{"rooms: [a]", "h.yaml:1:8: rooms: must be names with their values (NAME: ...), not a list"},
		{"doors: 1\ndoors: 2", "h.yaml:2:1: doors: is there twice; the first is in line 1"},
		{"[a]: 1", "h.yaml:1:1: a key must be a single value"},
		{"name: ${NOT_THERE}", "h.yaml:1:7: name: the environment has no variable NOT_THERE; set it, or write ${NOT_THERE:-default}"},
		{"name: a${B", "h.yaml:1:7: name: ${B is not a variable; write ${NAME}"},
		{"name: ${a b}", "h.yaml:1:7: name: ${a b} is not a variable"},
		{"doors: ${SECRET}", "h.yaml:1:8: doors: what ${SECRET} stands for is not a whole number"},
		{"a: [", "h.yaml:1:1: not YAML: did not find expected node content"},
		{"name: *hunter2", "not YAML: an alias without its anchor; put a value that begins with * in quotes"},
		{"doors: 1\n---\ndoors: 2", "there is more than one YAML document"},
		{"- 1", "h.yaml:1:1: must be a section with keys, not a list"},
		{"rooms: &r {x: *r}", "h.yaml:1"},
		{"garden: {<<: [1]}", "<< takes the alias of one section"},
	} {
		_, err := decodeFile(c.text, map[string]string{"SECRET": "hunter2"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the message shows a secret: %v", c.text, err)
		}
		if p := (Problem{}); err != nil && !errors.As(err, &p) {
			t.Errorf("%q: %T is no Problem", c.text, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := decodeFile("doors: x\nport: y\ngarden: {tree: 1}\nopen: z\n", nil)
	if n := strings.Count(fmt.Sprint(err), "h.yaml:"); n != 4 {
		t.Errorf("%d problems, want 4:\n%v", n, err)
	}
}

func TestEnvironment(t *testing.T) {
	h := house{
		Rooms: map[string]room{"plant-a": {Beds: 5}}, Labels: map[string]string{"old": "1"},
		Rules: []rule{{From: "x"}, {From: "y"}}, Name: "file",
	}
	var d Decoder
	d.Environ("HOUSE_", []string{
		"PATH=/bin", "HOUSE_CONFIG=h.yaml", "HOUSE_NAME=${X}", "HOUSE_DOORS=7", "HOUSE_PATIENCE_TIME=3s", "HOUSE_KEYS=a,b",
		"HOUSE_SIZES=[1, 2]", "HOUSE_GARDEN_GATE=iron", "HOUSE_ATTIC_TREES=1", "HOUSE_SHARED=4", "HOUSE_OPEN=",
		"HOUSE_ROOMS_PLANT_A_CHAIR=oak", "HOUSE_ROOMS_NEW_ONE_CHAIR=fir", "HOUSE_LABELS={new: 2}", "HOUSE_RULES=[{from: z, qos: 1}]",
		"HOUSE_SERVICE_HOST=10.0.0.1", "HOUSE_GARDEN_SERVICE_PORT_MQTT=1883", "HOUSE_KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "HOUSE_KAFKA_PORT=tcp://10.0.0.1:9092",
	}, &h, "HOUSE_CONFIG")
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	one := 1
	want := house{
		Name: "${X}", Doors: 7, Patient: 3 * time.Second, Keys: []string{"a", "b"}, Sizes: []int{1, 2}, Garden: garden{Gate: "iron"},
		Attic: &garden{Trees: 1}, common: common{4}, Rooms: map[string]room{"plant-a": {5, "oak"}, "new_one": {1, "fir"}},
		Labels: map[string]string{"old": "1", "new": "2"}, Rules: []rule{{"z", &one}},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got  %+v\nwant %+v", h, want)
	}
	if p, _ := d.Locate("garden.gate"); p.String() != "HOUSE_GARDEN_GATE" {
		t.Errorf("garden.gate was said in %v", p)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	for _, c := range []struct{ variable, want string }{
		{"HOUSE_GARDEN_GATES=x", "HOUSE_GARDEN_GATES: unknown variable; did you mean HOUSE_GARDEN_GATE?"},
		{"HOUSE_ZZZZZZZZZZZZ=x", "HOUSE_ZZZZZZZZZZZZ: unknown variable; its name does not lead to a key of the configuration"},
		{"HOUSE_PORT=99999", `HOUSE_PORT: port: "99999" is not a whole number from 0 to 65535`},
		{"HOUSE_ROOMS_HALL_BEDS=x", `HOUSE_ROOMS_HALL_BEDS: rooms.hall.beds: "x" is not a whole number`},
		{"HOUSE_RULES=[{form: x}]", "HOUSE_RULES: rules[0].form: unknown key; did you mean from?"},
		{"HOUSE_RULES=[", "HOUSE_RULES: not YAML"},
		{"HOUSE_GARDEN=x", "HOUSE_GARDEN: garden: must be a section with keys"},
		{"HOUSE_LABELS_X=x", "HOUSE_LABELS_X: unknown variable; did you mean HOUSE_LABELS?"},
	} {
		var d Decoder
		d.Environ("HOUSE_", []string{c.variable}, &house{})
		if err := d.Err(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.variable, err, c.want)
		}
	}
}

func TestLocateFindsTheNearestKeyAbove(t *testing.T) {
	var d Decoder
	d.File("h.yaml", []byte("rules:\n- from: x\n- qos: 1\nrooms:\n  hall:\n    beds: 1\n"), &house{})
	for path, want := range map[string]string{
		"rules[1].from": "h.yaml:3:3", "rules[0].from": "h.yaml:2:3", "rules[7]": "h.yaml:1:1",
		"rooms.hall.chair.leg": "h.yaml:5:3", "doors": "h.yaml", "": "h.yaml",
	} {
		if p, ok := d.Locate(path); !ok || p.String() != want {
			t.Errorf("Locate(%s) = %v %v, want %s", path, p, ok, want)
		}
	}
}

// Whatever the text, the decoder neither panics nor reports a problem without a place.
func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "a: b", "rooms: &r {x: *r}", "rules:\n- from: x", "name: ${A:-b}$${c}", "<<: *x", "? [a]\n: b", "doors: !!null 3", "keys: *a", "&a : *a", "rooms: {<<: {a: {<<: {beds: 1}}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := decodeFile(text, map[string]string{"A": "1"})
		if err == nil {
			return
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			if p, ok := e.(Problem); !ok || p.Place.File != "h.yaml" {
				t.Errorf("%q: %v", text, e)
			}
		}
	})
}

func FuzzEnviron(f *testing.F) {
	f.Add("ROOMS_A_BEDS", "1")
	f.Add("RULES", "[{from: x}]")
	f.Add("LABELS", "&a {b: *a}")
	f.Fuzz(func(t *testing.T, name, value string) {
		var d Decoder
		d.Environ("HOUSE_", []string{"HOUSE_" + name + "=" + value}, &house{Rooms: map[string]room{"x": {}}})
	})
}

// The key that is there decides what the others of a section mean, wherever it stands.
func TestShapes(t *testing.T) {
	h, err := decodeFile("ways: {a: {height: 3, handle: brass}, b: {glass: blue, height: [1, low]}, c: {handle: iron}}", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]way{
		"a": {Door: &door{Handle: "brass", Height: 3}}, "b": {Window: &window{"blue", []string{"1", "low"}}}, "c": {Door: &door{Handle: "iron", Height: 2}},
	}
	if !reflect.DeepEqual(h.Ways, want) {
		t.Errorf("got %+v", h.Ways)
	}
	for text, want := range map[string]string{
		"ways: {a: {handle: x, glass: y}}":     "h.yaml:1:23: ways.a.glass: stands beside handle, and only one of the two can be; remove one",
		"ways: {a: {glass: y, lock: z}}":       "h.yaml:1:22: ways.a.lock: goes with handle, and this section has glass; remove it",
		"ways: {a: {glass: y, hight: z}}":      "h.yaml:1:22: ways.a.hight: unknown key; did you mean height?",
		"ways: {a: {hight: z}}":                "h.yaml:1:12: ways.a.hight: unknown key; did you mean height?",
		"ways: {a: {handle: x, height: tall}}": `h.yaml:1:31: ways.a.height: "tall" is not a whole number`,
		"ways: {a: {handle: x, handle: y}}":    "h.yaml:1:23: ways.a.handle: is there twice; the first is in line 1",
	} {
		if _, err := decodeFile(text, nil); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	if h, err := decodeFile("ways: {a: {height: 3, glass: null}}", nil); err != nil || h.Ways["a"] != (way{}) {
		t.Errorf("without a key that tells: %+v %v", h.Ways, err)
	}
}

func TestShapesFromTheEnvironment(t *testing.T) {
	h := house{}
	var d Decoder
	d.File("h.yaml", []byte("ways: {front-door: {handle: brass}, back: {glass: blue}}"), &h)
	d.Environ("X_", []string{
		"X_WAYS_FRONT_DOOR_HEIGHT=4", "X_WAYS_BACK_HEIGHT=low,high", "X_WAYS_NEW_HEIGHT=5", "X_WAYS_NEW_LOCK=yes", "X_WAYS_NEW_HANDLE=iron",
		"X_WAYS_LATE_HEIGHT=[a]", "X_WAYS={late: {glass: green}}",
	}, &h)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	want := map[string]way{
		"front-door": {Door: &door{Handle: "brass", Height: 4}}, "back": {Window: &window{"blue", []string{"low", "high"}}},
		"new": {Door: &door{"iron", 5, "yes"}}, "late": {Window: &window{"green", []string{"a"}}},
	}
	if !reflect.DeepEqual(h.Ways, want) {
		t.Errorf("got %+v", h.Ways)
	}
	d.Environ("X_", []string{"X_WAYS_BACK_LOCK=yes"}, &h)
	if err := d.Err(); err == nil || !strings.Contains(err.Error(), "X_WAYS_BACK_LOCK: ways.back.lock: goes with handle, and this section has glass") {
		t.Errorf("got %v", err)
	}
}

// Where the same key tells of several shapes, the beginning of its value does, whether it is one or the first of a list, or a variable.
func TestShapesByValue(t *testing.T) {
	h, err := decodeFile("attic: {gate: &l leads}\nways: {e: {glass: *l}, a: {color: red, glass: leaded}, b: {glass: [leaden, blue]}, c: {glass: \"${LED}\", color: blue}, d: {glass: led}}", map[string]string{"LED": "lead"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]way{
		"a": {Pane: &pane{[]string{"leaded"}, 1}}, "b": {Pane: &pane{Glass: []string{"leaden", "blue"}}}, "c": {Pane: &pane{[]string{"lead"}, 2}},
		"d": {Window: &window{Glass: "led"}}, "e": {Pane: &pane{Glass: []string{"leads"}}},
	}
	if !reflect.DeepEqual(h.Ways, want) {
		t.Errorf("got %+v", h.Ways)
	}
	for text, want := range map[string]string{
		"ways: {a: {glass: lead, height: 1}}":         "h.yaml:1:25: ways.a.height: goes with handle, and this section has glass: lead; remove it",
		"ways: {a: {glass: y, color: red}}":           "h.yaml:1:22: ways.a.color: goes with glass: lead, and this section has glass; remove it",
		"ways: {a: {glass: lead, handle: x}}":         "h.yaml:1:25: ways.a.handle: stands beside glass, and only one of the two can be; remove one",
		"ways: {a: {glass: \"${NONE}\", height: []}}": "h.yaml:1:19: ways.a.glass: the environment has no variable NONE; set it, or write ${NONE:-default}",
	} {
		if _, err := decodeFile(text, nil); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	var d Decoder
	d.Environ("X_", []string{"X_WAYS_NEW_GLASS=lead,blue", "X_WAYS_NEW_COLOR=red", "X_WAYS_OLD_GLASS=thick", "X_WAYS_OLD_HEIGHT=low"}, &h)
	if w := h.Ways; d.Err() != nil || !reflect.DeepEqual(w["new"].Pane, &pane{[]string{"lead", "blue"}, 1}) || w["old"].Window == nil {
		t.Errorf("got %+v %v", w, d.Err())
	}
	d.Environ("X_", []string{"X_WAYS_D_GLASS=leaded"}, &h)
	if err := d.Err(); err == nil || err.Error() != "X_WAYS_D_GLASS: ways.d.glass: this was a section with glass before, which has other keys than one with glass: lead; give that a name of its own" {
		t.Errorf("got %v", err)
	}
}
