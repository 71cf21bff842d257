package bridge

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/bridge/internal/strict"
)

// EnvPrefix begins the names of the variables that override the configuration file: LINKSPAN_ADMIN_LISTEN is
// admin.listen. See docs/configuration.md for the rule.
const EnvPrefix = "LINKSPAN_"

// EnvConfig is the variable that names the configuration file. It is not part of the configuration.
const EnvConfig = "LINKSPAN_CONFIG"

// Load reads the configuration file of that name, "" for none, puts the variables of environ (as os.Environ has them)
// over it, completes it with the defaults and validates it. The error tells all that is wrong, a line for each mistake,
// beginning with file, line and column or the variable's name.
func Load(name string, environ []string) (Config, error) {
	var text []byte
	if name != "" {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return Config{}, fmt.Errorf("cannot read the configuration: %w", err)
		}
	}
	return Parse(name, text, environ)
}

// Parse is [Load] for a text that is already read. name is for its errors.
func Parse(name string, text []byte, environ []string) (Config, error) {
	if name == "" {
		name = "default configuration"
	}
	cfg := Default()
	d := &strict.Decoder{Lookup: lookup(environ), ReadFile: os.ReadFile}
	d.File(name, text, &cfg)
	d.Environ(EnvPrefix, environ, &cfg, EnvConfig)
	if err := d.Err(); err != nil {
		return Config{}, err // what cannot be read cannot be judged
	}
	cfg.origin = d
	cfg.complete(d.Lookup)
	return cfg, located(d, errors.Join(cfg.contradictions(), cfg.Validate()))
}

// lookup makes a function of what os.Environ returns.
func lookup(environ []string) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		for _, e := range slices.Backward(environ) {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// located puts the place where its key was said before each error that was joined into err.
func located(d *strict.Decoder, err error) error {
	if d == nil {
		return err
	}
	var all []error
	for _, e := range unjoin(err) {
		key, text, _ := strings.Cut(e.Error(), ": ")
		place, _ := d.Locate(key)
		all = append(all, strict.Problem{Place: place, Key: key, Text: text})
	}
	return errors.Join(all...)
}

// contradictions reports settings that were made and would have no effect beside others, which only who has read them
// can tell from defaults.
func (c *Config) contradictions() error {
	var p problems
	if place, said := c.origin.Said("kafka.embedded"); said && len(c.Kafka.Brokers) > 0 {
		p.add("kafka.brokers", "the embedded broker of %v would not be started beside them; remove one of the two", place)
	}
	return errors.Join(p...)
}
