// Package route decides which message goes where, and what it looks like there: filters and patterns, templates, names,
// headers. Everything is compiled and checked when a [Table] is made; what is the same for all messages of a topic is
// worked out once.
package route

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
)

// A Table is the routes in force. It is safe for any number of goroutines.
type Table struct {
	options   Options
	routes    []*route
	standard  *route              // the default route; nil: none
	plain     route               // writes every fact into headers; takes nothing
	trees     map[string]*node    // by endpoint: the routes up
	endpoints map[string]Endpoint // by name

	plansUp, plansDown *cache
	unmatchedUp        unmatched
	unmatchedDown      unmatched
}

// New compiles routes. Its error joins one [Error] for each mistake found.
func New(routes []Config, options Options) (*Table, error) {
	if options.MaxHops <= 0 {
		options.MaxHops = defaultMaxHops
	}
	if options.CacheSize <= 0 {
		options.CacheSize = defaultCacheSize
	}
	t := &Table{
		options: options, trees: make(map[string]*node), endpoints: make(map[string]Endpoint),
		plansUp: newCache(options.CacheSize), plansDown: newCache(options.CacheSize),
		plain: route{facts: allFacts, seed: maphash.MakeSeed()},
	}
	var errs []error
	for _, e := range options.Endpoints {
		t.trees[e.Name], t.endpoints[e.Name] = newNode(), e
		if e.Name == "kafka" || e.Name == "mqtt" || e.Name == "amqp" {
			errs = append(errs, fmt.Errorf("endpoints.%s: in a route that name means all endpoints of a protocol; choose another", e.Name))
		}
	}
	names := make(map[string]int)
	for i := range routes {
		c := compiler{index: i, config: &routes[i], endpoints: options.Endpoints}
		r := c.compile()
		if first, taken := names[r.name]; taken {
			c.fail("name", fmt.Errorf("%q is also the name of routes[%d]: each route has its own", r.name, first))
		}
		names[r.name] = i
		errs = append(errs, c.errs...)
		t.routes = append(t.routes, r)
	}
	if options.Default != nil {
		errs = append(errs, t.addDefault(*options.Default)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, r := range t.routes {
		for _, e := range r.endpoints {
			t.trees[e].add(r.filter, i)
		}
	}
	return t, nil
}

// addDefault compiles the default route.
func (t *Table) addDefault(config Config) []error {
	c := compiler{index: -1, config: &config, endpoints: t.options.Endpoints}
	if config.From != "" {
		c.fail("from", errors.New("the default route takes whatever no other does: take from away"))
	}
	if !strings.HasPrefix(config.To, "kafka:") {
		c.fail("to", errors.New("the default route is one to Kafka: write kafka:TOPIC"))
		return c.errs
	}
	config.From = "mqtt:#"
	if config.Name == "" {
		config.Name = "default_route"
	}
	t.standard = c.compile()
	return c.errs
}
