package client

import (
	"slices"
	"time"
)

// Status is what an operator wants to know of a client.
type Status struct {
	Connected   bool
	Since       time.Time // of the connection, or since when there is none
	URL         string    // of the connection, or of the last one
	ContainerID string    // ours
	Broker      string    // what the broker says that it is: product and version, or its container identifier; "": never connected
	Attached    []string  // addresses that are received from
	Refused     []string  // addresses that the broker does not let us receive from, or send to, with the reason
	LastError   string    // of the last attempt that failed or connection that was lost; "": none yet
	LastErrorAt time.Time
}

// Status returns how the client is, for people to read.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Attached, s.Refused = nil, nil
	for a, problem := range c.links {
		if problem == "" {
			s.Attached = append(s.Attached, a)
		} else {
			s.Refused = append(s.Refused, a+": "+problem)
		}
	}
	slices.Sort(s.Attached)
	slices.Sort(s.Refused)
	return s
}

// note changes the status.
func (c *Client) note(change func(*Status)) {
	c.mu.Lock()
	change(&c.status)
	c.mu.Unlock()
}

// maxLinks is how many links the status tells of.
const maxLinks = 1000

// noteLink notes the state of a link: nil for one that is attached, or why it is not. It returns whether that is news.
func (c *Client) noteLink(label string, err error) bool {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.links[label]
	if !ok && len(c.links) >= maxLinks {
		return false
	}
	c.links[label] = problem
	return !ok || known != problem
}

// forgetLink takes a link out of the status.
func (c *Client) forgetLink(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, label)
}
